package bridge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ssebridge/ssebridge/bridge/telemetry"
)

// Settings of a hub. The zero value of a field stands for its default.
type Settings struct {
	WindowEvents int // newest events held in memory. Defaults to 65,536.
	WindowBytes  int // bound of the memory that they take. Defaults to 64 MiB.
	HistoryBytes int // bound of the pages of older events held for readers that are far behind. Defaults to 16 MiB.
	HistoryReads int // reads of the log at once for such readers. Defaults to 2.

	// State tells state topics, of whose events only the newest counts: a reader that is behind is not sent those that
	// a newer one of the same topic replaces (see [Reader.Take]). It must always say the same of a topic, and may be
	// called concurrently. Defaults to none.
	State func(topic string) bool

	Telemetry *telemetry.Telemetry // defaults to none
}

func (s Settings) withDefaults() Settings {
	setDefault(&s.WindowEvents, 65_536)
	setDefault(&s.WindowBytes, 64<<20)
	setDefault(&s.HistoryBytes, 16<<20)
	setDefault(&s.HistoryReads, 2)
	if s.State == nil {
		s.State = func(string) bool { return false }
	}
	if s.Telemetry == nil {
		s.Telemetry = telemetry.Off()
	}
	return s
}

func setDefault(field *int, value int) {
	if *field == 0 {
		*field = value
	}
}

// Errors of Subscribe.
var (
	ErrDraining = errors.New("this replica is going away")
	ErrNotWarm  = errors.New("this replica has not read the log yet")
)

// Hub keeps the newest events of a log in a window and wakes the readers that a new event is for. Its methods may be
// called concurrently.
type Hub struct {
	log       Log
	settings  Settings
	telemetry *telemetry.Telemetry
	window    *window
	history   *history
	audiences audiences
	lookups   chan struct{} // holds a token for each new reader whose place the log is asked about
	warmed    chan struct{} // closed when the window is warm
	warmOnce  sync.Once
	heartbeat atomic.Pointer[heartbeat]
	woken     atomic.Pointer[Cursor] // whoever an event up to here is for has been told of it
	traced    []delivery             // of one call of hubSink.Append

	mu       sync.Mutex
	readers  map[string]*Reader // by ID
	draining bool
}

// maxLookups is how many new readers may ask the log at once where they begin: a fleet that returns waits in line and
// leaves publishers their log.
const maxLookups = 16

// lookUp waits for a turn to ask the log. It must be followed by lookedUp where it returns no error.
func (h *Hub) lookUp(ctx context.Context) error {
	select {
	case h.lookups <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.Join(ErrLogUnavailable, ctx.Err())
	}
}

func (h *Hub) lookedUp() { <-h.lookups }

// NewHub makes a hub. It serves readers once Run has read the log.
func NewHub(log Log, settings Settings) *Hub {
	settings = settings.withDefaults()
	h := &Hub{
		log:       log,
		settings:  settings,
		telemetry: settings.Telemetry,
		window:    newWindow(settings.WindowEvents, settings.WindowBytes, settings.State, Cursor{}),
		history:   newHistory(log, settings.HistoryBytes, settings.HistoryReads, settings.State),
		lookups:   make(chan struct{}, maxLookups),
		readers:   map[string]*Reader{},
		warmed:    make(chan struct{}),
	}
	h.telemetry.ObserveWindow(h.window.state)
	return h
}

// Run feeds the hub from the log until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	return h.log.Tail(ctx, h.settings.WindowEvents, (*hubSink)(h))
}

// Warm reports whether the window has reached the end of the log.
func (h *Hub) Warm() bool {
	select {
	case <-h.warmed:
		return true
	default:
		return false
	}
}

// Warmed returns a channel that is closed when the window has reached the end of the log: readers are served from then on.
func (h *Hub) Warmed() <-chan struct{} { return h.warmed }

// hubSink is what the log sees of a hub.
type hubSink Hub

func (s *hubSink) Begin(base Cursor) { s.window.begin(base) }

func (s *hubSink) Warm() { s.warmOnce.Do(func() { close(s.warmed) }) }

func (s *hubSink) Append(events []*Event) {
	begun := time.Now()
	s.window.append(events)
	if len(events) == 0 {
		return
	}
	before, end := events[0].Cursor.Before(), events[len(events)-1].Cursor
	woken, readers := "", 0
	for _, event := range events {
		if event.Topic != woken { // events of one topic often come together
			woken = event.Topic
			readers = s.audiences.wake(woken, &before)
		}
		if s.telemetry.Traces(event.TraceParent) {
			s.traced = append(s.traced, delivery{event, readers})
		}
	}
	s.woken.Store(&end)
	s.show(events, begun)
}

// delivery is an event whose trace is wanted, and how many readers were told of it.
type delivery struct {
	event   *Event
	readers int
}

// show makes visible what Append has done, once readers need not wait for it any more. What comes before the window is
// warm was delivered by whoever ran then.
func (s *hubSink) show(events []*Event, begun time.Time) {
	if (*Hub)(s).Warm() {
		s.telemetry.Tailed(events[len(events)-1].Cursor.Time)
		ended := time.Now()
		for _, d := range s.traced {
			s.telemetry.Deliver(telemetry.Delivery{
				TraceParent: d.event.TraceParent, Topic: d.event.Topic, Type: d.event.Type,
				Cursor: d.event.Cursor.String(), Bytes: len(d.event.Data), Readers: d.readers, Begun: begun, Ended: ended,
			})
		}
	}
	clear(s.traced)
	s.traced = s.traced[:0]
}

func (s *hubSink) Lost(base Cursor, reason ResetReason) {
	s.woken.Store(nil) // what was told before says nothing about places behind
	s.window.lose(base, reason)
	s.history.clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reader := range s.readers {
		reader.waker.Wake()
	}
}

// Start says where a reader begins.
type Start struct {
	kind   startKind
	cursor Cursor
	time   time.Time
}

type startKind uint8

const (
	startLatest startKind = iota
	startEarliest
	startCursor
	startTime
	startUnknown
)

// StartLatest begins at the end of the log.
func StartLatest() Start { return Start{} }

// StartEarliest begins with the oldest event that is kept.
func StartEarliest() Start { return Start{kind: startEarliest} }

// StartAfter begins behind a place that the reader was given earlier. Where it is not one of this log, or what
// followed it is no longer kept, the reader is told by a reset.
func StartAfter(place Cursor) Start { return Start{kind: startCursor, cursor: place} }

// StartSince begins with the first event stored at or after t.
func StartSince(t time.Time) Start { return Start{kind: startTime, time: t} }

// StartUnknown begins at the end of the log for a reader that asked for a place that nobody can read: it is told by
// a reset.
func StartUnknown() Start { return Start{kind: startUnknown} }

// Subscribe opens a reader. The waker is called from now on, until the reader is closed, which it must be. The error is
// ErrDraining, ErrNotWarm or wraps ErrLogUnavailable.
func (h *Hub) Subscribe(ctx context.Context, sub Subscription, from Start, waker Waker) (*Reader, error) {
	if !h.Warm() {
		return nil, ErrNotWarm
	}
	reader := newReader(h, sub, waker)
	if err := h.join(reader); err != nil {
		return nil, err
	}
	// The reader is woken from here on, so nothing that follows its place can be missed.
	if err := reader.start(ctx, from); err != nil {
		h.leave(reader)
		return nil, err
	}
	reader.begin(from)
	return reader, nil
}

func (h *Hub) join(reader *Reader) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return ErrDraining
	}
	h.readers[reader.ID] = reader
	h.audiences.add(reader)
	return nil
}

func (h *Hub) leave(reader *Reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, in := h.readers[reader.ID]; in {
		delete(h.readers, reader.ID)
		h.audiences.remove(reader)
	}
}

// Drain ends every reader and refuses new ones with ErrDraining.
func (h *Hub) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
	for _, reader := range h.readers {
		reader.finish(EndDrain)
	}
}

// Draining reports whether Drain was called.
func (h *Hub) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// Readers returns how many readers there are.
func (h *Hub) Readers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers)
}

// End ends one reader by its ID and reports whether there is such a reader.
func (h *Hub) End(id string, reason EndReason) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	reader := h.readers[id]
	if reader == nil {
		return false
	}
	reader.finish(reason)
	return true
}

// heartbeat is the frame for one place.
type heartbeat struct {
	place Cursor
	frame []byte
}

// Heartbeat returns the heartbeat frame for a place. Readers that have everything stand at the same place and share
// it; it must not be changed.
func (h *Hub) Heartbeat(place Cursor) []byte {
	if shared := h.heartbeat.Load(); shared != nil && shared.place == place {
		return shared.frame
	}
	made := &heartbeat{place: place, frame: AppendFrame(nil, place, EventHeartbeat, []byte("{}"))}
	h.heartbeat.Store(made)
	return made.frame
}
