// Package sse is the way out: it serves GET /v1/events, the event stream that a browser's EventSource reads
// (WHATWG HTML, section 9.2).
//
// A request walks through the files in this order: [Handler] (handler.go) parses it (request.go), asks whether it is
// allowed, opens a reader at the hub and hands both to a stream (stream.go), which takes what is new from the reader
// and puts frames on a connection (writer.go). A request that is refused for good gets a problem document; one that
// may succeed later gets a stream that says so and ends (refuse.go), because EventSource gives up after an error
// status and comes back after a stream that ends.
package sse
