package bridge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func mustPatterns(t testing.TB, texts ...string) []Pattern {
	t.Helper()
	var patterns []Pattern
	for _, text := range texts {
		p, err := ParsePattern(text)
		require.NoError(t, err)
		patterns = append(patterns, p)
	}
	return patterns
}

func matches(sub *Subscription, event *Event) bool {
	return sub.reads(event.Topic) && sub.accepts(event)
}

func randomTopic(random *rand.Rand) string {
	segments := make([]string, 1+random.IntN(4))
	for i := range segments {
		segments[i] = string(rune('a' + random.IntN(3)))
	}
	if random.IntN(5) == 0 {
		segments[0] = "$" + segments[0]
	}
	return strings.Join(segments, "/")
}

func randomPattern(random *rand.Rand) string {
	segments := strings.Split(randomTopic(random), "/")
	for i := range segments {
		if random.IntN(3) == 0 {
			segments[i] = "*"
		}
	}
	if random.IntN(4) == 0 {
		segments = append(segments, "**")
	}
	return strings.Join(segments, "/")
}

func noState(string) bool { return false }

// someState makes about a third of the random topics state topics.
func someState(topic string) bool { return strings.HasSuffix(topic, "a") }

// scan is what after promises, event by event: what matches behind a place, and is not replaced.
func scan(kept []*Event, place, horizon uint64, sub *Subscription) (want []*Event, replaced int) {
	for i, event := range kept {
		if event.Cursor.Seq <= place || !matches(sub, event) {
			continue
		}
		if someState(event.Topic) && slices.ContainsFunc(kept[i+1:], func(newer *Event) bool {
			return newer.Topic == event.Topic && matches(sub, newer) && (newer.Cursor.Seq <= horizon || event.Cursor.Seq > horizon)
		}) {
			replaced++
			continue
		}
		want = append(want, event)
	}
	return want, replaced
}

// TestWindowAfterAgainstScan compares what the chains give with a scan of the events, while the window moves on.
func TestWindowAfterAgainstScan(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	w := newWindow(200, 1<<30, someState, Cursor{Seq: 10, Time: 10})
	var kept []*Event
	replaced := 0
	seq := uint64(10)
	for range 300 {
		var batch []*Event
		for range random.IntN(8) {
			seq += 1 + uint64(random.IntN(3)/2) // some sequences were deleted
			batch = append(batch, &Event{Cursor: Cursor{Seq: seq, Time: int64(seq)}, Topic: randomTopic(random), Type: fmt.Sprintf("t.T%d", random.IntN(2))})
		}
		w.append(batch)
		kept = append(kept, batch...)
		kept = kept[max(0, len(kept)-200):]
		base, end := w.bounds()
		require.Equal(t, seq, end.Seq)
		for range 10 {
			sub := &Subscription{Patterns: mustPatterns(t, randomPattern(random))}
			for range random.IntN(3) {
				sub.Patterns = append(sub.Patterns, mustPatterns(t, randomPattern(random))...)
			}
			if random.IntN(3) == 0 {
				sub.Types = []TypeFilter{"t.T1"}
			}
			place := Cursor{Seq: base.Seq + uint64(random.IntN(int(end.Seq-base.Seq)+1))}
			limit := 1 + random.IntN(50)
			batch := Batch{limit: limit, horizon: base.Seq + uint64(random.IntN(int(end.Seq-base.Seq)+1))}
			horizon := batch.horizon
			if horizon <= place.Seq {
				horizon = end.Seq
			}
			want, left := scan(kept, place.Seq, horizon, sub)
			replaced += left
			require.Equal(t, inside, w.after(place, 0, sub, &batch))
			require.Equal(t, horizon, batch.horizon)
			require.Equal(t, want[:min(limit, len(want))], batch.Events)
			if len(want) <= limit {
				assert.Equal(t, end.Seq, max(batch.Place.Seq, place.Seq))
			} else {
				assert.True(t, batch.More)
				assert.Equal(t, want[limit-1].Cursor, batch.Place)
			}
		}
	}
	assert.Len(t, w.topics, countNodes(w.root)+countNodes(w.own), "a topic per node with events")
	assert.Greater(t, replaced, 1000)
}

func countNodes(n *node) int {
	count := 0
	if n.chain.len() > 0 {
		count = 1
	}
	for _, c := range n.children {
		count += countNodes(c)
	}
	return count
}

func TestWindowForgetsUnusedTopics(t *testing.T) {
	t.Parallel()
	w := newWindow(2, 1<<30, noState, Cursor{Time: 1})
	for i := range 100 {
		w.append([]*Event{{Cursor: Cursor{Seq: uint64(i + 1), Time: int64(i + 2)}, Topic: fmt.Sprintf("a/%d/b", i)}})
	}
	assert.Len(t, w.topics, 2)
	assert.Len(t, w.root.children["a"].children, 2)
	assert.Equal(t, Cursor{Seq: 98, Time: 99}, w.base)
}

func TestWindowBoundsBytes(t *testing.T) {
	t.Parallel()
	w := newWindow(1000, 100_000, noState, Cursor{Time: 1})
	for i := range 100 {
		w.append([]*Event{{Cursor: Cursor{Seq: uint64(i + 1)}, Topic: "a", Data: make([]byte, 5000)}})
		assert.LessOrEqual(t, w.bytes, 100_000)
	}
	assert.Equal(t, 6, w.events.len())
}

func TestWindowHolds(t *testing.T) {
	t.Parallel()
	base := Cursor{Seq: 10, Time: 100}
	w := newWindow(10, 1<<20, noState, base)
	assert.True(t, w.holds(base))
	w.append([]*Event{{Cursor: Cursor{Seq: 11, Time: 110}, Topic: "a"}, {Cursor: Cursor{Seq: 13, Time: 130}, Topic: "a"}})
	for place, want := range map[Cursor]bool{
		base:                    true,
		{Seq: 11, Time: 110}:    true,
		{Seq: 13, Time: 130}:    true,
		{Seq: 10, Time: 109}:    true, // made by Before, of the first
		{Seq: 12, Time: 129}:    true, // likewise, of the one behind a deleted event
		{Seq: 11, Time: 111}:    false,
		{Seq: 13, Time: 129}:    false,
		{Seq: 12, Time: 120}:    false, // deleted: the log knows its neighbours
		{Seq: 11, Time: 129}:    false,
		{Seq: 10, Time: 99}:     false,
		{Seq: 9, Time: 90}:      false,
		{Seq: 14, Time: 140}:    false,
		{Seq: 0, Time: 99}:      false,
		{Seq: 1 << 63, Time: 1}: false,
	} {
		assert.Equal(t, want, w.holds(place), "%v", place)
	}
}

// TestWindowCountsTopics: what topics cost beside their events is bounded too, and given back.
func TestWindowCountsTopics(t *testing.T) {
	t.Parallel()
	w := newWindow(1<<20, 1<<20, noState, Cursor{Time: 1})
	seq := uint64(0)
	store := func(topic string) {
		seq++
		w.append([]*Event{{Cursor: Cursor{Seq: seq, Time: int64(seq)}, Topic: topic}})
	}
	for i := range 2000 {
		store(strings.Repeat(fmt.Sprintf("%d/", i), MaxTopicSegments-1) + "z")
	}
	long := w.events.len()
	for range 4000 {
		store("a")
	}
	assert.Less(t, long*8, w.events.len(), "a topic of 16 segments costs 16 nodes")
	assert.Equal(t, w.events.len()*w.events.newest().size()+nodeBytes+1, w.bytes)
}

func BenchmarkWindowAppend(b *testing.B) {
	w := newWindow(65_536, 1<<30, noState, Cursor{})
	topics := make([]string, 10_000)
	for i := range topics {
		topics[i] = fmt.Sprintf("shops/%d/orders/%d", i%100, i)
	}
	batch := make([]*Event, 1)
	seq := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		batch[0] = &Event{Cursor: Cursor{Seq: seq}, Topic: topics[seq%10_000]}
		w.append(batch)
	}
}

// BenchmarkWindowAfter measures what a reader that has everything pays for one new event, by what it reads.
func BenchmarkWindowAfter(b *testing.B) {
	w := newWindow(65_536, 1<<30, noState, Cursor{})
	for seq := uint64(1); seq <= 65_536; seq++ {
		w.append([]*Event{{Cursor: Cursor{Seq: seq}, Topic: fmt.Sprintf("shops/%d/orders/%d", seq%100, seq%10_000)}})
	}
	last := w.events.newest()
	for _, pattern := range []string{last.Topic, "shops/*/orders/*", "**"} {
		b.Run(pattern, func(b *testing.B) {
			sub := &Subscription{Patterns: mustPatterns(b, pattern)}
			dst := make([]*Event, 0, 16)
			b.ReportAllocs()
			for b.Loop() {
				batch := Batch{Events: dst[:0], limit: 16}
				w.after(Cursor{Seq: last.Cursor.Seq - 1}, 0, sub, &batch)
				if len(batch.Events) != 1 {
					b.Fatal(len(batch.Events))
				}
			}
		})
	}
}

// BenchmarkWindowAfterState measures what a reader pays that resumes from the oldest of 65,536 events of one state topic:
// no more than for one new event.
func BenchmarkWindowAfterState(b *testing.B) {
	w := newWindow(65_536, 1<<30, func(topic string) bool { return topic == "price" }, Cursor{})
	for seq := uint64(1); seq <= 65_536; seq++ {
		w.append([]*Event{{Cursor: Cursor{Seq: seq}, Topic: "price", Type: "shop.v1.Price"}})
	}
	for name, sub := range map[string]*Subscription{
		"every type": {Patterns: mustPatterns(b, "price")},
		"its type":   {Patterns: mustPatterns(b, "price"), Types: []TypeFilter{"shop.v1.Price"}},
	} {
		b.Run(name, func(b *testing.B) {
			dst := make([]*Event, 0, 16)
			b.ReportAllocs()
			for b.Loop() {
				batch := Batch{Events: dst[:0], limit: 16}
				w.after(Cursor{Seq: 1}, 0, sub, &batch)
				if len(batch.Events) != 1 {
					b.Fatal(len(batch.Events))
				}
			}
		})
	}
}

// TestWindowAfterAllocatesNothing, for the most common reader, which has one topic. AllocsPerRun bears no parallel test.
func TestWindowAfterAllocatesNothing(t *testing.T) {
	w := newWindow(100, 1<<30, someState, Cursor{})
	for seq := uint64(1); seq <= 100; seq++ {
		w.append([]*Event{{Cursor: Cursor{Seq: seq}, Topic: []string{"a", "b"}[seq%2]}})
	}
	dst := make([]*Event, 0, 64)
	for _, topic := range []string{"a", "b"} {
		sub := &Subscription{Patterns: mustPatterns(t, topic)}
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			batch := Batch{Events: dst[:0], limit: 64}
			w.after(Cursor{Seq: 1}, 0, sub, &batch)
		}), topic)
	}
}
