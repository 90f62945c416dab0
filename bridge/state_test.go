package bridge

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keepState is keep with state topics.
func keepState(t *testing.T, window int, state func(string) bool, events ...*Event) (*keptLog, *Hub) {
	t.Helper()
	log := &keptLog{kept: events, firstKept: 1}
	hub := NewHub(log, Settings{WindowEvents: window, State: state})
	sink := (*hubSink)(hub)
	sink.Begin(Cursor{Time: 1})
	sink.Append(events)
	sink.Warm()
	return log, hub
}

func stateTopic(topic string) bool { return topic == "price" }

func typed(seq uint64, topic, typ string) *Event {
	event := eventAt(seq, topic)
	event.Type = typ
	return event
}

func subscribeToTypes(t *testing.T, hub *Hub, start Start, pattern string, types ...TypeFilter) *Reader {
	t.Helper()
	reader, err := hub.Subscribe(t.Context(), Subscription{Patterns: mustPatterns(t, pattern), Types: types}, start, make(signal, 1))
	require.NoError(t, err)
	t.Cleanup(reader.Close)
	return reader
}

// TestStateTopicWhileKeepingUp: who is not behind receives each event.
func TestStateTopicWhileKeepingUp(t *testing.T) {
	t.Parallel()
	_, hub := keepState(t, 50, stateTopic, numberedEvents(10, "price")...)
	reader := subscribeTo(t, hub, StartLatest(), "**")
	for seq := uint64(11); seq < 200; seq++ {
		(*hubSink)(hub).Append([]*Event{eventAt(seq, "price")})
		<-woken(reader)
		seqs, _ := takeAll(t, reader)
		require.Equal(t, []uint64{seq}, seqs)
	}
}

// TestStateTopicInTheWindow: the newest event replaces those before it, of the same topic only, and comes in its place
// in the log. An event that the type filter keeps away replaces none that it lets pass.
func TestStateTopicInTheWindow(t *testing.T) {
	t.Parallel()
	_, hub := keepState(t, 50, stateTopic,
		typed(1, "price", "a.A"), typed(2, "x", "a.A"), typed(3, "price", "b.B"), typed(4, "price", "a.A"), typed(5, "x", "b.B"),
		typed(6, "price", "b.B"), typed(7, "price", "c.C"), typed(8, "x", "a.A"))
	for _, test := range []struct {
		pattern string
		types   []TypeFilter
		want    []uint64
	}{
		{"price", nil, []uint64{7}},
		{"**", nil, []uint64{2, 5, 7, 8}},
		{"price", []TypeFilter{"a.A"}, []uint64{4}},
		{"*", []TypeFilter{"a.*"}, []uint64{2, 4, 8}},
		{"*", []TypeFilter{"a.A", "b.B"}, []uint64{2, 5, 6, 8}},
		{"price", []TypeFilter{"d.D"}, nil},
	} {
		reader := subscribeToTypes(t, hub, StartAfter(Cursor{Time: 1}), test.pattern, test.types...)
		seqs, resets := takeAll(t, reader)
		assert.Empty(t, resets)
		assert.Equal(t, test.want, seqs, "%s %v", test.pattern, test.types)
		assert.Equal(t, uint64(8), reader.Place().Seq)
	}
	reader := subscribeTo(t, hub, StartAfter(Cursor{Time: 1}), "price")
	batch, err := reader.Take(t.Context(), 1, nil)
	require.NoError(t, err)
	assert.Len(t, batch.Events, 1)
	assert.False(t, batch.More, "replaced events take no room")
}

// TestStateTopicInTheLog: what is older than the window is left out where the window, or the same page, has a newer
// event that the reader accepts. Pages begin at multiples of 256.
func TestStateTopicInTheLog(t *testing.T) {
	t.Parallel()
	events := numberedEvents(1000, "x")
	for seq, typ := range map[uint64]string{
		10: "a.A", 20: "a.A", 30: "b.B", 300: "b.B", 310: "a.A", 320: "a.A", 985: "b.B", 995: "c.C", // the last two are in the window
	} {
		events[seq-1] = typed(seq, "price", typ)
	}
	for _, seq := range []uint64{11, 21, 301, 311} {
		events[seq-1] = eventAt(seq, "old/price")
	}
	_, hub := keepState(t, 20, func(topic string) bool { return topic == "price" || topic == "old/price" }, events...)
	for _, test := range []struct {
		pattern string
		types   []TypeFilter
		want    []uint64
	}{
		{"price", nil, []uint64{995}},
		{"old/price", nil, []uint64{21, 311}}, // one in each page, and none in the window
		{"price", []TypeFilter{"a.A"}, []uint64{20, 320}},
		{"price", []TypeFilter{"b.B"}, []uint64{985}},
		{"**", []TypeFilter{"a.*", "c.C"}, []uint64{995}},
	} {
		reader := subscribeToTypes(t, hub, StartEarliest(), test.pattern, test.types...)
		seqs, resets := takeAll(t, reader)
		assert.Empty(t, resets)
		assert.Equal(t, test.want, seqs, "%s %v", test.pattern, test.types)
		assert.Equal(t, uint64(1000), reader.Place().Seq)
	}
}

// TestStateTopicExpires: whose events are no longer kept is told, although newer ones replace them.
func TestStateTopicExpires(t *testing.T) {
	t.Parallel()
	log, hub := keepState(t, 20, stateTopic, numberedEvents(1000, "price")...)
	log.firstKept = 500
	reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 400, Time: 4000}), "price")
	seqs, resets := takeAll(t, reader)
	assert.Equal(t, []ResetReason{ResetExpired}, resets)
	assert.Equal(t, []uint64{1000}, seqs)
}

// TestStateTopicOfARecreatedLog: sequences begin anew, and so does what replaces what.
func TestStateTopicOfARecreatedLog(t *testing.T) {
	t.Parallel()
	_, hub := keepState(t, 50, stateTopic, numberedEvents(100, "price")...)
	reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 60, Time: 600}), "price")
	seqs, _ := takeAll(t, reader)
	require.Equal(t, []uint64{100}, seqs)
	sink := (*hubSink)(hub)
	sink.Lost(Cursor{Time: 5000}, ResetRecreated)
	for seq := uint64(1); seq <= 3; seq++ {
		sink.Append([]*Event{eventAt(seq, "price")})
		seqs, _ = takeAll(t, reader)
		assert.Equal(t, []uint64{seq}, seqs)
		assert.Equal(t, seq, reader.horizon)
	}
}

// TestAlwaysBehindReceivesState: a reader that other topics keep behind for ever is not cut off from a state topic that
// changes all the time. When it has got to its horizon it knows the newest event before that.
func TestAlwaysBehindReceivesState(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                   string
		window, backlog, every int // every: events from one price to the next
		least, most            int // prices that are received
	}{
		{"in the window", 2000, 300, 10, 50, 80},
		{"in the log, many in a page", 50, 300, 10, 30, 150},
		{"in the log, one in a page", 300, 1000, 290, 10, 60},
	} {
		log, hub := keepState(t, test.window, stateTopic, numberedEvents(test.backlog, "busy")...)
		reader := subscribeTo(t, hub, StartAfter(Cursor{Seq: 1, Time: 10}), "**")
		var published, received []uint64
		newest := func(list []uint64, last uint64) (seq uint64) {
			for _, price := range list {
				if price <= last {
					seq = price
				}
			}
			return seq
		}
		for seq := uint64(test.backlog); seq < 20_000; {
			for range 10 {
				seq++
				topic := "busy"
				if seq%uint64(test.every) == 0 {
					topic = "price"
					published = append(published, seq)
				}
				event := eventAt(seq, topic)
				log.kept = append(log.kept, event)
				(*hubSink)(hub).Append([]*Event{event})
			}
			horizon := reader.horizon
			batch, err := reader.Take(t.Context(), 9, nil)
			require.NoError(t, err)
			require.Greater(t, hub.window.end.Seq, reader.Place().Seq+100, "it is behind")
			if reader.horizon != horizon {
				assert.Equal(t, newest(published, horizon), newest(received, horizon), test.name)
			}
			for _, event := range batch.Events {
				if event.Topic == "price" {
					received = append(received, event.Cursor.Seq)
				}
			}
		}
		assert.GreaterOrEqual(t, len(received), test.least, test.name)
		assert.LessOrEqual(t, len(received), test.most, test.name)
	}
}

// TestStateTopicsAtRandom: a reader that is now and then behind the window, takes few or many events, and goes back inside
// a batch, receives in log order every event of other topics, and is up to date about every state topic whenever it has
// everything.
func TestStateTopicsAtRandom(t *testing.T) {
	t.Parallel()
	leftOut := 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 3))
		first := eventAt(1, "b")
		log, hub := keepState(t, 60, someState, first)
		log.pageMax = random.IntN(40)
		var types []TypeFilter
		if seed%2 == 1 {
			types = []TypeFilter{"t.T1"}
		}
		reader := subscribeToTypes(t, hub, StartAfter(first.Cursor), []string{"**", "a/**", "*/*", "a"}[seed%4], types...)
		sub := reader.Subscription()
		var received []*Event
		check := func() {
			newest, due, got := map[string]uint64{}, []uint64(nil), []uint64(nil)
			for _, event := range log.kept[1:] {
				switch {
				case !matches(sub, event):
				case someState(event.Topic):
					newest[event.Topic] = event.Cursor.Seq
				default:
					due = append(due, event.Cursor.Seq)
				}
			}
			has, before := map[string]uint64{}, uint64(0)
			for _, event := range received {
				require.True(t, matches(sub, event))
				require.Greater(t, event.Cursor.Seq, before)
				before = event.Cursor.Seq
				if someState(event.Topic) {
					has[event.Topic] = before
				} else {
					got = append(got, before)
				}
			}
			require.Equal(t, due, got)
			require.Equal(t, newest, has)
		}
		for range 60 {
			var batch []*Event
			for range random.IntN(3) * random.IntN(60) {
				seq := log.kept[len(log.kept)-1].Cursor.Seq + 1
				event := typed(seq, randomTopic(random), fmt.Sprintf("t.T%d", random.IntN(2)))
				log.kept = append(log.kept, event)
				batch = append(batch, event)
			}
			(*hubSink)(hub).Append(batch)
			for range random.IntN(20) {
				batch, err := reader.Take(t.Context(), 1+random.IntN(12), nil)
				require.NoError(t, err)
				require.Empty(t, batch.Reset)
				if n := len(batch.Events); n > 1 && random.IntN(3) == 0 {
					keep := 1 + random.IntN(n-1)
					batch.Events = batch.Events[:keep]
					reader.Rewind(batch.Events[keep-1].Cursor)
					batch.More = true
				}
				received = append(received, batch.Events...)
				if !batch.More {
					check()
				}
			}
		}
		for _, event := range log.kept {
			if matches(sub, event) {
				leftOut++
			}
		}
		leftOut -= len(received)
	}
	assert.Greater(t, leftOut, 5000)
}
