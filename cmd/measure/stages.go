package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

// stage is a step of an event's way through the bridge, and the functions under which its time is spent.
type stage struct {
	name      string
	functions []string // parts of names, whose package paths are as the linker writes them
}

const (
	stageScheduler = "Go scheduler"
	stageOther     = "other"
)

// stages are told apart by the first of them that has a function anywhere in a stack: a stage comes before those that
// call it, such as JSON before the Publish stream that it is made for.
var stages = []stage{
	{"garbage collection in the background", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge"}},
	{"write to readers", []string{"ssebridge/bridge/sse."}},
	{"metrics and spans", []string{"ssebridge/bridge/telemetry.", "go.opentelemetry.io/"}},
	{"window, and waking readers", []string{"ssebridge/bridge.(*hubSink)"}},
	{"check and authorize", []string{"publish.(*intake).authorize", "bridge/publish.check", "ssebridge/auth"}},
	{"results to the publisher", []string{"publish.collect", "publish.(*publishStream).run.func", "http2serverConn).writeFrameAsync"}},
	{"decode requests", []string{"schema.BinaryCodec.Unmarshal", "schema.(*JSONCodec).Unmarshal", "connect.(*envelopeReader)"}},
	{"JSON of the event", []string{"ssebridge/bridge/schema."}},
	{"client of the log: append", []string{"jetstream.(*Log).Append"}},
	{"intake of events", []string{"ssebridge/bridge/publish."}},
	{"log server: store", []string{"server.(*fileStore)", "server.(*msgBlock)"}},
	{"log server: the rest", []string{"nats-io/nats-server/"}},
	{"client of the log: acknowledgements", []string{"jetstream.(*appender)"}},
	{"tail of the log", []string{"ssebridge/bridge/jetstream."}},
	{"client of the log: reading", []string{"nats-io/nats%2ego."}},
	{"HTTP/2 and Connect", []string{"connectrpc.com/", "net/http."}},
}

// schedulerFunctions are on stacks that no stage is on while the runtime looks for work.
var schedulerFunctions = []string{"runtime.schedule", "runtime.mcall", "runtime.findRunnable", "runtime.sysmon", "runtime.mstart", "runtime.park_m", "runtime.goexit0"}

// classify returns the stage of a stack of function names.
func classify(stack []string) string {
	for _, s := range stages {
		if onStack(stack, s.functions) {
			return s.name
		}
	}
	if onStack(stack, schedulerFunctions) {
		return stageScheduler
	}
	return stageOther
}

func onStack(stack, functions []string) bool {
	for _, name := range stack {
		for _, function := range functions {
			if strings.Contains(name, function) {
				return true
			}
		}
	}
	return false
}

// stagesResult is the CPU time of work by stage.
type stagesResult struct {
	Name       string       `json:"name"`
	Flags      string       `json:"flags"`
	Processors int          `json:"processors"`
	Seconds    int          `json:"profile_seconds"`
	Sampled    float64      `json:"sampled_cpu_seconds"`
	CPU        float64      `json:"cpu_us_per_event"` // by the clock of the process
	Shares     []share      `json:"shares"`
	Run        bench.Result `json:"run"`
}

// share is the part of a stage in all samples.
type share struct {
	Stage string  `json:"stage"`
	Share float64 `json:"share"`
}

func (s *stagesResult) of(stage string) float64 {
	for _, part := range s.Shares {
		if part.Stage == stage {
			return part.Share
		}
	}
	return 0
}

const profileMargin = 1500 * time.Millisecond // of publishing, before and behind the profile together

// measureStages profiles two kinds of work: much for the publisher's side, and much for the readers'.
func measureStages(ctx context.Context, r *rig, p *plan, t taken) (*stagesPart, error) {
	made := &stagesPart{Taken: t}
	var faults []error
	for _, kind := range []struct {
		name string
		work work
		cpus []int
	}{
		{"one stream, one reader", publishing, r.twoProcessors()},
		{"10,000 topics with a reader each", manyTopics, r.oneProcessor()},
	} {
		seconds := 10
		if p.quick {
			kind.work, seconds = kind.work.tiny(), 1
		}
		kind.work.Duration = time.Duration(seconds)*time.Second + profileMargin
		result, err := r.profile(ctx, kind.cpus, kind.work, seconds)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", kind.name, err))
			r.sayf("%s: %v", kind.name, err)
			continue
		}
		result.Name = kind.name
		r.sayf("%s: %.1f µs per event, %.1f s of CPU time sampled", kind.name, result.CPU, result.Sampled)
		made.Work = append(made.Work, *result)
	}
	return made, errors.Join(faults...)
}

// profile measures a bridge, of which it takes a CPU profile meanwhile.
func (r *rig) profile(ctx context.Context, cpus []int, w work, seconds int) (*stagesResult, error) {
	s, err := r.serve(ctx, cpus)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	result := &stagesResult{Flags: strings.Join(w.flags(), " "), Processors: len(cpus), Seconds: seconds}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		run *bench.Result
		err error
	}
	ran := make(chan outcome, 1)
	go func() {
		run, err := r.measure(ctx, s, w, false)
		if err != nil {
			cancel() // there is nothing to profile
		}
		ran <- outcome{run, err}
	}()
	samples, err := s.sample(ctx, seconds)
	if err != nil {
		cancel()
	}
	measured := <-ran
	if measured.err != nil && !errors.Is(measured.err, context.Canceled) {
		return nil, measured.err
	}
	if err != nil {
		return nil, err
	}
	result.Run, result.CPU = *measured.run, measured.run.Bridge.Server.CPUPerEvent
	result.Shares, result.Sampled = shares(samples)
	return result, nil
}
