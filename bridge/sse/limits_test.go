package sse_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/sse"
)

// as is a caller: who it is, and where the proxy says that it is.
func as(principal, address string) http.Header {
	return http.Header{"Principal": {principal}, "X-Forwarded-For": {address}}
}

// opened opens a stream that must not be turned away.
func (b *realBench) opened(t *testing.T, header http.Header) *realStream {
	t.Helper()
	s := b.open(t, "topic=a", header)
	frame, err := s.next()
	require.NoError(t, err)
	require.Equal(t, "event: ssebridge.open", frame[1])
	return s
}

// turnedAway asks for a stream, as EventSource and as a caller of JSON, which both must be put off.
func (b *realBench) turnedAway(t *testing.T, header http.Header, reason string, status int) {
	t.Helper()
	s := b.open(t, "topic=a", header)
	assert.Equal(t, 200, s.response.StatusCode)
	assert.Equal(t, "text/event-stream", s.response.Header.Get("Content-Type"))
	assert.Equal(t, "no-store, no-transform", s.response.Header.Get("Cache-Control"))
	text, err := io.ReadAll(s.lines) // it ends by itself
	require.NoError(t, err)
	assert.Regexp(t, `^retry: [1-4]\d{3}\n\nevent: ssebridge.reconnect\ndata: {"reason":"`+reason+`"}\n\n$`, string(text))

	header = header.Clone()
	header.Set("Accept", "application/json, text/event-stream")
	s = b.open(t, "topic=a", header)
	assert.Equal(t, status, s.response.StatusCode)
	assert.Equal(t, "application/problem+json", s.response.Header.Get("Content-Type"))
	seconds, err := strconv.Atoi(s.response.Header.Get("Retry-After"))
	require.NoError(t, err)
	assert.True(t, 1 <= seconds && seconds <= 5, seconds)
	text, err = io.ReadAll(s.lines)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"reason":"`+reason+`"`)
	assert.Contains(t, string(text), `"status":`+strconv.Itoa(status))
}

// openedAgain opens a stream as soon as a place is given back, which is soon.
func (b *realBench) openedAgain(t *testing.T, header http.Header) (s *realStream) {
	t.Helper()
	require.Eventually(t, func() bool {
		s = b.open(t, "topic=a", header)
		frame, err := s.next()
		return err == nil && strings.Contains(strings.Join(frame, "\n"), "event: ssebridge.open")
	}, 5*time.Second, time.Millisecond)
	return s
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestLimits: at each limit the next is turned away, nobody else is, all who are there go on, and whoever leaves makes
// room for one.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		limits        sse.Limits
		within        []http.Header
		beyond, other http.Header // is not concerned
		reason        string
		status        int
	}{
		{
			"total", sse.Limits{Total: 3}, []http.Header{as("a", "192.0.2.1"), as("b", "192.0.2.2"), as("", "192.0.2.3")},
			as("c", "192.0.2.4"), nil, "overload", 503,
		},
		{
			"principal", sse.Limits{Total: 100, PerPrincipal: 2}, []http.Header{as("a", "192.0.2.1"), as("a", "192.0.2.2")},
			as("a", "192.0.2.3"), as("b", "192.0.2.1"), "principal_limit", 429,
		},
		{
			"anonymous callers are nobody", sse.Limits{Total: 4, PerPrincipal: 1}, []http.Header{as("", "192.0.2.1"), as("", "192.0.2.1"), as("", "192.0.2.1"), as("a", "192.0.2.1")},
			as("", "192.0.2.1"), nil, "overload", 503,
		},
		{
			"address", sse.Limits{PerAddress: 2, PerPrincipal: 1}, []http.Header{as("a", "192.0.2.1"), as("", "::ffff:192.0.2.1")},
			as("b", "192.0.2.1:4711"), as("b", "192.0.2.2"), "address_limit", 429,
		},
		{
			"site", sse.Limits{PerAddress: 1}, []http.Header{as("", "2001:db8::1")},
			as("", "[2001:db8:0:0:ffff::2]:80"), as("", "2001:db8:0:1::1"), "address_limit", 429,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.limits.TrustedProxies = loopback
			onEveryTransport(t, sse.Config{Limits: test.limits}, bridge.Settings{}, func(t *testing.T, b *realBench) {
				var streams []*realStream
				for _, header := range test.within {
					streams = append(streams, b.opened(t, header))
				}
				for range 3 { // whoever is turned away takes no place
					b.turnedAway(t, test.beyond, test.reason, test.status)
				}
				if test.other != nil {
					streams = append(streams, b.opened(t, test.other))
				}
				cursor := b.log.store("a").String()
				for _, s := range streams {
					assert.Equal(t, []string{cursor}, s.collect(t, 1))
				}
				for range 3 {
					_ = streams[0].response.Body.Close()
					streams[0] = b.openedAgain(t, test.within[0])
					b.turnedAway(t, test.beyond, test.reason, test.status)
				}
			})
		})
	}
}

// TestLimitsOfStreamsThatAreEnded: a place is free again however a stream ends, or does not begin.
func TestLimitsOfStreamsThatAreEnded(t *testing.T) {
	t.Parallel()
	config := sse.Config{Limits: sse.Limits{Total: 1, PerPrincipal: 1, PerAddress: 1}, Stall: time.Second, Heartbeat: time.Hour}
	onEveryTransport(t, config, bridge.Settings{WindowEvents: 2}, func(t *testing.T, b *realBench) {
		for range 2 {
			s := b.openedAgain(t, http.Header{"Principal": {"a"}, "Life": {"500ms"}})
			s.nextNamed(t, "ssebridge.expired")
		}
		require.Eventually(t, func() bool { return b.hub.Readers() == 0 }, 5*time.Second, time.Millisecond)
		b.log.setBroken(true)
		for range 2 {
			text, err := io.ReadAll(b.open(t, "topic=a&since=earliest", as("a", "")).lines)
			require.NoError(t, err)
			assert.Contains(t, string(text), `{"reason":"unavailable"}`)
		}
		b.log.setBroken(false)
		b.log.data = bytes.Repeat([]byte("1"), 200<<10)
		b.openedAgain(t, as("a", "")) // and stalls
		for range 200 {
			b.log.store("a")
		}
		b.turnedAway(t, as("b", ""), "overload", 503)
		s := b.openedAgain(t, as("b", ""))
		b.turnedAway(t, as("a", ""), "overload", 503)
		b.hub.Drain()
		s.nextNamed(t, "ssebridge.reconnect")
		require.Eventually(t, func() bool {
			text, err := io.ReadAll(b.open(t, "topic=a", as("a", "")).lines)
			return assert.NoError(t, err) && strings.Contains(string(text), `{"reason":"drain"}`)
		}, 5*time.Second, time.Millisecond, "not overload any more")
	})
}

// TestLimitsBeforeAuthorization: a flood at the limit costs no verification of tokens, and one that is refused takes no
// place.
func TestLimitsBeforeAuthorization(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	config := sse.Config{
		Limits: sse.Limits{Total: 2, PerAddress: 1, TrustedProxies: loopback},
		Authorize: func(r *http.Request, _ *bridge.Subscription) (sse.Grant, error) {
			asked.Add(1)
			if r.Header.Get("Principal") == "" {
				return sse.Grant{}, &sse.Refusal{Status: 401, Detail: "who?"}
			}
			return sse.Grant{Principal: r.Header.Get("Principal")}, nil
		},
	}
	b := newRealBench(t, everyTransport[0], config, bridge.Settings{})
	for range 5 {
		assert.Equal(t, 401, b.open(t, "topic=a", as("", "192.0.2.1")).response.StatusCode)
	}
	b.opened(t, as("a", "192.0.2.1"))
	require.EqualValues(t, 6, asked.Load())
	b.turnedAway(t, as("b", "192.0.2.1"), "address_limit", 429)
	assert.EqualValues(t, 6, asked.Load())
	b.opened(t, as("a", "192.0.2.2"))
	b.turnedAway(t, as("b", "192.0.2.3"), "overload", 503)
	assert.EqualValues(t, 7, asked.Load())
	assert.Equal(t, 400, b.open(t, "topic=", as("b", "192.0.2.3")).response.StatusCode, "what never works is refused for good")
}

// TestLimitsUnderRaces: there are never more streams than there may be, and every place comes back.
func TestLimitsUnderRaces(t *testing.T) {
	t.Parallel()
	const total, perPrincipal, perAddress = 12, 3, 6
	config := sse.Config{Limits: sse.Limits{Total: total, PerPrincipal: perPrincipal, PerAddress: perAddress, TrustedProxies: loopback}}
	onEveryTransport(t, config, bridge.Settings{}, func(t *testing.T, b *realBench) {
		var open, mostOpen, turnedAway atomic.Int32
		var group sync.WaitGroup
		for worker := range 30 {
			group.Go(func() {
				header := as(strconv.Itoa(worker%4), "192.0.2."+strconv.Itoa(worker%3))
				for range 20 {
					ctx, cancel := context.WithCancel(t.Context())
					request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.address+"/v1/events?topic=a", nil)
					if !assert.NoError(t, err) {
						cancel()
						return
					}
					maps.Copy(request.Header, header)
					response, err := b.client.Do(request)
					if assert.NoError(t, err) {
						begin := make([]byte, 128)
						n, _ := io.ReadAtLeast(response.Body, begin, 60)
						if bytes.Contains(begin[:n], []byte("ssebridge.open")) {
							now := open.Add(1)
							for most := mostOpen.Load(); now > most && !mostOpen.CompareAndSwap(most, now); most = mostOpen.Load() {
							}
							time.Sleep(time.Millisecond) // stays for a while, so that others find the places taken
							open.Add(-1)
						} else {
							turnedAway.Add(1)
						}
						_ = response.Body.Close()
					}
					cancel()
				}
			})
		}
		group.Wait()
		assert.Positive(t, turnedAway.Load())
		assert.LessOrEqual(t, mostOpen.Load(), int32(total))
		for i := range total { // all places are there again: three for each principal, six for each address
			b.openedAgain(t, as(strconv.Itoa(i%4), "192.0.2."+strconv.Itoa(i%2)))
		}
		b.turnedAway(t, as("x", "192.0.2.9"), "overload", 503) // and not one more
	})
}

// TestConnectionOfACallerThatIsTurnedAway: over HTTP/1.1 it is given up, as it would take a descriptor from others; over
// HTTP/2 the streams on it go on.
func TestConnectionOfACallerThatIsTurnedAway(t *testing.T) {
	t.Parallel()
	onEveryTransport(t, sse.Config{Limits: sse.Limits{Total: 1}}, bridge.Settings{}, func(t *testing.T, b *realBench) {
		first := b.opened(t, nil)
		keepsAlive := &http.Transport{}
		defer keepsAlive.CloseIdleConnections()
		if !b.transport.http2 {
			b.client = &http.Client{Transport: keepsAlive}
		}
		second := b.open(t, "topic=a", nil)
		assert.Equal(t, []string{"event: ssebridge.reconnect", `data: {"reason":"overload"}`}, second.nextNamed(t, "ssebridge.reconnect"))
		assert.Equal(t, !b.transport.http2, second.response.Close)
		assert.Equal(t, []string{b.log.store("a").String()}, first.collect(t, 1))
	})
}

// TestLimitInAllIsLogged, but not for everybody who is turned away.
func TestLimitInAllIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b := newRealBench(t, everyTransport[0], sse.Config{
		Limits: sse.Limits{Total: 1}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, bridge.Settings{})
	b.opened(t, nil)
	for range 5 {
		b.turnedAway(t, http.Header{}, "overload", 503)
	}
	b.hub.Drain()
	require.NoError(t, b.handler.Shutdown(context.Background()))
	assert.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")), log.String())
	assert.Contains(t, log.String(), `level=WARN msg="there are as many streams as there may be: new ones are put off" streams=1`)
}
