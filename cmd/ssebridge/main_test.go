package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// asProgram makes the test binary behave as ssebridge itself, so that a test can kill it.
const asProgram = "SSEBRIDGE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(runProcess())
	}
	os.Exit(m.Run())
}

// skipf skips a test for want of something that this machine does not have, but never in CI.
func skipf(t *testing.T, format string, arguments ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, arguments...)
	}
	t.Skipf(format, arguments...)
}

// testOptions are the options of a bridge with open rules on free ports.
func testOptions(t *testing.T) options {
	t.Helper()
	c := config.Default()
	c.Public.Addr, c.Internal.Addr, c.Ops.Addr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Log.DataDir, c.Log.MaxAge = t.TempDir(), time.Hour
	return options{config: c, dev: true, page: func(string) http.Handler { return http.NotFoundHandler() }}
}

// startBridge runs a bridge in this process until the test ends.
func startBridge(t *testing.T, options options) *program {
	t.Helper()
	p, err := start(t.Context(), options, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(sync.OnceFunc(p.shutdown))
	waitReady(t, p.opsURL)
	return p
}

func waitReady(t testing.TB, opsURL string) {
	t.Helper()
	require.Eventually(t, func() bool {
		response, err := http.Get(opsURL + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, 30*time.Second, 5*time.Millisecond, "ready")
}

// process is a bridge in a process of its own.
type process struct {
	public, internal, ops string
	command               *exec.Cmd
	exited                chan error
}

// startProcess runs "ssebridge serve --dev" on given or free addresses.
func startProcess(t testing.TB, dir string, before *process, arguments ...string) *process {
	t.Helper()
	p := &process{exited: make(chan error, 1)}
	if before != nil {
		p.public, p.internal, p.ops = before.public, before.internal, before.ops
	} else {
		p.public, p.internal, p.ops = freeAddress(t), freeAddress(t), freeAddress(t)
	}
	arguments = append([]string{
		"serve", "--dev", "--data-dir", dir, "--public-addr", p.public, "--internal-addr", p.internal, "--ops-addr", p.ops,
	}, arguments...)
	p.command = exec.Command(os.Args[0], arguments...)
	p.command.Env = append(os.Environ(), asProgram+"=1")
	p.command.Stderr = os.Stderr
	require.NoError(t, p.command.Start())
	go func() { p.exited <- p.command.Wait() }()
	t.Cleanup(func() { _ = p.command.Process.Kill() })
	waitReady(t, "http://"+p.ops)
	return p
}

// freeAddress returns an address that was free a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	server, _, err := listen(t.Context(), "127.0.0.1:0", nil)
	require.NoError(t, err)
	defer server.close()
	return server.listener.Addr().String()
}

// frame is one event of a stream as a browser sees it.
type frame struct {
	id, event, data string
}

// eventStream is an open subscription. One goroutine reads it.
type eventStream struct {
	body  io.ReadCloser
	lines *bufio.Reader
}

// subscribe opens a stream; query is what follows the question mark.
func subscribe(t *testing.T, base, query, lastEventID string) *eventStream {
	t.Helper()
	response := get(t, base+"/v1/events?"+query, func(r *http.Request) {
		r.Header.Set("Accept", "text/event-stream")
		if lastEventID != "" {
			r.Header.Set("Last-Event-ID", lastEventID)
		}
	})
	require.Equal(t, http.StatusOK, response.StatusCode)
	s := newEventStream(response.Body)
	t.Cleanup(s.close)
	return s
}

func newEventStream(body io.ReadCloser) *eventStream {
	return &eventStream{body: body, lines: bufio.NewReader(body)}
}

func get(t *testing.T, address string, change func(*http.Request)) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	change(request)
	response, err := streamClient.Do(request)
	require.NoError(t, err)
	return response
}

// streamClient opens a connection for each stream.
var streamClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, MaxConnsPerHost: 0}}

func topics(names ...string) string { return url.Values{"topic": names}.Encode() }

func (s *eventStream) close() { _ = s.body.Close() }

// next returns the next event of any kind, retry fields left out.
func (s *eventStream) next() (frame, error) {
	var f frame
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return f, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "":
			if f.data != "" {
				return f, nil
			}
		case "id":
			f.id = value
		case "event":
			f.event = value
		case "data":
			f.data = value
		}
	}
}

// nextEvent returns the next published event.
func (s *eventStream) nextEvent(t *testing.T) frame {
	t.Helper()
	for {
		f, err := s.next()
		require.NoError(t, err)
		if !strings.HasPrefix(f.event, "ssebridge.") {
			return f
		}
		require.Contains(t, []string{"ssebridge.open", "ssebridge.heartbeat"}, f.event, f.data)
	}
}

// nextNotice returns the next event of the bridge itself with this name.
func (s *eventStream) nextNotice(t *testing.T, name string) frame {
	t.Helper()
	for {
		f, err := s.next()
		require.NoError(t, err)
		if f.event == name {
			return f
		}
	}
}

func publisher(base string, options ...connect.ClientOption) ssebridgev1connect.PublishServiceClient {
	return ssebridgev1connect.NewPublishServiceClient(newPublishClient(nil), base, options...)
}

func packed(t testing.TB, message proto.Message) *anypb.Any {
	t.Helper()
	data, err := anypb.New(message)
	require.NoError(t, err)
	return data
}

// numbered is an event whose data is {"n": number}.
func numbered(t testing.TB, topic string, number int) *ssebridgev1.Event {
	t.Helper()
	data, err := structpb.NewStruct(map[string]any{"n": number})
	require.NoError(t, err)
	return &ssebridgev1.Event{Topic: topic, Data: packed(t, data)}
}

// publishNumbered publishes numbered events from first on and returns their cursors.
func publishNumbered(t testing.TB, base, topic string, first, count int) []string {
	t.Helper()
	client := publisher(base)
	var cursors []string
	for done := 0; done < count; {
		var events []*ssebridgev1.Event
		for ; len(events) < 1000 && done < count; done++ {
			events = append(events, numbered(t, topic, first+done))
		}
		response, err := client.PublishBatch(context.Background(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: events}))
		require.NoError(t, err)
		for _, result := range response.Msg.GetResults() {
			require.Nil(t, result.GetError(), "%v", result.GetError())
			cursors = append(cursors, result.GetCursor())
		}
	}
	return cursors
}

func data(number int) string { return fmt.Sprintf(`{"n":%d}`, number) }
