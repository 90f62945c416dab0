package jetstream

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ssebridge/ssebridge/bridge"
)

// Bounds implements [bridge.Log].
func (l *Log) Bounds(ctx context.Context) (bridge.Bounds, error) {
	info, err := l.info(ctx)
	if err != nil {
		return bridge.Bounds{}, err
	}
	return l.bounds(ctx, info)
}

func (l *Log) bounds(ctx context.Context, info *jetstream.StreamInfo) (bridge.Bounds, error) {
	newest, err := l.end(ctx, info)
	if err != nil {
		return bridge.Bounds{}, err
	}
	oldest, err := l.next(ctx, info.State.FirstSeq)
	if err != nil {
		return bridge.Bounds{}, err
	}
	if oldest == nil || oldest.seq > newest.Seq { // nothing is kept of what was there when info was asked for
		return bridge.Bounds{Oldest: newest, Newest: newest}, nil
	}
	return bridge.Bounds{Oldest: oldest.cursor().Before(), Newest: newest}, nil
}

// end returns the place behind the newest event of the state in info. If that event is no longer kept, JetStream's
// time of it serves, which lies between its stamp and the next one's.
func (l *Log) end(ctx context.Context, info *jetstream.StreamInfo) (bridge.Cursor, error) {
	state := info.State
	if state.LastSeq > 0 {
		newest, err := l.at(ctx, state.LastSeq)
		if err != nil {
			return bridge.Cursor{}, err
		}
		if newest != nil {
			return newest.cursor(), nil
		}
	}
	return bridge.Cursor{Seq: state.LastSeq, Time: max(nanoseconds(state.LastTime), info.Created.UnixNano())}, nil
}

// Check implements [bridge.Log]. A place is of this log if the event at its sequence has its store time, or if it was
// made by [bridge.Cursor.Before] of the event behind it. Where the event at a place is no longer kept, its neighbours
// must be older and younger than the place. What a lost end or a restored backup put there instead has other store
// times.
func (l *Log) Check(ctx context.Context, place bridge.Cursor) error {
	_, err := l.check(ctx, place)
	return err
}

func (l *Log) check(ctx context.Context, place bridge.Cursor) (*jetstream.StreamInfo, error) {
	var event *stored
	var err error
	if place.Seq > 0 {
		if event, err = l.at(ctx, place.Seq); err != nil {
			return nil, err
		}
	}
	next, err := l.next(ctx, place.Seq+1)
	if err != nil {
		return nil, err
	}
	// The state is asked for last: what retention drops before that is seen in it.
	info, err := l.info(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case event != nil && event.cursor() == place, next != nil && next.cursor().Before() == place:
		return info, nil
	case event != nil, place.Time < info.Created.UnixNano():
		return info, bridge.ErrCursorUnknown
	case place.Seq > info.State.LastSeq:
		return info, bridge.ErrCursorAhead
	case firstKept(info) > place.Seq+1:
		return info, bridge.ErrCursorExpired
	case next != nil && next.cursor().Time <= place.Time:
		return info, bridge.ErrCursorUnknown
	}
	return info, l.checkPrevious(ctx, place, info)
}

// checkPrevious checks that the kept event before a place is older, if it is near. Events are missing inside the log
// only where an operator has removed them.
func (l *Log) checkPrevious(ctx context.Context, place bridge.Cursor, info *jetstream.StreamInfo) error {
	const near = 8
	for seq := place.Seq; seq > firstKept(info) && place.Seq-seq < near; seq-- {
		previous, err := l.at(ctx, seq-1)
		if err != nil {
			return err
		}
		if previous == nil {
			continue
		}
		if previous.cursor().Time > place.Time {
			return bridge.ErrCursorUnknown
		}
		return nil
	}
	return nil
}

// firstKept returns the first sequence that may be kept; one behind the end when nothing is.
func firstKept(info *jetstream.StreamInfo) uint64 {
	if info.State.Msgs == 0 {
		return info.State.LastSeq + 1
	}
	return max(info.State.FirstSeq, 1)
}

// Since implements [bridge.Log].
func (l *Log) Since(ctx context.Context, t time.Time) (bridge.Cursor, error) {
	info, err := l.info(ctx)
	if err != nil {
		return bridge.Cursor{}, err
	}
	oldest, err := l.next(ctx, info.State.FirstSeq)
	if err != nil {
		return bridge.Cursor{}, err
	}
	since := nanoseconds(t)
	if oldest == nil {
		end, err := l.end(ctx, info)
		if err == nil && end.Seq > 0 && since <= end.Time {
			err = bridge.ErrCursorExpired
		}
		return end, err
	}
	place := oldest.cursor()
	switch {
	case place.Time > since && place.Seq > 1 && mayHaveDropped(info, t):
		return place.Before(), bridge.ErrCursorExpired
	case place.Time >= since:
		return place.Before(), nil
	}
	found, err := l.search(ctx, place.Seq, info.State.LastSeq+1, since)
	if err != nil || found != nil {
		return found.before(), err
	}
	return l.end(ctx, info)
}

// clockSlack is by how much JetStream's time of an event may differ from its stamp.
const clockSlack = time.Minute

// mayHaveDropped reports whether retention may have dropped events that were stored at or after t. By age it drops what is
// older than the limit. By size it drops the oldest; then the stream is full, and stays so until events that were stored
// later are dropped by age.
func mayHaveDropped(info *jetstream.StreamInfo, t time.Time) bool {
	limits, state := info.Config, info.State
	byAge := limits.MaxAge > 0 && time.Since(t) > limits.MaxAge-min(clockSlack, limits.MaxAge/10)
	const largest = 8 << 20 // more than the largest event
	byBytes := limits.MaxBytes > 0 && state.Bytes+largest > uint64(limits.MaxBytes)
	byCount := limits.MaxMsgs > 0 && state.Msgs >= uint64(limits.MaxMsgs) || limits.MaxMsgsPerSubject > 0
	return byAge || byBytes || byCount
}

// search returns the first event with a store time of at least since, or nil. The event at the sequence low is
// older, and the one at high is not. JetStream's own times lead next to it; the store times decide.
func (l *Log) search(ctx context.Context, low, high uint64, since int64) (found *stored, err error) {
	start := time.Unix(0, since)
	probe, err := l.get(ctx, query{Time: &start, Next: anySubject})
	if err != nil {
		return nil, err
	}
	seq := high - 1
	if probe != nil {
		seq = probe.seq
	}
	for step := uint64(1); high-low > 1; step *= 2 {
		if seq <= low || seq >= high {
			seq = low + (high-low)/2
		}
		probe, err := l.next(ctx, seq)
		switch {
		case err != nil:
			return nil, err
		case probe != nil && probe.cursor().Time < since:
			low = probe.seq
			seq = low + step
		default:
			found, high = probe, seq
			seq = high - min(step, high)
		}
	}
	return found, nil
}

func (m *stored) before() bridge.Cursor {
	if m == nil {
		return bridge.Cursor{}
	}
	return m.cursor().Before()
}

// nanoseconds is t.UnixNano, kept in its range.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// lost reports whether an error of Check says that a log has changed under its reader.
func lost(err error) bool {
	return errors.Is(err, bridge.ErrCursorUnknown) || errors.Is(err, bridge.ErrCursorAhead)
}
