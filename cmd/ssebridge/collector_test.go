package main

import (
	"context"
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
)

// otlpCollector receives spans as an OpenTelemetry collector does, over OTLP/gRPC.
type otlpCollector struct {
	collector.UnimplementedTraceServiceServer

	endpoint string

	mu       sync.Mutex
	received []*collector.ExportTraceServiceRequest
}

// startCollector runs a collector until the test ends.
func startCollector(t testing.TB) *otlpCollector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &otlpCollector{endpoint: "http://" + listener.Addr().String()}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return c
}

// traceTo sets the environment of a bridge that sends its spans to a collector. It changes this process's.
func traceTo(t testing.TB, c *otlpCollector) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.endpoint)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
}

// Export implements the service.
func (c *otlpCollector) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received = append(c.received, request)
	return &collector.ExportTraceServiceResponse{}, nil
}

// spans returns what has been received so far.
func (c *otlpCollector) spans() spanList {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all spanList
	for _, request := range c.received {
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				all = append(all, scope.GetSpans()...)
			}
		}
	}
	return all
}

// resource returns the attributes of whoever sent the first spans.
func (c *otlpCollector) resource() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]string{}
	for _, a := range c.received[0].GetResourceSpans()[0].GetResource().GetAttributes() {
		all[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return all
}

// text returns all that was received, as JSON.
func (c *otlpCollector) text(t testing.TB) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var text strings.Builder
	for _, request := range c.received {
		line, err := protojson.Marshal(request)
		require.NoError(t, err)
		text.Write(append(line, '\n'))
	}
	return text.String()
}

type spanList []*traces.Span

// with returns the spans of a name that have an attribute with this text.
func (l spanList) with(name, key, value string) spanList {
	var found spanList
	for _, span := range l {
		if span.GetName() == name && (key == "" || spanAttribute(span, key).GetStringValue() == value) {
			found = append(found, span)
		}
	}
	return found
}

// byID returns the span with an id; nil where there is none.
func (l spanList) byID(id []byte) *traces.Span {
	for _, span := range l {
		if string(span.GetSpanId()) == string(id) {
			return span
		}
	}
	return nil
}

func spanAttribute(span *traces.Span, key string) *common.AnyValue {
	for _, a := range span.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue()
		}
	}
	return nil
}

// contextOf is the traceparent of a sampled span.
func contextOf(span *traces.Span) string {
	return "00-" + hex.EncodeToString(span.GetTraceId()) + "-" + hex.EncodeToString(span.GetSpanId()) + "-01"
}

// parentOf is the traceparent of a sampled span's parent; empty where it has none.
func parentOf(span *traces.Span) string {
	if len(span.GetParentSpanId()) == 0 {
		return ""
	}
	return "00-" + hex.EncodeToString(span.GetTraceId()) + "-" + hex.EncodeToString(span.GetParentSpanId()) + "-01"
}

// linksOf are the traceparents that a span is linked to, all taken for sampled.
func linksOf(span *traces.Span) []string {
	var all []string
	for _, link := range span.GetLinks() {
		all = append(all, "00-"+hex.EncodeToString(link.GetTraceId())+"-"+hex.EncodeToString(link.GetSpanId())+"-01")
	}
	return all
}

// waitSpan waits for one span.
func (c *otlpCollector) waitSpan(t *testing.T, name, key, value string) *traces.Span {
	t.Helper()
	var found spanList
	require.Eventually(t, func() bool {
		found = c.spans().with(name, key, value)
		return len(found) > 0
	}, 10*time.Second, 10*time.Millisecond, "%s with %s=%s", name, key, value)
	require.Len(t, found, 1, "%s with %s=%s", name, key, value)
	return found[0]
}
