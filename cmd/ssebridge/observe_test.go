package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// scrape returns what /metrics says, as Prometheus asks for it.
func scrape(t testing.TB, opsURL string) string {
	t.Helper()
	response, err := http.Get(opsURL + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

// sample returns the value of a series; empty where there is none.
func sample(metrics, series string) string {
	_, rest, _ := strings.Cut("\n"+metrics, "\n"+series+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// TestMetrics: what the running program counts, under the names that Prometheus knows it by.
func TestMetrics(t *testing.T) {
	options := testOptions(t)
	options.config.Window.Events = 3
	b := startBridge(t, options)

	live := subscribe(t, b.publicURL, topics("a/b"), "") // over HTTP/1.1
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.publicURL+"/v1/events?"+topics("a/b"), nil)
	require.NoError(t, err)
	over2, err := newPublishClient(nil).Do(request)
	require.NoError(t, err)
	defer over2.Body.Close()

	cursors := publishNumbered(t, b.internalURL, "a/b", 0, 10)
	once := numbered(t, "a/b", 10)
	once.Id = "once"
	unknown := numbered(t, "a/b", 11)
	unknown.Data.TypeUrl = "type.googleapis.com/no.Such"
	malformed := numbered(t, "a//b", 12)
	_, err = publisher(b.internalURL).PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{
		Events: []*ssebridgev1.Event{once, once, unknown, malformed},
	}))
	require.NoError(t, err)
	frames, err := collectEvents(live, 11)
	require.NoError(t, err)
	place, err := bridge.ParseCursor(cursors[9])
	require.NoError(t, err)
	place.Time++ // an id of another log
	for _, query := range []string{"&since=" + cursors[9], "&since=" + cursors[0], "&since=" + place.String()} {
		subscribe(t, b.publicURL, topics("a/b")+query, "").next() // each of them also receives
	}
	b.observer.telemetry.ObserveCertificate("public", time.Now) // else only where there is one
	for _, header := range []string{"text/event-stream", "image/png"} {
		get(t, b.publicURL+"/v1/events?topic=", func(r *http.Request) { r.Header.Set("Accept", header) }).Body.Close()
	}

	for series, want := range map[string]string{
		`ssebridge_published_total{pattern="**",result="stored"}`:                   "11",
		`ssebridge_published_total{pattern="**",result="duplicate"}`:                "1",
		`ssebridge_published_total{pattern="**",result="not_found"}`:                "1",
		`ssebridge_published_total{pattern="",result="invalid_argument"}`:           "1",
		`ssebridge_readers{transport="h2"}`:                                         "1",
		`ssebridge_resumes_total{source="window"}`:                                  "1",
		`ssebridge_resumes_total{source="log"}`:                                     "1",
		`ssebridge_resets_total{reason="unknown"}`:                                  "1",
		`ssebridge_refusals_total{listener="public",reason="invalid",status="400"}`: "1",
		`ssebridge_refusals_total{listener="public",reason="accept",status="406"}`:  "1",
		`ssebridge_publish_to_durable_seconds_count`:                                "12",
		`ssebridge_window_events`:                                                   "3",
		`ssebridge_publish_to_socket_seconds_bucket{le="+Inf"}`:                     "2", // one second, two readers
	} {
		var got string
		assert.Eventually(t, func() bool { got = sample(scrape(t, b.opsURL), series); return got == want },
			10*time.Second, 20*time.Millisecond, series)
		assert.Equal(t, want, got, series)
	}
	metrics := scrape(t, b.opsURL)
	assert.Regexp(t, `(?m)^ssebridge_window_size_bytes [1-9]`, metrics)
	assert.Regexp(t, `(?m)^ssebridge_tail_lag_seconds [0-9.e-]+$`, metrics)
	assert.Regexp(t, `(?m)^go_goroutines [1-9]`, metrics)
	assert.Regexp(t, `(?m)^process_resident_memory_bytes [1-9]`, metrics)
	assert.Regexp(t, `(?m)^target_info\{.*service_name="ssebridge"`, metrics)
	assert.NotContains(t, metrics, "a/b", "a topic is never a label")
	assert.NotContains(t, metrics, "otel_scope")
	size := len(frames[0].id) + len(frames[0].data)
	deliveries, sent := sample(metrics, "ssebridge_deliveries_total"), sample(metrics, "ssebridge_sent_bytes_total")
	var n, bytes int
	_, err = fmt.Sscan(deliveries+" "+sent, &n, &bytes)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, n, 22, "eleven events to two readers")
	assert.Greater(t, bytes, n*size)
	checkReadmeMetrics(t, metrics)
}

var (
	typeLine  = regexp.MustCompile(`(?m)^# TYPE (ssebridge_\w+) (\w+)$`)
	labelName = regexp.MustCompile(`(\w+)="`)
)

// checkReadmeMetrics: each metric that is scraped has its row in the README, with its type and labels, and the other way
// round.
func checkReadmeMetrics(t *testing.T, metrics string) {
	t.Helper()
	type kind struct {
		kind   string
		labels []string
	}
	got := map[string]kind{}
	for _, match := range typeLine.FindAllStringSubmatch(metrics, -1) {
		k := kind{kind: match[2], labels: []string{}}
		series := regexp.MustCompile(`(?m)^` + match[1] + `(?:_bucket)?\{(.*)\} `)
		for _, line := range series.FindAllStringSubmatch(metrics, -1) {
			for _, label := range labelName.FindAllStringSubmatch(line[1], -1) {
				if label[1] != "le" && !slices.Contains(k.labels, label[1]) {
					k.labels = append(k.labels, label[1])
				}
			}
		}
		slices.Sort(k.labels)
		got[match[1]] = k
	}
	want := map[string]kind{}
	for _, row := range readmeTable(t, "| metric |") {
		k := kind{kind: row[2], labels: append([]string{}, codeIn(row[3])...)}
		slices.Sort(k.labels)
		want[codeIn(row[1])[0]] = k
	}
	assert.Equal(t, want, got)
}

// TestNothingEmittedHoldsASecret: all that leaves the bridge for those who watch it, logs, spans and metrics, while callers
// show it secrets in every place that has room for one: with open rules, and with rules under which their tokens count.
func TestNothingEmittedHoldsASecret(t *testing.T) {
	const made = "eyJhbGciOiJFUzI1NiJ9.c2VjcmV0.S3CR3T"
	t.Run("open rules", func(t *testing.T) {
		checkNothingEmitted(t, testOptions(t), made, made, nil)
	})
	t.Run("rules", func(t *testing.T) {
		r := newRealm(t)
		away := startKeyServer(t)
		own := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(own, []byte("S3CR3T-of-the-bridge"), 0o600))
		options := securedOptions(t, "public: {cookie: session}\ntopics: [{pattern: '**', publish: 'auth.kind == \"token\"', subscribe: 'auth.kind == \"token\"'}]\n"+
			r.issuers()+fmt.Sprintf("  - {name: away, url: 'https://away.example.com', jwks_url: %q, bearer_file: %q, audiences: [a], roles: [publish, subscribe]}\n", away.URL, own))
		reader, service := r.user("alice", "secret", "S3CR3T-claim"), r.service("orders", "secret", "S3CR3T-claim")
		refused := []string{
			reader + "x", r.user("alice", "exp", in(-time.Hour)), newECKey("S3CR3T-kid").token(r.claims(users, "alice")),
			r.user("alice", "iss", "https://S3CR3T-issuer.example.com"), r.user("alice", "iss", "https://away.example.com"),
			hmacToken("ec", []byte("x"), r.claims(users, "alice")), service, "S3CR3T-of-no-form", "S3CR3T of no form",
		}
		checkNothingEmitted(t, options, reader, service, refused)
	})
}

// checkNothingEmitted runs a bridge and shows it the tokens of a reader and of a publisher, which count, and others.
func checkNothingEmitted(t *testing.T, options options, secret, service string, others []string) {
	t.Helper()
	c := startCollector(t)
	traceTo(t, c)
	logs := &output{}
	logger := newLogger(logs, config.Logging{Level: "debug", Format: "json"})
	reportTelemetry(logger)
	t.Cleanup(func() { reportTelemetry(slog.New(slog.DiscardHandler)) })
	b, err := start(t.Context(), options, logger)
	require.NoError(t, err)
	waitReady(t, b.opsURL)
	read := func(query string, change ...func(*http.Request)) int {
		response := ask(t, streamClient, b.publicURL, query, change...)
		defer response.Body.Close()
		if response.StatusCode == http.StatusOK {
			_, err := response.Body.Read(make([]byte, 64))
			require.NoError(t, err)
		}
		return response.StatusCode
	}
	show := everywhere(secret)
	for _, query := range []string{
		topics("a/b"), topics("a/b") + "&ticket=" + secret, topics("a/b") + "&since=" + secret, secret, "%" + secret,
		"topic=" + secret + "!", topics("a/b") + "&type=" + secret + "/", topics("a/b") + "&format=" + secret,
	} {
		read(query, func(r *http.Request) { show(r.Header) }, withHeader("Origin", "https://user:"+secret+"@example.com"))
	}
	assert.Equal(t, http.StatusOK, read(topics("a/b"), withBearer(secret)))
	assert.Equal(t, http.StatusOK, read(topics("a/b"), withCookie(secret)))
	for _, other := range others {
		for _, carrier := range []func(string) func(*http.Request){withBearer, withCookie} {
			read(topics("a/b"), carrier(other))
		}
		_, _ = publishAs(t.Context(), b.internalURL, other, nil, numbered(t, "a/b", 1))
		_, _ = streamAs(t.Context(), b.internalURL, other, nil, numbered(t, "a/b", 1))
	}
	get(t, b.publicURL+"/"+secret, func(r *http.Request) { show(r.Header) }).Body.Close()
	publishSecrets(t, b.internalURL, service)
	metrics := scrape(t, b.opsURL)
	b.shutdown()

	emitted := logs.String() + c.text(t) + metrics
	for _, token := range append(others, secret, service, "x.S3CR3T") {
		for part := range strings.SplitSeq(token, ".") {
			if i := strings.Index(emitted, part); i >= 0 && len(part) > 5 {
				t.Errorf("%q is in …%s…", part, emitted[max(0, i-200):min(len(emitted), i+100)])
			}
		}
	}
	for _, present := range []string{`"msg":"stream ended"`, `"name":"send **"`, `"name":"subscribe"`, "publish", "ssebridge_refusals_total"} {
		assert.True(t, strings.Contains(emitted, present), "%s: there is something to look through", present) //nolint:testifylint // it is long
	}
	checkTraceOfLog(t, c, logs.String())
}

// everywhere puts a token into each header that has room for one.
func everywhere(token string) func(http.Header) {
	return func(header http.Header) {
		header.Set("Authorization", "Bearer "+token)
		header.Set("Cookie", "session="+token)
		header.Set("Traceparent", browserContext)
		header.Set("Tracestate", "vendor="+token)
		header.Set("Baggage", "token="+token)
		header.Set("Last-Event-ID", token)
	}
}

// publishSecrets shows a token to both calls and in each field of an event that is refused.
func publishSecrets(t *testing.T, base, secret string) {
	t.Helper()
	show := everywhere(secret)
	event := numbered(t, "a/b", 1)
	bad := numbered(t, secret+"!", 1)
	worse := numbered(t, "a/b", 1)
	worse.Data.TypeUrl = "type.googleapis.com/" + secret
	worst := numbered(t, "a/b", 1)
	worst.Traceparent = secret
	client := publisher(base, connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			show(r.Header())
			return next(ctx, r)
		}
	})))
	events := []*ssebridgev1.Event{event, bad, worse, worst}
	response, err := client.PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: events}))
	require.NoError(t, err)
	assert.NotEmpty(t, response.Msg.GetResults()[0].GetCursor())
	_, err = client.PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Schema: []byte(secret), Events: events[:1]}))
	require.Error(t, err)
	rpc := client.Publish(t.Context())
	show(rpc.RequestHeader())
	require.NoError(t, rpc.Send(&ssebridgev1.PublishRequest{Events: events}))
	_, err = rpc.Receive()
	require.NoError(t, err)
	require.NoError(t, rpc.Send(&ssebridgev1.PublishRequest{Schema: []byte(secret), Events: events[:1]}))
	_, _ = rpc.Receive()
}

// checkTraceOfLog: a record of a stream names the trace in which its reader has its span.
func checkTraceOfLog(t *testing.T, c *otlpCollector, logs string) {
	t.Helper()
	checked := 0
	for line := range strings.Lines(logs) {
		var record struct {
			Msg     string `json:"msg"`
			Reader  string `json:"reader"`
			TraceID string `json:"trace_id"`
			SpanID  string `json:"span_id"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		if record.Msg == "stream ended" {
			span := c.waitSpan(t, "subscribe", "ssebridge.reader", record.Reader)
			assert.Equal(t, hex.EncodeToString(span.GetTraceId()), record.TraceID)
			assert.Equal(t, hex.EncodeToString(span.GetSpanId()), record.SpanID)
			checked++
		}
	}
	assert.Positive(t, checked)
}

func TestNewLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := newLogger(&out, config.Logging{Level: "warn", Format: "json"})
	logger.Info("no")
	logger.Warn("yes")
	assert.Equal(t, 1, strings.Count(out.String(), "\n"))
	assert.True(t, json.Valid(out.Bytes()))
}

// TestWrongEnvironment: the program does not start with telemetry that somebody asked for and that it does not have.
func TestWrongEnvironment(t *testing.T) {
	for variable, value := range map[string]string{
		"OTEL_TRACES_EXPORTER":     "zipkin",
		"OTEL_METRICS_EXPORTER":    "statsd",
		"OTEL_RESOURCE_ATTRIBUTES": "no-value",
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			_, err := start(t.Context(), testOptions(t), slog.New(slog.DiscardHandler))
			assert.ErrorContains(t, err, variable)
		})
	}
}

// TestTracingIsOffUnlessAskedFor: without a variable there is no SDK in the way of an event.
func TestTracingIsOffUnlessAskedFor(t *testing.T) {
	for name, test := range map[string]struct {
		environment map[string]string
		want        bool
	}{
		"nothing":               {},
		"none":                  {map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"}, false},
		"disabled":              {map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"}, false},
		"an endpoint":           {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"}, true},
		"an endpoint of traces": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:1"}, true},
		"an exporter":           {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range test.environment {
				t.Setenv(variable, value)
			}
			o, err := observe(t.Context(), nil)
			require.NoError(t, err)
			assert.Equal(t, test.want, o.telemetry.Tracers() != nil)
			require.NoError(t, o.close())
		})
	}
}

// TestCollectorAway: a bridge whose collector does not answer works, stops in time and says what is wrong, once.
func TestCollectorAway(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+freeAddress(t))
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "100")
	logs := &output{}
	reportTelemetry(slog.New(slog.NewTextHandler(logs, nil)))
	t.Cleanup(func() { reportTelemetry(slog.New(slog.DiscardHandler)) })
	b, err := start(t.Context(), testOptions(t), slog.New(slog.NewTextHandler(logs, nil)))
	require.NoError(t, err)
	waitReady(t, b.opsURL)
	for n := range 10 {
		publishNumbered(t, b.internalURL, "a/b", n, 1)
		time.Sleep(50 * time.Millisecond) // the SDK sends a batch each 10 ms: so that several fail
	}
	begun := time.Now()
	b.shutdown()
	assert.Less(t, time.Since(begun), flushMax+5*time.Second)
	assert.Contains(t, logs.String(), "msg=telemetry")
	assert.LessOrEqual(t, strings.Count(logs.String(), "msg=telemetry"), 4)
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap"} {
		response, err := http.Get(b.opsURL + path)
		require.NoError(t, err)
		response.Body.Close()
		assert.Equal(t, http.StatusOK, response.StatusCode, path)
		for _, listener := range []string{b.publicURL, b.internalURL} {
			response, err := http.Get(listener + path)
			require.NoError(t, err)
			response.Body.Close()
			assert.Equal(t, http.StatusNotFound, response.StatusCode, path)
		}
	}
}
