package telemetry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Attributes of metrics. Each has few values.
const (
	labelPattern   = attribute.Key("pattern")   // the declared pattern
	labelResult    = attribute.Key("result")    // stored, duplicate, unavailable, or the code of a refusal
	labelTransport = attribute.Key("transport") // http1, h2
	labelSource    = attribute.Key("source")    // window, log
	labelReason    = attribute.Key("reason")
	labelStatus    = attribute.Key("status") // of HTTP
	labelListener  = attribute.Key("listener")
)

// latencies are the bounds of histograms of seconds: from what an idle bridge needs to what nobody waits for.
var latencies = metric.WithExplicitBucketBoundaries(
	.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60)

// instruments are the metrics of one bridge. What is counted for each delivery is an atomic number that the SDK reads
// when it collects; the rest costs the SDK's 0.1 µs each time.
type instruments struct {
	publishedEvents metric.Int64Counter
	readers         metric.Int64UpDownCounter
	resumes         metric.Int64Counter
	resets          metric.Int64Counter
	refusals        metric.Int64Counter

	publishToDurable metric.Float64Histogram
	publishToSocket  metric.Float64Histogram

	delivered atomic.Int64
	sent      atomic.Int64
	tailLag   atomic.Int64 // nanoseconds
	window    atomic.Pointer[func() Window]

	sets         sync.Map // of publishedKey: metric.MeasurementOption
	certificates sync.Map // by listener: func() time.Time
}

// Window is what a bridge holds in memory.
type Window struct {
	Events int
	Bytes  int
}

// register makes the instruments.
func (in *instruments) register(meter metric.Meter) error {
	var errs [14]error
	in.publishedEvents, errs[0] = meter.Int64Counter("ssebridge.published", metric.WithUnit("{event}"),
		metric.WithDescription("Events that publishers sent, by what became of them."))
	in.readers, errs[1] = meter.Int64UpDownCounter("ssebridge.readers", metric.WithUnit("{reader}"),
		metric.WithDescription("Open streams."))
	in.resumes, errs[2] = meter.Int64Counter("ssebridge.resumes", metric.WithUnit("{reader}"),
		metric.WithDescription("Readers that began behind the end of the log, by what served them at first."))
	in.resets, errs[3] = meter.Int64Counter("ssebridge.resets", metric.WithUnit("{reset}"),
		metric.WithDescription("Times that a reader was told that what it asked for is not kept."))
	in.refusals, errs[4] = meter.Int64Counter("ssebridge.refusals", metric.WithUnit("{request}"),
		metric.WithDescription("Requests of readers that were refused or put off."))
	in.publishToDurable, errs[5] = meter.Float64Histogram("ssebridge.publish_to_durable", metric.WithUnit("s"), latencies,
		metric.WithDescription("Time from the receipt of an event until it was stored."))
	in.publishToSocket, errs[6] = meter.Float64Histogram("ssebridge.publish_to_socket", metric.WithUnit("s"), latencies,
		metric.WithDescription("Time from the receipt of an event until a reader's connection took it; at most one measurement a second and reader."))
	delivered, err := meter.Int64ObservableCounter("ssebridge.deliveries", metric.WithUnit("{event}"),
		metric.WithDescription("Events that readers' connections took."))
	errs[7] = err
	sent, err := meter.Int64ObservableCounter("ssebridge.sent", metric.WithUnit("By"),
		metric.WithDescription("Bytes of events that readers' connections took."))
	errs[8] = err
	events, err := meter.Int64ObservableGauge("ssebridge.window.events", metric.WithUnit("{event}"),
		metric.WithDescription("Newest events held in memory."))
	errs[9] = err
	bytes, err := meter.Int64ObservableGauge("ssebridge.window.size", metric.WithUnit("By"),
		metric.WithDescription("Bound of the memory that they take."))
	errs[10] = err
	lag, err := meter.Float64ObservableGauge("ssebridge.tail.lag", metric.WithUnit("s"),
		metric.WithDescription("How long the newest event was on its way from its receipt through the log to this replica."))
	errs[11] = err
	_, errs[12] = meter.Int64ObservableGauge("ssebridge.certificate.expiry", metric.WithUnit("s"),
		metric.WithDescription("When a listener's TLS certificate expires, in seconds since 1970."),
		metric.WithInt64Callback(in.observeCertificates))
	_, errs[13] = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(delivered, in.delivered.Load())
		o.ObserveInt64(sent, in.sent.Load())
		o.ObserveFloat64(lag, time.Duration(in.tailLag.Load()).Seconds())
		if window := in.window.Load(); window != nil {
			state := (*window)()
			o.ObserveInt64(events, int64(state.Events))
			o.ObserveInt64(bytes, int64(state.Bytes))
		}
		return nil
	}, delivered, sent, lag, events, bytes)
	return errors.Join(errs[:]...)
}

type publishedKey struct{ declared, result string }

// published counts an event. There are as many keys as declared patterns times results.
func (in *instruments) published(declared, result string) {
	key := publishedKey{declared, result}
	set, ok := in.sets.Load(key)
	if !ok {
		set, _ = in.sets.LoadOrStore(key, metric.WithAttributeSet(
			attribute.NewSet(labelPattern.String(declared), labelResult.String(result))))
	}
	in.publishedEvents.Add(context.Background(), 1, set.(metric.MeasurementOption))
}

// ReaderOpened counts a stream that begins on a transport, http1 or h2.
func (in *instruments) ReaderOpened(transport string) { in.countReaders(1, transport) }

// ReaderClosed counts a stream that ends.
func (in *instruments) ReaderClosed(transport string) { in.countReaders(-1, transport) }

func (in *instruments) countReaders(n int64, transport string) {
	in.readers.Add(context.Background(), n, metric.WithAttributes(labelTransport.String(transport)))
}

// Resumed counts a reader that begins behind the end of the log and is served from source, window or log, at first.
func (in *instruments) Resumed(source string) {
	in.resumes.Add(context.Background(), 1, metric.WithAttributes(labelSource.String(source)))
}

// Reset counts a reader that is told of a reset.
func (in *instruments) Reset(reason string) {
	in.resets.Add(context.Background(), 1, metric.WithAttributes(labelReason.String(reason)))
}

// refused counts a reader's request that is answered with this status for this reason.
func (in *instruments) refused(status int, reason string) {
	in.RefusedAt("public", status, reason)
}

// RefusedAt counts a request at a listener that is answered with this status for this reason. There are few reasons.
func (in *instruments) RefusedAt(listener string, status int, reason string) {
	in.refusals.Add(context.Background(), 1, metric.WithAttributes(
		labelListener.String(listener), labelStatus.Int(status), labelReason.String(reason)))
}

// Delivered counts events that one reader's connection took at once, and their bytes.
func (in *instruments) Delivered(events, bytes int) {
	in.delivered.Add(int64(events))
	in.sent.Add(int64(bytes))
}

// Tailed notes when the newest event that came from the log was received, in nanoseconds since 1970.
func (in *instruments) Tailed(stamp int64) {
	in.tailLag.Store(max(time.Now().UnixNano()-stamp, 0))
}

// ObserveCertificate makes it visible when a listener's certificate expires. It is asked for at each collection.
func (in *instruments) ObserveCertificate(listener string, expires func() time.Time) {
	in.certificates.Store(listener, expires)
}

func (in *instruments) observeCertificates(_ context.Context, o metric.Int64Observer) error {
	for listener, expires := range in.certificates.Range {
		o.Observe(expires.(func() time.Time)().Unix(), metric.WithAttributes(labelListener.String(listener.(string))))
	}
	return nil
}

// ObserveWindow makes the state of the window visible. It is asked for at each collection.
func (in *instruments) ObserveWindow(state func() Window) { in.window.Store(&state) }

// Stopwatch measures how long events take to one reader's connection: at most one event for each second of the log,
// so that a busy reader pays next to nothing and a quiet one is measured each time. One goroutine uses it.
type Stopwatch struct {
	in   *instruments
	next int64 // store time from which on an event is measured
}

// Stopwatch returns a stopwatch for a reader that begins now. Events that were received before are not measured: they
// did not wait for the bridge but for the reader.
func (in *instruments) Stopwatch() Stopwatch {
	return Stopwatch{in: in, next: time.Now().UnixNano()}
}

// Written measures an event that was received at stamp, in nanoseconds since 1970, and that the connection has taken.
func (s *Stopwatch) Written(stamp int64) {
	if stamp < s.next {
		return
	}
	s.next = stamp + int64(time.Second)
	s.in.publishToSocket.Record(context.Background(), time.Duration(max(time.Now().UnixNano()-stamp, 0)).Seconds())
}
