package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

// A bridge keeps up with a rate if nothing is missing or wrong, deliveries come as fast as events are due, counted until
// the last one has come, and few are late.
const (
	keptShare   = 0.97
	keptLatency = 100.0 // milliseconds, of 99 % of the deliveries
)

func keepsUp(m *bench.Measurement, rate float64) bool {
	return m.DeliveriesPerSecond >= keptShare*rate && m.Latency.P99 <= keptLatency
}

const (
	mostTries = 12
	coarse    = 1.25 // factor between rates until one is kept up with and one is not
	fine      = 1.05 // factor between those in the end
)

// sustain returns the highest rate that is kept up with, within 5 %, as far as so many tries go. It begins with start. A rate counts
// as too high when it was twice: something else may have disturbed one try.
func sustain(start float64, tries int, kept func(rate float64) (bool, error)) (float64, error) {
	low, high, rate := 0.0, math.Inf(1), round(start)
	for range tries {
		up, err := kept(rate)
		if err == nil && !up {
			up, err = kept(rate)
		}
		if err != nil {
			return 0, err
		}
		if up {
			low = rate
		} else {
			high = rate
		}
		switch {
		case math.IsInf(high, 1):
			rate = round(low * coarse)
		case low == 0:
			rate = round(high / coarse)
		case high/low <= fine:
			return low, nil
		default:
			rate = round(math.Sqrt(low * high))
		}
		if rate <= low || rate >= high { // two rates that are one when they are rounded
			break
		}
	}
	if low == 0 {
		return 0, fmt.Errorf("not even %v events/s are kept up with", high)
	}
	return low, nil
}

// round makes a rate that is easy to read: three digits.
func round(rate float64) float64 {
	unit := math.Pow(10, max(math.Floor(math.Log10(max(rate, 1)))-2, 0))
	return max(math.Round(rate/unit)*unit, 1)
}

// measureSustained measures a row at the highest rate with which the bridge keeps up in most of its runs.
func (r *rig) measureSustained(ctx context.Context, s *server, row *row, result *rowResult, p *plan) error {
	tries := mostTries
	if p.quick {
		tries = 3
	}
	if err := r.findRate(ctx, s, row, result, tries); err != nil {
		return err
	}
	for {
		result.Flags, result.Runs = strings.Join(row.work.flags(), " "), nil
		kept := 0
		for n := range p.count {
			run, up, err := r.try(ctx, s, row.work)
			if run == nil {
				return err
			}
			result.Runs = append(result.Runs, *run)
			if up {
				kept++
			}
			r.sayf("%s, %d of %d: %s, kept up %v", row.name, n+1, p.count, row.sum(result), up)
		}
		if 2*kept > p.count {
			return nil
		}
		slower := round(row.work.Rate / fine)
		if slower >= row.work.Rate {
			return fmt.Errorf("not even %v events/s are kept up with", row.work.Rate)
		}
		row.work.Rate = slower
	}
}

// findRate sets the rate of a row. The first one to try is what comes through as fast as results come back.
func (r *rig) findRate(ctx context.Context, s *server, row *row, result *rowResult, tries int) error {
	flat, err := r.measure(ctx, s, row.work, false)
	if err != nil {
		return err
	}
	result.Tries = map[string]float64{"0": flat.Bridge.DeliveriesPerSecond}
	r.sayf("%s: %.0f/s as fast as results come back", row.name, flat.Bridge.DeliveriesPerSecond)
	row.work.Rate, err = sustain(flat.Bridge.DeliveriesPerSecond, tries, func(rate float64) (bool, error) {
		at := row.work
		at.Rate = rate
		run, up, err := r.try(ctx, s, at)
		if run == nil {
			return false, err
		}
		result.Tries[strconv.FormatFloat(rate, 'f', -1, 64)] = run.Bridge.DeliveriesPerSecond
		r.sayf("%s: %.0f/s at --rate %.0f, p99 %.1f ms: kept up %v", row.name, run.Bridge.DeliveriesPerSecond, rate, run.Bridge.Latency.P99, up)
		return up, nil
	})
	return err
}

// try measures a bridge at a rate, which may be too much for it: what comes too late to be waited for is not an error. The error
// is why there is no result.
func (r *rig) try(ctx context.Context, s *server, w work) (run *bench.Result, up bool, err error) {
	run, err = r.measure(ctx, s, w, false)
	if run == nil {
		return nil, false, err
	}
	return run, err == nil && keepsUp(&run.Bridge, w.Rate), nil
}
