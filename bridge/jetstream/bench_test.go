package jetstream

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

const benchBytes = 200

func benchEvent(i int) *bridge.Event {
	event := newEvent(i)
	event.Data = bytes.Repeat([]byte("x"), benchBytes)
	event.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	return event
}

// counter is a sink that only counts.
type counter struct {
	events atomic.Int64
	want   int64
	warm   chan struct{}
	done   chan struct{}
}

func newCounter(want int) *counter {
	return &counter{want: int64(want), warm: make(chan struct{}), done: make(chan struct{})}
}

func (c *counter) Begin(bridge.Cursor)                    {}
func (c *counter) Warm()                                  { close(c.warm) }
func (c *counter) Lost(bridge.Cursor, bridge.ResetReason) {}
func (c *counter) Append(events []*bridge.Event) {
	if c.events.Add(int64(len(events))) >= c.want {
		close(c.done)
	}
}

// BenchmarkAppend appends events with keys and waits until all are acknowledged and have come by the tail.
func BenchmarkAppend(b *testing.B) {
	for name, sole := range map[string]bool{"tail=consumer": false, "tail=echo": true} {
		b.Run(name, func(b *testing.B) { benchAppend(b, sole) })
	}
}

func benchAppend(b *testing.B, soleWriter bool) {
	log := openNew(b, func(config *Config) { config.CheckInterval, config.SoleWriter = 0, soleWriter })
	sink := newCounter(b.N)
	follow(b, log, 0, sink)
	<-sink.warm // what is stored before the tail begins does not come by it
	pending := make([]bridge.Pending, 0, b.N)
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		p, err := log.Append(context.Background(), benchEvent(i), strconv.Itoa(i))
		require.NoError(b, err)
		pending = append(pending, p)
	}
	for _, p := range pending {
		_, err := p.Wait()
		require.NoError(b, err)
	}
	<-sink.done
}

// BenchmarkFloor is the same with the client library alone: PublishMsgAsync with message ids and an ordered consumer.
func BenchmarkFloor(b *testing.B) {
	for _, headers := range []int{0, 6} {
		b.Run(fmt.Sprintf("headers=%d", headers), func(b *testing.B) { benchFloor(b, headers) })
	}
}

func benchFloor(b *testing.B, headers int) {
	log := openNew(b, func(config *Config) { config.CheckInterval = 0 })
	conn, err := log.config.Connect("floor")
	require.NoError(b, err)
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4096))
	require.NoError(b, err)
	done := make(chan struct{})
	defer floorTail(b, log, b.N, done)()
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		message := &nats.Msg{Subject: "ssebridge.shops.7.orders.42", Data: benchEvent(i).Data}
		if headers > 0 {
			message = encode("ssebridge", benchEvent(i), strconv.Itoa(i))
			message.Header[headerStamp] = []string{strconv.FormatInt(time.Now().UnixNano(), 36)}
		}
		_, err := js.PublishMsgAsync(message, jetstream.WithMsgID(strconv.Itoa(i)), jetstream.WithStallWait(time.Minute))
		require.NoError(b, err)
	}
	<-js.PublishAsyncComplete()
	<-done
}

func floorTail(b *testing.B, log *Log, want int, done chan struct{}) (stop func()) {
	conn, err := log.config.Connect("floor tail")
	require.NoError(b, err)
	js, err := jetstream.New(conn)
	require.NoError(b, err)
	consumer, err := js.OrderedConsumer(b.Context(), "SSEBRIDGE", jetstream.OrderedConsumerConfig{})
	require.NoError(b, err)
	events := 0
	consuming, err := consumer.Consume(func(jetstream.Msg) {
		if events++; events == want {
			close(done)
		}
	})
	require.NoError(b, err)
	return func() {
		consuming.Stop()
		conn.Close()
	}
}

// storeBacklog opens a log that has this many events.
func storeBacklog(b *testing.B, count int) *Log {
	b.Helper()
	log := openNew(b, func(config *Config) { config.CheckInterval = 0 })
	for i := range count {
		p, err := log.Append(context.Background(), benchEvent(i), "")
		require.NoError(b, err)
		if i == count-1 {
			_, err = p.Wait()
			require.NoError(b, err)
		}
	}
	return log
}

// BenchmarkTail measures how a tail hands over what is stored already: from the server to the sink, the server's work
// included, and what reading one message takes of that. An operation is an event; tails of 20,000 begin one after the
// other, so that with fewer operations the beginning counts for more.
func BenchmarkTail(b *testing.B) {
	const stored = 20_000
	log := storeBacklog(b, stored)
	b.Run("backlog", func(b *testing.B) {
		b.ReportAllocs()
		for left := b.N; left > 0; left -= stored {
			sink := newCounter(min(left, stored))
			stop := follow(b, log, min(left, stored), sink)
			<-sink.done
			stop()
		}
	})
	b.Run("message", func(b *testing.B) {
		js, err := jetstream.New(log.tails)
		require.NoError(b, err)
		feed, err := log.openFeed(b.Context(), js, 1)
		require.NoError(b, err)
		<-feed.ready
		feed.close()
		raw := feed.take()[0]
		b.ReportAllocs()
		for b.Loop() {
			feed.taken = 0 // it came for the first time
			message, err := feed.decode(raw)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := message.event(log.config.Prefix); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRead reads history, page by page.
func BenchmarkRead(b *testing.B) {
	const stored = 20_000
	log := storeBacklog(b, stored)
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	b.ResetTimer()
	after := uint64(0)
	for read := 0; read < b.N; {
		page, err := log.Read(context.Background(), after, stored)
		require.NoError(b, err)
		read += len(page.Events)
		if after = page.Through; after == stored {
			after = 0
		}
	}
}

// BenchmarkLatency is the time from Append to the sink of a log, and with the client library alone: one event after the
// other, and for an idle log one in 50 ms, of which p50-ns/op is the median.
func BenchmarkLatency(b *testing.B) {
	b.Run("log", func(b *testing.B) {
		log := openNew(b, func(config *Config) { config.CheckInterval, config.SoleWriter = 0, true })
		came := make(chan struct{})
		sink := &recorder{hold: func([]*bridge.Event) { came <- struct{}{} }}
		defer follow(b, log, 0, sink)()
		sink.awaitTold(b, "warm")
		for i := range b.N {
			p, err := log.Append(context.Background(), benchEvent(i), strconv.Itoa(i))
			require.NoError(b, err)
			<-came
			_, err = p.Wait()
			require.NoError(b, err)
		}
	})
	b.Run("floor", func(b *testing.B) { benchLatencyFloor(b, 0) })
	b.Run("idle", func(b *testing.B) { benchLatencyFloor(b, 50*time.Millisecond) })
}

func benchLatencyFloor(b *testing.B, pause time.Duration) {
	log := openNew(b, func(config *Config) { config.CheckInterval = 0 })
	conn, err := log.config.Connect("floor")
	require.NoError(b, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(b, err)
	consumer, err := js.OrderedConsumer(b.Context(), "SSEBRIDGE", jetstream.OrderedConsumerConfig{})
	require.NoError(b, err)
	came := make(chan struct{})
	consuming, err := consumer.Consume(func(jetstream.Msg) { came <- struct{}{} })
	require.NoError(b, err)
	defer consuming.Stop()
	times := make([]time.Duration, b.N)
	for i := range times {
		time.Sleep(pause)
		begun := time.Now()
		future, err := js.PublishMsgAsync(&nats.Msg{Subject: "ssebridge.shops.7.orders.42", Data: benchEvent(i).Data})
		require.NoError(b, err)
		<-came
		times[i] = time.Since(begun)
		<-future.Ok()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[(b.N-1)/2]), "p50-ns/op")
}
