package bench

import (
	"math/bits"
	"time"
)

const (
	histogramBits = 6  // of a value that a bucket keeps: a percentile is at most 1.6 % too high
	histogramTop  = 41 // bits of the largest value: 2^41 ns are 36 minutes
)

// histogram counts times in buckets whose width grows with the time, as HdrHistogram does. The zero value is empty.
type histogram struct {
	buckets [(histogramTop - histogramBits + 1) << histogramBits]uint64
	count   uint64
	max     time.Duration
}

// add counts one time. Clocks that were set back make negative ones, which count as 0.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucketOf(d)]++
	h.count++
	h.max = max(h.max, d)
}

func bucketOf(d time.Duration) int {
	v := min(uint64(d), 1<<histogramTop-1) //nolint:gosec // not negative
	shift := max(bits.Len64(v)-histogramBits-1, 0)
	return shift<<histogramBits + int(v>>shift) //nolint:gosec // below 1<<(histogramBits+1)
}

// upper is the largest time of a bucket.
func upper(bucket int) time.Duration {
	shift := max(bucket>>histogramBits-1, 0)
	return time.Duration((bucket-shift<<histogramBits+1)<<shift - 1)
}

// merge adds the times of another histogram.
func (h *histogram) merge(other *histogram) {
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	h.count += other.count
	h.max = max(h.max, other.max)
}

// quantile returns the time that the share q of all times does not exceed, 0 where there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.count)+0.5), 1)
	for i, n := range h.buckets {
		if rank <= n {
			return min(upper(i), h.max)
		}
		rank -= n
	}
	return h.max
}
