package bridge

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestAudiencesAgainstScan compares who is woken with a scan of all readers, while readers come and go.
func TestAudiencesAgainstScan(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	var a audiences
	readers := map[*Reader]bool{}
	for range 2000 {
		if random.IntN(2) == 0 {
			var patterns []string
			for range 1 + random.IntN(4) {
				patterns = append(patterns, randomPattern(random))
			}
			reader := newReader(nil, Subscription{Patterns: mustPatterns(t, patterns...)}, make(signal, 1))
			readers[reader] = true
			a.add(reader)
		} else {
			for reader := range readers {
				a.remove(reader)
				delete(readers, reader)
				break
			}
		}
		topic := randomTopic(random)
		a.wake(topic, &Cursor{})
		for reader := range readers {
			wasWoken := false
			select {
			case <-woken(reader):
				wasWoken = true
			default:
			}
			wanted := matches(&reader.sub, &Event{Topic: topic})
			assert.Equal(t, wanted, wasWoken, "%v %s", reader.sub.Patterns, topic)
		}
	}
	for reader := range readers {
		a.remove(reader)
	}
	assert.Empty(t, a.exact)
	assert.True(t, a.root.empty(), "patterns that nobody reads leave the trie")
}

// BenchmarkWake measures finding the two readers of a topic, one of them by a pattern, and finding that a topic which is
// new has none, beside few other readers and beside many.
func BenchmarkWake(b *testing.B) {
	for _, others := range []struct{ topics, patterns int }{{100, 10}, {100_000, 10_000}} {
		var a audiences
		add := func(patterns ...string) {
			a.add(newReader(nil, Subscription{Patterns: mustPatterns(b, patterns...)}, make(signal, 1)))
		}
		for i := range others.topics {
			add(fmt.Sprintf("shops/%d/orders/%d", i%1000, i))
		}
		for i := range others.patterns {
			add(fmt.Sprintf("shops/%d/*/%d", i%1000, i))
		}
		add("shops/7/orders/new")
		add("shops/*/orders/new")
		for topic, readers := range map[string]int{"shops/7/orders/new": 2, "shops/7/orders/newer": 0} {
			b.Run(fmt.Sprintf("%d topics, %d patterns, %d readers found", others.topics, others.patterns, readers), func(b *testing.B) {
				b.ReportAllocs()
				before := &Cursor{}
				for b.Loop() {
					if a.wake(topic, before) != readers {
						b.Fatal(a.wake(topic, before))
					}
				}
			})
		}
	}
}
