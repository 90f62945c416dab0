package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/ssebridge/ssebridge/bridge"
)

// A page of history is small enough to be sent while other requests wait, and large enough to cost little per event.
const (
	pageEvents = 256
	pageBytes  = 1 << 20
)

var errSilent = errors.New("the answer is incomplete")

// Read implements [bridge.Log] with one batched direct get.
//
// The page covers what was certainly read: up to the last event that came, or, when none came, up to where the
// stream's leader knows of none. When the page has gaps, FirstKept is asked for afterwards, so that everything that
// retention had dropped by then is before it: a reader at place p has missed nothing if p+1 >= FirstKept. Any other
// reader may have: it is to be reset, to FirstKept-1.
//
// A page with Through equal to after says that the log ends there.
func (l *Log) Read(ctx context.Context, after, through uint64) (bridge.Page, error) {
	if through <= after {
		return bridge.Page{Through: after}, nil
	}
	messages, err := l.readBatch(ctx, after, through)
	if err != nil {
		return bridge.Page{}, err
	}
	page := bridge.Page{Events: make([]*bridge.Event, 0, len(messages))}
	last := after
	gaps := false
	for _, message := range messages {
		gaps = gaps || message.seq != last+1
		last = message.seq
		page.Last = message.cursor()
		event, err := message.event(l.config.Prefix)
		if err != nil {
			l.skip(message, err)
			continue
		}
		page.Events = append(page.Events, event)
	}
	if page.Through = last; len(messages) == 0 {
		if page.Through, err = l.emptyThrough(ctx, after, through); err != nil {
			return bridge.Page{}, err
		}
	}
	if gaps || page.Through > last {
		info, err := l.info(ctx)
		if err != nil {
			return bridge.Page{}, err
		}
		page.FirstKept = firstKept(info)
	}
	return page, nil
}

// readBatch returns kept messages in (after, through], in order; none only if the server says that there are none.
func (l *Log) readBatch(ctx context.Context, after, through uint64) ([]*stored, error) {
	ctx, done, err := l.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	count := int(min(through-after, pageEvents))
	batch, err := jetstreamext.GetBatch(ctx, l.read, l.config.Stream, count,
		jetstreamext.GetBatchSeq(after+1), jetstreamext.GetBatchMaxBytes(pageBytes))
	if err != nil {
		return nil, unavailable("read", err)
	}
	messages := make([]*stored, 0, count)
	for raw, err := range batch {
		switch {
		case errors.Is(err, jetstreamext.ErrNoMessages):
			return messages, nil
		case err != nil:
			return nil, unavailable("read", err)
		case raw.Sequence <= after || len(messages) > 0 && raw.Sequence <= messages[len(messages)-1].seq:
			return nil, unavailable("read", fmt.Errorf("sequence %d is out of order", raw.Sequence))
		case raw.Sequence > through:
			return messages, nil
		}
		messages = append(messages, fromRaw(raw))
	}
	// The library ends the answer without an error when the time is over, which nothing at all tells apart from
	// "no messages" but a message. What has come is good as far as it goes.
	if len(messages) == 0 {
		return nil, unavailable("read", errSilent)
	}
	return messages, nil
}

func fromRaw(raw *jetstream.RawStreamMsg) *stored {
	return &stored{seq: raw.Sequence, time: raw.Time, subject: raw.Subject, header: raw.Header, data: raw.Data}
}

// emptyThrough returns up to where nothing is kept behind after, at most through. The batch came from any replica of
// the stream, which may lag, so the leader is asked again: first for its end, as an event may be stored meanwhile.
func (l *Log) emptyThrough(ctx context.Context, after, through uint64) (uint64, error) {
	info, err := l.info(ctx)
	if err != nil {
		return 0, err
	}
	next, err := l.next(ctx, after+1)
	switch {
	case err != nil:
		return 0, err
	case next != nil && next.seq <= through:
		return 0, unavailable("read", errSilent)
	}
	return max(after, min(through, info.State.LastSeq)), nil
}
