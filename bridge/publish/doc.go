// Package publish is the way in: ssebridge.v1.PublishService over Connect, gRPC and gRPC-Web, with gRPC health and
// reflection.
//
// Each event of a request walks one way: check (check.go) looks at topic, id, time and trace context, the encoder
// turns the typed message into JSON, and the log stores it (intake.go). What becomes of it, an acknowledgement on its
// way or a refusal, goes into a bounded queue in the order of the events, from which results are gathered and sent
// (results.go). A queue that is full stops the reading, and HTTP/2 flow control slows the publisher. [Service]
// (service.go) ties this to the streaming and to the unary call. Each event has a [telemetry.Send] from its receipt until
// its result is known.
package publish
