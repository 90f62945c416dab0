// Package telemetry shows what becomes of an event and of a reader: spans, metrics, and logs that name their trace. It
// knows the OpenTelemetry API and nothing else of this module; whoever runs the program gives it an SDK, or none.
//
// Spans are started in one file (spans.go). An event passes publish, send and deliver; the context of its send span
// travels with it through the log, so that each replica's deliver span is a child of it. A reader has one short span,
// subscribe, which ends with the first byte. There is no span per reader and event, and none that lives as long as a
// stream.
//
// Instruments are in metrics.go. Neither a span's name nor a metric's attribute ever holds a topic: it is the declared
// pattern that stands there, and of those there are as many as the configuration has.
package telemetry
