package telemetry

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scope is the instrumentation scope of all spans and metrics.
const scope = "github.com/ssebridge/ssebridge"

// headerTraceParent is the name under which a context is sent (W3C Trace Context, section 3.2).
const headerTraceParent = "traceparent"

// system is the value of messaging.system.
const system = "ssebridge"

// Config says where telemetry goes. The zero value of a field stands for its default.
type Config struct {
	// Tracers makes the tracer of all spans. Nil: no spans, and a step costs no more than a comparison.
	Tracers trace.TracerProvider
	// Meters makes the meter of all metrics. Nil: no metrics.
	Meters metric.MeterProvider
	// Declared returns the declared pattern that governs a topic; there must be few. It is called for each event
	// that is published, concurrently. Defaults to "**" for every topic.
	Declared func(topic string) string
}

// Telemetry starts spans and counts. It may be used concurrently.
type Telemetry struct {
	instruments

	tracers  trace.TracerProvider
	tracer   trace.Tracer // nil: no spans
	declared func(topic string) string
}

// New makes the telemetry of one bridge. The error is that of an instrument which the meter provider refuses.
func New(config Config) (*Telemetry, error) {
	t := &Telemetry{tracers: config.Tracers, declared: config.Declared}
	if t.tracers != nil {
		t.tracer = t.tracers.Tracer(scope)
	}
	if t.declared == nil {
		t.declared = func(string) string { return "**" }
	}
	if config.Meters == nil {
		config.Meters = metricnoop.NewMeterProvider()
	}
	if err := t.register(config.Meters.Meter(scope)); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return t, nil
}

// Off returns telemetry that shows nothing.
func Off() *Telemetry {
	t, err := New(Config{})
	if err != nil {
		panic(errors.Join(errors.New("an instrument that does nothing was refused"), err)) // never: noop has no errors
	}
	return t
}

// Tracers returns the provider of all spans; nil where there are none. It is for libraries that start spans of their
// own.
func (t *Telemetry) Tracers() trace.TracerProvider { return t.tracers }

// Propagator reads the context of a call that others' libraries take in, as this package does: its traceparent and
// nothing else. What a caller writes into tracestate and baggage would be shown with every span, and an event has no
// room for it.
func (t *Telemetry) Propagator() propagation.TextMapPropagator { return propagator{} }

type propagator struct{}

// Extract implements [propagation.TextMapPropagator].
func (propagator) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	return withRemote(ctx, carrier.Get(headerTraceParent))
}

// Inject implements [propagation.TextMapPropagator]. The bridge calls nobody.
func (propagator) Inject(context.Context, propagation.TextMapCarrier) {}

// Fields implements [propagation.TextMapPropagator].
func (propagator) Fields() []string { return []string{headerTraceParent} }
