package sse_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/sse"
)

// transport is one of the ways in which a stream reaches its reader. Each has to do the same.
type transport struct {
	name     string
	takeOver bool // on systems where that is possible
	http2    bool
}

var everyTransport = []transport{
	{name: "HTTP1 taken over", takeOver: true},
	{name: "HTTP1 with a goroutine"},
	{name: "HTTP2", takeOver: true, http2: true},
}

// onEveryTransport runs a test for each transport, on a real listener.
func onEveryTransport(t *testing.T, config sse.Config, settings bridge.Settings, test func(*testing.T, *realBench)) {
	t.Helper()
	for _, transport := range everyTransport {
		t.Run(transport.name, func(t *testing.T) {
			t.Parallel()
			test(t, newRealBench(t, transport, config, settings))
		})
	}
}

// realBench is a handler on a server with a real listener.
type realBench struct {
	transport transport
	log       *memoryLog
	hub       *bridge.Hub
	handler   *sse.Handler
	address   string
	client    *http.Client
}

func newRealBench(t testing.TB, transport transport, config sse.Config, settings bridge.Settings) *realBench {
	t.Helper()
	b := &realBench{transport: transport, log: &memoryLog{}}
	b.hub = bridge.NewHub(b.log, settings)
	config.Hub = b.hub
	if config.Authorize == nil {
		config.Authorize = authorizeByHeader
	}
	b.handler = sse.NewHandler(config)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.address = listener.Addr().String()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: b.handler, Protocols: &protocols}
	if transport.takeOver {
		server.ConnContext = sse.ConnContext
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { _ = server.Serve(&smallBuffers{listener}) }()
	go func() {
		defer close(stopped)
		_ = b.hub.Run(ctx)
	}()
	require.Eventually(t, b.hub.Warm, 5*time.Second, time.Millisecond)
	var clientProtocols http.Protocols
	clientProtocols.SetHTTP1(!transport.http2)
	clientProtocols.SetUnencryptedHTTP2(transport.http2)
	b.client = &http.Client{Transport: &http.Transport{Protocols: &clientProtocols, DisableKeepAlives: !transport.http2}}
	t.Cleanup(func() {
		b.hub.Drain()
		b.client.CloseIdleConnections()
		_ = server.Close()
		assert.NoError(t, b.handler.Shutdown(context.Background()))
		cancel()
		<-stopped
	})
	return b
}

// smallBuffers makes connections stall early.
type smallBuffers struct{ net.Listener }

func (l *smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(16 << 10)
	}
	return conn, err
}

// realStream reads the frames of a stream.
type realStream struct {
	response *http.Response
	lines    *bufio.Reader
}

func (b *realBench) open(t *testing.T, query string, header http.Header) *realStream {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.address+"/v1/events?"+query, nil)
	require.NoError(t, err)
	maps.Copy(request.Header, header)
	response, err := b.client.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return &realStream{response: response, lines: bufio.NewReader(response.Body)}
}

// next returns the lines of the next frame, without those of retry; io.EOF when the stream has ended.
func (s *realStream) next() ([]string, error) {
	var frame []string
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" && len(frame) > 0:
			return frame, nil
		case line == "", strings.HasPrefix(line, "retry:"):
		default:
			frame = append(frame, line)
		}
	}
}

// nextNamed skips frames up to one of the bridge's own.
func (s *realStream) nextNamed(t *testing.T, name string) []string {
	t.Helper()
	for {
		frame, err := s.next()
		require.NoError(t, err)
		if strings.Contains(strings.Join(frame, "\n"), "event: "+name) {
			return frame
		}
	}
}

// collect returns the ids of the next published events.
func (s *realStream) collect(t *testing.T, count int) []string {
	t.Helper()
	var ids []string
	for len(ids) < count {
		frame, err := s.next()
		require.NoError(t, err, "after %d", len(ids))
		if strings.HasPrefix(frame[1], "data:") || strings.HasPrefix(frame[1], "event: test.") {
			ids = append(ids, strings.TrimPrefix(frame[0], "id: "))
		}
	}
	return ids
}

func TestTransportHead(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		s := b.open(t, "topic=a", nil)
		header := s.response.Header
		assert.Equal(t, 200, s.response.StatusCode)
		assert.Equal(t, "text/event-stream", header.Get("Content-Type"))
		assert.Equal(t, "no-store, no-transform", header.Get("Cache-Control"))
		assert.Equal(t, "no", header.Get("X-Accel-Buffering"))
		date, err := http.ParseTime(header.Get("Date"))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), date, 2*time.Second)
		line, err := s.lines.ReadString('\n')
		require.NoError(t, err)
		assert.Regexp(t, `^retry: [1-4]\d{3}\n$`, line)
		frame, err := s.next()
		require.NoError(t, err)
		assert.Equal(t, []string{"id: 0-1", "event: ssebridge.open"}, frame[:2])
	})
}

// TestTransportOrder: events go out in order and once, live and from the window and the log, however they fall together.
func TestTransportOrder(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{WindowEvents: 300}, func(t *testing.T, b *realBench) {
		const count = 2000
		var want []string
		for range count / 2 {
			want = append(want, b.log.store("a").String())
		}
		behind := b.open(t, "topic=a&since=earliest", nil)
		inside := b.open(t, "topic=a&since="+want[count/2-100], nil)
		live := b.open(t, "topic=a&format=json", nil)
		live.nextNamed(t, "ssebridge.open")
		go func() {
			for range count / 2 {
				b.log.store("a")
			}
		}()
		all := behind.collect(t, count)
		assert.Equal(t, want, all[:count/2])
		assert.Equal(t, all[count/2-99:], inside.collect(t, count/2+99))
		assert.Equal(t, all[count/2:], live.collect(t, count/2))
	})
}

// TestTransportSlowReader: a reader that stops for a while gets everything in order when it goes on, whole frame by whole
// frame, and delays nobody.
func TestTransportSlowReader(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{WindowEvents: 50}, func(t *testing.T, b *realBench) {
		b.log.data = fmt.Appendf(nil, `{"text":"%s"}`, strings.Repeat("x", 30<<10))
		slow, quick := b.open(t, "topic=a", nil), b.open(t, "topic=a", nil)
		slow.nextNamed(t, "ssebridge.open")
		quick.nextNamed(t, "ssebridge.open")
		var want []string
		for range 40 {
			for range 10 {
				want = append(want, b.log.store("a").String())
			}
			assert.Equal(t, want[len(want)-10:], quick.collect(t, 10))
		}
		assert.Equal(t, want, slow.collect(t, len(want)))
	})
}

// TestTransportStall: a reader that takes nothing is closed, one that takes something is not.
func TestTransportStall(t *testing.T) {
	t.Parallel()
	config := sse.Config{Stall: time.Second, Heartbeat: time.Hour}
	onEveryTransport(t, config, bridge.Settings{}, func(t *testing.T, b *realBench) {
		b.log.data = fmt.Appendf(nil, `{"text":"%s"}`, strings.Repeat("x", 200<<10))
		stalled, dripping := b.open(t, "topic=a", nil), b.open(t, "topic=a", nil)
		stalled.nextNamed(t, "ssebridge.open")
		dripping.nextNamed(t, "ssebridge.open")
		for range 200 { // 40 MB
			b.log.store("a")
		}
		left := time.Now().Add(4 * time.Second)
		for time.Now().Before(left) {
			_, err := io.ReadFull(dripping.lines, make([]byte, 256<<10))
			require.NoError(t, err)
			time.Sleep(50 * time.Millisecond) // slow, but never silent for as long as a stall
		}
		assert.Equal(t, 1, b.hub.Readers())
	})
}

func TestTransportHeartbeat(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{Heartbeat: 200 * time.Millisecond}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		s := b.open(t, "topic=a", nil)
		s.nextNamed(t, "ssebridge.heartbeat")
		place := b.log.store("elsewhere")
		require.Eventually(t, func() bool {
			return s.nextNamed(t, "ssebridge.heartbeat")[0] == "id: "+place.String()
		}, 5*time.Second, time.Millisecond)
	})
}

func TestTransportReset(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		place := b.log.store("a")
		s := b.open(t, "topic=a", http.Header{"Last-Event-Id": {"garbage"}})
		frame := s.nextNamed(t, "ssebridge.reset")
		assert.Equal(t, []string{"id: " + place.String(), "event: ssebridge.reset", `data: {"reason":"unknown"}`}, frame)
		assert.Equal(t, []string{b.log.store("a").String()}, s.collect(t, 1))
	})
}

// TestTransportEnds: why a stream ends is its last word.
func TestTransportEnds(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		begun := time.Now()
		expiring := b.open(t, "topic=a", http.Header{"Life": {"1s"}})
		staying := b.open(t, "topic=a", nil)
		expiring.nextNamed(t, "ssebridge.expired")
		assert.InDelta(t, 1, time.Since(begun).Seconds(), 0.9)
		_, err := expiring.next()
		require.ErrorIs(t, err, io.EOF)
		staying.nextNamed(t, "ssebridge.open")
		last := b.log.store("a")
		assert.Equal(t, []string{last.String()}, staying.collect(t, 1))
		b.hub.Drain()
		frame := staying.nextNamed(t, "ssebridge.reconnect")
		assert.Equal(t, []string{"id: " + last.String(), "event: ssebridge.reconnect", `data: {"reason":"drain"}`}, frame)
		_, err = staying.next()
		require.ErrorIs(t, err, io.EOF)
		require.Eventually(t, func() bool { return b.hub.Readers() == 0 }, 5*time.Second, time.Millisecond)
	})
}

// TestTransportMaxAge: a stream that has lasted long is asked to come back, and does so with its place.
func TestTransportMaxAge(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{MaxAge: time.Second}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		begun := time.Now()
		s := b.open(t, "topic=a", nil)
		s.nextNamed(t, "ssebridge.open")
		last := b.log.store("a").String()
		frame := s.nextNamed(t, "ssebridge.reconnect")
		assert.Equal(t, []string{"id: " + last, "event: ssebridge.reconnect", `data: {"reason":"max_age"}`}, frame)
		assert.InDelta(t, 1, time.Since(begun).Seconds(), 0.4)
		_, err := s.next()
		require.ErrorIs(t, err, io.EOF)
		require.Eventually(t, func() bool { return b.hub.Readers() == 0 }, 5*time.Second, time.Millisecond)
	})
}

// TestTransportExpiryOfAStalledReader: who takes nothing is cut soon after the end of its identity.
func TestTransportExpiryOfAStalledReader(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		b.log.data = fmt.Appendf(nil, `{"text":"%s"}`, strings.Repeat("x", 200<<10))
		s := b.open(t, "topic=a", http.Header{"Life": {"1s"}})
		s.nextNamed(t, "ssebridge.open")
		for range 200 {
			b.log.store("a")
		}
		begun := time.Now()
		require.Eventually(t, func() bool { return b.hub.Readers() == 0 }, 10*time.Second, time.Millisecond)
		assert.Less(t, time.Since(begun), 2*time.Second)
	})
}

// TestTransportHangUp: a reader that goes is noticed although nothing is written to it; one that closes only its own
// side has gone too.
func TestTransportHangUp(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{Heartbeat: time.Hour}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		s := b.open(t, "topic=a", nil)
		s.nextNamed(t, "ssebridge.open")
		assert.Equal(t, 1, b.hub.Readers())
		_ = s.response.Body.Close()
		require.Eventually(t, func() bool { return b.hub.Readers() == 0 }, 5*time.Second, time.Millisecond)
		if b.transport.http2 {
			return
		}
		conn, err := net.Dial("tcp", b.address)
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET /v1/events?topic=a HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return b.hub.Readers() == 1 }, 5*time.Second, time.Millisecond)
		tcp, ok := conn.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, tcp.CloseWrite())
		require.Eventually(t, func() bool { return b.hub.Readers() == 0 }, 5*time.Second, time.Millisecond)
	})
}

// TestTransportWaitsForTheLog: readers behind the window wait while the log cannot be reached, hear heartbeats, and get
// everything then; those at the end are not concerned.
func TestTransportWaitsForTheLog(t *testing.T) {
	t.Parallel()
	config := sse.Config{Heartbeat: 200 * time.Millisecond}
	onEveryTransport(t, config, bridge.Settings{WindowEvents: 2}, func(t *testing.T, b *realBench) {
		var want []string
		for range 500 {
			want = append(want, b.log.store("a").String())
		}
		b.log.setBroken(true)
		var waiting []*realStream
		for range 30 {
			waiting = append(waiting, b.open(t, "topic=a&since="+want[0], nil))
		}
		live := b.open(t, "topic=b", nil)
		live.nextNamed(t, "ssebridge.open")
		for _, s := range waiting {
			assert.Equal(t, "id: "+want[0], s.nextNamed(t, "ssebridge.heartbeat")[0])
		}
		assert.Equal(t, []string{b.log.store("b").String()}, live.collect(t, 1))
		b.log.setBroken(false)
		for _, s := range waiting {
			assert.Equal(t, want[1:], s.collect(t, 499))
		}
	})
}

// readTheLog opens a stream for which nothing is in a long piece of a slow log.
func (b *realBench) readTheLog(t *testing.T, header http.Header) *realStream {
	t.Helper()
	for range 256 * 40 {
		b.log.store("elsewhere")
	}
	b.log.setSlow(50 * time.Millisecond)
	return b.open(t, "topic=a&since="+bridge.Cursor{Seq: 1, Time: 10}.String(), header)
}

// TestTransportHeartbeatsWhileReadingTheLog: a reader that finds nothing for a long time is not silent, and moves on.
func TestTransportHeartbeatsWhileReadingTheLog(t *testing.T) {
	t.Parallel()
	config, settings := sse.Config{Heartbeat: 200 * time.Millisecond}, bridge.Settings{WindowEvents: 2, HistoryBytes: 1}
	onEveryTransport(t, config, settings, func(t *testing.T, b *realBench) {
		begun := time.Now()
		s, before := b.readTheLog(t, nil), uint64(0)
		for range 5 {
			place, err := bridge.ParseCursor(strings.TrimPrefix(s.nextNamed(t, "ssebridge.heartbeat")[0], "id: "))
			require.NoError(t, err)
			assert.Greater(t, place.Seq, before)
			before = place.Seq
		}
		assert.Less(t, time.Since(begun), 1900*time.Millisecond, "the log takes two seconds")
	})
}

// TestTransportExpiryWhileReadingTheLog: an identity that ends meanwhile ends the stream at once.
func TestTransportExpiryWhileReadingTheLog(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{WindowEvents: 2, HistoryBytes: 1}, func(t *testing.T, b *realBench) {
		begun := time.Now()
		b.readTheLog(t, http.Header{"Life": {"500ms"}}).nextNamed(t, "ssebridge.expired")
		assert.Less(t, time.Since(begun), time.Second)
	})
}

// TestTransportEndsWhileWaitingForTheLog: neither an identity nor the bridge waits for a log that does not answer, however
// many readers ask it.
func TestTransportEndsWhileWaitingForTheLog(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{}, bridge.Settings{WindowEvents: 2}, func(t *testing.T, b *realBench) {
		first := b.log.store("a").String()
		for range 10 {
			b.log.store("a")
		}
		b.log.setSlow(time.Hour)
		var waiting, expiring []*realStream
		for range 40 {
			waiting = append(waiting, b.open(t, "topic=a&since="+first, nil))
		}
		begun := time.Now()
		for range 10 {
			expiring = append(expiring, b.open(t, "topic=a&since="+first, http.Header{"Life": {"1s"}}))
		}
		for _, s := range expiring {
			assert.Equal(t, "id: "+first, s.nextNamed(t, "ssebridge.expired")[0])
		}
		assert.Less(t, time.Since(begun), 2*time.Second)
		b.hub.Drain()
		for _, s := range waiting {
			assert.Equal(t, "id: "+first, s.nextNamed(t, "ssebridge.reconnect")[0])
		}
		assert.Less(t, time.Since(begun), 3*time.Second)
	})
}

// TestTransportShutdown: what does not end is cut when the time is over.
func TestTransportShutdown(t *testing.T) {
	t.Parallel()
	b := newRealBench(t, transport{takeOver: true}, sse.Config{}, bridge.Settings{})
	for range 10 {
		b.open(t, "topic=a", nil).nextNamed(t, "ssebridge.open")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.handler.Shutdown(ctx), context.DeadlineExceeded)
	assert.Zero(t, b.hub.Readers())
}

// TestTransportChurn: readers that come and go at any moment leave nothing behind.
func TestTransportChurn(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{Heartbeat: 10 * time.Millisecond}, bridge.Settings{WindowEvents: 20}, func(t *testing.T, b *realBench) {
		first := b.log.store("a").String()
		steady := b.open(t, "topic=a", nil)
		steady.nextNamed(t, "ssebridge.open")
		done := make(chan []string)
		go func() {
			var stored []string
			for range 1000 {
				stored = append(stored, b.log.store("a").String())
				time.Sleep(time.Millisecond) // so that readers come and go between events
			}
			done <- stored
		}()
		gone := make(chan struct{})
		for worker := range 8 {
			go func() {
				defer func() { gone <- struct{}{} }()
				for i := range 40 {
					request, err := http.NewRequest(http.MethodGet, "http://"+b.address+"/v1/events?topic=a&since="+first, nil)
					if !assert.NoError(t, err) {
						return
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(worker*i%23)*time.Millisecond)
					if response, err := b.client.Do(request.WithContext(ctx)); err == nil {
						_, _ = io.Copy(io.Discard, response.Body)
						_ = response.Body.Close()
					}
					cancel()
				}
			}()
		}
		assert.Equal(t, steady.collect(t, 1000), <-done)
		for range 8 {
			<-gone
		}
		require.Eventually(t, func() bool { return b.hub.Readers() == 1 }, 5*time.Second, time.Millisecond)
	})
}
