package sse

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
)

// conn is a connection that was taken over, and the reader on it. Only its loop uses it, but for Wake. It holds a
// place, not memory: what the send buffer takes only a part of is finished, and everything behind is taken again from
// the reader's place.
type conn struct {
	loop   *loop
	reader *bridge.Reader
	answer atomic.Pointer[answer] // of the log, for which the reader waits
	rest   []byte                 // of a frame that was cut, or of what must not be lost; never changed, it may be shared
	fd     int32
	unsent int32 // bytes in the send buffer when it was last looked at

	state   connState
	queued  atomic.Bool
	blocked bool // the send buffer is full
	pulse   bool // a heartbeat is due

	slot, timer int32

	// Times since the loops were made.
	beat  time.Duration // when it will have been silent for long
	late  time.Duration // when the loop gives up on it because it takes nothing; 0: it does
	retry time.Duration // when the log is asked again; 0: it has not failed
	until time.Duration // when the caller's identity ends; 0: it does not
	age   time.Duration // when it has lasted long enough; 0: never
	due   time.Duration // when the loop looks at it next

	watch telemetry.Stopwatch
	place admission       // among all streams
	log   context.Context // of the request, where its end is logged; else nil
}

// connState is what the loop does with a connection.
type connState uint8

const (
	stateNew     connState = iota // the loop has not seen it
	stateOpen                     // new events are written
	stateWaiting                  // the reader waits for its turn to ask the log
	stateAsking                   // the reader waits for the log, and is another goroutine's
	stateGone                     // likewise, but the connection is closed as soon as the reader is back
	stateEnding                   // the farewell is written: nothing follows
	stateClosed
)

// answer is what the log gave a reader.
type answer struct {
	before bridge.Cursor // where the reader stood
	batch  bridge.Batch
	err    error
}

// Wake implements [bridge.Waker].
func (c *conn) Wake() {
	if !c.queued.Load() && !c.queued.Swap(true) {
		c.loop.enqueue(c)
	}
}

// release closes what the connection holds.
func (c *conn) release() {
	c.state = stateClosed
	c.reader.Close()
	_ = unix.Close(int(c.fd)) // nothing can be done about it
	c.loop.loops.admissions.release(c.place)
	c.loop.loops.config.Telemetry.ReaderClosed(transportHTTP1)
	c.loop.loops.open.Add(-1)
}

// serve does what there is to do for a connection now.
func (l *loop) serve(c *conn) {
	answer := c.answer.Load()
	switch c.state {
	case stateNew:
		if !l.attach(c) {
			return
		}
	case stateAsking, stateGone:
		if answer == nil {
			return // it will bring the connection back
		}
		l.answered(c)
	case stateClosed:
		return
	}
	if c.state == stateGone {
		l.close(c)
		return
	}
	if c.blocked || len(c.rest) > 0 && !l.flush(c) {
		return // answer, if there is one, is kept
	}
	switch {
	case c.state == stateEnding:
		l.close(c)
	case c.reader.Ended() != "":
		l.farewell(c, bridge.EventReconnect, string(c.reader.Ended()), l.loops.config.Stall)
	case c.until != 0 && c.until <= l.now:
		l.farewell(c, bridge.EventExpired, "token", farewell)
	case answer != nil:
		c.answer.Store(nil)
		l.take(c, *answer)
	case c.state != stateWaiting:
		l.poll(c)
	case c.pulse:
		l.heartbeat(c)
	}
}

// poll takes what is new for the reader.
func (l *loop) poll(c *conn) {
	before := c.reader.Place()
	batch, ok := c.reader.Poll(batchLimit, l.events)
	switch {
	case ok:
		l.deliver(c, before, batch)
	case c.retry == 0:
		l.ask(c)
	case c.pulse:
		l.heartbeat(c)
	}
}

// take takes what the log gave.
func (l *loop) take(c *conn, answer answer) {
	if answer.err == nil {
		l.deliver(c, answer.before, answer.batch)
		return
	}
	c.retry = l.now + logRetry
	l.schedule(c, c.retry)
	if c.pulse {
		l.heartbeat(c)
	}
}

// deliver writes a batch. If there is more, the connection comes back behind the others.
func (l *loop) deliver(c *conn, before bridge.Cursor, batch bridge.Batch) {
	switch {
	case batch.Reset != "":
		l.mustWrite(c, bridge.AppendNotice(nil, batch.Place, bridge.EventReset, "reason", string(batch.Reset)))
	case len(batch.Events) > 0:
		format := c.reader.Subscription().Format
		l.iovecs = l.iovecs[:0]
		for _, event := range batch.Events {
			l.addFrame(event.Frame(format))
		}
		written, bytes := l.write(c)
		if written > 0 {
			before = batch.Events[written-1].Cursor
			l.loops.config.Telemetry.Delivered(written, bytes)
			c.watch.Written(before.Time)
		}
		if written < len(batch.Events) {
			c.reader.Rewind(before)
		}
		clear(batch.Events) // the loop holds no event
	case c.pulse:
		l.heartbeat(c)
	}
	if batch.More && c.state == stateOpen && !c.blocked {
		c.Wake()
	}
}

func (l *loop) heartbeat(c *conn) {
	l.iovecs = l.iovecs[:0]
	l.addFrame(l.hub.Heartbeat(c.reader.Place()))
	l.write(c)
}

// farewell writes a last frame and closes the connection behind it, or when it has not taken it in time. The frame's
// place is behind what the connection has taken, not behind what the log has given.
func (l *loop) farewell(c *conn, name, reason string, limit time.Duration) {
	c.state = stateEnding
	if answer := c.answer.Swap(nil); answer != nil {
		c.reader.Rewind(answer.before)
	}
	c.rest = bridge.AppendNotice(slices.Clone(c.rest), c.reader.Place(), name, "reason", reason)
	if !c.blocked && l.flush(c) {
		l.close(c)
		return
	}
	c.late = l.now + limit
	l.schedule(c, c.late)
}

// ask has another goroutine wait for what the log keeps for the reader, when it is its turn.
func (l *loop) ask(c *conn) {
	if l.asking == maxAsking {
		c.state = stateWaiting
		l.waiting = append(l.waiting, c)
		return
	}
	c.state = stateAsking
	l.asking++
	left := c.until - l.now
	l.asks.Go(func() {
		ctx := l.ctx
		if c.until != 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, left)
			defer cancel()
		}
		answer := &answer{before: c.reader.Place()}
		answer.batch, answer.err = c.reader.Take(ctx, batchLimit, nil)
		c.answer.Store(answer)
		c.Wake()
	})
}

// answered takes the reader back from the goroutine that waited for the log, and lets the next have its turn.
func (l *loop) answered(c *conn) {
	if c.state == stateAsking {
		c.state = stateOpen
	}
	l.asking--
	for len(l.waiting) > 0 && l.asking < maxAsking {
		next := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		if next.state == stateWaiting {
			l.ask(next)
		}
	}
}

// tick does what a connection is due for.
func (l *loop) tick(c *conn) {
	reached := func(t time.Duration) bool { return t != 0 && t <= l.now }
	if reached(c.age) {
		c.age = 0
		l.hub.End(c.reader.ID, bridge.EndMaxAge)
	}
	switch {
	case c.state == stateAsking || c.state == stateGone: // the reader is another goroutine's: serve looks again
		c.pulse = c.pulse || reached(c.beat)
	case reached(c.late):
		l.giveUp(c)
	case c.state == stateEnding:
	case reached(c.until):
		l.farewell(c, bridge.EventExpired, "token", farewell)
	case reached(c.beat), reached(c.retry):
		c.pulse = reached(c.beat)
		c.retry = 0
		l.serve(c)
	}
}

// giveUp closes a connection that has taken nothing for too long.
func (l *loop) giveUp(c *conn) {
	unsent := c.outQueue()
	if c.state == stateEnding || unsent >= c.unsent {
		// Reset it: otherwise the kernel keeps what was not taken for as long as the peer is there.
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		l.close(c)
		return
	}
	c.unsent = unsent
	c.late = l.now + l.loops.config.Stall
}

// nextDue returns when a connection has to be looked at next.
func (c *conn) nextDue(now time.Duration) time.Duration {
	due := c.beat
	if c.state == stateEnding {
		due = c.late
	} else {
		for _, t := range [...]time.Duration{c.until, c.late, c.retry, c.age} {
			if t != 0 {
				due = min(due, t)
			}
		}
		if due <= now { // what it is due for has to wait for the log or the send buffer
			due = now + time.Second
		}
	}
	return due.Truncate(timerStep) + timerStep
}
