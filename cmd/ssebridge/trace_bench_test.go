package main

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// BenchmarkTracing: what tracing costs the bridge, in processor time per delivery of one event to one of 100 readers. The
// bridges run in processes of their own and take turns, so that a busy machine slows all of them; off×2 is a second one
// without tracing, which shows how far the ratios can be trusted. One iteration is one event, published alone.
func BenchmarkTracing(b *testing.B) {
	cases := []*tracedBridge{{name: "off"}, {name: "off×2"}, {name: "1%", ratio: "0.01"}, {name: "100%", ratio: "1"}}
	for _, c := range cases {
		c.start(b)
	}
	const round = 200
	b.ResetTimer()
	for done := 0; done < b.N; done += round {
		for _, c := range cases {
			c.publish(b, min(round, b.N-done))
		}
	}
	b.StopTimer()
	base := cases[0].perDelivery(b)
	b.ReportMetric(base*1e6, "off-cpu-µs/delivery")
	for _, c := range cases[1:] {
		b.ReportMetric(c.perDelivery(b)/base, c.name+"-ratio")
		if c.ratio != "" {
			b.Logf("%s: %d spans of %d events have arrived", c.name, len(c.collector.spans()), c.events)
		}
	}
	b.ReportMetric(0, "ns/op") // of all bridges together: it says nothing
}

const benchReaders = 100

// tracedBridge is one bridge of the benchmark and its readers.
type tracedBridge struct {
	name, ratio string // ratio of sampled traces; empty: no tracing

	collector *otlpCollector
	process   *process
	rpc       *connect.BidiStreamForClient[ssebridgev1.PublishRequest, ssebridgev1.PublishResponse]
	received  atomic.Int64 // frames with an event
	events    int
	begun     float64 // processor time
}

func (c *tracedBridge) start(b *testing.B) {
	b.Helper()
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"} {
		b.Setenv(variable, "")
	}
	if c.ratio != "" {
		c.collector = startCollector(b)
		b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.collector.endpoint)
		b.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
		b.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
		b.Setenv("OTEL_TRACES_SAMPLER_ARG", c.ratio)
	}
	c.process = startProcess(b, b.TempDir(), nil, "--log-level", "warn")
	var opened sync.WaitGroup
	for range benchReaders {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+c.process.public+"/v1/events?topic=bench", nil)
		require.NoError(b, err)
		response, err := streamClient.Do(request)
		require.NoError(b, err)
		b.Cleanup(func() { _ = response.Body.Close() })
		opened.Add(1)
		go c.read(response.Body, opened.Done)
	}
	opened.Wait()
	c.rpc = publisher("http://" + c.process.internal).Publish(context.Background())
	b.Cleanup(func() { _ = c.rpc.CloseRequest() })
	c.publish(b, 500) // warm
	c.events = 0
	c.begun = c.cpu(b)
}

// read counts events until the stream ends. It calls opened when the first byte is there.
func (c *tracedBridge) read(body io.Reader, opened func()) {
	buffer := make([]byte, 16<<10)
	const mark = "\"specversion\""
	matched, first := 0, true
	for {
		n, err := body.Read(buffer)
		for _, char := range buffer[:n] {
			if char == mark[matched] {
				matched++
			} else {
				matched = 0
			}
			if matched == len(mark) {
				matched = 0
				c.received.Add(1)
			}
		}
		if first {
			first = false
			opened()
		}
		if err != nil {
			return
		}
	}
}

// publish publishes events one after the other and waits until every reader has them.
func (c *tracedBridge) publish(b *testing.B, count int) {
	b.Helper()
	want := c.received.Load() + int64(count*benchReaders)
	for range count {
		require.NoError(b, c.rpc.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(b, "bench", c.events)}}))
		response, err := c.rpc.Receive()
		require.NoError(b, err)
		require.Nil(b, response.GetResults()[0].GetError())
		c.events++
	}
	require.Eventually(b, func() bool { return c.received.Load() >= want }, 30*time.Second, time.Millisecond, "%d deliveries", want)
}

// cpu returns the processor time of the bridge so far, in seconds, as the kernel accounts for it.
func (c *tracedBridge) cpu(b *testing.B) float64 {
	b.Helper()
	text := sample(scrape(b, "http://"+c.process.ops), "process_cpu_seconds_total")
	seconds, err := strconv.ParseFloat(text, 64)
	require.NoError(b, err, text)
	return seconds
}

func (c *tracedBridge) perDelivery(b *testing.B) float64 {
	b.Helper()
	return (c.cpu(b) - c.begun) / float64(c.events*benchReaders)
}
