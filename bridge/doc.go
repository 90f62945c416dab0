// Package bridge is the core of ssebridge: the words it is made of, and the way of an event from the log to the
// readers it is for. It knows no technology; the packages below it each know one.
//
// An [Event] is published to a topic (topic.go) and stored in a [Log] (log.go), which gives it its place, a [Cursor]
// (cursor.go). The [Hub] (hub.go) follows the end of the log. It keeps the newest events in a window (window.go), in
// which a trie of topics leads to a chain of events per topic (chain.go), and wakes the readers that the event is for
// (audience.go).
//
// A [Reader] (reader.go) is a [Subscription] and a place in the log, with no queue: when it is woken, it takes what
// lies between its place and the end of the window. New, slow and resuming readers are therefore the same thing. What
// is older than the window is read from the log in pages that all readers share (history.go). A reader never skips:
// where something it asked for is no longer kept, it is told so by a reset. The exception are state topics ([Settings]),
// of which a reader that is behind is not sent what a newer event replaces.
//
// The way is visible by [telemetry.Telemetry], the one package of this module that the core imports: the hub describes
// each delivery of an event once, never per reader.
//
// What a reader takes goes out as frames (frame.go), which are encoded once per event and format.
package bridge
