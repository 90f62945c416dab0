// Package bench measures a running bridge from outside, as its users meet it: readers subscribe over HTTP, publishers
// publish over Connect streams, and every event carries who sent it, its number and when, so that each reader knows what
// is lost, repeated or out of order, and how long it took.
//
// [Run] (bench.go) lays out the work (plan.go): topics, and lanes, which are one publisher's events to one topic. It opens
// the readers, lets the publishers (publisher.go) publish for a while, waits for what is on its way, and sums up
// (result.go, measure.go). Each reader (reader.go) takes the frames (frame.go) that its connection brings, and notes them
// in a tally (tally.go, histogram.go).
//
// A load generator must cost less than what it measures. On Linux, readers over HTTP/1.1 in cleartext are raw sockets
// that a few epoll loops read into one buffer each (loop_linux.go, response.go); HTTP/2, TLS and other systems have a
// goroutine for each reader (stream.go). Publishers send messages that are copies of one encoded message with other
// numbers in it.
package bench
