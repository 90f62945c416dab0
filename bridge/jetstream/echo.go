package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
)

// What waits for its tail in an echo at most. Beyond that the tail reads the log, which waits for it.
const (
	maxEcho      = 65_536 // events
	maxEchoBytes = 64 << 20
)

var errEchoLost = errors.New("acknowledgements are missing")

// echo is what this process has appended, in the order of the stream's acknowledgements. Where nobody else writes to the
// stream, that is what a consumer would deliver, without a way through the server and back for each event. It does not
// know what was stored without an acknowledgement: whoever waited for that tells it, or the sequence of the next event; an
// event whose acknowledgement was lost with its connection, and that none follows, is found by the tail's idle check.
type echo struct {
	ready chan struct{} // has one element when there is something to take

	mu     sync.Mutex
	events []*bridge.Event
	bytes  int  // of their data
	lost   bool // what follows may not be all
}

// listen opens an echo of what is acknowledged from now on.
func (a *appender) listen() *echo {
	e := &echo{ready: make(chan struct{}, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.echoes[e] = struct{}{}
	return e
}

// ignore closes an echo.
func (a *appender) ignore(e *echo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.echoes, e)
}

// echo hands an event to the echoes, as put does. The caller holds a.mu.
func (a *appender) echo(event *bridge.Event) {
	for e := range a.echoes {
		e.put(event)
	}
}

// put adds an event; nil stands for one that may be stored although nothing said so.
func (e *echo) put(event *bridge.Event) {
	e.mu.Lock()
	if event == nil || len(e.events) == maxEcho || e.bytes > maxEchoBytes {
		e.lost = true
	}
	if !e.lost {
		e.events = append(e.events, event)
		e.bytes += len(event.Data)
	}
	e.mu.Unlock()
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

// take returns what has come. The error says that more may have been stored.
func (e *echo) take() ([]*bridge.Event, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	events := e.events
	e.events, e.bytes = nil, 0
	if e.lost {
		return events, errEchoLost
	}
	return events, nil
}

// drainEcho hands over what is acknowledged until something is missing.
func (t *tail) drainEcho(ctx context.Context, echo *echo) error {
	t.heard = time.Now()
	idle := time.NewTicker(t.log.config.CheckInterval)
	defer idle.Stop()
	for {
		select {
		case <-echo.ready:
			t.yield()
			t.heard = time.Now()
			events, lost := echo.take()
			t.many = len(events) > 1
			if err := errors.Join(t.addAll(events), lost); err != nil {
				return err
			}
		case <-idle.C:
			if err := t.checkIdle(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// addAll hands over events of an echo. Stamps rise with the sequences, so what the consumer has brought too is known by
// both; a lower sequence with a later stamp is of another stream.
func (t *tail) addAll(events []*bridge.Event) error {
	known := 0
	for known < len(events) && events[known].Cursor.Seq <= t.seen && events[known].Cursor.Time <= t.place.Time {
		known++
	}
	for events = events[known:]; len(events) > 0; {
		n := 0
		for n < min(len(events), tailBatch) && events[n].Cursor.Seq == t.seen+1 {
			t.place, t.seen = events[n].Cursor, events[n].Cursor.Seq
			n++
		}
		if n == 0 {
			return fmt.Errorf("sequence %d was acknowledged behind %d", events[0].Cursor.Seq, t.seen)
		}
		t.sink.Append(events[:n:n])
		events = events[n:]
	}
	return nil
}
