package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestMain(m *testing.M) {
	if directory := os.Getenv(childDirectory); directory != "" {
		appendUntilKilled(directory) // the child of TestKill
		return
	}
	goleak.VerifyTestMain(m)
}

// soleWriter is what open configures; only TestSoleWriter changes it.
var soleWriter bool

var quiet = slog.New(slog.DiscardHandler)

// startEmbedded starts a server that ends with the test.
func startEmbedded(t testing.TB, directory string) *Embedded {
	t.Helper()
	embedded, err := StartEmbedded(EmbeddedConfig{DataDir: directory, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, embedded.Close()) })
	return embedded
}

// open opens a log on a server, both of which end with the test.
func open(t testing.TB, embedded *Embedded, change ...func(*Config)) *Log {
	t.Helper()
	config := Config{Connect: embedded.Connect, Logger: quiet, CheckInterval: 100 * time.Millisecond, SoleWriter: soleWriter}
	for _, c := range change {
		c(&config)
	}
	log, err := Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

func openNew(t testing.TB, change ...func(*Config)) *Log {
	t.Helper()
	return open(t, startEmbedded(t, t.TempDir()), change...)
}

// newEvent returns the event with a number, which its id and data repeat.
func newEvent(number int) *bridge.Event {
	return &bridge.Event{
		Topic:  "shops/7/orders/42",
		Type:   "shop.v1.OrderShipped",
		ID:     strconv.Itoa(number),
		Source: "/shop/orders",
		Time:   time.Date(2026, 1, 2, 3, 4, 5, number, time.UTC),
		Data:   fmt.Appendf(nil, `{"number":%d}`, number),
	}
}

// store appends one event and waits for it.
func store(t testing.TB, log *Log, event *bridge.Event, key string) bridge.Receipt {
	t.Helper()
	pending, err := log.Append(t.Context(), event, key)
	require.NoError(t, err)
	receipt, err := pending.Wait()
	require.NoError(t, err)
	return receipt
}

// storeMany appends events with numbers from first on and returns their places.
func storeMany(t testing.TB, log *Log, first, count int) []bridge.Cursor {
	t.Helper()
	pending := make([]bridge.Pending, count)
	for i := range pending {
		var err error
		pending[i], err = log.Append(t.Context(), newEvent(first+i), "")
		require.NoError(t, err)
	}
	places := make([]bridge.Cursor, count)
	for i, p := range pending {
		receipt, err := p.Wait()
		require.NoError(t, err)
		places[i] = receipt.Cursor
	}
	return places
}

// stream returns the stream behind a log, for what only an operator does.
func stream(t testing.TB, log *Log) jetstream.Stream {
	t.Helper()
	s, err := log.read.Stream(t.Context(), log.config.Stream)
	require.NoError(t, err)
	return s
}

// recorder is a sink that notes what it is told.
type recorder struct {
	mu     sync.Mutex
	told   []string // "begin", "warm", "lost expired", … in order, without appends
	bases  []bridge.Cursor
	events []*bridge.Event
	after  []int // number of events when each of told came

	hold func(events []*bridge.Event) // called in Append before anything else
}

func (r *recorder) note(what string, base bridge.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, what)
	r.bases = append(r.bases, base)
	r.after = append(r.after, len(r.events))
}

func (r *recorder) Begin(base bridge.Cursor) { r.note("begin", base) }
func (r *recorder) Warm()                    { r.note("warm", bridge.Cursor{}) }
func (r *recorder) Lost(base bridge.Cursor, reason bridge.ResetReason) {
	r.note("lost "+string(reason), base)
}

func (r *recorder) Append(events []*bridge.Event) {
	if r.hold != nil {
		r.hold(events)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
}

// places returns where the events that came are.
func (r *recorder) places() []bridge.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	places := make([]bridge.Cursor, len(r.events))
	for i, event := range r.events {
		places[i] = event.Cursor
	}
	return places
}

// all returns what the sink was told, in order.
func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.told...)
}

// awaitEvents waits until a number of events has come.
func (r *recorder) awaitEvents(t testing.TB, count int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(r.places()) >= count }, 20*time.Second, time.Millisecond)
}

// awaitTold waits until the sink has been told something.
func (r *recorder) awaitTold(t testing.TB, what string) {
	t.Helper()
	require.Eventually(t, func() bool { return slices.Contains(r.all(), what) }, 20*time.Second, time.Millisecond)
}

// follow runs a tail until the test, or the function that it returns, ends it.
func follow(t testing.TB, log *Log, warm int, sink bridge.Sink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Tail(ctx, warm, sink) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
	t.Cleanup(stop)
	return stop
}
