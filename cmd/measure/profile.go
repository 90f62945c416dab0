package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// sampled is a stack, innermost function first, and the CPU time that was seen in it.
type sampled struct {
	stack []string
	time  time.Duration
}

// sample waits until events are stored, and takes a CPU profile of so many seconds.
func (s *server) sample(ctx context.Context, seconds int) ([]sampled, error) {
	for {
		page, err := s.get(ctx, "/metrics")
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(page), "\nssebridge_published_total{") {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	body, err := s.get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return nil, err
	}
	return readProfile(body)
}

// readProfile reads a CPU profile, as https://github.com/google/pprof/blob/main/proto/profile.proto describes it.
func readProfile(data []byte) (samples []sampled, err error) {
	p, err := profile.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	value := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" && t.Unit == "nanoseconds" })
	if value < 0 {
		return nil, errors.New("CPU profile: it has no values of cpu in nanoseconds")
	}
	for _, sample := range p.Sample {
		one := sampled{time: time.Duration(sample.Value[value])}
		for _, location := range sample.Location {
			for _, line := range location.Line { // functions that were inlined come first
				if line.Function != nil {
					one.stack = append(one.stack, line.Function.Name)
				}
			}
		}
		samples = append(samples, one)
	}
	if len(samples) == 0 {
		return nil, errors.New("CPU profile: it has no samples")
	}
	return samples, nil
}

// shares sums up samples by stage, the largest first, and returns how many seconds they are.
func shares(samples []sampled) (made []share, seconds float64) {
	times := map[string]time.Duration{}
	total := time.Duration(0)
	for _, s := range samples {
		times[classify(s.stack)] += s.time
		total += s.time
	}
	for stage, t := range times {
		made = append(made, share{Stage: stage, Share: t.Seconds() / total.Seconds()})
	}
	slices.SortFunc(made, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.Stage, b.Stage))
	})
	return made, total.Seconds()
}
