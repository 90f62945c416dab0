package bridge

import (
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
		a.wake(topic)
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

func BenchmarkWake(b *testing.B) {
	var a audiences
	random := rand.New(rand.NewPCG(5, 6))
	for range 10_000 {
		a.add(newReader(nil, Subscription{Patterns: mustPatterns(b, "x/"+randomPattern(random))}, make(signal, 1)))
	}
	reader := newReader(nil, Subscription{Patterns: mustPatterns(b, "shops/7/orders/42", "shops/*/orders/42")}, make(signal, 1))
	a.add(reader)
	b.ReportAllocs()
	for b.Loop() {
		a.wake("shops/7/orders/42")
	}
}
