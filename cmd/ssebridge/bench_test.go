package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

// runBench runs the command with --json, in this process.
func runBench(t *testing.T, public, internal string, arguments ...string) (status int, result bench.Result, stderr string) {
	t.Helper()
	arguments = append([]string{"bench", "--json", "--addr", public, "--publish-addr", internal}, arguments...)
	status, out, stderr := command(t, "", arguments...)
	if out != "" {
		decoder := json.NewDecoder(strings.NewReader(out))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&result), out)
		assert.False(t, decoder.More(), "one object")
	}
	return status, result, stderr
}

// TestBench: every event reaches every reader that it is for, over each transport, and is counted.
func TestBench(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		arguments []string
		times     func(acknowledged int64) int64 // deliveries
	}{
		{"one topic", []string{"--readers", "20", "--settle", "0s"}, func(n int64) int64 { return 20 * n }},
		{"json, several publishers", []string{"--readers", "5", "--publishers", "3", "--format", "json", "--size", "5000"}, func(n int64) int64 { return 5 * n }},
		{"patterns only", []string{"--readers", "7", "--topics", "4", "--patterns", "100%", "--publishers", "2"}, func(n int64) int64 { return 7 * n }},
		{"topics and patterns", []string{"--readers", "10", "--topics", "4", "--patterns", "2"}, func(n int64) int64 { return 2*n + 2*n }},
		{"HTTP/2", []string{"--readers", "20", "--transport", "h2"}, func(n int64) int64 { return 20 * n }},
		{"storm", []string{"--readers", "20", "--storm", "50"}, func(n int64) int64 { return 20 * n }},
		{"storm over HTTP/2", []string{"--readers", "20", "--storm", "50", "--transport", "h2"}, func(n int64) int64 { return 20 * n }},
		{"medians", []string{"--readers", "3", "--runs", "3", "--duration", "200ms"}, func(n int64) int64 { return 3 * n }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := startBridge(t, testOptions(t))
			arguments := append([]string{"--duration", "600ms", "--rate", "200"}, test.arguments...)
			status, result, errs := runBench(t, b.publicURL, b.internalURL, arguments...)
			require.Zero(t, status, errs)
			m := result.Bridge
			assert.Positive(t, m.Acknowledged)
			assert.Equal(t, m.Published, m.Acknowledged)
			assert.Equal(t, test.times(m.Acknowledged), m.Delivered)
			assert.Zero(t, m.Lost+m.Repeated+m.OutOfOrder+m.Foreign+m.Outstanding+m.Resets+m.Refused+m.Errors+m.Ended)
			assert.Positive(t, m.Latency.P50)
			assert.LessOrEqual(t, m.Latency.P50, m.Latency.Max)
			assert.Positive(t, m.Connect.P50)
			assert.InDelta(t, 200, result.Work.Rate, 0)
			if result.Work.Storm > 0 {
				require.NotNil(t, m.Storm)
				assert.Equal(t, int64(20*50), m.Storm.Deliveries)
				assert.Positive(t, m.Storm.CaughtUp)
			}
		})
	}
}

// TestBenchTLS: https addresses are read over HTTP/2 or HTTP/1.1 and verified.
func TestBenchTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b, _, _ := startTLSBridge(t, ca)
	file := caFile(t, ca)
	for _, transport := range []string{"http1", "h2"} {
		status, result, errs := runBench(t, b.publicURL, b.internalURL, "--ca", file, "--transport", transport,
			"--readers", "5", "--duration", "300ms", "--rate", "0")
		require.Zero(t, status, errs)
		assert.Equal(t, 5*result.Bridge.Acknowledged, result.Bridge.Delivered)
	}
	status, _, errs := runBench(t, b.publicURL, b.internalURL, "--readers", "1", "--duration", "300ms")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "certificate")
}

// TestBenchBesideTheFloor: the table of a whole process, with what it cost.
func TestBenchBesideTheFloor(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the floor is for Linux")
	}
	b := startProcess(t, t.TempDir(), nil)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "bench", "--addr", "http://"+b.public, "--publish-addr", "http://"+b.internal,
		"--pid", strconv.Itoa(b.command.Process.Pid), "--floor", "--runs", "2", "--readers", "20", "--topics", "3", "--patterns", "10%",
		"--publishers", "2", "--rate", "0", "--duration", "500ms")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var errs output
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", out, &errs)
	for _, line := range []string{
		`bridge +floor +ratio`, `deliveries/s .* [0-9.]+\n`, `lost, repeated, out of order +0, 0, 0 +0, 0, 0\n`,
		`outstanding, foreign, resets +0, 0, 0 +0, 0, 0\n`, `server CPU per delivery +[0-9.]+ µs +[0-9.]+ µs +[0-9.]+\n`, `server memory`,
	} {
		assert.Regexp(t, line, string(out))
	}
}

// TestBenchSaysWhatIsWrong before anything starts, or when a bridge refuses.
func TestBenchSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	r := newRealm(t)
	closed := startSecured(t, fmt.Sprintf(`
limits: {streams: 7}
topics: [{pattern: 'open/**', subscribe: 'true'}, {pattern: 'half/**', publish: 'true', subscribe: 'true'}]
issuers: [{name: users, url: %q, jwks_file: %q, audiences: [ssebridge], roles: [subscribe, publish]}]
`, users, r.file))
	for _, test := range []struct {
		message          string
		public, internal string
		arguments        []string
	}{
		{message: `--readers 0: use 1 to`, arguments: []string{"--readers", "0"}},
		{message: `--size 10: use 61 to`, arguments: []string{"--size", "10"}},
		{message: `--topics -1: use 1 to`, arguments: []string{"--topics", "-1"}},
		{message: `--publishers 0: use 1 to`, arguments: []string{"--publishers", "0"}},
		{message: `--runs 0: use 1 to`, arguments: []string{"--runs", "0"}},
		{message: `--patterns "half": use a number`, arguments: []string{"--patterns", "half"}},
		{message: `--patterns 101: use 0 to the number of readers, which is 100`, arguments: []string{"--patterns", "101"}},
		{message: `--rate -1: use events per second`, arguments: []string{"--rate", "-1"}},
		{message: `--duration 1ms: use`, arguments: []string{"--duration", "1ms"}},
		{message: `--settle -1s: use`, arguments: []string{"--settle", "-1s"}},
		{message: `--format "xml": use cloudevents or json`, arguments: []string{"--format", "xml"}},
		{message: `--transport "h3": use http1 or h2`, arguments: []string{"--transport", "h3"}},
		{message: `--prefix "a/": use the beginning of a topic`, arguments: []string{"--prefix", "a/"}},
		{message: `--floor: give --pid too`, arguments: []string{"--floor"}},
		{message: `--pid 999999999: `, arguments: []string{"--pid", "999999999"}},
		{message: `open files are needed`, arguments: []string{"--readers", "900000"}},
		{message: `--addr "localhost": use a URL`, public: "localhost"},
		{message: `--publish-addr "localhost": use a URL`, internal: "localhost"},
		{message: `reader of bench/`, public: "http://" + freeAddress(t)},
		{message: `connection refused`, public: "http://" + freeAddress(t)},
		{message: `nothing was published: Publish stream: unavailable`, internal: "http://" + freeAddress(t)},
		{message: `the bridge answered 401 Unauthorized`, public: closed.publicURL, internal: closed.internalURL},
		{message: `nothing was published: event to open/a/000000 refused: permission_denied`, public: closed.publicURL, internal: closed.internalURL, arguments: []string{"--prefix", "open/a", "--readers", "1"}},
		// The last one: its connections may hold their places for a moment longer.
		{message: `ssebridge.reconnect {"reason":"overload"}`, public: closed.publicURL, internal: closed.internalURL, arguments: []string{"--prefix", "half/a", "--readers", "20"}},
	} {
		t.Run(test.message, func(t *testing.T) {
			public, internal := b.publicURL, b.internalURL
			if test.public != "" {
				public = test.public
			}
			if test.internal != "" {
				internal = test.internal
			}
			require.Eventually(t, func() bool { return closed.hub.Readers() == 0 }, 10*time.Second, time.Millisecond, "those before have gone")
			status, _, errs := runBench(t, public, internal, append([]string{"--duration", "200ms"}, test.arguments...)...)
			assert.Equal(t, 1, status)
			assert.Contains(t, errs, test.message)
		})
	}
}

// TestBenchEndsWhenInterrupted, in each of its parts, and leaves nothing behind.
func TestBenchEndsWhenInterrupted(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	for _, after := range []time.Duration{time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		var errs strings.Builder
		begun := time.Now()
		status := run(ctx, []string{"bench", "--addr", b.publicURL, "--publish-addr", b.internalURL}, nil, io.Discard, &errs)
		cancel()
		assert.Equal(t, 1, status)
		assert.Contains(t, errs.String(), "interrupted before there was a result")
		assert.Less(t, time.Since(begun), 5*time.Second)
		require.Eventually(t, func() bool { return b.hub.Readers() == 0 }, 10*time.Second, 10*time.Millisecond)
	}
}

// serveFaulty returns the URL of a proxy in front of a bridge that does to the events of each stream what no real bridge
// does when it is asked to. Fault returns the frames that follow in place of event number n, from 1 on, of a stream; nil
// ends it. Over HTTP/1.1 net/http sends chunks.
func serveFaulty(t *testing.T, bridge string, fault func(n int, frame string) []string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, bridge+r.URL.String(), nil)
		if !assert.NoError(t, err) {
			return
		}
		request.Header = r.Header.Clone()
		response, err := streamClient.Do(request)
		if err != nil {
			return // the reader has gone
		}
		defer response.Body.Close()
		w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
		frames := bufio.NewReader(response.Body)
		for n := 0; ; {
			var frame strings.Builder
			for line := ""; line != "\n"; frame.WriteString(line) {
				if line, err = frames.ReadString('\n'); err != nil {
					return
				}
			}
			if made := []string{frame.String()}; strings.Contains(made[0], "bench") {
				n++
				if made = fault(n, made[0]); made == nil {
					return
				}
				_, _ = io.WriteString(w, strings.Join(made, ""))
			} else {
				_, _ = io.WriteString(w, made[0])
			}
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestBenchFindsFaults of a bridge, which fail the command.
func TestBenchFindsFaults(t *testing.T) {
	t.Parallel()
	nothing := []string{}
	for _, test := range []struct {
		name     string
		fault    func() func(n int, frame string) []string
		status   int
		expected func(m *bench.Measurement) (found, expected []int64)
		message  string
	}{
		{
			name: "none", status: 0,
			fault: func() func(int, string) []string {
				return func(_ int, frame string) []string { return []string{frame} }
			},
			expected: func(m *bench.Measurement) (found, expected []int64) {
				return []int64{m.Lost, m.Repeated, m.OutOfOrder, m.Outstanding, m.Ended}, make([]int64, 5)
			},
		},
		{
			name: "lost", status: 1, message: "6 deliveries lost",
			fault: func() func(int, string) []string {
				return func(n int, frame string) []string {
					if n == 3 || n == 4 || n == 7 {
						return nothing
					}
					return []string{frame}
				}
			},
			expected: func(m *bench.Measurement) (found, expected []int64) {
				return []int64{m.Lost, m.Repeated, m.OutOfOrder, m.Outstanding}, []int64{6, 0, 0, 0}
			},
		},
		{
			name: "repeated", status: 1, message: "4 repeated; first: reader of bench/",
			fault: func() func(int, string) []string {
				return func(n int, frame string) []string {
					if n == 5 {
						return []string{frame, frame, frame}
					}
					return []string{frame}
				}
			},
			expected: func(m *bench.Measurement) (found, expected []int64) {
				return []int64{m.Lost, m.Repeated, m.OutOfOrder, m.Outstanding, m.Delivered}, []int64{0, 4, 0, 0, 2 * m.Acknowledged}
			},
		},
		{
			name: "out of order", status: 1, message: "2 out of order; first: reader of bench/",
			fault: func() func(int, string) []string {
				held := map[string]string{}
				var mu sync.Mutex
				return func(n int, frame string) []string {
					mu.Lock()
					defer mu.Unlock()
					switch n {
					case 4:
						held["frame"] = frame
						return nothing
					case 5:
						return []string{frame, held["frame"]}
					default:
						return []string{frame}
					}
				}
			},
			expected: func(m *bench.Measurement) (found, expected []int64) {
				return []int64{m.Lost, m.Repeated, m.OutOfOrder, m.Outstanding, m.Delivered}, []int64{0, 0, 2, 0, 2 * m.Acknowledged}
			},
		},
		{
			name: "outstanding", status: 1, message: "outstanding",
			fault: func() func(int, string) []string {
				return func(n int, frame string) []string {
					if n > 10 {
						return nothing
					}
					return []string{frame}
				}
			},
			expected: func(m *bench.Measurement) (found, expected []int64) {
				return []int64{m.Lost, m.Repeated, m.OutOfOrder, m.Outstanding, m.Delivered}, []int64{0, 0, 0, 2 * (m.Acknowledged - 10), 20}
			},
		},
		{
			name: "connections end, and readers come back without a loss", status: 0,
			fault: func() func(int, string) []string {
				var cut atomic.Bool
				return func(n int, frame string) []string {
					if n == 5 && !cut.Swap(true) {
						return nil
					}
					return []string{frame}
				}
			},
			expected: func(m *bench.Measurement) (found, expected []int64) {
				return []int64{m.Lost, m.Repeated, m.OutOfOrder, m.Outstanding, m.Ended, m.Delivered}, []int64{0, 0, 0, 0, 1, 2 * m.Acknowledged}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := startBridge(t, testOptions(t))
			public := serveFaulty(t, b.publicURL, test.fault())
			status, result, errs := runBench(t, public, b.internalURL, "--readers", "2", "--duration", "500ms", "--rate", "100")
			assert.Equal(t, test.status, status, errs)
			assert.Contains(t, errs, test.message)
			found, expected := test.expected(&result.Bridge)
			assert.Equal(t, expected, found)
		})
	}
}
