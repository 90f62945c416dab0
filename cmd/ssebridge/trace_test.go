package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

const (
	ownContext     = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	callContext    = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	browserContext = "00-11111111111111111111111111111111-2222222222222222-01"
	unaryCall      = "ssebridge.v1.PublishService/PublishBatch"
)

// publishTraced publishes one event and returns its result. The contexts are the call's and the event's own.
func publishTraced(t *testing.T, base string, stream bool, call, own, topic string) *ssebridgev1.PublishResult {
	t.Helper()
	event := numbered(t, topic, 1)
	event.Traceparent = own
	if !stream {
		request := connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{event}})
		if call != "" {
			request.Header().Set("Traceparent", call)
		}
		response, err := publisher(base).PublishBatch(t.Context(), request)
		require.NoError(t, err)
		return response.Msg.GetResults()[0]
	}
	rpc := publisher(base).Publish(t.Context())
	if call != "" {
		rpc.RequestHeader().Set("Traceparent", call)
	}
	require.NoError(t, rpc.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{event}}))
	response, err := rpc.Receive()
	require.NoError(t, err)
	require.NoError(t, rpc.CloseRequest())
	return response.GetResults()[0]
}

// TestTraces: ssebridge in a process of its own sends its spans to a collector. Each event is seen from the call that
// brought it to its readers.
func TestTraces(t *testing.T) {
	c := startCollector(t)
	traceTo(t, c)
	b := startProcess(t, t.TempDir(), nil)
	public, internal := "http://"+b.public, "http://"+b.internal
	readers := []*eventStream{subscribe(t, public, topics("a/b"), ""), subscribe(t, public, topics("a/*", "**"), "")}
	require.Eventually(t, func() bool { return len(c.spans().with("subscribe", "", "")) == len(readers) }, 10*time.Second, 10*time.Millisecond)
	for name, test := range map[string]struct {
		stream    bool
		call, own string
	}{
		"stream, no context":       {stream: true},
		"stream, the call's":       {stream: true, call: callContext},
		"stream, the event's":      {stream: true, own: ownContext},
		"stream, both":             {stream: true, call: callContext, own: ownContext},
		"unary call, no context":   {},
		"unary call, the call's":   {call: callContext},
		"unary call, the event's":  {own: ownContext},
		"unary call, both of them": {call: callContext, own: ownContext},
	} {
		t.Run(name, func(t *testing.T) {
			cursor := publishTraced(t, internal, test.stream, test.call, test.own, "a/b").GetCursor()
			send := c.waitSpan(t, "send **", "messaging.message.id", cursor)
			deliver := c.waitSpan(t, "deliver **", "messaging.message.id", cursor)
			assert.Equal(t, traces.Span_SPAN_KIND_PRODUCER, send.GetKind())
			assert.Equal(t, traces.Span_SPAN_KIND_CONSUMER, deliver.GetKind())

			callName := unaryCall
			if test.stream {
				callName = "publish"
			}
			var call *traces.Span // its links or its parent lead there
			require.Eventually(t, func() bool {
				if test.own == "" {
					call = c.spans().byID(send.GetParentSpanId())
				} else if assert.Len(t, send.GetLinks(), 1) {
					call = c.spans().byID(send.GetLinks()[0].GetSpanId())
				}
				return call != nil
			}, 10*time.Second, 10*time.Millisecond)
			assert.Equal(t, callName, call.GetName())
			assert.Equal(t, traces.Span_SPAN_KIND_SERVER, call.GetKind())
			assert.Equal(t, test.call, parentOf(call))
			if test.own != "" {
				assert.Equal(t, test.own, parentOf(send))
				assert.Equal(t, []string{contextOf(call)}, linksOf(send))
			} else {
				assert.Equal(t, contextOf(call), parentOf(send))
				assert.Empty(t, linksOf(send))
			}
			assert.Equal(t, contextOf(send), parentOf(deliver), "the context went through the log")
			assert.Equal(t, []string{contextOf(send)}, linksOf(deliver))
			assert.EqualValues(t, 3, spanAttribute(deliver, "ssebridge.readers").GetIntValue(), "one for each pattern that matches")
		})
	}
	for _, reader := range readers {
		_, err := collectEvents(reader, 8)
		require.NoError(t, err)
	}
	spans := c.spans()
	assert.Len(t, spans.with("deliver **", "", ""), 8, "one for each event, whatever the number of readers")
	assert.Equal(t, "ssebridge", c.resource()["service.name"])
	for _, span := range spans {
		assert.Less(t, span.GetEndTimeUnixNano()-span.GetStartTimeUnixNano(), uint64(10*time.Second))
	}
}

// TestRestartTracesNothingAgain: what is read from the log when the bridge starts was delivered long ago.
func TestRestartTracesNothingAgain(t *testing.T) {
	c := startCollector(t)
	traceTo(t, c)
	options := testOptions(t)
	p, err := start(t.Context(), options, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	waitReady(t, p.opsURL)
	cursor := publishTraced(t, p.internalURL, true, "", "", "a/b").GetCursor()
	c.waitSpan(t, "deliver **", "messaging.message.id", cursor)
	p.shutdown()
	b := startBridge(t, options)
	reader := subscribe(t, b.publicURL, topics("a/b")+"&since=earliest", "")
	assert.Equal(t, cursor, reader.nextEvent(t).id)
	again := publishTraced(t, b.internalURL, true, "", "", "a/b").GetCursor()
	c.waitSpan(t, "deliver **", "messaging.message.id", again)
	c.waitSpan(t, "deliver **", "messaging.message.id", cursor)
}

// TestSubscribeSpan: a reader has one span of its own, which a browser's context is only linked to.
func TestSubscribeSpan(t *testing.T) {
	c := startCollector(t)
	traceTo(t, c)
	options := testOptions(t)
	options.config.Window.Events = 2
	b := startBridge(t, options)
	cursors := publishNumbered(t, b.internalURL, "a/b", 0, 5)
	require.Eventually(t, func() bool { return b.hub.Warm() && len(c.spans().with("deliver **", "", "")) == 5 }, 10*time.Second, 10*time.Millisecond)
	sequence, _, _ := strings.Cut(cursors[4], "-")
	another := sequence + "-1" // of another log
	for query, want := range map[string]string{
		topics("a/b"): "end",
		topics("a/b", "c") + "&since=" + cursors[3]:   "window",
		topics("a/b") + "&format=json&since=earliest": "log",
		topics("a/b") + "&since=" + cursors[0]:        "log",
		topics("a/b") + "&since=" + another:           "reset",
	} {
		before := len(c.spans().with("subscribe", "", ""))
		response := get(t, b.publicURL+"/v1/events?"+query, func(r *http.Request) { r.Header.Set("Traceparent", browserContext) })
		require.Equal(t, http.StatusOK, response.StatusCode)
		t.Cleanup(func() { _ = response.Body.Close() })
		var found spanList
		require.Eventually(t, func() bool { found = c.spans().with("subscribe", "", ""); return len(found) > before }, 10*time.Second, 10*time.Millisecond)
		require.Len(t, found, before+1)
		span := found[before]
		assert.Equal(t, traces.Span_SPAN_KIND_SERVER, span.GetKind())
		assert.Empty(t, parentOf(span), "a root")
		assert.NotEqual(t, browserContext[:35], contextOf(span)[:35])
		assert.Equal(t, []string{browserContext}, linksOf(span))
		assert.Equal(t, want, spanAttribute(span, "ssebridge.source").GetStringValue(), query)
		assert.EqualValues(t, strings.Count(query, "topic="), spanAttribute(span, "ssebridge.patterns").GetIntValue())
		assert.Equal(t, strings.Contains(query, "json"), spanAttribute(span, "ssebridge.format").GetStringValue() == "json")
	}
}

// cloudEvent is the part of one that this test looks at.
type cloudEvent struct {
	TraceParent *string `json:"traceparent"`
}

// TestTraceContextInCloudEvents: where it is configured, an event carries the context of its send span, and where
// nothing is traced, that of its publisher.
func TestTraceContextInCloudEvents(t *testing.T) {
	c := startCollector(t)
	for _, traced := range []bool{false, true} {
		for _, configured := range []bool{false, true} {
			if traced {
				traceTo(t, c)
			}
			options := testOptions(t)
			options.config.Events.TraceParent = configured
			b := startBridge(t, options)
			live := subscribe(t, b.publicURL, topics("a/b"), "")
			for _, contexts := range [][2]string{{"", ""}, {callContext, ""}, {"", ownContext}, {callContext, ownContext}} {
				result := publishTraced(t, b.internalURL, true, contexts[0], contexts[1], "a/b")
				var got cloudEvent
				require.NoError(t, json.Unmarshal([]byte(live.nextEvent(t).data), &got))
				want := contexts[1]
				if want == "" {
					want = contexts[0]
				}
				switch {
				case !configured:
					assert.Nil(t, got.TraceParent, "off by default")
				case traced:
					require.NotNil(t, got.TraceParent)
					send := c.waitSpan(t, "send **", "messaging.message.id", result.GetCursor())
					assert.Equal(t, contextOf(send), *got.TraceParent)
				case want == "":
					assert.Nil(t, got.TraceParent)
				default:
					require.NotNil(t, got.TraceParent)
					assert.Equal(t, want, *got.TraceParent, "unchanged")
				}
			}
		}
	}
}

// TestSamplerIsTheEnvironments: the standard variables decide.
func TestSamplerIsTheEnvironments(t *testing.T) {
	c := startCollector(t)
	for sampler, want := range map[string]bool{"always_on": true, "always_off": false, "parentbased_always_off": true} {
		traceTo(t, c)
		t.Setenv("OTEL_TRACES_SAMPLER", sampler)
		b := startBridge(t, testOptions(t))
		reader := subscribe(t, b.publicURL, topics("a/b"), "")
		topic := "a/b"
		cursor := publishTraced(t, b.internalURL, true, "", ownContext, topic).GetCursor()
		reader.nextEvent(t)
		b.shutdown() // sends what is left
		found := c.spans().with("deliver **", "messaging.message.id", cursor)
		assert.Equal(t, want, len(found) == 1, sampler)
	}
}

// TestSlowEventsLeadToTheirTraces: a histogram names a trace for a scraper that asks for OpenMetrics.
func TestSlowEventsLeadToTheirTraces(t *testing.T) {
	traceTo(t, startCollector(t))
	b := startBridge(t, testOptions(t))
	require.NotEmpty(t, publishTraced(t, b.internalURL, true, "", ownContext, "a/b").GetCursor())
	response := get(t, b.opsURL+"/metrics", func(r *http.Request) { r.Header.Set("Accept", "application/openmetrics-text") })
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Regexp(t, `ssebridge_publish_to_durable_seconds_bucket\{le="[^"]+"\} 1 # \{.*trace_id="`+ownContext[3:35], string(text))
}

// TestSpansAreThoseOfTheReadme: every span that leaves, with its kind and its attributes, has its row, and the other way
// round.
func TestSpansAreThoseOfTheReadme(t *testing.T) {
	c := startCollector(t)
	traceTo(t, c)
	b := startBridge(t, testOptions(t))
	subscribe(t, b.publicURL, topics("a/b"), "")
	refused := get(t, b.publicURL+"/v1/events", func(*http.Request) {})
	require.Equal(t, http.StatusBadRequest, refused.StatusCode)
	for _, stream := range []bool{true, false} {
		require.NotEmpty(t, publishTraced(t, b.internalURL, stream, callContext, ownContext, "a/b").GetCursor())
	}
	unknown := numbered(t, "a/b", 1)
	unknown.Data.TypeUrl = "type.googleapis.com/no.Such"
	response, err := publisher(b.internalURL).PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{unknown}}))
	require.NoError(t, err)
	require.NotNil(t, response.Msg.GetResults()[0].GetError())
	_, err = publisher(b.internalURL).PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Schema: []byte("no schema"), Events: []*ssebridgev1.Event{numbered(t, "a/b", 1)}}))
	require.Error(t, err)
	b.shutdown()

	got := map[string][]string{}
	for _, span := range c.spans() {
		name := strings.TrimSuffix(span.GetName(), "**")
		kind := strings.ToLower(strings.TrimPrefix(span.GetKind().String(), "SPAN_KIND_"))
		key := strings.TrimSpace(name) + " " + kind
		for _, a := range span.GetAttributes() {
			if !slices.Contains(got[key], a.GetKey()) {
				got[key] = append(got[key], a.GetKey())
			}
		}
		slices.Sort(got[key])
	}
	want := map[string][]string{}
	for _, row := range readmeTable(t, "| span |") {
		name, _, _ := strings.Cut(codeIn(row[0])[0], " {")
		attributes := codeIn(row[3])
		slices.Sort(attributes)
		want[name+" "+row[1]] = attributes
	}
	assert.Equal(t, want, got)
}

var code = regexp.MustCompile("`([^`]+)`")

// codeIn returns what stands between backticks.
func codeIn(text string) []string {
	var all []string
	for _, match := range code.FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return all
}

// readmeTable returns the cells of the README's table whose head begins with a text.
func readmeTable(t *testing.T, head string) [][]string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(readme), "\n"+head)
	require.True(t, found, head)
	var rows [][]string
	for i, line := range strings.Split(table, "\n") {
		if i < 2 {
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}
