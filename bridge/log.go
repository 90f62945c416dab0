package bridge

import (
	"context"
	"errors"
	"time"
)

// Log is the durable, ordered record of events. The hub reads it, the way in appends to it. All methods may be
// called concurrently.
type Log interface {
	// Append hands an event to the log, in the order of the calls, and returns once it is on its way. The log
	// stamps the event's Cursor and may hand the event itself to a sink, so nobody may use it afterwards, unless Append
	// returns an error. It blocks while too much is in flight. A non-empty key names the event
	// within the duplicate window: an event whose key is stored already is not stored again. The error is
	// ErrLogUnavailable (wrapped) or the context's; then nothing is stored.
	Append(ctx context.Context, event *Event, key string) (Pending, error)
	// Tail feeds the sink with the newest events that are kept, up to warm of them, then with each event as it
	// is stored, in log order without a gap, until ctx ends. It survives interruptions of the log.
	Tail(ctx context.Context, warm int, sink Sink) error
	// Read returns kept events behind the sequence after, in log order, at most up to the sequence through.
	Read(ctx context.Context, after, through uint64) (Page, error)
	// Bounds says what is kept.
	Bounds(ctx context.Context) (Bounds, error)
	// Check says whether a place is one of this log: nil, ErrCursorExpired, ErrCursorAhead or
	// ErrCursorUnknown, or ErrLogUnavailable (wrapped).
	Check(ctx context.Context, place Cursor) error
	// Since returns the place before the first kept event stored at or after t; the end where there is none.
	// It returns ErrCursorExpired with the oldest kept place when events since t may have been dropped.
	Since(ctx context.Context, t time.Time) (Cursor, error)
}

// Errors of a Log.
var (
	ErrLogUnavailable = errors.New("the log cannot be reached")
	ErrCursorExpired  = errors.New("the events behind this cursor are no longer kept")
	ErrCursorAhead    = errors.New("the cursor is beyond the end of the log")
	ErrCursorUnknown  = errors.New("the cursor is of another log")
)

// Pending is an append on its way. One goroutine may use it. It must be waited for: that is what frees its room in
// flight.
type Pending interface {
	// Ready reports whether Wait returns without blocking.
	Ready() bool
	// Wait returns once the event is stored or will not be. It ends by itself, with an error that wraps
	// ErrLogUnavailable, when the log does not answer.
	Wait() (Receipt, error)
}

// Receipt says where an event is stored.
type Receipt struct {
	Cursor    Cursor
	Duplicate bool // it was stored before, there
}

// Sink is what a tail feeds. A log calls it from one goroutine.
type Sink interface {
	// Begin tells where the tail starts: every kept event behind base follows.
	Begin(base Cursor)
	// Append hands over the next events, in log order.
	Append(events []*Event)
	// Warm tells that the tail has reached what was the end of the log when it began.
	Warm()
	// Lost tells that events between the place reached and base will not follow, and why.
	Lost(base Cursor, reason ResetReason)
}

// Page is a piece of the log: every kept event in (after, Through].
type Page struct {
	Events  []*Event
	Through uint64 // the last sequence that the page covers
	// Last is the place of the last stored event in the page, also where that one cannot be read and is not among
	// Events; the zero value where nothing is kept.
	Last Cursor
	// FirstKept is the oldest sequence that the log kept after the page was read, where the page has gaps; 0
	// where it has none. Events before it may be missing from the page because retention dropped them.
	FirstKept uint64
}

// Bounds says what a log keeps.
type Bounds struct {
	Oldest Cursor // the place before the oldest kept event; equal to Newest when nothing is kept
	Newest Cursor // the place behind the newest event
}
