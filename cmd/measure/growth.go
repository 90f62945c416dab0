package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

// axis is a kind of work that grows.
type axis struct {
	Name   string
	values []int
	quick  []int
	fresh  bool // each value has a bridge of its own: what the readers before have left would count
	work   func(value int) work
}

const (
	growthRuns       = 3
	growthDuration   = 3 * time.Second
	growthDeliveries = 20_000 // per second
)

// Work of growth on publishing has one reader of all topics: what grows is not how much is delivered.
var axes = []axis{
	{
		Name: "readers", values: []int{100, 300, 1000, 3000, 10_000, 19_000}, quick: []int{100, 1000}, fresh: true,
		work: func(n int) work {
			return work{Readers: n, Rate: round(growthDeliveries / float64(n)), Duration: growthDuration}
		},
	},
	{
		// The time is for 100,000 events and more: one for each topic.
		Name: "topics", values: []int{1, 10, 100, 1000, 10_000, 100_000}, quick: []int{1, 1000},
		work: func(n int) work { return work{Readers: 1, Patterns: 1, Topics: n, Duration: 5 * time.Second} },
	},
	{
		Name: "bytes", values: []int{100, 256, 1024, 4096, 16_384, 65_536}, quick: []int{100, 65_536},
		work: func(n int) work { return work{Readers: 1, Patterns: 1, Size: n, Duration: growthDuration} },
	},
	{
		Name: "publishers", values: []int{1, 2, 4, 8, 16, 32, 64}, quick: []int{1, 8},
		work: func(n int) work { return work{Readers: 1, Patterns: 1, Publishers: n, Duration: growthDuration} },
	},
}

// growthPoint is one run of one value of an axis.
type growthPoint struct {
	Axis       string       `json:"axis"`
	Value      int          `json:"value"`
	Processors int          `json:"processors"` // of the bridge
	Run        bench.Result `json:"run"`
}

// measureGrowth measures each value of each axis three times, with the bridge on one processor and on two. The runs of a
// value are far from each other: what disturbs the machine for a while disturbs one of them.
func measureGrowth(ctx context.Context, r *rig, p *plan, t taken) (*growthPart, error) {
	made := &growthPart{Taken: t, Shared: r.sharedGenerator(), Runs: growthRuns}
	if p.quick {
		made.Runs = 1
	}
	var faults []error
	for run := range made.Runs {
		r.sayf("growth: run %d of %d", run+1, made.Runs)
		for _, axis := range axes {
			for _, cpus := range [][]int{r.oneProcessor(), r.twoProcessors()} {
				points, err := r.grow(ctx, &axis, cpus, p.quick)
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				made.Points, faults = append(made.Points, points...), append(faults, err)
			}
		}
	}
	return made, errors.Join(faults...)
}

// grow measures the values of an axis. What fails is left out.
func (r *rig) grow(ctx context.Context, a *axis, cpus []int, quick bool) (points []growthPoint, err error) {
	values := a.values
	if quick {
		values = a.quick
	}
	var s *server
	defer func() {
		if s != nil {
			s.stop()
		}
	}()
	var faults []error
	for _, value := range values {
		w := a.work(value)
		if quick {
			w.Duration, w.Settle = 300*time.Millisecond, 50*time.Millisecond
		}
		if s != nil && a.fresh {
			s.stop()
			s = nil
		}
		if s == nil {
			if s, err = r.serve(ctx, cpus); err != nil {
				return points, err
			}
		}
		run, err := r.measure(ctx, s, w, false)
		if err != nil {
			faults = append(faults, fmt.Errorf("%d %s on %d processors: %w", value, a.Name, len(cpus), err))
			r.sayf("%d %s on %d: %v", value, a.Name, len(cpus), err)
			continue
		}
		r.sayf("%d %s, bridge on %d: %.2f µs CPU per delivery, %.2f µs per event, %.0f events/s", value, a.Name, len(cpus),
			run.Bridge.Server.CPUPerDelivery, run.Bridge.Server.CPUPerEvent, run.Bridge.AcknowledgedPerSecond)
		points = append(points, growthPoint{Axis: a.Name, Value: value, Processors: len(cpus), Run: *run})
	}
	return points, errors.Join(faults...)
}

// round makes a rate that is easy to read: three digits.
func round(rate float64) float64 {
	unit := math.Pow(10, max(math.Floor(math.Log10(max(rate, 1)))-2, 0))
	return max(math.Round(rate/unit)*unit, 1)
}

// panel is a part of the picture: one number over one axis.
type panel struct {
	title, axis, unit string
	from              int  // values below are left out
	powers            bool // of chart
	of                func(*bench.Measurement, int) float64
}

// memoryFrom is the number of readers from which their memory is not lost in what the process takes for itself.
const memoryFrom = 1000

var panels = []panel{
	{"CPU per delivery, about 20,000 of them per second", "readers", "µs", 0, false, func(m *bench.Measurement, _ int) float64 { return m.Server.CPUPerDelivery }},
	{"memory per reader", "readers", "KiB", memoryFrom, false, func(m *bench.Measurement, _ int) float64 { return kibPerReader(m) }},
	{"CPU per event", "topics", "µs", 0, false, func(m *bench.Measurement, _ int) float64 { return m.Server.CPUPerEvent }},
	{"events acknowledged per second", "publishers", "thousands", 0, false, func(m *bench.Measurement, _ int) float64 { return m.AcknowledgedPerSecond / 1000 }},
	{"CPU per event", "bytes", "µs", 0, true, func(m *bench.Measurement, _ int) float64 { return m.Server.CPUPerEvent }},
	{"event data acknowledged per second", "bytes", "MB", 0, true, func(m *bench.Measurement, size int) float64 { return m.AcknowledgedPerSecond * float64(size) / 1e6 }},
}

// charts makes charts of points: one for each panel that has any.
func charts(points []growthPoint) (made []chart) {
	for _, p := range panels {
		c := chart{title: p.title, unit: p.unit, axis: p.axis, powers: p.powers}
		for _, processors := range []int{1, 2} {
			one := series{name: fmt.Sprintf("bridge on %d %s", processors, map[int]string{1: "core", 2: "cores"}[processors])}
			runs := map[int][]float64{}
			for i := range points {
				at := &points[i]
				if at.Axis == p.axis && at.Processors == processors && at.Value >= p.from {
					runs[at.Value] = append(runs[at.Value], p.of(&at.Run.Bridge, at.Value))
				}
			}
			for _, value := range slices.Sorted(maps.Keys(runs)) {
				one.points = append(one.points, point{float64(value), spreadOf(runs[value])})
			}
			c.series = append(c.series, one)
		}
		if len(c.series[0].points)+len(c.series[1].points) > 0 {
			made = append(made, c)
		}
	}
	return made
}

// growthCaption says what the picture shows.
func growthCaption(part *growthPart) string {
	runs := "One run for each point."
	if part.Runs > 1 {
		runs = fmt.Sprintf("Medians of %d runs, with lines from the least to the most.", part.Runs)
	}
	text := []string{
		runs, "Readers: of one topic. Topics, bytes of an event's data, publishers: one reader of all topics,",
		"as fast as results come back, at most 1,024 events of each publisher unanswered.",
	}
	if part.Shared {
		text = append(text, "With the bridge on two cores, what measures it shares them and takes its part of both.")
	} else {
		text = append(text, "What measures the bridge has a core of its own.")
	}
	return strings.Join(text, " ")
}
