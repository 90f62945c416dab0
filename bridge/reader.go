package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Waker is told when its reader may have something to take or to end for. It is called from any goroutine, with locks
// held: it must return at once and not call the hub or the reader.
type Waker interface{ Wake() }

// Reader is one open subscription: a place in the log and nothing else. New, slow and resuming readers are the same
// thing, readers whose place is behind the end. One goroutine at a time uses it.
type Reader struct {
	ID string // random; names the reader in logs and to its client

	hub   *Hub
	sub   Subscription
	seats []int // in the audience of each pattern; guarded by audiences.mu

	waker Waker
	end   atomic.Pointer[EndReason]          // why the hub ends the reader; nil: it does not
	asks  atomic.Pointer[context.CancelFunc] // the log; nil: it does not

	// unread is a place of which an event for the reader may be behind, and none for it is between what it had when it was
	// last current and there; nil where the hub has told it of nothing since it looked last.
	unread atomic.Pointer[Cursor]
	// current tells that nothing up to place is missing that the hub has not told of since.
	current bool

	place   Cursor
	horizon uint64 // sequence of the window's end when the reader had last reached the horizon of before
	seen    uint64 // the newest loss that the reader knows of
	reset   *reset // to be told by the next Take
	source  Source
}

// Source is what a reader is served from at first.
type Source string

// What readers are served from.
const (
	SourceEnd    Source = "end"    // it waits for what is new
	SourceWindow Source = "window" // it resumes, from memory
	SourceLog    Source = "log"    // it resumes from a place older than the window
	SourceReset  Source = "reset"  // what it asked for is not kept
)

// reset is what a reader has yet to be told. Until it is, the reader stands where it stood, so that one whose
// connection breaks before is told when it comes back.
type reset struct {
	reason ResetReason
	place  Cursor
}

// batchBytes bounds the data of a batch, but for its last event: so much may wait for one connection that takes nothing.
const batchBytes = 64 << 10

// Batch is what a reader receives next.
type Batch struct {
	// Reset is set when something that the reader asked for is not kept; it has no events then, and what
	// follows does so from Place.
	Reset  ResetReason
	Events []*Event // in log order
	Place  Cursor   // the place reached behind these events
	More   bool     // there may be more at once: do not wait

	limit   int    // of Events
	bytes   int    // of their data
	horizon uint64 // as the reader's
}

// take adds an event if the subscription accepts its type. It returns false when there is no room for it; there is
// more then.
func (b *Batch) take(event *Event, sub *Subscription) bool {
	if !sub.accepts(event) {
		return true
	}
	if len(b.Events) == b.limit || b.bytes >= batchBytes {
		b.More = true
		return false
	}
	b.Events = append(b.Events, event)
	b.bytes += len(event.Data)
	return true
}

func newReader(hub *Hub, sub Subscription, waker Waker) *Reader {
	return &Reader{ID: rand.Text(), hub: hub, sub: sub, waker: waker}
}

// Place returns the place that the reader has reached; the zero value where it has none until it is told of a reset.
func (r *Reader) Place() Cursor { return r.place }

// Source returns what the reader is served from at first.
func (r *Reader) Source() Source { return r.source }

// Subscription returns what the reader asked for. It must not be changed.
func (r *Reader) Subscription() *Subscription { return &r.sub }

// Ended returns why the hub ends the reader; "" while it does not.
func (r *Reader) Ended() EndReason {
	if reason := r.end.Load(); reason != nil {
		return *reason
	}
	return ""
}

// Close takes the reader out of the hub.
func (r *Reader) Close() { r.hub.leave(r) }

// Take returns what is new for the reader, at most limit events and little more than 64 KiB of data, and moves its
// place behind them. It waits for the log where the reader's place is older than the window, for nothing else. A batch
// without events of which there is no More means that the reader has everything. The events are appended to dst[:0].
//
// Of a state topic ([Settings]) events are left out that are replaced: a newer event of the same topic, whose type the
// subscription accepts too, is in the window, or in the same page of the log. A reader that is behind at first receives
// what was the newest when it began to be; when it has come so far, what is the newest then; and so on, so that one
// which never catches up with its other topics receives state topics all the same.
//
// The error wraps ErrLogUnavailable, and the reader may try again later, if the hub has not ended it.
func (r *Reader) Take(ctx context.Context, limit int, dst []*Event) (Batch, error) {
	batch, ok := r.Poll(limit, dst)
	if ok {
		return batch, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.asks.Store(&cancel)
	defer r.asks.Store(nil)
	if r.Ended() != "" {
		cancel() // finish may have come before it could
	}
	return r.takeOld(ctx, batch)
}

// Poll is Take for who cannot wait: where the log has to be asked it returns false and nothing else has happened.
func (r *Reader) Poll(limit int, dst []*Event) (Batch, bool) {
	if r.reset != nil {
		return r.tell(*r.reset), true
	}
	for {
		current, quiet := r.quiet()
		batch := Batch{Events: dst[:0], limit: limit, horizon: r.horizon}
		position := r.hub.window.after(r.place, r.seen, &r.sub, &batch)
		r.horizon = batch.horizon
		switch position {
		case unsure:
			loss := r.hub.window.lastLoss()
			reason := loss.since(r.seen, r.place)
			r.seen, r.current = loss.number, false
			if reason != "" {
				return r.tell(reset{reason, loss.base}), true
			}
		case behind:
			if !current || quiet == nil || quiet.Seq <= r.place.Seq {
				return batch, false
			}
			r.place = *quiet // looked up before the window, which may have moved on: it is asked again
		default:
			r.place, r.current = batch.Place, !batch.More
			return batch, true
		}
	}
}

// quiet returns whether the reader was current, and a place up to which nothing has come for it since: where it has not been
// told of anything, what others have been told of. So a reader of few events does not read the log for all the others that
// the window has dropped meanwhile.
func (r *Reader) quiet() (current bool, place *Cursor) {
	current, place = r.current, r.hub.woken.Load() // before unread: what is behind it may be for this reader
	if unread := r.unread.Swap(nil); unread != nil {
		place, r.current = unread, false // until the event was taken
	}
	return current, place
}

// Rewind moves the reader back to a place inside the batch that it took last: the events behind it come again, but for
// those of state topics that were replaced meanwhile.
func (r *Reader) Rewind(place Cursor) { r.place, r.current = place, false }

func (r *Reader) tell(told reset) Batch {
	r.hub.telemetry.Reset(string(told.reason))
	r.reset = nil
	r.place, r.horizon, r.current = told.place, 0, false
	return Batch{Reset: told.reason, Place: told.place, More: true}
}

// takeOld fills the batch from one page of the log. Where nothing in the page matches, the reader has moved on all the
// same.
func (r *Reader) takeOld(ctx context.Context, batch Batch) (Batch, error) {
	batch.More, r.current = true, false
	base, _ := r.hub.window.bounds()
	if r.place.Seq >= base.Seq {
		return batch, nil // the window moved meanwhile
	}
	page, err := r.hub.history.page(ctx, r.place.Seq, base.Seq)
	if err != nil {
		return Batch{}, err
	}
	if page.FirstKept > r.place.Seq+1 {
		place, err := r.oldestIn(ctx, page)
		if err != nil {
			return Batch{}, err
		}
		return r.tell(reset{ResetExpired, place}), nil
	}
	before := r.place
	reached := page.Last
	for i, event := range page.Events {
		if event.Cursor.Seq <= r.place.Seq {
			continue
		}
		if r.sub.reads(event.Topic) && !r.replaced(page, i) && !batch.take(event, &r.sub) {
			reached = r.place
			break
		}
		r.place = event.Cursor
	}
	switch {
	case reached.Seq < page.Last.Seq: // the batch is full
	case page.Through >= base.Seq && page.Last.Seq <= base.Seq: // else another reader has read on since base was looked up
		r.place = base // the rest up to the window was deleted
	case page.Last.Seq > r.place.Seq:
		r.place = page.Last
	}
	if r.place == before {
		return Batch{}, fmt.Errorf("nothing is kept where the window begins: %w", ErrLogUnavailable)
	}
	batch.Place = r.place
	return batch, nil
}

// replaced reports whether an event of a page is replaced by a newer one that the reader receives in its place.
func (r *Reader) replaced(page *historyPage, i int) bool {
	event := page.Events[i]
	if !page.isState(i) {
		return false
	}
	for k := page.newer[i]; k > 0; k = page.newer[k] {
		newer := page.Events[k]
		if !replaces(newer.Cursor.Seq, event.Cursor.Seq, r.horizon) {
			return false // nor does any that is newer still
		}
		if r.sub.accepts(newer) {
			return true
		}
	}
	return r.hub.window.replaced(event, &r.sub, r.horizon)
}

// oldestIn returns the place before the oldest event that the log still kept when the page was read.
func (r *Reader) oldestIn(ctx context.Context, page *historyPage) (Cursor, error) {
	for _, event := range page.Events {
		if event.Cursor.Seq >= page.FirstKept {
			return event.Cursor.Before(), nil
		}
	}
	bounds, err := r.bounds(ctx)
	return bounds.Oldest, err
}

// start sets the place of a new reader. It is told of a reset where what it asks for is not kept.
func (r *Reader) start(ctx context.Context, from Start) error {
	loss := r.hub.window.lastLoss() // before the place is looked up: a later loss is noticed
	r.seen = loss.number
	_, end := r.hub.window.bounds()
	switch from.kind {
	case startLatest:
		r.place = end
		return nil
	case startUnknown:
		r.reset = &reset{ResetUnknown, end}
		return nil
	case startCursor:
		return r.resume(ctx, from.cursor, end)
	case startEarliest:
		bounds, err := r.bounds(ctx)
		r.place = bounds.Oldest
		return err
	default:
		return r.rewind(ctx, from.time)
	}
}

// begin notes what a reader that has started is served from.
func (r *Reader) begin(from Start) {
	base, _ := r.hub.window.bounds()
	switch {
	case r.reset != nil:
		r.source = SourceReset
	case from.kind == startLatest:
		r.source = SourceEnd
	case r.place.Seq < base.Seq:
		r.source = SourceLog
		r.hub.telemetry.Resumed(string(r.source))
	default:
		r.source = SourceWindow
		r.hub.telemetry.Resumed(string(r.source))
	}
}

// rewind begins with the first event stored at or after t.
func (r *Reader) rewind(ctx context.Context, t time.Time) error {
	place, ok := r.hub.window.since(t)
	if ok {
		r.place = place
		return nil
	}
	if err := r.hub.lookUp(ctx); err != nil {
		return err
	}
	defer r.hub.lookedUp()
	place, err := r.hub.log.Since(ctx, t)
	if errors.Is(err, ErrCursorExpired) {
		r.reset = &reset{ResetExpired, place}
		return nil
	}
	r.place = place
	return err
}

// resume takes up a place that the reader was given earlier, by this bridge or another, or by nobody.
func (r *Reader) resume(ctx context.Context, place, end Cursor) error {
	r.place = place
	if r.hub.window.holds(place) {
		return nil
	}
	err := r.check(ctx, place)
	switch {
	case errors.Is(err, ErrCursorExpired):
		bounds, err := r.bounds(ctx)
		r.reset = &reset{ResetExpired, bounds.Oldest}
		return err
	case errors.Is(err, ErrCursorAhead):
		r.reset = &reset{ResetAhead, end}
		return nil
	case errors.Is(err, ErrCursorUnknown):
		r.reset = &reset{ResetUnknown, end}
		return nil
	}
	return err
}

func (r *Reader) check(ctx context.Context, place Cursor) error {
	if err := r.hub.lookUp(ctx); err != nil {
		return err
	}
	defer r.hub.lookedUp()
	return r.hub.log.Check(ctx, place)
}

func (r *Reader) bounds(ctx context.Context) (Bounds, error) {
	if err := r.hub.lookUp(ctx); err != nil {
		return Bounds{}, err
	}
	defer r.hub.lookedUp()
	return r.hub.log.Bounds(ctx)
}

// finish asks for the end of the stream, which does not wait for the log then. The first reason counts.
func (r *Reader) finish(reason EndReason) {
	r.end.CompareAndSwap(nil, &reason)
	if cancel := r.asks.Load(); cancel != nil {
		(*cancel)()
	}
	r.waker.Wake()
}
