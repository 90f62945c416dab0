package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

// row is work of which one or more numbers are in the table.
type row struct {
	name  string
	work  work
	two   bool   // the bridge is on two processors, not on one
	fresh bool   // each run has a bridge of its own: what earlier readers have left counts as nobody's
	floor *floor // nil: there is none
	most  int    // runs; 0: as many as are asked for
	lines []line
}

// line is a number of a row.
type line struct {
	what, unit string
	of         func(*bench.Measurement) float64
	budget     budget
}

// budget is what a number, or its ratio to the floor, may be. The zero value is none.
type budget struct {
	ratio bool // of the ratio
	least bool // not at most but at least
	limit float64
}

func (b budget) met(value float64) bool {
	return b.limit == 0 || b.least && value >= b.limit || !b.least && value <= b.limit
}

// rowResult is what was measured of a row.
type rowResult struct {
	Name       string         `json:"name"`
	Flags      string         `json:"flags"`
	Processors int            `json:"processors"` // of the bridge
	Floor      string         `json:"floor,omitempty"`
	Fault      string         `json:"fault,omitempty"` // why there are no lines
	Lines      []lineResult   `json:"lines"`
	Runs       []bench.Result `json:"runs"`
	FloorRuns  []float64      `json:"floor_runs,omitempty"` // of a floor that is a Go benchmark
}

type lineResult struct {
	What   string  `json:"what"`
	Unit   string  `json:"unit"`
	Bridge spread  `json:"bridge"`
	Floor  *spread `json:"floor,omitempty"`
	Ratio  *spread `json:"ratio,omitempty"` // of the bridge to the floor of the same run
	Budget string  `json:"budget,omitempty"`
	Met    bool    `json:"met"`
}

// spread is the median and the extremes of some runs.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	values = slices.Sorted(slices.Values(values))
	return spread{Median: values[(len(values)-1)/2], Min: values[0], Max: values[len(values)-1]}
}

// measureRows measures all rows. A row that fails has a fault, and is part of the error.
func measureRows(ctx context.Context, r *rig, p *plan, t taken) (*rowsPart, error) {
	made := &rowsPart{Taken: t, Count: p.count, Quick: p.quick, Shared: r.sharedGenerator()}
	var faults []error
	for _, row := range table() {
		if p.quick {
			row.work = row.work.tiny()
		}
		result, err := r.measureRow(ctx, &row, p)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			result.Fault = lastLine(err.Error())
			faults = append(faults, fmt.Errorf("%s: %w", row.name, err))
			r.sayf("%s: %v", row.name, err)
		}
		made.Rows = append(made.Rows, *result)
	}
	return made, errors.Join(faults...)
}

func (r *rig) measureRow(ctx context.Context, row *row, p *plan) (*rowResult, error) {
	cpus := r.oneProcessor()
	if row.two {
		cpus = r.twoProcessors()
	}
	result := &rowResult{Name: row.name, Processors: len(cpus)}
	if row.floor != nil {
		result.Floor = row.floor.name
	}
	result.Flags = strings.Join(row.work.flags(), " ")
	s, err := r.serve(ctx, cpus)
	if err != nil {
		return result, err
	}
	defer func() { s.stop() }()
	runs := p.count
	if row.most > 0 {
		runs = min(runs, row.most)
	}
	for n := range runs {
		if row.fresh && n > 0 {
			s.stop()
			if s, err = r.serve(ctx, cpus); err != nil {
				return result, err
			}
		}
		if err := r.runRow(ctx, s, row, result, p); err != nil {
			return result, err
		}
		r.sayf("%s, %d of %d: %s", row.name, n+1, runs, row.sum(result))
	}
	row.conclude(result)
	return result, nil
}

// lastLine of an error is where a program says what is wrong.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// runRow measures the floor, if there is one, and then the bridge.
func (r *rig) runRow(ctx context.Context, s *server, row *row, result *rowResult, p *plan) error {
	if row.floor != nil && row.floor.benchmark != "" {
		value, err := r.measureFloor(ctx, s.cpus, row.floor, p.quick)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		result.FloorRuns = append(result.FloorRuns, value)
	}
	measured, err := r.measure(ctx, s, row.work, row.floor != nil && row.floor.benchmark == "")
	if err != nil {
		return err
	}
	result.Runs = append(result.Runs, *measured)
	return nil
}

// sum tells the newest run.
func (row *row) sum(result *rowResult) string {
	var parts []string
	for i := range row.lines {
		l := &row.lines[i]
		bridges, floors := l.values(row, result)
		text := fmt.Sprintf("%s %s", l.what, quantity(bridges[len(bridges)-1], l.unit))
		if len(floors) > 0 {
			text += fmt.Sprintf(" (floor %s)", quantity(floors[len(floors)-1], l.unit))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// values returns a number of each run, and of the floor of each.
func (l *line) values(row *row, result *rowResult) (bridges, floors []float64) {
	for i := range result.Runs {
		run := &result.Runs[i]
		bridges = append(bridges, l.of(&run.Bridge))
		if run.Floor != nil {
			floors = append(floors, l.of(run.Floor))
		}
	}
	if row.floor != nil && row.floor.benchmark != "" {
		floors = result.FloorRuns
	}
	return bridges, floors
}

// conclude makes the lines of all runs.
func (row *row) conclude(result *rowResult) {
	for i := range row.lines {
		l := &row.lines[i]
		bridges, floors := l.values(row, result)
		made := lineResult{What: l.what, Unit: l.unit, Bridge: spreadOf(bridges)}
		judged := made.Bridge.Median
		if len(floors) > 0 {
			ratios := make([]float64, len(bridges))
			for i := range ratios {
				ratios[i] = bridges[i] / floors[i]
			}
			floor, ratio := spreadOf(floors), spreadOf(ratios)
			made.Floor, made.Ratio = &floor, &ratio
			if l.budget.ratio {
				judged = ratio.Median
			}
		}
		made.Budget, made.Met = l.budget.text(l.unit), l.budget.met(judged)
		result.Lines = append(result.Lines, made)
	}
}

func (b budget) text(unit string) string {
	if b.limit == 0 {
		return ""
	}
	sign := "≤"
	if b.least {
		sign = "≥"
	}
	if b.ratio {
		return fmt.Sprintf("%s %v × floor", sign, b.limit)
	}
	if b.limit >= 1000 {
		return sign + " " + withCommas(b.limit) + unit
	}
	return fmt.Sprintf("%s %v %s", sign, b.limit, unit)
}
