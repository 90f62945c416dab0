package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// churnTime is how long TestChurn takes; make soak takes a minute.
var churnTime = flag.Duration("churn", 5*time.Second, "how long readers come and go in TestChurn")

const (
	churnRate = 200  // readers that connect, and that go, in a second
	end       = -1   // the number of the last event
	kept      = 4000 // events that are there before, more than what the bridge keeps of old ones in memory
)

// holdings is what a process has that it could leak.
type holdings struct {
	goroutines, descriptors, heap int // heap in bytes, after a collection
}

func (p *process) holdings(t *testing.T) (h holdings) {
	t.Helper()
	profile := func(query string) string {
		response := get(t, "http://"+p.ops+"/debug/pprof/"+query, func(*http.Request) {})
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(text)
	}
	_, err := fmt.Sscanf(profile("goroutine?debug=1"), "goroutine profile: total %d", &h.goroutines)
	require.NoError(t, err)
	profile("heap?gc=1") // pools are empty after two collections
	_, stats, _ := strings.Cut(profile("heap?debug=1&gc=1"), "# HeapAlloc = ")
	_, err = fmt.Sscan(stats, &h.heap)
	require.NoError(t, err)
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.command.Process.Pid))
	require.NoError(t, err)
	h.descriptors = len(descriptors)
	return h
}

// numbers are the cursors of numbered events. They may be used concurrently.
type numbers struct {
	mu      sync.Mutex
	cursors []string
}

func (n *numbers) add(cursors []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cursors = append(n.cursors, cursors...)
}

func (n *numbers) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cursors
}

// TestChurn: 200 readers a second come, resume anywhere, and go at any moment while events are published. None of them
// misses an event or has one twice, nor do those who stay, and nothing is left of them.
func TestChurn(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("window: {events: 500}\nhistory: {bytes: 1MiB}\n"), 0o600))
	bridge := startProcess(t, t.TempDir(), nil, "--config", file)
	published := &numbers{}
	published.add(publishNumbered(t, "http://"+bridge.internal, "a", 0, kept))

	staying := make([]*eventStream, 10)
	for i := range staying {
		staying[i] = subscribe(t, "http://"+bridge.public, topics("a")+"&format=json", published.all()[0])
	}
	var resumed atomic.Int64
	var first sync.WaitGroup
	for range 2 * churnRate { // what is made once, or grows with how many come together, is there
		first.Go(func() { comeAndGo(t, bridge, published, &resumed) })
	}
	first.Wait()
	resumed.Store(0)
	streams := func() string { return sample(scrape(t, "http://"+bridge.ops), `ssebridge_readers{transport="http1"}`) }
	require.Eventually(t, func() bool { return streams() == "10" }, 10*time.Second, 10*time.Millisecond)
	before := bridge.holdings(t)
	require.Eventually(t, func() bool { // what went with the first has gone
		last := before
		before = bridge.holdings(t)
		return before.goroutines >= last.goroutines && before.heap > last.heap-64<<10
	}, 20*time.Second, 500*time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), *churnTime)
	defer cancel()
	var group, readers sync.WaitGroup
	group.Go(func() { publishUntil(ctx, t, bridge, published) })
	received := make([][]string, len(staying))
	for i, s := range staying {
		readers.Go(func() {
			for n := 1; ; n++ {
				f, err := nextPublished(s)
				if f.data == data(end) || !assert.NoError(t, err) || !assert.Equal(t, data(n), f.data) {
					return
				}
				received[i] = append(received[i], f.id)
			}
		})
	}
	came, tick := 0, time.NewTicker(time.Second/churnRate)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		came++
		group.Go(func() { comeAndGo(t, bridge, published, &resumed) })
	}
	group.Wait()
	publishNumbered(t, "http://"+bridge.internal, "a", end, 1)
	readers.Wait()
	for i := range staying {
		assert.Equal(t, published.all()[1:], received[i], "reader %d", i)
	}
	t.Logf("%d readers came and went, %d events", came, len(published.all()))

	require.Eventually(t, func() bool { return streams() == "10" }, 10*time.Second, 10*time.Millisecond)
	var after holdings
	assert.Eventually(t, func() bool {
		after = bridge.holdings(t)
		return after.descriptors <= before.descriptors+2 && after.goroutines <= before.goroutines+8
	}, 10*time.Second, 100*time.Millisecond, "the test itself has a connection or two")
	events := (len(published.all()) - kept) * 512 // what the log keeps of each, for duplicates above all
	assert.Less(t, after.heap, before.heap+events+1<<20, "each of %d readers would leave 1.5 KiB", came)
	assert.Greater(t, resumed.Load(), int64(came/10), "readers that resumed and received what they had missed")
	t.Logf("before: %+v, after: %+v", before, after)
}

// publishUntil publishes 100 numbered events a second over one connection until ctx ends.
func publishUntil(ctx context.Context, t *testing.T, bridge *process, published *numbers) {
	t.Helper()
	client := publisher("http://" + bridge.internal)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		batch := &ssebridgev1.PublishBatchRequest{}
		for i := range 5 {
			batch.Events = append(batch.Events, numbered(t, "a", len(published.all())+i))
		}
		response, err := client.PublishBatch(t.Context(), connect.NewRequest(batch))
		if !assert.NoError(t, err) {
			return
		}
		var cursors []string
		for _, result := range response.Msg.GetResults() {
			cursors = append(cursors, result.GetCursor())
		}
		published.add(cursors)
	}
}

// nextPublished returns the next event that is not the bridge's own.
func nextPublished(s *eventStream) (frame, error) {
	for {
		f, err := s.next()
		switch {
		case err != nil || !strings.HasPrefix(f.event, "ssebridge."):
			return f, err
		case f.event == "ssebridge.reset":
			return f, errors.New("reset: " + f.data)
		}
	}
}

// comeAndGo opens a stream, with a place or without, checks what comes for a moment, and goes. It counts in resumed if
// something came behind its place.
func comeAndGo(t *testing.T, bridge *process, published *numbers, resumed *atomic.Int64) {
	t.Helper()
	conn, err := net.Dial("tcp", bridge.public)
	if !assert.NoError(t, err) {
		return
	}
	defer conn.Close()
	if rand.N(2) == 0 {
		_ = conn.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // it goes with a reset
	}
	next, place := -1, ""
	if known := published.all(); rand.N(3) > 0 {
		next = rand.N(len(known))
		place = "Last-Event-ID: " + known[next] + "\r\n"
	}
	stay := func() { _ = conn.SetDeadline(time.Now().Add(rand.N(300 * time.Millisecond))) } // which a busy machine makes short
	stay()
	if rand.N(4) == 0 { // however busy it is, some wait until something has come
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	}
	_, err = fmt.Fprintf(conn, "GET /v1/events?topic=a&format=json HTTP/1.1\r\nHost: localhost\r\n%s\r\n", place)
	s := &eventStream{body: conn, lines: bufio.NewReader(conn)}
	for received := 0; err == nil; received++ {
		var f frame
		if f, err = nextPublished(s); err != nil {
			break
		}
		if next++; next == 0 { // the first event of a reader without a place
			_, err = fmt.Sscanf(f.data, `{"n":%d}`, &next)
			assert.NoError(t, err)
		}
		if !assert.Equal(t, data(next), f.data) {
			return
		}
		if received > 0 {
			continue
		}
		stay()
		if place != "" {
			resumed.Add(1)
		}
	}
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
