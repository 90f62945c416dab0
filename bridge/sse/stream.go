package sse

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/telemetry"
)

// batchLimit is how many events are taken from the hub at once and go out between two looks at whether the stream
// shall end.
const batchLimit = 64

// logRetry is how long a stream waits before it asks again for events that the log could not give.
const logRetry = time.Second

// signal wakes the goroutine of a stream. It holds one token.
type signal chan struct{}

// Wake implements [bridge.Waker].
func (s signal) Wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// stream is one reader on one connection, served by a goroutine.
type stream struct {
	hub    *bridge.Hub
	reader *bridge.Reader
	woken  signal
	out    frameWriter
	beat   *time.Timer
	due    bool          // a heartbeat is
	mean   time.Duration // between heartbeats
	events []*bridge.Event

	telemetry *telemetry.Telemetry
	watch     telemetry.Stopwatch
}

// errExpired ends a stream whose caller's identity has expired.
var errExpired = errors.New("the caller's identity has expired")

// stream serves a reader until it ends; until is when its caller's identity does, if it is not zero. The step ends
// with the first byte.
func (h *Handler) stream(
	w http.ResponseWriter, r *http.Request, reader *bridge.Reader, woken signal, until time.Time, step *telemetry.Subscribe,
) {
	ctx := r.Context()
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, until, errExpired)
		defer cancel()
	}
	writeHead(w)
	s := &stream{
		hub:    h.config.Hub,
		reader: reader,
		woken:  woken,
		out:    newResponseWriter(w, h.config.Stall, until),
		mean:   h.config.Heartbeat,
		beat:   time.NewTimer(jitter(h.config.Heartbeat)),

		telemetry: h.config.Telemetry,
		watch:     h.config.Telemetry.Stopwatch(),
	}
	defer s.beat.Stop()
	if h.config.MaxAge > 0 {
		defer time.AfterFunc(jitter(h.config.MaxAge), func() { h.config.Hub.End(reader.ID, bridge.EndMaxAge) }).Stop()
	}
	transport := transportOf(r)
	s.telemetry.ReaderOpened(transport)
	defer s.telemetry.ReaderClosed(transport)
	err := s.send(openFrames(reader))
	if err == nil {
		step.Opened(reader.ID, string(reader.Source()))
		err = s.run(ctx)
	}
	if errors.Is(err, errExpired) {
		err = s.send(bridge.AppendNotice(nil, reader.Place(), bridge.EventExpired, "reason", "token"))
	}
	h.config.Logger.DebugContext(r.Context(), "stream ended", "reader", reader.ID, "error", err)
}

func transportOf(r *http.Request) string {
	if r.ProtoMajor == 1 {
		return transportHTTP1
	}
	return "h2"
}

const transportHTTP1 = "http1"

// run writes what is new for the reader until the caller goes, the connection takes nothing more, or the hub ends the
// reader.
func (s *stream) run(ctx context.Context) error {
	for ctx.Err() == nil {
		batch, err := s.reader.Take(ctx, batchLimit, s.events)
		wake, retry := s.woken, (<-chan time.Time)(nil)
		switch {
		case err != nil && ctx.Err() != nil: // what was taken all the same is delivered: the reader's place is behind it
			return context.Cause(ctx)
		case err != nil:
			wake, retry = nil, time.After(logRetry) // new events do not bring the log back
		default:
			if err := s.deliver(batch); err != nil {
				return err
			}
		}
		if s.due {
			if err := s.send(s.hub.Heartbeat(s.reader.Place())); err != nil {
				return err
			}
		}
		if batch.More {
			wake = ready
		}
		ended, err := s.wait(ctx, wake, retry)
		if ended || err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// deliver puts a batch on the connection.
func (s *stream) deliver(batch bridge.Batch) error {
	s.events = batch.Events
	defer clear(s.events) // an idle stream holds no event
	if batch.Reset != "" {
		notice := bridge.AppendNotice(nil, batch.Place, bridge.EventReset, "reason", string(batch.Reset))
		return s.send(notice)
	}
	if len(batch.Events) == 0 {
		return nil
	}
	format, bytes := s.reader.Subscription().Format, 0
	for _, event := range batch.Events {
		frame := event.Frame(format)
		if err := s.out.Write(frame); err != nil {
			return err
		}
		bytes += len(frame)
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.telemetry.Delivered(len(batch.Events), bytes)
	s.watch.Written(batch.Events[len(batch.Events)-1].Cursor.Time)
	return nil
}

// ready is a signal that is there at once.
var ready = func() signal {
	closed := make(signal)
	close(closed)
	return closed
}()

// wait returns when there may be something to take or a heartbeat is due. It sends the farewell of a stream that the
// hub ends, which comes before all else.
func (s *stream) wait(ctx context.Context, wake signal, retry <-chan time.Time) (ended bool, err error) {
	if reason := s.reader.Ended(); reason != "" {
		return true, s.send(reconnectFrame(s.reader.Place(), reason))
	}
	select {
	case <-s.beat.C:
		s.due = true // after one more look, so that the heartbeat carries the newest place
		return false, nil
	default:
	}
	select {
	case <-wake:
	case <-retry:
	case <-s.beat.C:
		s.due = true
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
	return false, nil
}

// send puts one frame on the connection at once.
func (s *stream) send(frame []byte) error {
	if err := s.out.Write(frame); err != nil {
		return err
	}
	return s.flush()
}

// flush sends what was written. The stream is not silent then, so the next heartbeat is a full time away.
func (s *stream) flush() error {
	s.due = false
	s.beat.Reset(jitter(s.mean))
	return s.out.Flush()
}

// jitter spreads a duration over 80 to 120 %.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1) //nolint:gosec // spreads load, guards nothing
}
