package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

// rig is what measures: the program, built, and the processors for it. One goroutine uses it.
type rig struct {
	root     string // of the repository
	binary   string
	floors   string // the Go benchmarks of bridge/jetstream
	dir      string // of temporary files
	cpus     []int
	servers  int // that were started
	progress io.Writer
}

// newRig finds out whether it can be measured here.
func newRig(root string, progress io.Writer) (*rig, error) {
	cpus, err := checkMachine()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "measure-")
	if err != nil {
		return nil, err
	}
	return &rig{root: root, binary: filepath.Join(dir, "ssebridge"), dir: dir, cpus: cpus, progress: progress}, nil
}

func (r *rig) build(ctx context.Context) error {
	r.sayf("building ssebridge")
	_, err := output(ctx, r.root, "go", "build", "-o", r.binary, "./cmd/ssebridge")
	return err
}

func (r *rig) close() { _ = os.RemoveAll(r.dir) }

func (r *rig) sayf(format string, arguments ...any) {
	_, _ = fmt.Fprintf(r.progress, time.Now().Format(time.TimeOnly)+" "+format+"\n", arguments...)
}

// oneProcessor is where a bridge on one processor runs, twoProcessors is where one on two does.
func (r *rig) oneProcessor() []int  { return r.cpus[:1] }
func (r *rig) twoProcessors() []int { return r.cpus[:2] }

// generatorOf returns the processors of what measures a bridge on these. Where it needs one more than there is, it
// shares them.
func (r *rig) generatorOf(server []int) []int {
	if len(r.cpus) == len(server) {
		return server
	}
	return r.cpus[len(server) : len(server)+1]
}

func (r *rig) sharedGenerator() bool { return len(r.cpus) == len(r.twoProcessors()) }

// on returns a command that runs on these processors.
func on(ctx context.Context, cpus []int, program string, arguments ...string) *exec.Cmd {
	names := make([]string, 0, len(cpus))
	for _, cpu := range cpus {
		names = append(names, strconv.Itoa(cpu))
	}
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", strings.Join(names, ","), program}, arguments...)...) //nolint:gosec // what was built
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// work is what a bridge is measured with: the flags of ssebridge bench, each left out where it is zero.
type work struct {
	Readers    int
	Topics     int
	Patterns   int
	Publishers int
	Size       int
	Rate       float64 // shown also where it is 0, which is as fast as results come back
	Storm      int
	Duration   time.Duration
	Settle     time.Duration
}

func (w work) flags() []string {
	var flags []string
	number := func(name string, n int) {
		if n != 0 {
			flags = append(flags, "--"+name, strconv.Itoa(n))
		}
	}
	number("readers", w.Readers)
	number("topics", w.Topics)
	number("patterns", w.Patterns)
	number("publishers", w.Publishers)
	number("size", w.Size)
	flags = append(flags, "--rate", strconv.FormatFloat(w.Rate, 'f', -1, 64))
	number("storm", w.Storm)
	flags = append(flags, "--duration", w.Duration.String())
	if w.Settle != 0 {
		flags = append(flags, "--settle", w.Settle.String())
	}
	return flags
}

// tiny returns work of the same kind that takes a second.
func (w work) tiny() work {
	const less = 20
	w.Readers, w.Topics = (w.Readers+less-1)/less, (w.Topics+less-1)/less
	w.Storm = (w.Storm + less - 1) / less
	w.Duration, w.Settle = 500*time.Millisecond, 100*time.Millisecond
	return w
}

// measure measures a server once. It returns an error where the bridge did what it must not do, and the result too if
// there is one.
func (r *rig) measure(ctx context.Context, s *server, w work, floor bool) (*bench.Result, error) {
	arguments := append([]string{
		"bench", "--json", "--pid", strconv.Itoa(s.process.Process.Pid), "--addr", s.public, "--publish-addr", s.internal,
	}, w.flags()...)
	if floor {
		arguments = append(arguments, "--floor")
	}
	cmd := on(ctx, r.generatorOf(s.cpus), r.binary, arguments...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("ssebridge %s: %w\n%s", strings.Join(arguments, " "), err, tail(errs.String()))
	}
	if len(out) == 0 {
		return nil, err
	}
	result := &bench.Result{}
	if decoding := json.Unmarshal(out, result); decoding != nil {
		return nil, fmt.Errorf("ssebridge bench --json: %w", decoding)
	}
	return result, err
}
