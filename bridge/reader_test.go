package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keptLog is what a log keeps, in memory: the core knows no real one. Sequences may be missing, pages may be cut.
type keptLog struct {
	check     func(Cursor) error
	kept      []*Event
	firstKept uint64
	pageMax   int // events in a page; 0: no limit
	reads     atomic.Int64
	broken    atomic.Bool
}

func (l *keptLog) Append(context.Context, *Event, string) (Pending, error) {
	return nil, errors.ErrUnsupported
}

func (l *keptLog) Tail(context.Context, int, Sink) error { return errors.ErrUnsupported }

func (l *keptLog) Read(_ context.Context, after, through uint64) (Page, error) {
	l.reads.Add(1)
	if l.broken.Load() {
		return Page{}, ErrLogUnavailable
	}
	page := Page{Through: through}
	next := max(after+1, l.firstKept)
	gaps := next > after+1
	for _, event := range l.kept {
		seq := event.Cursor.Seq
		if seq < next || seq > through {
			continue
		}
		if l.pageMax > 0 && page.Last.Seq >= after+uint64(l.pageMax) {
			page.Through = page.Last.Seq
			break
		}
		gaps = gaps || seq > next
		next = seq + 1
		page.Last = event.Cursor
		if event.Topic != unreadable {
			page.Events = append(page.Events, event)
		}
	}
	if gaps {
		page.FirstKept = l.firstKept
	}
	return page, nil
}

func (l *keptLog) Bounds(context.Context) (Bounds, error) {
	oldest := Cursor{Time: 1}
	for _, event := range l.kept {
		if event.Cursor.Seq >= l.firstKept {
			oldest = event.Cursor.Before()
			break
		}
	}
	return Bounds{Oldest: oldest, Newest: l.kept[len(l.kept)-1].Cursor}, nil
}

func (l *keptLog) Check(_ context.Context, place Cursor) error {
	if l.check == nil {
		return nil
	}
	return l.check(place)
}

func (l *keptLog) Since(context.Context, time.Time) (Cursor, error) {
	return Cursor{}, ErrCursorExpired
}

// unreadable is the topic of stored messages that are no events.
const unreadable = "unreadable"

func eventAt(seq uint64, topic string) *Event {
	return &Event{Cursor: Cursor{Seq: seq, Time: int64(seq) * 10}, Topic: topic, Data: []byte("{}")}
}

// keep fills a log and a warm hub whose window holds the newest events only.
func keep(t *testing.T, window int, events ...*Event) (*keptLog, *Hub) {
	t.Helper()
	log := &keptLog{kept: events, firstKept: 1}
	hub := NewHub(log, Settings{WindowEvents: window})
	sink := (*hubSink)(hub)
	sink.Begin(Cursor{Time: 1})
	sink.Append(events)
	sink.Warm()
	return log, hub
}

func numberedEvents(count int, topic string) []*Event {
	events := make([]*Event, count)
	for i := range events {
		events[i] = eventAt(uint64(i+1), topic)
	}
	return events
}

func subscribeTo(t *testing.T, hub *Hub, start Start, pattern string) *Reader {
	t.Helper()
	reader, err := hub.Subscribe(t.Context(), Subscription{Patterns: mustPatterns(t, pattern)}, start, make(signal, 1))
	require.NoError(t, err)
	t.Cleanup(reader.Close)
	return reader
}

// takeAll takes until there is nothing more, and returns the sequences and the resets.
func takeAll(t *testing.T, reader *Reader) (seqs []uint64, resets []ResetReason) {
	t.Helper()
	for {
		batch, err := reader.Take(t.Context(), 7, nil)
		require.NoError(t, err)
		if batch.Reset != "" {
			resets = append(resets, batch.Reset)
		}
		for _, event := range batch.Events {
			seqs = append(seqs, event.Cursor.Seq)
		}
		if !batch.More {
			return seqs, resets
		}
	}
}

// signal is a waker that a test looks at.
type signal chan struct{}

func (s signal) Wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

func woken(reader *Reader) signal { return reader.waker.(signal) }

func sequence(first, last uint64) []uint64 {
	var seqs []uint64
	for seq := first; seq <= last; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

func TestHistoryThenWindowThenNew(t *testing.T) {
	t.Parallel()
	for _, pageMax := range []int{0, 1, 3, 100} {
		log, hub := keep(t, 50, numberedEvents(1000, "a")...)
		log.pageMax = pageMax
		reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 3, Time: 30}), "*")
		seqs, resets := takeAll(t, reader)
		assert.Equal(t, sequence(4, 1000), seqs)
		assert.Empty(t, resets)
		assert.Equal(t, Cursor{Seq: 1000, Time: 10_000}, reader.Place())
		(*hubSink)(hub).Append([]*Event{eventAt(1001, "b"), eventAt(1002, "a")})
		<-woken(reader)
		seqs, _ = takeAll(t, reader)
		assert.Equal(t, sequence(1001, 1002), seqs)
	}
}

func TestReadersShareThePagesOfHistory(t *testing.T) {
	t.Parallel()
	log, hub := keep(t, 100, numberedEvents(5000, "a")...)
	for place := range uint64(200) {
		reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 1 + place*7, Time: int64(1+place*7) * 10}), "a")
		seqs, _ := takeAll(t, reader)
		require.Equal(t, sequence(2+place*7, 5000), seqs)
	}
	assert.Equal(t, int64(20), log.reads.Load(), "4,900 sequences in pages of 256")
}

func TestHistoryWithDeletedEvents(t *testing.T) {
	t.Parallel()
	events := numberedEvents(3000, "a")
	kept := slices.Concat(events[:10], events[900:905], events[2950:])
	log, hub := keep(t, 20, kept...)
	reader := subscribeTo(t, hub, StartEarliest(), "a")
	seqs, resets := takeAll(t, reader)
	assert.Equal(t, slices.Concat(sequence(1, 10), sequence(901, 905), sequence(2951, 3000)), seqs)
	assert.Empty(t, resets, "what was deleted one by one is not kept from anybody")

	log.kept = events[2980:] // now everything before the window is gone, event by event
	reader = subscribeTo(t, hub, StartAfter(Cursor{Seq: 2960, Time: 29_600}), "a")
	hub.history.clear()
	seqs, resets = takeAll(t, reader)
	assert.Equal(t, sequence(2981, 3000), seqs)
	assert.Empty(t, resets)
}

func TestExpiredPlaceIsReset(t *testing.T) {
	t.Parallel()
	log, hub := keep(t, 20, numberedEvents(1000, "a")...)
	log.firstKept = 500
	reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 400, Time: 4000}), "a")
	seqs, resets := takeAll(t, reader)
	assert.Equal(t, []ResetReason{ResetExpired}, resets)
	assert.Equal(t, sequence(500, 1000), seqs, "the oldest kept event and all that follow")

	exactly := subscribeTo(t, hub, StartAfter(Cursor{Seq: 499, Time: 4990}), "a")
	seqs, resets = takeAll(t, exactly)
	assert.Empty(t, resets, "nothing behind this place is gone")
	assert.Equal(t, sequence(500, 1000), seqs)
}

func TestLossResetsThoseWhoMissSomething(t *testing.T) {
	t.Parallel()
	_, hub := keep(t, 50, numberedEvents(100, "a")...)
	upToDate, slow := subscribeTo(t, hub, StartLatest(), "a"), subscribeTo(t, hub, StartAfter(Cursor{Seq: 90, Time: 900}), "a")
	sink := (*hubSink)(hub)
	sink.Lost(Cursor{Seq: 95, Time: 950}, ResetExpired)
	sink.Append([]*Event{eventAt(101, "a")})
	for _, reader := range []*Reader{upToDate, slow} {
		<-woken(reader)
	}
	seqs, resets := takeAll(t, upToDate)
	assert.Empty(t, resets)
	assert.Equal(t, sequence(101, 101), seqs)
	seqs, resets = takeAll(t, slow)
	assert.Equal(t, []ResetReason{ResetExpired}, resets)
	assert.Equal(t, sequence(101, 101), seqs)

	sink.Lost(Cursor{Time: 5000}, ResetRecreated)
	sink.Append([]*Event{eventAt(1, "a")})
	late := subscribeTo(t, hub, StartLatest(), "a")
	for _, reader := range []*Reader{upToDate, slow} {
		<-woken(reader)
		seqs, resets = takeAll(t, reader)
		assert.Equal(t, []ResetReason{ResetRecreated}, resets)
		assert.Equal(t, sequence(1, 1), seqs, "what the new log holds")
	}
	seqs, resets = takeAll(t, late)
	assert.Empty(t, resets, "who came afterwards has lost nothing")
	assert.Empty(t, seqs)
}

func TestUnavailableHistoryKeepsThePlace(t *testing.T) {
	t.Parallel()
	log, hub := keep(t, 20, numberedEvents(100, "a")...)
	reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 10, Time: 100}), "a")
	log.broken.Store(true)
	_, err := reader.Take(t.Context(), 7, nil)
	require.ErrorIs(t, err, ErrLogUnavailable)
	assert.Equal(t, uint64(10), reader.Place().Seq)
	log.broken.Store(false)
	seqs, _ := takeAll(t, reader)
	assert.Equal(t, sequence(11, 100), seqs)
}

// TestHistoryWithoutEvents: pieces of the log in which nothing can be read, or nothing is for the reader, are passed one
// page at a time, so that its stream can tell where it stands.
func TestHistoryWithoutEvents(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{unreadable, "b"} {
		events := slices.Concat(numberedEvents(10, "a"), numberedEvents(1000, topic)[10:], numberedEvents(1100, "a")[1000:])
		_, hub := keep(t, 50, events...)
		reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 10, Time: 100}), "a")
		for page := range 3 {
			batch, err := reader.Take(t.Context(), 7, nil)
			require.NoError(t, err)
			assert.True(t, batch.More)
			assert.Empty(t, batch.Events)
			assert.Equal(t, uint64(256*(page+1)), reader.Place().Seq)
			assert.Equal(t, reader.Place(), batch.Place)
		}
		seqs, resets := takeAll(t, reader)
		assert.Empty(t, resets)
		assert.Equal(t, sequence(1001, 1100), seqs)
	}
}

// TestResetIsToldBeforeThePlaceMoves: who goes before it was told of a reset comes back with the place it had.
func TestResetIsToldBeforeThePlaceMoves(t *testing.T) {
	t.Parallel()
	old := Cursor{Seq: 1 << 40, Time: 5}
	for err, want := range map[error]reset{
		ErrCursorAhead:   {ResetAhead, Cursor{Seq: 100, Time: 1000}},
		ErrCursorUnknown: {ResetUnknown, Cursor{Seq: 100, Time: 1000}},
		ErrCursorExpired: {ResetExpired, Cursor{Seq: 0, Time: 9}},
	} {
		log, hub := keep(t, 50, numberedEvents(100, "a")...)
		log.check = func(Cursor) error { return err }
		reader := subscribeTo(t, hub, StartAfter(old), "a")
		assert.Equal(t, old, reader.Place(), err)
		batch, err := reader.Take(t.Context(), 7, nil)
		require.NoError(t, err)
		assert.Equal(t, Batch{Reset: want.reason, Place: want.place, More: true}, batch)
		assert.Equal(t, want.place, reader.Place())
	}
	_, hub := keep(t, 50, numberedEvents(100, "a")...)
	reader := subscribeTo(t, hub, StartUnknown(), "a")
	assert.True(t, reader.Place().IsZero())
}

// TestPlacesBeforeEventsResume: the place that a start by time gives is one that its reader can come back to.
func TestPlacesBeforeEventsResume(t *testing.T) {
	t.Parallel()
	log, hub := keep(t, 50, numberedEvents(100, "a")...)
	log.check = func(Cursor) error { return errors.New("the window knows") }
	reader := subscribeTo(t, hub, StartSince(time.Unix(0, 899)), "a")
	again := subscribeTo(t, hub, StartAfter(reader.Place()), "a")
	seqs, resets := takeAll(t, again)
	assert.Empty(t, resets)
	assert.Equal(t, sequence(90, 100), seqs)
}

// TestRecreatedThenExpired: of two losses that a reader has not been told of, it is told of the one that says more.
func TestRecreatedThenExpired(t *testing.T) {
	t.Parallel()
	_, hub := keep(t, 50, numberedEvents(100, "a")...)
	reader := subscribeTo(t, hub, StartLatest(), "a")
	sink := (*hubSink)(hub)
	sink.Lost(Cursor{Time: 5000}, ResetRecreated)
	sink.Lost(Cursor{Seq: 20, Time: 5020}, ResetExpired)
	sink.Append([]*Event{eventAt(21, "a")})
	seqs, resets := takeAll(t, reader)
	assert.Equal(t, []ResetReason{ResetRecreated}, resets)
	assert.Equal(t, sequence(21, 21), seqs)
}

// TestBatchesAreBoundedInBytes: large events come few at a time.
func TestBatchesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]int{"window": 1000, "log": 1} {
		events := numberedEvents(100, "a")
		for _, event := range events {
			event.Data = make([]byte, 20<<10)
		}
		_, hub := keep(t, window, events...)
		reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 1, Time: 10}), "a")
		for taken := 1; taken < 97; {
			batch, err := reader.Take(t.Context(), 64, nil)
			require.NoError(t, err)
			assert.True(t, batch.More)
			assert.Len(t, batch.Events, 4, name)
			taken += len(batch.Events)
			assert.Equal(t, uint64(taken), reader.Place().Seq)
		}
	}
}

// TestFewAskTheLogAtOnce: a fleet that comes back with places which the window does not know stands in line.
func TestFewAskTheLogAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, hub := keep(t, 50, numberedEvents(100, "a")...)
		var asking, most atomic.Int64
		log.check = func(Cursor) error {
			if now := asking.Add(1); now > most.Load() {
				most.Store(now)
			}
			defer asking.Add(-1)
			time.Sleep(time.Second)
			return ErrCursorUnknown
		}
		var readers sync.WaitGroup
		for i := range 100 {
			readers.Go(func() { subscribeTo(t, hub, StartAfter(Cursor{Seq: uint64(i + 1), Time: 1}), "a") })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		synctest.Wait()
		_, err := hub.Subscribe(ctx, Subscription{Patterns: mustPatterns(t, "a")}, StartAfter(Cursor{Seq: 1, Time: 1}), make(signal, 1))
		require.ErrorIs(t, err, ErrLogUnavailable, "who goes while it waits is not in the way")
		readers.Wait()
		assert.Equal(t, int64(maxLookups), most.Load())
		assert.Equal(t, 100, hub.Readers())
	})
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	events := numberedEvents(5000, "a")
	for _, event := range events {
		event.Data = make([]byte, 1000)
	}
	log := &keptLog{kept: events, firstKept: 1}
	h := newHistory(log, 3<<20, 1, noState)
	for after := uint64(0); after < 4900; {
		page, err := h.page(t.Context(), after, 4900)
		require.NoError(t, err)
		after = page.Through
		assert.LessOrEqual(t, h.bytes, 3<<20)
	}
	assert.Less(t, len(h.pages), 5, "the oldest pages have gone")
}

func TestSubscribeBeforeWarmAndAfterDrain(t *testing.T) {
	t.Parallel()
	hub := NewHub(&keptLog{}, Settings{})
	_, err := hub.Subscribe(t.Context(), Subscription{Patterns: mustPatterns(t, "a")}, StartLatest(), make(signal, 1))
	require.ErrorIs(t, err, ErrNotWarm)
	(*hubSink)(hub).Warm()
	hub.Drain()
	_, err = hub.Subscribe(t.Context(), Subscription{Patterns: mustPatterns(t, "a")}, StartLatest(), make(signal, 1))
	require.ErrorIs(t, err, ErrDraining)
	assert.True(t, hub.Draining())
}

func TestHeartbeatIsShared(t *testing.T) {
	t.Parallel()
	_, hub := keep(t, 10, numberedEvents(3, "a")...)
	place := Cursor{Seq: 3, Time: 30}
	first, again := hub.Heartbeat(place), hub.Heartbeat(place)
	assert.Same(t, &first[0], &again[0])
	assert.Equal(t, "id: 3-u\nevent: ssebridge.heartbeat\ndata: {}\n\n", string(first))
	assert.Contains(t, string(hub.Heartbeat(Cursor{Seq: 2, Time: 20})), "id: 2-k\n")
}

// TestQuietReaderNeedsNoLog: a reader that has everything is not sent to the log by events for others, however many the
// window has dropped since.
func TestQuietReaderNeedsNoLog(t *testing.T) {
	_, hub := keep(t, 10, numberedEvents(20, "busy")...)
	sink, seq := (*hubSink)(hub), uint64(20)
	add := func(count int, topic string) {
		for range count {
			seq++
			sink.Append([]*Event{eventAt(seq, topic)})
		}
	}
	reader := subscribeTo(t, hub, StartLatest(), "quiet")
	take := func() (seqs []uint64) {
		batch, ok := reader.Poll(7, nil)
		require.True(t, ok, "the log is asked for what is behind %v", reader.Place())
		for _, event := range batch.Events {
			seqs = sequence(event.Cursor.Seq, event.Cursor.Seq)
		}
		return seqs
	}
	require.Empty(t, take())
	add(50, "busy")
	require.Empty(t, take(), "as for a heartbeat")
	require.Equal(t, seq, reader.Place().Seq)
	add(50, "busy")
	add(1, "quiet")
	add(5, "busy")
	require.Equal(t, sequence(seq-5, seq-5), take())

	add(1, "quiet")
	add(50, "busy")
	_, ok := reader.Poll(7, nil)
	require.False(t, ok, "what is for it is in the log alone")
}

// TestQuietReadersMissNothing: whenever readers look, beside a window that drops events at once, each receives all that is
// for it once.
func TestQuietReadersMissNothing(t *testing.T) {
	const count = 20_000
	topics := []string{"busy", "busy", "busy", "busy", "busy", "busy", "busy", "busy", "quiet/1", "quiet/2"}
	events := make([]*Event, count)
	expected := map[string][]uint64{}
	for i := range events {
		topic := topics[rand.IntN(len(topics))]
		if i == count-1 {
			topic = "quiet/1"
		}
		events[i] = eventAt(uint64(i+1), topic)
		expected[topic] = append(expected[topic], uint64(i+1))
	}
	log, hub := keep(t, 8)
	log.kept, log.firstKept = events, 1
	var readers sync.WaitGroup
	for _, topic := range []string{"quiet/1", "quiet/2", "busy", "quiet/1"} {
		reader := subscribeTo(t, hub, StartLatest(), topic)
		readers.Go(func() {
			var seqs []uint64
			for len(seqs) < len(expected[topic]) {
				select {
				case <-woken(reader):
				case <-time.After(time.Millisecond): // as for a heartbeat
				}
				taken, resets := takeAll(t, reader)
				assert.Empty(t, resets)
				seqs = append(seqs, taken...)
				if len(seqs) > 0 && seqs[len(seqs)-1] >= expected[topic][len(expected[topic])-1] {
					break
				}
			}
			assert.Equal(t, expected[topic], seqs)
		})
	}
	for left := events; len(left) > 0; {
		n := min(1+rand.IntN(6), len(left))
		(*hubSink)(hub).Append(left[:n])
		left = left[n:]
	}
	readers.Wait()
}
