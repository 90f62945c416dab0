package telemetry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"
)

const (
	causeTrace   = "4bf92f3577b34da6a3ce929d0e0e4736"
	causeSpan    = "00f067aa0ba902b7"
	cause        = "00-" + causeTrace + "-" + causeSpan + "-01"
	quietCause   = "00-" + causeTrace + "-" + causeSpan + "-00"
	callTrace    = "0af7651916cd43dd8448eb211c80319c"
	callParent   = "00-" + callTrace + "-b7ad6b7169203331-01"
	quietCall    = "00-" + callTrace + "-b7ad6b7169203331-00"
	orders       = "shops/*/orders/*"
	ordersOfShop = "shops/7/orders/42"
)

func recorded(t testing.TB, sampler trace.Sampler) (*Telemetry, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	telemetry, err := New(Config{
		Tracers:  trace.NewTracerProvider(trace.WithSpanProcessor(recorder), trace.WithSampler(sampler)),
		Declared: func(string) string { return orders },
	})
	require.NoError(t, err)
	return telemetry, recorder
}

func find(t *testing.T, recorder *tracetest.SpanRecorder, name string) trace.ReadOnlySpan {
	t.Helper()
	for _, span := range recorder.Ended() {
		if span.Name() == name {
			return span
		}
	}
	require.Failf(t, "no span", "%s among %v", name, recorder.Ended())
	return nil
}

func attributes(span trace.ReadOnlySpan) map[attribute.Key]any {
	all := map[attribute.Key]any{}
	for _, a := range span.Attributes() {
		all[a.Key] = a.Value.AsInterface()
	}
	return all
}

// TestSend: what the send span is a child of, what it is linked to, and what is stored with the event.
func TestSend(t *testing.T) {
	t.Parallel()
	parents := trace.ParentBased(trace.AlwaysSample())
	for name, test := range map[string]struct {
		sampler         trace.Sampler
		call, own       string // contexts
		parent          string // "publish", "own", "": no span
		linked          bool   // to publish
		passes          bool   // what is stored is own
		publishedTraces string
	}{
		"no context":               {sampler: parents, parent: "publish"},
		"the call's":               {sampler: parents, call: callParent, parent: "publish", publishedTraces: callTrace},
		"its own":                  {sampler: parents, own: cause, parent: "own", linked: true},
		"both":                     {sampler: parents, call: callParent, own: cause, parent: "own", linked: true, publishedTraces: callTrace},
		"its own in a quiet call":  {sampler: parents, call: quietCall, own: cause, parent: "own", publishedTraces: callTrace},
		"its own is quiet":         {sampler: parents, own: quietCause, passes: true},
		"the call's is quiet":      {sampler: parents, call: quietCall, passes: true},
		"nothing is sampled":       {sampler: trace.NeverSample(), own: cause, passes: true},
		"nothing is, no context":   {sampler: trace.NeverSample(), passes: true},
		"everything, quiet causes": {sampler: trace.AlwaysSample(), call: quietCall, own: quietCause, parent: "own", linked: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			telemetry, recorder := recorded(t, test.sampler)
			ctx, publish := telemetry.Publish(t.Context(), test.call, 1)
			send := telemetry.Receive(time.Now())
			stored := send.Begin(ctx, ordersOfShop, test.own)
			publish.End(nil)
			send.Stored("5-abc", false)

			if test.passes {
				assert.Equal(t, test.own, stored)
			}
			if test.parent == "" {
				for _, span := range recorder.Ended() {
					assert.NotEqual(t, "send "+orders, span.Name())
				}
				return
			}
			span := find(t, recorder, "send "+orders)
			assert.Equal(t, api.SpanKindProducer, span.SpanKind())
			assert.Equal(t, fmt.Sprintf("00-%s-%s-01", span.SpanContext().TraceID(), span.SpanContext().SpanID()), stored)
			if test.parent == "own" {
				assert.Equal(t, causeTrace, span.SpanContext().TraceID().String())
				assert.Equal(t, causeSpan, span.Parent().SpanID().String())
			} else {
				assert.Equal(t, find(t, recorder, "publish").SpanContext().SpanID(), span.Parent().SpanID())
			}
			if test.linked {
				require.Len(t, span.Links(), 1)
				assert.Equal(t, find(t, recorder, "publish").SpanContext().SpanID(), span.Links()[0].SpanContext.SpanID())
			} else {
				assert.Empty(t, span.Links())
			}
			if test.publishedTraces != "" && len(recorder.Ended()) > 1 {
				assert.Equal(t, test.publishedTraces, find(t, recorder, "publish").SpanContext().TraceID().String())
			}
		})
	}
}

func TestSendSaysWhatBecameOfTheEvent(t *testing.T) {
	t.Parallel()
	for result, end := range map[string]func(*Send){
		"stored":           func(s *Send) { s.Stored("5-abc", false) },
		"duplicate":        func(s *Send) { s.Stored("5-abc", true) },
		"invalid_argument": func(s *Send) { s.Refused("invalid_argument", "type") },
		"unavailable":      func(s *Send) { s.Failed() },
	} {
		telemetry, recorder := recorded(t, trace.AlwaysSample())
		send := telemetry.Receive(time.Now())
		send.Begin(t.Context(), ordersOfShop, "")
		send.Encoded("shop.v1.OrderShipped", 99)
		end(&send)
		span := find(t, recorder, "send "+orders)
		all := attributes(span)
		assert.Equal(t, result, all["ssebridge.result"])
		assert.Equal(t, "shop.v1.OrderShipped", all["cloudevents.event_type"])
		assert.EqualValues(t, 99, all["messaging.message.body.size"])
		if result == "stored" || result == "duplicate" {
			assert.Equal(t, codes.Unset, span.Status().Code)
			assert.Equal(t, "5-abc", all["messaging.message.id"])
			assert.NotContains(t, all, attribute.Key("error.type"))
		} else {
			assert.Equal(t, codes.Error, span.Status().Code)
			assert.Equal(t, result, all["error.type"])
		}
	}
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	telemetry, recorder := recorded(t, trace.ParentBased(trace.AlwaysSample()))
	begun := time.Now().Add(-time.Second)
	for _, stored := range []string{"", quietCause, "garbage", "00-" + callTrace + "-0000000000000000-01", cause} {
		telemetry.Deliver(Delivery{TraceParent: stored, Topic: ordersOfShop, Cursor: "5-abc", Bytes: 9, Readers: 3, Begun: begun, Ended: begun.Add(time.Second)})
	}
	require.Len(t, recorder.Ended(), 1, "only the sampled one")
	span := find(t, recorder, "deliver "+orders)
	assert.Equal(t, api.SpanKindConsumer, span.SpanKind())
	assert.Equal(t, causeTrace, span.SpanContext().TraceID().String())
	assert.Equal(t, causeSpan, span.Parent().SpanID().String())
	require.Len(t, span.Links(), 1)
	assert.Equal(t, causeSpan, span.Links()[0].SpanContext.SpanID().String())
	assert.True(t, begun.Equal(span.StartTime()))
	assert.Equal(t, time.Second, span.EndTime().Sub(span.StartTime()))
	assert.EqualValues(t, 3, attributes(span)["ssebridge.readers"])
	assert.Equal(t, ordersOfShop, attributes(span)["messaging.destination.name"])
}

func TestPublishSpanFails(t *testing.T) {
	t.Parallel()
	telemetry, recorder := recorded(t, trace.AlwaysSample())
	_, span := telemetry.Publish(t.Context(), "", 3)
	span.End(errors.New("no"))
	published := find(t, recorder, "publish")
	assert.Equal(t, codes.Error, published.Status().Code)
	assert.EqualValues(t, 3, attributes(published)["messaging.batch.message_count"])
}

// TestSubscribe: a browser's context is linked and decides nothing.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	for _, browser := range []string{"", "garbage", quietCause, cause} {
		telemetry, recorder := recorded(t, trace.ParentBased(trace.AlwaysSample()))
		ctx, step := telemetry.Subscribe(t.Context(), browser)
		step.Asked(2, "json")
		step.Opened("ABC", "window")
		step.Gone() // does nothing any more
		span := find(t, recorder, "subscribe")
		assert.False(t, span.Parent().IsValid(), "a root")
		assert.NotEqual(t, causeTrace, span.SpanContext().TraceID().String())
		assert.Equal(t, span.SpanContext().SpanID(), api.SpanContextFromContext(ctx).SpanID(), "logs name it")
		assert.False(t, api.SpanFromContext(ctx).IsRecording(), "and keep it no longer than it lives")
		if browser == "" || browser == "garbage" {
			assert.Empty(t, span.Links())
			continue
		}
		require.Len(t, span.Links(), 1)
		assert.Equal(t, causeSpan, span.Links()[0].SpanContext.SpanID().String())
		all := attributes(span)
		assert.Equal(t, "window", all["ssebridge.source"])
		assert.EqualValues(t, 2, all["ssebridge.patterns"])
		assert.EqualValues(t, 200, all["http.response.status_code"])
	}
	telemetry, recorder := recorded(t, trace.NeverSample())
	_, step := telemetry.Subscribe(t.Context(), cause)
	step.Opened("ABC", "end")
	assert.Empty(t, recorder.Ended(), "a browser cannot switch tracing on")
}

func TestSubscribeRefused(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]codes.Code{403: codes.Unset, 503: codes.Error} {
		telemetry, recorder := recorded(t, trace.AlwaysSample())
		_, step := telemetry.Subscribe(t.Context(), "")
		step.Refused(status, "some")
		step.Refused(status, "again")
		span := find(t, recorder, "subscribe")
		assert.Equal(t, want, span.Status().Code)
		assert.Equal(t, "some", attributes(span)["ssebridge.reason"])
	}
}

// TestOffCostsNothing: without a provider, and for events that nobody samples, there is not even garbage.
func TestOffCostsNothing(t *testing.T) {
	off := Off()
	quiet, _ := recorded(t, trace.ParentBased(trace.NeverSample()))
	ctx := t.Context()
	step := func(telemetry *Telemetry, ctx context.Context, stored string) func() {
		return func() {
			send := telemetry.Receive(time.Time{})
			send.Begin(ctx, ordersOfShop, "")
			send.Encoded("shop.v1.OrderShipped", 99)
			if telemetry.Traces(stored) {
				t.Error("traced")
			}
			telemetry.Delivered(1, 99)
		}
	}
	assert.Zero(t, testing.AllocsPerRun(100, step(off, ctx, cause)))
	call, _ := quiet.Publish(ctx, "", 1)
	assert.Zero(t, testing.AllocsPerRun(100, step(quiet, call, quietCause)))
}

func BenchmarkSendAndDeliver(b *testing.B) {
	for name, sampler := range map[string]trace.Sampler{"off": nil, "unsampled": trace.NeverSample(), "sampled": trace.AlwaysSample()} {
		b.Run(name, func(b *testing.B) {
			telemetry := Off()
			if sampler != nil {
				var err error
				telemetry, err = New(Config{Tracers: trace.NewTracerProvider(trace.WithSampler(sampler))})
				require.NoError(b, err)
			}
			ctx, span := telemetry.Publish(b.Context(), "", 1)
			defer span.End(nil)
			b.ReportAllocs()
			for b.Loop() {
				send := telemetry.Receive(time.Time{})
				stored := send.Begin(ctx, ordersOfShop, "")
				send.Encoded("shop.v1.OrderShipped", 99)
				send.end(resultStored)
				if telemetry.Traces(stored) {
					telemetry.Deliver(Delivery{TraceParent: stored, Topic: ordersOfShop, Cursor: "5-abc", Begun: time.Now()})
				}
			}
		})
	}
}
