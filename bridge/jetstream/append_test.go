package jetstream

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

// gate makes connections to an embedded server that can be held and cut, as a bad network does.
type gate struct {
	embedded *Embedded

	mu    sync.Mutex
	held  chan struct{} // closed when nothing is held
	conns []net.Conn
}

func newGate(embedded *Embedded) *gate {
	g := &gate{embedded: embedded, held: make(chan struct{})}
	close(g.held)
	return g
}

// connect is a Config.Connect that leads the connection with one name through the gate.
func (g *gate) connect(gated string) func(*Config) {
	return func(config *Config) {
		config.Connect = func(name string) (*nats.Conn, error) {
			if name != gated {
				return g.embedded.Connect(name)
			}
			return nats.Connect("", nats.Name(name), nats.InProcessServer(g), nats.MaxReconnects(-1),
				nats.ReconnectWait(time.Millisecond), nats.ReconnectBufSize(-1),
				nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		}
	}
}

func (g *gate) InProcessConn() (net.Conn, error) {
	conn, err := g.embedded.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, conn)
	return &gatedConn{Conn: conn, gate: g}, nil
}

// hold keeps back what the server sends until release is called.
func (g *gate) hold() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := make(chan struct{})
	g.held = held
	return sync.OnceFunc(func() { close(held) })
}

// cut breaks the connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.conns {
		_ = conn.Close()
	}
	g.conns = nil
}

type gatedConn struct {
	net.Conn

	gate *gate
}

func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.mu.Lock()
	held := c.gate.held
	c.gate.mu.Unlock()
	<-held
	return n, err
}

func TestAppend(t *testing.T) {
	log := openNew(t)
	before := time.Now().UnixNano()
	places := storeMany(t, log, 1, 1000)
	last := bridge.Cursor{Time: before - 1}
	for _, place := range places {
		require.Equal(t, last.Seq+1, place.Seq)
		require.Greater(t, place.Time, last.Time)
		last = place
	}
	event := newEvent(1001)
	receipt := store(t, log, event, "")
	require.Equal(t, receipt.Cursor.Time, event.Cursor.Time)
	page, err := log.Read(t.Context(), 1000, 1001)
	require.NoError(t, err)
	event.Cursor = receipt.Cursor
	require.Equal(t, []*bridge.Event{event}, page.Events)
}

func TestAppendInOrder(t *testing.T) {
	log := openNew(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { storeMany(t, log, 1, 200) })
	}
	group.Wait()
	sink := &recorder{}
	follow(t, log, 1600, sink)
	sink.awaitEvents(t, 1600)
	last := bridge.Cursor{}
	for _, place := range sink.places() {
		require.Equal(t, last.Seq+1, place.Seq)
		require.Greater(t, place.Time, last.Time, "stamps and sequences are in the same order")
		last = place
	}
}

func TestAppendDuplicates(t *testing.T) {
	log := openNew(t)
	first := store(t, log, newEvent(1), "key\r\n")
	require.False(t, first.Duplicate)
	store(t, log, newEvent(2), "other key")
	store(t, log, newEvent(3), "")

	pending, err := log.Append(t.Context(), newEvent(1), "key\r\n")
	require.NoError(t, err)
	require.Eventually(t, pending.Ready, 10*time.Second, time.Millisecond)
	again, err := pending.Wait()
	require.NoError(t, err)
	require.Equal(t, bridge.Receipt{Cursor: first.Cursor, Duplicate: true}, again)

	bounds, err := log.Bounds(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint64(3), bounds.Newest.Seq)
}

func TestAppendDuplicateOfDroppedEvent(t *testing.T) {
	log := openNew(t)
	store(t, log, newEvent(1), "key")
	require.NoError(t, stream(t, log).Purge(t.Context()))
	again := store(t, log, newEvent(1), "key")
	require.True(t, again.Duplicate)
	require.Equal(t, uint64(1), again.Cursor.Seq)
	parsed, err := bridge.ParseCursor(again.Cursor.String())
	require.NoError(t, err)
	require.ErrorIs(t, log.Check(t.Context(), parsed), bridge.ErrCursorUnknown)
}

func TestAppendAfterRestart(t *testing.T) {
	directory := t.TempDir()
	embedded := startEmbedded(t, directory)
	log := open(t, embedded)
	first := store(t, log, newEvent(1), "key")
	// The clock is set back by an hour between the runs.
	log.appender.passStamp(time.Now().Add(time.Hour).UnixNano())
	second := store(t, log, newEvent(2), "")
	require.NoError(t, log.Close())
	require.NoError(t, embedded.Close())

	log = open(t, startEmbedded(t, directory))
	require.NoError(t, log.Check(t.Context(), first.Cursor))
	require.NoError(t, log.Check(t.Context(), second.Cursor))
	again := store(t, log, newEvent(1), "key")
	require.Equal(t, bridge.Receipt{Cursor: first.Cursor, Duplicate: true}, again, "the duplicate window survives")
	third := store(t, log, newEvent(3), "")
	require.Equal(t, uint64(3), third.Cursor.Seq)
	require.Greater(t, third.Cursor.Time, second.Cursor.Time)
}

func TestAppendRefuses(t *testing.T) {
	log := openNew(t)
	event := newEvent(1)
	event.Topic = "a/*"
	_, err := log.Append(t.Context(), event, "")
	require.ErrorContains(t, err, "topic")
	require.NotErrorIs(t, err, bridge.ErrLogUnavailable)

	event = newEvent(1)
	event.Data = bytes.Repeat([]byte("1"), maxPayload+1)
	_, err = log.Append(t.Context(), event, "")
	require.ErrorIs(t, err, nats.ErrMaxPayload)
	require.NotErrorIs(t, err, bridge.ErrLogUnavailable)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = log.Append(ctx, newEvent(1), "")
	require.ErrorIs(t, err, context.Canceled)

	event.Data = bytes.Repeat([]byte("1"), maxPayload/2)
	require.Equal(t, uint64(1), store(t, log, event, "").Cursor.Seq, "a large event fits")
}

func TestAppendWithoutStream(t *testing.T) {
	log := openNew(t)
	require.NoError(t, log.read.DeleteStream(t.Context(), "SSEBRIDGE"))
	pending, err := log.Append(t.Context(), newEvent(1), "")
	require.NoError(t, err)
	_, err = pending.Wait()
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
}

func TestAppendBlocksWhenFull(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"events": func(config *Config) { config.MaxInFlightEvents = 3 },
		"bytes":  func(config *Config) { config.MaxInFlightBytes = 2000 },
	} {
		t.Run(name, func(t *testing.T) {
			gate := newGate(startEmbedded(t, t.TempDir()))
			log := open(t, gate.embedded, gate.connect("append"), limit)
			release := gate.hold()
			defer release()
			pending := make([]bridge.Pending, 3)
			for i := range pending {
				var err error
				pending[i], err = log.Append(t.Context(), newEvent(i), "")
				require.NoError(t, err)
				require.False(t, pending[i].Ready())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := log.Append(ctx, newEvent(3), "")
			require.ErrorIs(t, err, context.DeadlineExceeded)

			blocked := make(chan error)
			var last bridge.Pending
			go func() {
				var err error
				last, err = log.Append(t.Context(), newEvent(4), "")
				blocked <- err
			}()
			release()
			require.NoError(t, <-blocked, "room is free although nobody waits for the first three")
			receipt, err := last.Wait()
			require.NoError(t, err)
			require.Equal(t, uint64(4), receipt.Cursor.Seq)
			for i, p := range pending {
				receipt, err := p.Wait()
				require.NoError(t, err)
				require.Equal(t, uint64(i+1), receipt.Cursor.Seq)
			}
		})
	}
}

func TestAppendTimesOut(t *testing.T) {
	gate := newGate(startEmbedded(t, t.TempDir()))
	log := open(t, gate.embedded, gate.connect("append"), func(config *Config) { config.AckTimeout = 200 * time.Millisecond })
	release := gate.hold()
	defer release()
	pending, err := log.Append(t.Context(), newEvent(1), "key")
	require.NoError(t, err)
	_, err = pending.Wait()
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	require.ErrorIs(t, err, errNoAnswer)
	release()
	again := store(t, log, newEvent(1), "key")
	require.True(t, again.Duplicate, "it was stored although the acknowledgement was late")
}

func TestAppendInterrupted(t *testing.T) {
	gate := newGate(startEmbedded(t, t.TempDir()))
	log := open(t, gate.embedded, gate.connect("append"), func(config *Config) { config.AckTimeout = time.Hour })
	release := gate.hold()
	pending, err := log.Append(t.Context(), newEvent(1), "")
	require.NoError(t, err)
	gate.cut()
	release()
	_, err = pending.Wait()
	if err != nil { // the acknowledgement may have come before the cut
		require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	}
	require.Eventually(t, func() bool {
		pending, err := log.Append(t.Context(), newEvent(2), "key")
		if err != nil {
			require.ErrorIs(t, err, bridge.ErrLogUnavailable)
			return false
		}
		_, err = pending.Wait()
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

func TestCloseWithPending(t *testing.T) {
	gate := newGate(startEmbedded(t, t.TempDir()))
	log := open(t, gate.embedded, gate.connect("append"), func(config *Config) {
		config.AckTimeout = 300 * time.Millisecond
		config.MaxInFlightEvents = 2
	})
	acknowledged, err := log.Append(t.Context(), newEvent(1), "")
	require.NoError(t, err)
	_, err = acknowledged.Wait()
	require.NoError(t, err)

	release := gate.hold()
	defer release()
	var pending []bridge.Pending
	for i := range 2 {
		p, err := log.Append(t.Context(), newEvent(2+i), "")
		require.NoError(t, err)
		pending = append(pending, p)
	}
	blocked := make(chan error)
	go func() {
		_, err := log.Append(context.Background(), newEvent(4), "")
		blocked <- err
	}()
	require.NoError(t, log.Close())
	require.ErrorIs(t, <-blocked, bridge.ErrLogUnavailable)
	for _, p := range pending {
		require.True(t, p.Ready())
		_, err := p.Wait()
		require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	}
	_, err = log.Append(t.Context(), newEvent(5), "")
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	require.ErrorIs(t, log.Ready(t.Context()), bridge.ErrLogUnavailable)
}

func TestCloseDrains(t *testing.T) {
	log := openNew(t)
	pending := make([]bridge.Pending, 1000)
	for i := range pending {
		var err error
		pending[i], err = log.Append(t.Context(), newEvent(i), "")
		require.NoError(t, err)
	}
	require.NoError(t, log.Close())
	for _, p := range pending {
		require.True(t, p.Ready())
		_, err := p.Wait()
		require.NoError(t, err)
	}
}
