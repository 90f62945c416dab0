package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Results of an event besides the codes of refusals.
const (
	resultStored      = "stored"
	resultDuplicate   = "duplicate"
	resultUnavailable = "unavailable"
)

// Send is one event from its receipt until it is stored or will not be. It is counted and timed, and has a span from
// Begin on. It ends with one of Stored, Refused and Failed. One goroutine uses it at a time.
type Send struct {
	telemetry *Telemetry
	span      trace.Span // nil where it is not sampled
	declared  string
	received  time.Time
}

// Receive begins an event that was received at that time.
func (t *Telemetry) Receive(received time.Time) Send {
	return Send{telemetry: t, received: received}
}

// Begin starts the span of an event whose topic may be shown. Its cause is traceParent, the event's own, or else the
// span in ctx. Begin returns the context that is to be stored with the event: that of the span, or traceParent where
// the span is not sampled.
func (s *Send) Begin(ctx context.Context, topic, traceParent string) string {
	t := s.telemetry
	s.declared = t.declared(topic)
	s.span = t.startSend(ctx, s.declared, traceParent)
	if s.span == nil {
		return traceParent
	}
	s.span.SetAttributes(message(spanSend, semconv.MessagingOperationTypeSend, s.declared, topic)...)
	return traceParentOf(s.span)
}

// Encoded notes the event's type and the size of its JSON.
func (s *Send) Encoded(typeName string, bytes int) {
	if s.span != nil {
		s.span.SetAttributes(semconv.CloudEventsEventType(typeName), semconv.MessagingMessageBodySize(bytes))
	}
}

// Stored ends an event that is stored, with its cursor; duplicate tells that it was stored before.
func (s *Send) Stored(cursor string, duplicate bool) {
	result := resultStored
	if duplicate {
		result = resultDuplicate
	}
	s.telemetry.published(s.declared, result)
	ctx := context.Background()
	if s.span != nil {
		ctx = trace.ContextWithSpan(ctx, s.span) // an exemplar leads from a slow event to its trace
	}
	s.telemetry.publishToDurable.Record(ctx, time.Since(s.received).Seconds())
	s.end(result, semconv.MessagingMessageID(cursor))
}

// Refused ends an event that was refused with a code, for breaking a rule. There are few of both.
func (s *Send) Refused(code, rule string) {
	s.telemetry.published(s.declared, code)
	if s.span != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.end(code, semconv.ErrorTypeKey.String(code), attrRule.String(rule))
}

// Failed ends an event that the log did not take.
func (s *Send) Failed() {
	s.telemetry.published(s.declared, resultUnavailable)
	if s.span != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.end(resultUnavailable, semconv.ErrorTypeKey.String(resultUnavailable))
}

func (s *Send) end(result string, attributes ...attribute.KeyValue) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attrResult.String(result))
	s.span.SetAttributes(attributes...)
	s.span.End()
}
