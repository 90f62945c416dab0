package sse_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/sse"
)

// memoryLog is a log that a test fills and breaks. Time under synctest stands still while a real log waits for its
// disk, so the streams of this package are tested on this one; the program's tests use the real one.
type memoryLog struct {
	mu     sync.Mutex
	sink   bridge.Sink
	events []*bridge.Event
	broken bool
	reads  int
	slow   time.Duration // a read takes
	data   []byte        // of each event
}

func (l *memoryLog) Append(context.Context, *bridge.Event, string) (bridge.Pending, error) {
	return nil, errors.ErrUnsupported
}

func (l *memoryLog) Tail(ctx context.Context, _ int, sink bridge.Sink) error {
	sink.Begin(bridge.Cursor{Time: 1})
	l.mu.Lock()
	l.sink = sink
	l.mu.Unlock()
	sink.Warm()
	<-ctx.Done()
	return nil
}

// store adds an event to a topic.
func (l *memoryLog) store(topic string) bridge.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := uint64(len(l.events) + 1)
	event := &bridge.Event{
		Cursor: bridge.Cursor{Seq: seq, Time: int64(seq) * 10}, Topic: topic, Type: "test.v1.Event", Data: []byte(`{"a":1}`),
	}
	if l.data != nil {
		event.Data = l.data
	}
	l.events = append(l.events, event)
	l.sink.Append([]*bridge.Event{event})
	return event.Cursor
}

func (l *memoryLog) setBroken(broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = broken
}

func (l *memoryLog) setSlow(slow time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = slow
}

func (l *memoryLog) Read(ctx context.Context, after, through uint64) (bridge.Page, error) {
	l.mu.Lock()
	l.reads++
	slow := l.slow
	l.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return bridge.Page{}, bridge.ErrLogUnavailable
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return bridge.Page{}, bridge.ErrLogUnavailable
	}
	events := l.events[after:through]
	return bridge.Page{Events: events, Through: through, Last: events[len(events)-1].Cursor}, nil
}

func (l *memoryLog) Bounds(context.Context) (bridge.Bounds, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return bridge.Bounds{}, bridge.ErrLogUnavailable
	}
	return bridge.Bounds{Oldest: bridge.Cursor{Time: 1}}, nil
}

func (l *memoryLog) Check(context.Context, bridge.Cursor) error { return nil }

func (l *memoryLog) Since(context.Context, time.Time) (bridge.Cursor, error) {
	return bridge.Cursor{}, bridge.ErrLogUnavailable
}

// bench is a handler on a server whose connections are pipes, so that it runs inside a synctest bubble.
type bench struct {
	log    *memoryLog
	hub    *bridge.Hub
	client *http.Client
	dial   func() net.Conn
}

// authorizeByHeader allows everything, to whom the header Principal names, for as long as the header Life says.
func authorizeByHeader(r *http.Request, _ *bridge.Subscription) (sse.Grant, error) {
	grant := sse.Grant{Principal: r.Header.Get("Principal")}
	if life, err := time.ParseDuration(r.Header.Get("Life")); err == nil {
		grant.Until = time.Now().Add(life)
	}
	return grant, nil
}

func newBench(t *testing.T, settings bridge.Settings) *bench {
	t.Helper()
	log := &memoryLog{}
	hub := bridge.NewHub(log, settings)
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: newHandler(t, sse.Config{
		Hub:       hub,
		Authorize: authorizeByHeader,
	})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = server.Serve(listener) }()
	go func() { _ = hub.Run(ctx) }()
	synctest.Wait()
	b := &bench{log: log, hub: hub, dial: listener.dial}
	b.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return listener.dial(), nil },
	}}
	t.Cleanup(func() {
		cancel()
		_ = server.Close()
	})
	return b
}

func newHandler(t *testing.T, config sse.Config) *sse.Handler {
	t.Helper()
	handler := sse.NewHandler(config)
	t.Cleanup(func() { _ = handler.Shutdown(context.Background()) })
	return handler
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

// stream collects the lines of a stream as they come.
type stream struct {
	mu    sync.Mutex
	lines []string
	ended bool
	body  io.Closer
}

func (b *bench) open(t *testing.T, query string) *stream {
	t.Helper()
	return b.openWith(t, nil, query)
}

func (b *bench) openWith(t *testing.T, header http.Header, query string) *stream {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://bridge/v1/events?"+query, nil)
	require.NoError(t, err)
	maps.Copy(request.Header, header)
	response, err := b.client.Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	s := &stream{body: response.Body}
	go func() {
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if lines.Text() != "" && !strings.HasPrefix(lines.Text(), "retry:") {
				s.mu.Lock()
				s.lines = append(s.lines, lines.Text())
				s.mu.Unlock()
			}
		}
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
	}()
	t.Cleanup(func() { _ = s.body.Close() })
	synctest.Wait()
	return s
}

// take returns the lines that came since the last call, when nothing more comes, and whether the stream has ended.
func (s *stream) take() ([]string, bool) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines, s.ended
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bridge.Settings{})
		s := b.open(t, "topic=a")
		lines, _ := s.take()
		require.Len(t, lines, 3)
		assert.Equal(t, []string{"id: 0-1", "event: ssebridge.open"}, lines[:2])

		time.Sleep(12*time.Second - time.Millisecond)
		lines, _ = s.take()
		assert.Empty(t, lines, "not before 80 %% of 15 s")
		elsewhere := b.log.store("elsewhere")
		time.Sleep(6*time.Second + 2*time.Millisecond)
		lines, _ = s.take()
		assert.Equal(t, []string{"id: " + elsewhere.String(), "event: ssebridge.heartbeat", "data: {}"}, lines,
			"by 120 %%, with the place reached in the log")

		b.log.store("a")
		_, _ = s.take()
		for range 10 {
			time.Sleep(11 * time.Second)
			b.log.store("a")
			lines, _ = s.take()
			assert.Len(t, lines, 2, "a stream that is not silent has no heartbeat: %v", lines)
		}
		begun := time.Now()
		beats := 0
		for time.Since(begun) < 10*time.Minute {
			time.Sleep(time.Second)
			lines, _ = s.take()
			beats += len(lines) / 3
		}
		assert.InDelta(t, 40, beats, 8)
	})
}

func TestEndedReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bridge.Settings{})
		one, other := b.open(t, "topic=a"), b.open(t, "topic=a")
		lines, _ := one.take()
		id := strings.TrimSuffix(strings.TrimPrefix(lines[2], `data: {"reader":"`), `"}`)
		assert.True(t, b.hub.End(id, bridge.EndRequested))
		lines, ended := one.take()
		assert.True(t, ended)
		assert.Equal(t, []string{"id: 0-1", "event: ssebridge.reconnect", `data: {"reason":"requested"}`}, lines)
		assert.False(t, b.hub.End(id, bridge.EndRequested), "it is gone")
		assert.Equal(t, 1, b.hub.Readers())

		_, ended = other.take()
		assert.False(t, ended)
		b.hub.Drain()
		lines, ended = other.take()
		assert.True(t, ended)
		assert.Contains(t, lines, `data: {"reason":"drain"}`)
		assert.Zero(t, b.hub.Readers())

		late := b.open(t, "topic=a")
		lines, ended = late.take()
		assert.True(t, ended)
		assert.Equal(t, []string{"event: ssebridge.reconnect", `data: {"reason":"drain"}`}, lines)
	})
}

// TestTemporaryRefusals: EventSource, which gives up after 503, gets a stream that ends; callers of JSON a status.
func TestTemporaryRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bridge.Settings{})
		b.log.setBroken(true)
		for accept, status := range map[string]int{
			"": 200, "text/event-stream": 200, "*/*": 200, "application/json, text/event-stream": 503,
		} {
			request, err := http.NewRequest(http.MethodGet, "http://bridge/v1/events?topic=a&since=earliest", nil)
			require.NoError(t, err)
			request.Header.Set("Accept", accept)
			if accept == "" {
				request.Header.Del("Accept")
			}
			response, err := b.client.Do(request)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, status, response.StatusCode, accept)
			assert.Contains(t, string(body), "unavailable")
			if status == 503 {
				assert.Regexp(t, `^[2-5]$`, response.Header.Get("Retry-After"))
				continue
			}
			assert.Regexp(t, `^retry: [1-4]\d{3}\n\nevent: ssebridge.reconnect\ndata: {"reason":"unavailable"}\n\n$`, string(body))
		}
		assert.Zero(t, b.hub.Readers())
	})
}

// TestReaderWaitsForTheLog: a reader that is far behind while the log cannot be reached gets heartbeats, and then
// everything.
func TestReaderWaitsForTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bridge.Settings{WindowEvents: 2})
		for range 10 {
			b.log.store("a")
		}
		first := bridge.Cursor{Seq: 1, Time: 10}
		b.log.setBroken(true)
		s := b.open(t, "topic=a&format=json&since="+first.String())
		_, _ = s.take()
		for range 2000 {
			b.log.store("a")
			time.Sleep(10 * time.Millisecond)
		}
		lines, ended := s.take()
		assert.False(t, ended)
		assert.InDelta(t, 20, b.log.reads, 2, "it asks again once a second, whatever is published")
		assert.Contains(t, lines, "event: ssebridge.heartbeat")
		assert.Equal(t, "id: "+first.String(), lines[0], "still at its place")
		b.log.setBroken(false)
		time.Sleep(1001 * time.Millisecond)
		lines, _ = s.take()
		assert.Len(t, lines, 2009*3)
	})
}

// TestStalledReaderIsClosed: who takes nothing for a minute is closed; others are not.
func TestStalledReaderIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bridge.Settings{})
		stalled, reading := b.dial(), b.dial()
		for _, conn := range []net.Conn{stalled, reading} {
			_, err := io.WriteString(conn, "GET /v1/events?topic=a HTTP/1.1\r\nHost: bridge\r\n\r\n")
			require.NoError(t, err)
			defer conn.Close()
		}
		go func() { _, _ = io.Copy(io.Discard, reading) }()
		synctest.Wait()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		assert.Equal(t, 2, b.hub.Readers())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, 1, b.hub.Readers(), "the stalled one is closed")
	})
}

// readTheLog opens a reader behind a hundred pages of a slow log in which nothing is for it.
func readTheLog(t *testing.T) (*bench, *stream) {
	t.Helper()
	b := newBench(t, bridge.Settings{WindowEvents: 2, HistoryBytes: 1})
	for range 256 * 100 {
		b.log.store("elsewhere")
	}
	b.log.slow = time.Second
	return b, b.open(t, "topic=a&since="+bridge.Cursor{Seq: 1, Time: 10}.String())
}

// TestHeartbeatsWhileReadingTheLog: a reader for which nothing is in a long piece of the log is not silent.
func TestHeartbeatsWhileReadingTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, s := readTheLog(t)
		_, _ = s.take()
		time.Sleep(90 * time.Second)
		lines, ended := s.take()
		assert.False(t, ended)
		assert.InDelta(t, 6, len(lines)/3, 2, "%v", lines)
		place, err := bridge.ParseCursor(strings.TrimPrefix(lines[len(lines)-3], "id: "))
		require.NoError(t, err)
		assert.Greater(t, place.Seq, uint64(256*60), "with the place that it has passed")
	})
}

// TestEndWhileReadingTheLog: the hub ends a reader that is busy too.
func TestEndWhileReadingTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := readTheLog(t)
		b.hub.Drain()
		time.Sleep(1100 * time.Millisecond)
		lines, ended := s.take()
		assert.True(t, ended)
		assert.Contains(t, lines, `data: {"reason":"drain"}`)
	})
}

// TestResetKeepsTheIDUntilItIsTold: a browser that is cut off between the head and the reset comes back with its old id.
func TestResetKeepsTheIDUntilItIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bridge.Settings{})
		end := b.log.store("a").String()
		lines, _ := b.openWith(t, http.Header{"Last-Event-Id": {"garbage"}}, "topic=a").take()
		require.Len(t, lines, 5)
		assert.Equal(t, "event: ssebridge.open", lines[0], "no id: the browser keeps what it has")
		assert.Equal(t, []string{"id: " + end, "event: ssebridge.reset", `data: {"reason":"unknown"}`}, lines[2:])
	})
}

func TestRequestWithBody(t *testing.T) {
	t.Parallel()
	handler := newHandler(t, sse.Config{Hub: bridge.NewHub(&memoryLog{}, bridge.Settings{})})
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/v1/events?topic=a", strings.NewReader("body")))
	assert.Equal(t, http.StatusBadRequest, recorder.Code)
	assert.Contains(t, recorder.Body.String(), "body")
}

func TestClosedByDefault(t *testing.T) {
	t.Parallel()
	handler := newHandler(t, sse.Config{Hub: bridge.NewHub(&memoryLog{}, bridge.Settings{})})
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/v1/events?topic=a", nil))
	assert.Equal(t, http.StatusForbidden, recorder.Code)
}

// TestDenied: what Authorize says is what the caller gets; a caller who may come back gets a stream that says so.
func TestDenied(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err              error
		status           int
		challenge, wants string
	}{
		"identity": {
			&sse.Refusal{Status: 401, Detail: "the token has expired", Challenge: `Bearer error="invalid_token"`},
			401, `Bearer error="invalid_token"`, "the token has expired",
		},
		"rule":    {&sse.Refusal{Status: 403, Detail: "no"}, 403, "", `"detail":"no"`},
		"bug":     {errors.New("secret"), 403, "", "you may not read"},
		"not now": {&sse.Refusal{Status: 503, Detail: "keys"}, 200, "", "event: ssebridge.reconnect\ndata: {\"reason\":\"unavailable\"}\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := newHandler(t, sse.Config{
				Hub:       bridge.NewHub(&memoryLog{}, bridge.Settings{}),
				Authorize: func(*http.Request, *bridge.Subscription) (sse.Grant, error) { return sse.Grant{}, test.err },
			})
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/v1/events?topic=a", nil))
			assert.Equal(t, test.status, recorder.Code)
			assert.Equal(t, test.challenge, recorder.Header().Get("WWW-Authenticate"))
			assert.Contains(t, recorder.Body.String(), test.wants)
			assert.NotContains(t, recorder.Body.String(), "secret")
		})
	}
}

// TestExpiry: a stream ends with its caller's identity, whatever it is doing then.
func TestExpiry(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, bridge.Settings{})
			s := b.openWith(t, http.Header{"Life": {"1h"}}, "topic=a")
			time.Sleep(time.Hour - time.Second)
			_, ended := s.take()
			assert.False(t, ended)
			last := b.log.store("a")
			_, _ = s.take()
			time.Sleep(time.Second)
			lines, ended := s.take()
			assert.True(t, ended)
			assert.Equal(t, []string{"id: " + last.String(), "event: ssebridge.expired", `data: {"reason":"token"}`}, lines)
			assert.Zero(t, b.hub.Readers())
		})
	})
	t.Run("busy", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, bridge.Settings{})
			for range 20 { // an event and the end come together: which is seen first is chance
				conn := b.dial()
				_, err := io.WriteString(conn, "GET /v1/events?topic=a HTTP/1.1\r\nHost: bridge\r\nLife: 5s\r\nConnection: close\r\n\r\n")
				require.NoError(t, err)
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				time.Sleep(4 * time.Second)
				last := b.log.store("a") // what is written when the end comes
				synctest.Wait()
				time.Sleep(time.Second)
				b.log.store("a") // for whoever comes back
				synctest.Wait()
				text, err := io.ReadAll(response.Body)
				_ = conn.Close()
				require.NoError(t, err)
				assert.Equal(t, 1, strings.Count(string(text), `"type":"test.v1.Event"`))
				end := "id: " + last.String() + "\nevent: ssebridge.expired\ndata: {\"reason\":\"token\"}\n\n"
				assert.True(t, strings.HasSuffix(string(text), end), "the place is that of the last event: %s", text)
			}
		})
	})
	t.Run("reading the log", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, bridge.Settings{WindowEvents: 2, HistoryBytes: 1})
			for range 256 * 100 {
				b.log.store("elsewhere")
			}
			b.log.slow = time.Hour
			s := b.openWith(t, http.Header{"Life": {"1m"}}, "topic=a&since="+bridge.Cursor{Seq: 1, Time: 10}.String())
			time.Sleep(time.Minute)
			lines, ended := s.take()
			assert.True(t, ended)
			assert.Contains(t, lines, "event: ssebridge.expired")
		})
	})
	t.Run("stalled", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, bridge.Settings{})
			conn := b.dial()
			defer conn.Close()
			_, err := io.WriteString(conn, "GET /v1/events?topic=a HTTP/1.1\r\nHost: bridge\r\nLife: 10s\r\n\r\n")
			require.NoError(t, err)
			synctest.Wait()
			assert.Equal(t, 1, b.hub.Readers())
			time.Sleep(11 * time.Second)
			synctest.Wait()
			assert.Zero(t, b.hub.Readers())
		})
	})
}
