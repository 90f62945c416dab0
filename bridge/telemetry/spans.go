package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// The names of spans. Those of send and deliver are followed by the declared pattern (OpenTelemetry semantic
// conventions for messaging spans, "Span name").
const (
	spanPublish   = "publish"
	spanSend      = "send"
	spanDeliver   = "deliver"
	spanSubscribe = "subscribe"
)

// Attributes that no convention names.
const (
	attrResult   = attribute.Key("ssebridge.result")   // of an event: stored, duplicate, or the code of its refusal
	attrRule     = attribute.Key("ssebridge.rule")     // that a refused event breaks
	attrReaders  = attribute.Key("ssebridge.readers")  // that were told of an event
	attrReader   = attribute.Key("ssebridge.reader")   // its name in logs
	attrPatterns = attribute.Key("ssebridge.patterns") // how many a reader asks for
	attrSource   = attribute.Key("ssebridge.source")   // what a reader is served from at first
	attrFormat   = attribute.Key("ssebridge.format")
	attrReason   = attribute.Key("ssebridge.reason") // of a refusal
)

// Span is a step under way. The zero value is a step that nobody looks at.
type Span struct {
	span trace.Span
}

// End ends the step; err tells that it failed.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Publish begins the step that takes in one message of a publish stream, with this many events. Its parent is the
// context of the call, traceParent, where there is one. A stream may last for days, so it has no span of its own.
func (t *Telemetry) Publish(ctx context.Context, traceParent string, events int) (context.Context, Span) {
	if t.tracer == nil {
		return ctx, Span{}
	}
	ctx, span := t.tracer.Start(withRemote(ctx, traceParent), spanPublish, trace.WithSpanKind(trace.SpanKindServer))
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingSystemKey.String(system), semconv.MessagingOperationName(spanPublish),
			semconv.MessagingBatchMessageCount(events))
	}
	return ctx, Span{span}
}

// startSend starts the span of one event on its way into the log. Where the event has a cause of its own, that is the
// parent, and the span is linked to the one in ctx, which took the event in; else that is the parent. It returns nil
// where the span would not be sampled.
func (t *Telemetry) startSend(ctx context.Context, declared, traceParent string) trace.Span {
	if t.tracer == nil {
		return nil
	}
	call := trace.SpanContextFromContext(ctx)
	if traceParent == "" && call.IsValid() && !call.IsSampled() {
		return nil // a sampler decides for a whole trace
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer)}
	if traceParent != "" {
		ctx = withRemote(ctx, traceParent)
		if call.IsSampled() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: call}))
		}
	}
	_, span := t.tracer.Start(ctx, spanSend+" "+declared, options...)
	if !span.IsRecording() {
		return nil
	}
	return span
}

// Delivery is an event that a replica has taken from the log and told its readers of.
type Delivery struct {
	TraceParent string // as stored with the event
	Topic       string
	Type        string
	Cursor      string
	Bytes       int // of the event's JSON
	Readers     int // that were told of it

	Begun, Ended time.Time
}

// Traces reports whether Deliver does anything for an event with this stored context, so that a delivery need not be
// described for nothing.
func (t *Telemetry) Traces(traceParent string) bool {
	return t.tracer != nil && sampled(traceParent)
}

// Deliver records the step of a delivery. The parent is the event's send span; it is linked too, as
// the conventions for consumers ask.
func (t *Telemetry) Deliver(d Delivery) {
	if !t.Traces(d.TraceParent) {
		return
	}
	ctx := withRemote(context.Background(), d.TraceParent)
	producer := trace.SpanContextFromContext(ctx)
	if !producer.IsValid() {
		return
	}
	declared := t.declared(d.Topic)
	_, span := t.tracer.Start(ctx, spanDeliver+" "+declared, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithTimestamp(d.Begun), trace.WithLinks(trace.Link{SpanContext: producer}))
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(message(spanDeliver, semconv.MessagingOperationTypeProcess, declared, d.Topic)...)
	span.SetAttributes(semconv.MessagingMessageID(d.Cursor), semconv.MessagingMessageBodySize(d.Bytes),
		semconv.CloudEventsEventType(d.Type), attrReaders.Int(d.Readers))
	span.End(trace.WithTimestamp(d.Ended))
}

// message is what send and deliver say of an event.
func message(operation string, kind attribute.KeyValue, declared, topic string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String(system), semconv.MessagingOperationName(operation), kind,
		semconv.MessagingDestinationTemplate(declared), semconv.MessagingDestinationName(topic),
	}
}

// Subscribe is the step from a reader's request to the first byte of the answer. It ends with the first call of
// Opened, Refused or Gone; a later one does nothing. One goroutine uses it.
type Subscribe struct {
	telemetry *Telemetry
	span      trace.Span // nil where it is not sampled
	ended     bool
}

// Subscribe begins a reader's step. A browser is not trusted to decide what is traced: the span is a root, and linked
// to the context that the browser sent. The context that it returns is for logs; it keeps nothing else alive.
func (t *Telemetry) Subscribe(ctx context.Context, traceParent string) (context.Context, *Subscribe) {
	s := &Subscribe{telemetry: t}
	if t.tracer == nil {
		return ctx, s
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot()}
	if browser := trace.SpanContextFromContext(withRemote(ctx, traceParent)); browser.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: browser}))
	}
	_, span := t.tracer.Start(ctx, spanSubscribe, options...)
	if span.IsRecording() {
		s.span = span
	}
	return trace.ContextWithSpanContext(ctx, span.SpanContext()), s
}

// Asked notes what the reader asks for.
func (s *Subscribe) Asked(patterns int, format string) {
	if s.span != nil {
		s.span.SetAttributes(attrPatterns.Int(patterns), attrFormat.String(format))
	}
}

// Opened ends the step of a reader whose connection has taken the first byte; source is what it is served from.
func (s *Subscribe) Opened(reader, source string) {
	s.end(semconv.HTTPResponseStatusCode(200), attrReader.String(reader), attrSource.String(source))
}

// Refused ends and counts the step of a request that is answered with this status for this reason, one of few.
func (s *Subscribe) Refused(status int, reason string) {
	if s.ended {
		return
	}
	s.telemetry.refused(status, reason)
	if s.span != nil && status >= 500 { // a caller's mistake is none of the server's (conventions for HTTP spans, "Status")
		s.span.SetStatus(codes.Error, "")
	}
	s.end(semconv.HTTPResponseStatusCode(status), attrReason.String(reason))
}

// Gone ends the step of a reader that went away before it had an answer.
func (s *Subscribe) Gone() { s.end() }

func (s *Subscribe) end(attributes ...attribute.KeyValue) {
	if s.ended {
		return
	}
	s.ended = true
	if s.span != nil {
		s.span.SetAttributes(attributes...)
		s.span.End()
		s.span = nil
	}
}

// withRemote puts the context that somebody else has sent into ctx. One that is none changes nothing.
func withRemote(ctx context.Context, traceParent string) context.Context {
	if traceParent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{headerTraceParent: traceParent})
}

// traceParentOf is the context of a span as it is sent (W3C Trace Context, section 3.2).
func traceParentOf(span trace.Span) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), span), carrier)
	return carrier[headerTraceParent]
}

// sampled reports whether a traceparent has the flag of that name, its lowest bit (W3C Trace Context, section
// 3.2.2.5.1), without looking at the rest.
func sampled(traceParent string) bool {
	const flags = 54 // the second digit
	if len(traceParent) <= flags {
		return false
	}
	switch traceParent[flags] {
	case '1', '3', '5', '7', '9', 'b', 'd', 'f':
		return true
	}
	return false
}
