package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// floor is the least that work can cost: without a bridge.
type floor struct {
	name      string
	benchmark string // of bridge/jetstream; empty: that of ssebridge bench --floor
	unit      string // of the number to take
	time      string // -benchtime
	quickTime string
	of        func(float64) float64 // makes what the bridge's number is
}

var (
	oneWrite     = &floor{name: "one `write(2)` per delivery (`--floor`)"}
	publishAsync = &floor{
		name:      "JetStream in process, `PublishMsgAsync` of the same headers with a tail (`BenchmarkFloor/headers=6`)",
		benchmark: "BenchmarkFloor/headers=6", unit: "ns/op", time: "3s", quickTime: "200ms",
		of: func(nanoseconds float64) float64 { return 1e9 / nanoseconds },
	}
	idleTail = &floor{
		name:      "JetStream in process, from publishing to its tail, one event in 50 ms (`BenchmarkLatency/idle`)",
		benchmark: "BenchmarkLatency/idle", unit: "p50-ns/op", time: "100x", quickTime: "10x",
		of: func(nanoseconds float64) float64 { return nanoseconds / 1e6 },
	}
)

const floorPackage = "bridge/jetstream"

// buildFloors compiles the Go benchmarks, so that compiling is over when something is measured.
func (r *rig) buildFloors(ctx context.Context) error {
	r.sayf("building the benchmarks of " + floorPackage)
	r.floors = filepath.Join(r.dir, "floors.test")
	_, err := output(ctx, r.root, "go", "test", "-c", "-o", r.floors, "./"+floorPackage)
	return err
}

// measureFloor runs a Go benchmark on the processors of a bridge, which is idle meanwhile.
func (r *rig) measureFloor(ctx context.Context, cpus []int, f *floor, quick bool) (float64, error) {
	time := f.time
	if quick {
		time = f.quickTime
	}
	exactly := "^" + strings.ReplaceAll(f.benchmark, "/", "$/^") + "$"
	cmd := on(ctx, cpus, r.floors, "-test.run", "^$", "-test.bench", exactly, "-test.benchtime", time)
	cmd.Dir = filepath.Join(r.root, floorPackage)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", f.benchmark, err, tail(string(out)+errs.String()))
	}
	value, err := parseBenchmark(string(out), f.benchmark, f.unit)
	if err != nil {
		return 0, err
	}
	return f.of(value), nil
}

var processorSuffix = regexp.MustCompile(`-\d+$`)

// parseBenchmark finds a number in what go test -bench prints: a name, how often it ran, then values with their units.
func parseBenchmark(text, name, unit string) (float64, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || processorSuffix.ReplaceAllString(fields[0], "") != name {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if fields[i+1] != unit {
				continue
			}
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil || value <= 0 {
				return 0, fmt.Errorf("%s: %q is no %s", name, fields[i], unit)
			}
			return value, nil
		}
	}
	return 0, fmt.Errorf("the benchmark %s has printed no %s:\n%s", name, unit, tail(text))
}
