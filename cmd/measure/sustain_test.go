package main

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

func TestSustain(t *testing.T) {
	t.Parallel()
	for _, capacity := range []float64{3, 90, 14_321, 30_000, 30_500, 47_000, 120_000} {
		for _, start := range []float64{capacity / 2, capacity, capacity * 1.9} {
			tries := 0
			found, err := sustain(start, mostTries, func(rate float64) (bool, error) {
				tries++
				return rate <= capacity, nil
			})
			require.NoError(t, err)
			assert.LessOrEqual(t, found, capacity)
			assert.GreaterOrEqual(t, found, min(capacity/1.06, capacity-1), "capacity %v from %v", capacity, start)
			assert.LessOrEqual(t, tries, 2*mostTries)
		}
	}
}

// TestSustainForgivesOneBadTry of each rate.
func TestSustainForgivesOneBadTry(t *testing.T) {
	t.Parallel()
	tried := map[float64]int{}
	found, err := sustain(10_000, mostTries, func(rate float64) (bool, error) {
		tried[rate]++
		return rate <= 10_000 && tried[rate] > 1, nil
	})
	require.NoError(t, err)
	assert.InDelta(t, 10_000, found, 0)
}

func TestSustainFails(t *testing.T) {
	t.Parallel()
	_, err := sustain(1000, 4, func(float64) (bool, error) { return false, nil })
	require.ErrorContains(t, err, "not even 512 events/s are kept up with")
	broken := errors.New("broken")
	_, err = sustain(1000, 4, func(float64) (bool, error) { return false, broken })
	assert.ErrorIs(t, err, broken)
}

func TestKeepsUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		deliveries, latency float64
		up                  bool
	}{{1000, 5, true}, {970, 100, true}, {969, 5, false}, {1000, 101, false}} {
		m := &bench.Measurement{DeliveriesPerSecond: test.deliveries, Latency: bench.Times{P99: test.latency}}
		assert.Equal(t, test.up, keepsUp(m, 1000), test)
	}
}

func TestRound(t *testing.T) {
	t.Parallel()
	for rate, rounded := range map[float64]float64{0.2: 1, 1.05: 1, 66.7: 67, 999.6: 1000, 12_345: 12_300, 45_678: 45_700, 123_456: 123_000} {
		assert.InDelta(t, rounded, round(rate), 0)
	}
}
