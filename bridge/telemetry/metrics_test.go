package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
)

func measured(t testing.TB) (*Telemetry, func() map[string]metricdata.Aggregation) {
	t.Helper()
	reader := metric.NewManualReader()
	telemetry, err := New(Config{Meters: metric.NewMeterProvider(metric.WithReader(reader))})
	require.NoError(t, err)
	return telemetry, func() map[string]metricdata.Aggregation {
		var collected metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(context.Background(), &collected))
		all := map[string]metricdata.Aggregation{}
		for _, scope := range collected.ScopeMetrics {
			for _, m := range scope.Metrics {
				all[m.Name] = m.Data
			}
		}
		return all
	}
}

func sums(t *testing.T, data metricdata.Aggregation) map[attribute.Set]int64 {
	t.Helper()
	sum, ok := data.(metricdata.Sum[int64])
	require.True(t, ok, "%T", data)
	all := map[attribute.Set]int64{}
	for _, point := range sum.DataPoints {
		all[point.Attributes] = point.Value
	}
	return all
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	telemetry, collect := measured(t)
	for range 3 {
		send := telemetry.Receive(time.Now())
		send.Begin(t.Context(), "some/topic", "")
		send.Stored("5-abc", false)
	}
	again := telemetry.Receive(time.Now())
	again.Begin(t.Context(), "some/topic", "")
	again.Stored("5-abc", true)
	refused := telemetry.Receive(time.Now()) // before its topic was found to be one
	refused.Refused("invalid_argument", "topic")
	telemetry.ReaderOpened("h2")
	telemetry.ReaderOpened("http1")
	telemetry.ReaderClosed("h2")
	telemetry.Resumed("log")
	telemetry.Reset("expired")
	_, step := telemetry.Subscribe(t.Context(), "")
	step.Refused(503, "drain")
	telemetry.Delivered(4, 400)
	telemetry.Delivered(1, 100)
	telemetry.Tailed(time.Now().Add(-time.Hour).UnixNano())
	telemetry.ObserveWindow(func() Window { return Window{Events: 7, Bytes: 700} })

	all := collect()
	published := func(pattern, result string) attribute.Set {
		return attribute.NewSet(labelPattern.String(pattern), labelResult.String(result))
	}
	assert.Equal(t, map[attribute.Set]int64{
		published("**", "stored"): 3, published("**", "duplicate"): 1, published("", "invalid_argument"): 1,
	}, sums(t, all["ssebridge.published"]))
	assert.Equal(t, map[attribute.Set]int64{
		attribute.NewSet(labelTransport.String("h2")): 0, attribute.NewSet(labelTransport.String("http1")): 1,
	}, sums(t, all["ssebridge.readers"]))
	for name, want := range map[string]map[attribute.Set]int64{
		"ssebridge.resumes":    {attribute.NewSet(labelSource.String("log")): 1},
		"ssebridge.resets":     {attribute.NewSet(labelReason.String("expired")): 1},
		"ssebridge.refusals":   {attribute.NewSet(labelListener.String("public"), labelStatus.Int(503), labelReason.String("drain")): 1},
		"ssebridge.deliveries": {attribute.NewSet(): 5},
		"ssebridge.sent":       {attribute.NewSet(): 500},
	} {
		assert.Equal(t, want, sums(t, all[name]), name)
	}
	durable := all["ssebridge.publish_to_durable"].(metricdata.Histogram[float64])
	assert.EqualValues(t, 4, durable.DataPoints[0].Count)
	assert.EqualValues(t, 7, all["ssebridge.window.events"].(metricdata.Gauge[int64]).DataPoints[0].Value)
	assert.InDelta(t, 3600, all["ssebridge.tail.lag"].(metricdata.Gauge[float64]).DataPoints[0].Value, 60)
}

// TestStopwatch: events from before the reader are not its own wait, a busy reader is measured once a second, and a
// quiet one each time.
func TestStopwatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		telemetry, collect := measured(t)
		watch := telemetry.Stopwatch()
		watch.Written(time.Now().Add(-time.Hour).UnixNano())
		assert.NotContains(t, collect(), "ssebridge.publish_to_socket")
		for range 300 { // three seconds
			stamp := time.Now().UnixNano()
			time.Sleep(10 * time.Millisecond)
			watch.Written(stamp)
		}
		point := collect()["ssebridge.publish_to_socket"].(metricdata.Histogram[float64]).DataPoints[0]
		assert.EqualValues(t, 3, point.Count)
		assert.InDelta(t, .03, point.Sum, .0001)
		for range 5 {
			time.Sleep(2 * time.Second)
			watch.Written(time.Now().UnixNano())
		}
		point = collect()["ssebridge.publish_to_socket"].(metricdata.Histogram[float64]).DataPoints[0]
		assert.EqualValues(t, 8, point.Count)
		watch.Written(time.Now().Add(time.Minute).UnixNano()) // a replica's clock is ahead
		point = collect()["ssebridge.publish_to_socket"].(metricdata.Histogram[float64]).DataPoints[0]
		assert.EqualValues(t, 9, point.Count)
		assert.InDelta(t, .03, point.Sum, .0001)
	})
}

func TestLogHandler(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(LogHandler(slog.NewTextHandler(&out, nil)))
	ctx, span := trace.NewTracerProvider().Tracer("test").Start(t.Context(), "step")
	defer span.End()
	logger.With("a", 1).WithGroup("g").InfoContext(ctx, "traced", "b", 2)
	assert.Contains(t, out.String(), "trace_id="+span.SpanContext().TraceID().String())
	assert.Contains(t, out.String(), "span_id="+span.SpanContext().SpanID().String())
	assert.Contains(t, out.String(), "a=1 g.b=2")
	out.Reset()
	logger.InfoContext(api.ContextWithSpanContext(t.Context(), api.SpanContext{}), "plain")
	assert.NotContains(t, out.String(), "trace_id")
}

func FuzzSampled(f *testing.F) {
	for _, text := range []string{"", cause, quietCause, "00-" + causeTrace + "-" + causeSpan + "-03"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if span := api.SpanContextFromContext(withRemote(context.Background(), text)); span.IsValid() {
			assert.Equal(t, span.IsSampled(), sampled(text), text)
		}
	})
}

func BenchmarkMetrics(b *testing.B) {
	telemetry, _ := measured(b)
	b.Run("published", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			telemetry.published("**", resultStored)
		}
	})
	b.Run("delivered", func(b *testing.B) {
		b.ReportAllocs()
		watch := telemetry.Stopwatch()
		stamp := time.Now().UnixNano()
		for b.Loop() {
			stamp += int64(20 * time.Millisecond) // 50 events a second
			telemetry.Delivered(1, 200)
			watch.Written(stamp)
		}
	})
}
