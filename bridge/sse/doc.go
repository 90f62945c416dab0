// Package sse is the way out: it serves GET /v1/events, the event stream that a browser's EventSource reads
// (WHATWG HTML, section 9.2).
//
// A request walks through the files in this order: [Handler] (handler.go) parses it (request.go), asks whether it is
// allowed and within the limits (limits.go), and opens a reader at the hub. What is new for the reader reaches its
// connection in one of two ways, which do the same.
//
// On Linux, a cleartext HTTP/1.1 connection is taken over from net/http before anything is written
// (takeover_linux.go): it has no goroutine, no buffer and no timer. One loop per core (loop_linux.go) serves all of
// them: it takes what is new for each reader that the hub has woken (conn_linux.go) and gives the frames, which all
// readers share, to the connection in one system call that does not wait (write_linux.go). What the send buffer does not
// take is taken again, from the reader's place, when epoll says that there is room.
//
// HTTP/2, TLS and other systems have a goroutine per stream (stream.go) and a net/http response (writer.go).
//
// A request that is refused for good gets a problem document; one that may succeed later gets a stream that says so and
// ends (refuse.go), because EventSource gives up after an error status and comes back after a stream that ends.
package sse
