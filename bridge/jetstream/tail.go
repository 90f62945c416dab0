package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ssebridge/ssebridge/bridge"
)

// tailBatch bounds what a sink receives at once.
const tailBatch = 256

// Waits between attempts to follow a log that cannot be followed.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

var errReplaced = errors.New("the stream was replaced")

// tail is one run of Tail. Only its own goroutine uses it.
type tail struct {
	log  *Log
	js   jetstream.JetStream // on the connection of tails
	sink bridge.Sink
	want uint64 // how many of the newest events to begin with

	begun   bool
	warm    bool
	end     uint64 // last sequence when the tail began: where it is warm
	created time.Time
	place   bridge.Cursor // behind the last event handed over, or the base
	seen    uint64        // nothing up to this sequence is still to come; not before place

	heard   time.Time // when something was last taken in
	many    bool      // there was more than one thing to take in then
	missing uint64    // a sequence that an idle check has found to be due

	batch []*bridge.Event
}

// Tail implements [bridge.Log]. It also returns when the log is closed.
func (l *Log) Tail(ctx context.Context, warm int, sink bridge.Sink) error {
	js, err := jetstream.New(l.tails)
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.closing, func() { cancel(unavailable("tail", errClosed)) })()
	t := &tail{log: l, js: js, sink: sink, want: uint64(max(warm, 0))}
	interrupted := false
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		err := t.follow(ctx, func() {
			if interrupted {
				l.config.Logger.Info("log: following it again", "sequence", t.seen)
			}
			interrupted, retry = false, firstRetry
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !interrupted {
			l.config.Logger.Warn("log: following it was interrupted", "sequence", t.seen, "error", err)
		}
		interrupted = true
		select {
		case <-time.After(retry/2 + rand.N(retry/2)): //nolint:gosec // a jitter is no secret
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow reads from one consumer until something is wrong with it. The next one begins behind what has been seen. Where
// nobody else writes to the stream, the echo of what is appended takes over as soon as the consumer has brought what was
// stored before.
func (t *tail) follow(ctx context.Context, following func()) error {
	var echo *echo
	if t.log.config.SoleWriter {
		echo = t.log.appender.listen() // before the end is looked up, so that nothing falls between
		defer t.log.appender.ignore(echo)
	}
	info, err := t.log.ensureStream(ctx, t.js)
	if err != nil {
		return err
	}
	if t.begun {
		err = t.resume(ctx, info)
	} else {
		err = t.begin(ctx, info)
	}
	if err != nil {
		return err
	}
	through := uint64(math.MaxUint64)
	if echo != nil {
		through = info.State.LastSeq
	}
	if err := t.followFeed(ctx, info, through, following); err != nil || echo == nil || ctx.Err() != nil {
		return err
	}
	return t.drainEcho(ctx, echo)
}

// followFeed reads from a consumer until it has brought the event with a sequence, or ctx ends.
func (t *tail) followFeed(ctx context.Context, info *jetstream.StreamInfo, through uint64, following func()) error {
	feed, err := t.log.openFeed(ctx, t.js, t.seen+1)
	if err != nil {
		return err
	}
	defer feed.close()
	if err := t.catchUp(ctx, info); err != nil {
		return err
	}
	following()
	return t.drain(ctx, feed, through)
}

// begin finds where the tail starts and tells the sink.
func (t *tail) begin(ctx context.Context, info *jetstream.StreamInfo) error {
	t.end = info.State.LastSeq
	start := firstKept(info)
	if t.end >= t.want {
		start = max(start, t.end-t.want+1)
	}
	base, err := t.log.placeBefore(ctx, start, info)
	if err != nil {
		return err
	}
	t.created, t.place, t.seen, t.begun = info.Created, base, base.Seq, true
	t.sink.Begin(base)
	return nil
}

// placeBefore returns the place before the first kept event at or behind a sequence; the end where there is none.
func (l *Log) placeBefore(ctx context.Context, seq uint64, info *jetstream.StreamInfo) (bridge.Cursor, error) {
	if seq <= info.State.LastSeq {
		event, err := l.next(ctx, seq)
		if err != nil || event != nil {
			return event.before(), err
		}
	}
	return l.end(ctx, info)
}

// resume makes sure that the stream is still the one that the tail has followed so far, before anything of it is
// taken for what comes next.
func (t *tail) resume(ctx context.Context, info *jetstream.StreamInfo) error {
	if info.Created.Equal(t.created) && info.State.LastSeq >= t.seen {
		now, err := t.log.check(ctx, t.place)
		switch {
		case errors.Is(err, bridge.ErrCursorExpired):
			return nil // what comes next will show what is missing
		case !lost(err):
			return err
		}
		info = now
	}
	base, err := t.log.placeBefore(ctx, firstKept(info), info)
	if err != nil {
		return err
	}
	if err := t.log.passStamps(ctx, info); err != nil {
		return err
	}
	t.log.config.Logger.Warn("log: the stream was replaced; readers are reset", "stream", t.log.config.Stream,
		"reached", t.place, "created", info.Created, "last_sequence", info.State.LastSeq)
	t.created, t.place, t.seen = info.Created, base, base.Seq
	t.end = min(t.end, info.State.LastSeq)
	t.sink.Lost(base, bridge.ResetRecreated)
	return nil
}

// catchUp looks whether anything is to come up to the end that was known before the consumer was made. If not, no
// message will say so.
func (t *tail) catchUp(ctx context.Context, info *jetstream.StreamInfo) error {
	end := info.State.LastSeq
	var next *stored
	var err error
	if end > t.seen {
		if next, err = t.log.next(ctx, t.seen+1); err != nil {
			return err
		}
	}
	// The state is asked for last: what retention drops before that is seen in it, and shows in the next message
	// when it is dropped later.
	now, err := t.info(ctx)
	switch {
	case err != nil:
		return err
	case !now.Created.Equal(t.created):
		// A consumer is one of the stream that it was made in. What it delivers must not be taken for what follows
		// here.
		return errReplaced
	case next != nil && next.seq <= end:
		return nil
	case end > t.seen && firstKept(now) > t.seen+1:
		base, err := t.log.end(ctx, info)
		if err != nil {
			return err
		}
		t.expire(base)
	}
	t.seen = max(t.seen, end)
	t.warmUp()
	return nil
}

// drain hands over what the feed brings until the feed is of no more use, or has brought the event with a sequence.
func (t *tail) drain(ctx context.Context, feed *feed, through uint64) error {
	t.heard = time.Now()
	idle := time.NewTicker(t.log.config.CheckInterval)
	defer idle.Stop()
	silent := time.NewTimer(silence)
	defer silent.Stop()
	for t.seen < through {
		select {
		case <-feed.ready:
			t.yield()
			err := t.receive(ctx, feed)
			t.flush()
			if err != nil {
				return err
			}
			silent.Reset(silence)
		case <-silent.C:
			if feed.empty() { // else the sink was slow, not the server
				return errSilentFeed
			}
			silent.Reset(silence)
		case <-idle.C:
			if err := t.checkIdle(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// yield lets others run where there was much to take in: on a busy core, what comes meanwhile shares the batch.
func (t *tail) yield() {
	if t.many {
		runtime.Gosched()
	}
}

// receive takes what has arrived, in batches, so that a busy log costs little per event and an idle one waits for
// nothing.
func (t *tail) receive(ctx context.Context, feed *feed) error {
	messages := feed.take()
	t.many = len(messages) > 1
	for _, raw := range messages {
		message, err := feed.decode(raw)
		if err == nil && message != nil {
			t.heard = time.Now()
			err = t.add(ctx, message)
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// add puts a message into the batch.
func (t *tail) add(ctx context.Context, message *delivered) error {
	if message.seq <= t.seen {
		return fmt.Errorf("sequence %d came again", message.seq)
	}
	if message.seq != t.seen+1 {
		if err := t.jump(ctx, message); err != nil {
			return err
		}
	}
	t.place, t.seen = message.cursor(), message.seq
	if event, err := message.event(t.log.config.Prefix); err != nil {
		t.log.skip(&message.stored, err)
	} else {
		t.batch = append(t.batch, event)
	}
	warm := message.seq >= t.end || message.waiting == 0
	if warm && !t.warm || len(t.batch) == tailBatch {
		t.flush()
	}
	if warm {
		t.warmUp()
	}
	return nil
}

// jump decides whether sequences before a message are missing because retention has passed the tail, or because an
// operator has removed them.
func (t *tail) jump(ctx context.Context, message *delivered) error {
	info, err := t.info(ctx)
	if err != nil {
		return err
	}
	if !info.Created.Equal(t.created) {
		return errReplaced
	}
	if firstKept(info) > t.seen+1 {
		t.expire(message.cursor().Before())
	}
	return nil
}

// expire tells the sink that retention has passed the tail, which continues at base.
func (t *tail) expire(base bridge.Cursor) {
	t.flush()
	t.log.config.Logger.Warn("log: events were dropped before they were read; readers are reset",
		"reached", t.place, "continues", base)
	t.place = base
	t.sink.Lost(base, bridge.ResetExpired)
}

// flush hands over what has been received. The sink may keep the slice.
func (t *tail) flush() {
	if len(t.batch) > 0 {
		t.sink.Append(t.batch)
		t.batch = nil
	}
}

func (t *tail) warmUp() {
	if !t.warm {
		t.warm = true
		t.sink.Warm()
	}
}

// checkIdle makes sure that silence means that there is nothing to say. While messages come, their consumer is
// alive, and with it the stream that it is of.
func (t *tail) checkIdle(ctx context.Context) error {
	if time.Since(t.heard) < t.log.config.CheckInterval {
		return nil
	}
	info, err := t.info(ctx)
	switch {
	case err != nil:
		return err
	case !info.Created.Equal(t.created), info.State.LastSeq < t.seen:
		return errReplaced
	case info.State.LastSeq == t.seen:
		return nil
	case t.missing == t.seen+1:
		return fmt.Errorf("sequence %d did not come", t.missing)
	}
	t.missing = t.seen + 1 // it may be on its way; not so the next time
	return nil
}

// info returns the stream's state. It does not queue behind readers' questions.
func (t *tail) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, t.log.config.AckTimeout)
	defer cancel()
	return t.log.infoFrom(ctx, t.js)
}
