// Package jetstream keeps the bridge's events in a NATS JetStream stream. [Log] implements [bridge.Log]; [Embedded] is
// a NATS server inside this process, without a port, for deployments of one. The log knows nothing of the server: an
// external cluster serves it as well.
//
// # The stream
//
// One stream holds everything, limited by age and size; the oldest events go first. An event's topic is its subject:
// "/" becomes "." and "." becomes "!", behind a prefix, so that shops/7/orders is ssebridge.shops.7.orders. The
// payload is the event's JSON. Headers carry its type, the publisher's id, source, time and trace context, each
// percent-encoded where it is not visible ASCII, and the stamp (message.go). Messages that somebody else has stored
// are events, too, if they have a type and hold JSON; all others are skipped with a warning.
//
// # Places
//
// [bridge.Cursor] is a stream sequence and a store time. The store time is the stamp, which the bridge gives: the
// clock's nanoseconds, but always later than the stamp before, than the newest event that was there at the start, and
// than the stream's creation. So an acknowledgement, which holds only the sequence, completes the place; and no two
// events, not even of a log that has lost its end and stores others in the same sequences, have the same place. That
// is what Check compares. It holds as long as one process at a time writes.
//
// # Append
//
// [Log.Append] takes room in flight, stamps and publishes under one lock, so that stamps, sequences and calls are in
// one order, and returns a pending append that the acknowledgement settles. The key of an event, hashed, is the
// message id that the stream remembers for its duplicate window; the receipt of a duplicate is the place of the first
// event. An append is never sent again by itself: an event that was refused must not end up behind its successors.
//
// # Tail
//
// [Log.Tail] follows the stream with one consumer (feed.go), which it replaces on any doubt: a missing heartbeat, a
// gap in the consumer's own count, a message that a heartbeat names but that did not come. Each consumer is checked
// before what it delivers is believed: the stream's creation time, its last sequence and the event at the place
// reached must be those that the tail knows. If not, the stream was replaced: the sink is told that it has lost its
// place, and what the new stream holds follows from its beginning. If the stream is gone, it is created again.
//
// A jump in the sequences is a loss only if the stream's first sequence has passed the place reached; else an
// operator has removed single events, and nobody is told.
//
// Where nobody else writes to the stream, which is so in the embedded server ([Config.SoleWriter]), the consumer brings
// only what was stored before. Acknowledgements come in the order of the sequences, and their events are still in
// memory: the echo of what this process appends (echo.go) is the rest of the tail, at little more than half of the
// cost of an event. An append that had no answer, or a sequence that is missing, brings a consumer back until it
// has read what there is.
//
// # History
//
// [Log.Read] returns pages of the log by batched direct gets, which cost the server no state and are made by one
// scan for many readers. An answer that ends early, as it does without an error when time is over, counts as far as
// it came and no further.
package jetstream
