package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

// Reader is one open subscription: a place in the log and nothing else. New, slow and resuming readers are the same
// thing, readers whose place is behind the end. One goroutine uses it; Wake and Ended are for its select.
type Reader struct {
	ID string // random; names the reader in logs and to its client

	hub   *Hub
	sub   Subscription
	seats []int // in the audience of each pattern; guarded by audiences.mu

	wake chan struct{}  // holds one token when there may be something new
	end  chan EndReason // holds the reason for which the hub ends the reader

	place Cursor
	seen  uint64      // the newest loss that the reader knows of
	reset ResetReason // to be told by the next Take
}

// Batch is what a reader receives next.
type Batch struct {
	// Reset is set when something that the reader asked for is not kept; it has no events then, and what
	// follows does so from Place.
	Reset  ResetReason
	Events []*Event // in log order
	Place  Cursor   // the place reached behind these events
	More   bool     // there may be more at once: do not wait
}

func newReader(hub *Hub, sub Subscription) *Reader {
	return &Reader{
		ID:   rand.Text(),
		hub:  hub,
		sub:  sub,
		wake: make(chan struct{}, 1),
		end:  make(chan EndReason, 1),
	}
}

// Place returns the place that the reader has reached.
func (r *Reader) Place() Cursor { return r.place }

// Subscription returns what the reader asked for. It must not be changed.
func (r *Reader) Subscription() *Subscription { return &r.sub }

// Wake receives when there may be something to take.
func (r *Reader) Wake() <-chan struct{} { return r.wake }

// Ended receives once, when the hub ends the reader.
func (r *Reader) Ended() <-chan EndReason { return r.end }

// Close takes the reader out of the hub.
func (r *Reader) Close() { r.hub.leave(r) }

// notify wakes the reader. It never blocks.
func (r *Reader) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Take returns what is new for the reader, at most limit events, and moves its place behind them. It waits for the
// log where the reader's place is older than the window, for nothing else: a batch without events means that the
// reader has everything. The events are appended to dst[:0]. The error wraps ErrLogUnavailable, and the reader may
// try again later.
func (r *Reader) Take(ctx context.Context, limit int, dst []*Event) (Batch, error) {
	if r.reset != "" {
		return r.takeReset(r.reset, r.place), nil
	}
	for {
		events, reached, position := r.hub.window.after(r.place, r.seen, &r.sub, limit, dst[:0])
		switch position {
		case unsure:
			loss := r.hub.window.lastLoss()
			r.seen = loss.number
			if loss.concerns(r.place) {
				return r.takeReset(loss.reason, loss.base), nil
			}
		case behind:
			batch, err := r.takeOld(ctx, limit, dst[:0])
			if err != nil || batch.Reset != "" || len(batch.Events) > 0 {
				return batch, err
			}
		default:
			r.place = reached
			return Batch{Events: events, Place: reached, More: len(events) == limit}, nil
		}
	}
}

func (r *Reader) takeReset(reason ResetReason, place Cursor) Batch {
	r.reset = ""
	r.place = place
	return Batch{Reset: reason, Place: place, More: true}
}

// takeOld reads one page of the log. It returns an empty batch when nothing in the page matches; the reader has
// moved on then all the same.
func (r *Reader) takeOld(ctx context.Context, limit int, dst []*Event) (Batch, error) {
	base, _ := r.hub.window.bounds()
	if r.place.Seq >= base.Seq {
		return Batch{}, nil // the window moved meanwhile
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
		return r.takeReset(ResetExpired, place), nil
	}
	before := r.place
	for _, event := range page.Events {
		if event.Cursor.Seq <= r.place.Seq {
			continue
		}
		if len(dst) == limit {
			return Batch{Events: dst, Place: r.place, More: true}, nil
		}
		r.place = event.Cursor
		if r.sub.matches(event) {
			dst = append(dst, event)
		}
	}
	if page.Through >= base.Seq && r.place.Seq < base.Seq {
		r.place = base // the rest up to the window was deleted
	}
	if r.place == before {
		return Batch{}, fmt.Errorf("nothing is kept where the window begins: %w", ErrLogUnavailable)
	}
	return Batch{Events: dst, Place: r.place, More: true}, nil
}

// oldestIn returns the place before the oldest event that the log still kept when the page was read.
func (r *Reader) oldestIn(ctx context.Context, page *historyPage) (Cursor, error) {
	for _, event := range page.Events {
		if event.Cursor.Seq >= page.FirstKept {
			return event.Cursor.Before(), nil
		}
	}
	bounds, err := r.hub.log.Bounds(ctx)
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
		r.place, r.reset = end, ResetUnknown
		return nil
	case startCursor:
		return r.resume(ctx, from.cursor, end)
	case startEarliest:
		bounds, err := r.hub.log.Bounds(ctx)
		r.place = bounds.Oldest
		return err
	default:
		place, ok := r.hub.window.since(from.time)
		var err error
		if !ok {
			place, err = r.hub.log.Since(ctx, from.time)
		}
		if errors.Is(err, ErrCursorExpired) {
			r.reset, err = ResetExpired, nil
		}
		r.place = place
		return err
	}
}

// resume takes up a place that the reader was given earlier, by this bridge or another, or by nobody.
func (r *Reader) resume(ctx context.Context, place, end Cursor) error {
	r.place = place
	var err error
	switch r.hub.window.locate(place) {
	case inside:
		return nil
	case foreign:
		err = ErrCursorUnknown
	default:
		err = r.hub.log.Check(ctx, place)
	}
	switch {
	case errors.Is(err, ErrCursorExpired):
		bounds, boundsErr := r.hub.log.Bounds(ctx)
		r.place, r.reset = bounds.Oldest, ResetExpired
		return boundsErr
	case errors.Is(err, ErrCursorAhead):
		r.place, r.reset = end, ResetAhead
		return nil
	case errors.Is(err, ErrCursorUnknown):
		r.place, r.reset = end, ResetUnknown
		return nil
	}
	return err
}

// finish asks the reader's goroutine to end the stream. The first reason counts.
func (r *Reader) finish(reason EndReason) {
	select {
	case r.end <- reason:
	default:
	}
}
