package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scriptedServer sends one part for each connection, and keeps it open where the part says so. No real bridge falls
// silent when it is asked to.
type scriptedServer struct {
	*httptest.Server

	mu    sync.Mutex
	parts []scriptedPart
	begun []time.Time
	ids   []string // the Last-Event-ID of each connection
}

type scriptedPart struct {
	text   string
	silent bool
}

func serveScript(t *testing.T, parts ...scriptedPart) *scriptedServer {
	t.Helper()
	s := &scriptedServer{parts: parts}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := len(s.begun)
		s.begun, s.ids = append(s.begun, time.Now()), append(s.ids, r.Header.Get("Last-Event-ID"))
		s.mu.Unlock()
		part := s.parts[min(n, len(s.parts)-1)]
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, part.text)
		_ = http.NewResponseController(w).Flush()
		if part.silent {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// TestSubscribeCommandHonoursRetry: the bridge says when its readers come back.
func TestSubscribeCommandHonoursRetry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		first         string
		atLeast, less time.Duration
	}{
		{"retry: 20\n\n", 20 * time.Millisecond, time.Second},
		{"retry:2500\n\n", 2500 * time.Millisecond, time.Minute},
		{"id: 1\nevent: ssebridge.open\nretry: 20\ndata: {}\n\n", 20 * time.Millisecond, time.Second},
		{"retry: 2500\r\n\r\nretry: 20\r\n\r\n", 20 * time.Millisecond, time.Second},
		{"retry: 20\n\nretry: soon\n\n", 20 * time.Millisecond, time.Second},
	} {
		t.Run(test.first, func(t *testing.T) {
			t.Parallel()
			server := serveScript(t, scriptedPart{text: test.first}, scriptedPart{text: "data: {}\n\n"})
			status, out, errs := command(t, "", "subscribe", "--addr", server.URL, "--topic", "a", "-n", "1")
			require.Zero(t, status, errs)
			assert.Equal(t, "{}\n", out)
			require.Len(t, server.begun, 2)
			wait := server.begun[1].Sub(server.begun[0])
			assert.GreaterOrEqual(t, wait, test.atLeast)
			assert.Less(t, wait, test.less)
		})
	}
}

// TestSubscribeCommandLeavesSilentConnections, and goes on behind the last event on another one.
func TestSubscribeCommandLeavesSilentConnections(t *testing.T) {
	t.Parallel()
	server := serveScript(t,
		scriptedPart{text: "retry: 1\n\nid: 1-a\ndata: 1\n\n", silent: true},
		scriptedPart{silent: true},
		scriptedPart{text: "id: 2-a\ndata: 2\n\n", silent: true},
	)
	var out, notes bytes.Buffer
	s, err := newSubscriber(subscribeFlags{addr: server.URL, topics: []string{"a"}, count: 2}, &out, &notes)
	require.NoError(t, err)
	assert.Equal(t, 45*time.Second, s.quiet)
	s.quiet = 300 * time.Millisecond
	require.NoError(t, s.run(t.Context()))
	assert.Equal(t, "1\n2\n", out.String())
	assert.Equal(t, []string{"", "1-a", "1-a"}, server.ids)
	assert.Contains(t, notes.String(), "connection lost: nothing has come, not even a heartbeat for 300ms")
}

// TestSubscribeCommandWaitsForItsOutput: a reader of the output that pauses is no silence of the bridge.
func TestSubscribeCommandWaitsForItsOutput(t *testing.T) {
	t.Parallel()
	server := serveScript(t, scriptedPart{text: "id: 1-a\ndata: 1\n\nid: 2-a\ndata: 2\n\n", silent: true})
	slow := writerFunc(func(text []byte) (int, error) {
		time.Sleep(500 * time.Millisecond) // for longer than the bridge may be silent
		return len(text), nil
	})
	s, err := newSubscriber(subscribeFlags{addr: server.URL, topics: []string{"a"}, count: 2}, slow, io.Discard)
	require.NoError(t, err)
	s.quiet = 200 * time.Millisecond
	require.NoError(t, s.run(t.Context()))
	assert.Len(t, server.begun, 1)
}

// TestSubscribeCommandStaysWhereHeartbeatsCome, though no events do.
func TestSubscribeCommandStaysWhereHeartbeatsCome(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.config.Public.Heartbeat = 100 * time.Millisecond
	b := startBridge(t, options)
	var out, notes bytes.Buffer
	s, err := newSubscriber(subscribeFlags{addr: b.publicURL, topics: []string{"a"}, count: 1}, &out, &notes)
	require.NoError(t, err)
	s.quiet = time.Second
	time.AfterFunc(3*s.quiet, func() { publishNumbered(t, b.internalURL, "a", 0, 1) })
	require.NoError(t, s.run(t.Context()))
	assert.Contains(t, out.String(), data(0))
	assert.Empty(t, notes.String())
}

// TestCommandsWithoutOutput: a full disk and a pipe that nobody reads end a command with a message.
func TestCommandsWithoutOutput(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	publishNumbered(t, b.internalURL, "a", 0, 10)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		skipf(t, "commands that cannot write their output are not tried: there is no full disk: %s", err)
	}
	defer full.Close()
	reader, closed, err := os.Pipe()
	require.NoError(t, err)
	defer closed.Close()
	require.NoError(t, reader.Close())
	for _, test := range []struct {
		name, message string
		out           *os.File
		arguments     []string
	}{
		{"full disk", "no space left", full, []string{"subscribe", "--addr", b.publicURL, "--topic", "a", "--since", "earliest"}},
		{"closed pipe", "broken pipe", closed, []string{"subscribe", "--addr", b.publicURL, "--topic", "a", "--since", "earliest"}},
		{"full disk, publish", "no space left", full, []string{"publish", "--addr", b.internalURL, "a", `{"@type":"google.protobuf.Struct","value":{}}`}},
		{"closed pipe, publish", "broken pipe", closed, []string{"publish", "--addr", b.internalURL, "a", "{"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], test.arguments...)
			cmd.Env = append(os.Environ(), asProgram+"=1")
			var errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = test.out, &errs
			require.NoError(t, cmd.Start())
			stop := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			defer stop.Stop()
			_ = cmd.Wait()
			assert.Equal(t, 1, cmd.ProcessState.ExitCode(), errs.String())
			assert.Contains(t, errs.String(), test.message)
		})
	}
}
