package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// taken says when, of what, where and how something was measured.
type taken struct {
	Date       string  `json:"date"`
	Commit     string  `json:"commit"` // with -dirty where files differ from it
	CPU        string  `json:"cpu"`
	Processors int     `json:"processors"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Load       float64 `json:"load_before"` // of the machine in the minute before the command: what else runs disturbs it
	Command    string  `json:"command"`
}

func takeDown(ctx context.Context, root string, p *plan) (taken, error) {
	t := taken{
		Date: time.Now().UTC().Format(time.DateOnly), Commit: "unknown", Processors: runtime.NumCPU(), Load: p.load, Command: p.command(),
	}
	if commit, err := output(ctx, root, "git", "rev-parse", "--short=10", "HEAD"); err == nil {
		t.Commit = commit
		changed, err := output(ctx, root, "git", "status", "--porcelain", "--", ".", ":!README.md", ":!cmd/measure/*.json", ":!cmd/measure/*.svg")
		if err != nil || changed != "" {
			t.Commit += "-dirty"
		}
	}
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return t, err
	}
	t.CPU = modelOf(cpus)
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return t, err
	}
	t.Kernel = strings.TrimSpace(string(kernel))
	t.Go, err = output(ctx, root, "go", "env", "GOVERSION")
	return t, err
}

func (t taken) String() string {
	text := fmt.Sprintf("%s, commit %s, %s, %d processors, Linux %s, %s", t.Date, t.Commit, t.CPU, t.Processors, t.Kernel, t.Go)
	if t.Load > muchLoad {
		text += fmt.Sprintf(", load %.1f before", t.Load)
	}
	return text
}

// muchLoad is how much else may run on a machine without a word about it in the result.
const muchLoad = 0.5

// loadBefore returns the load of the machine in the last minute, the first number of proc_loadavg(5).
func loadBefore() (load float64, err error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		return 0, fmt.Errorf("/proc/loadavg %q: %w", text, err)
	}
	return load, nil
}

// modelOf returns the model of the first processor of /proc/cpuinfo, which only some architectures name.
func modelOf(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return runtime.GOARCH
}

// checkMachine says what is missing to measure on this machine, and returns the processors that may be used.
func checkMachine() ([]int, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("this measures on Linux only, not on %s: CPU time and processors of a process are read from Linux", runtime.GOOS)
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		return nil, fmt.Errorf("%w: install util-linux, which has it", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	cpus, err := allowedProcessors(string(status))
	if err != nil {
		return nil, err
	}
	if len(cpus) < 2 {
		return nil, fmt.Errorf("this process may use processor %v only: two are needed, one for the bridge and one for what measures it", cpus)
	}
	return cpus, nil
}

// allowedProcessors reads the line Cpus_allowed_list of proc_pid_status(5), such as 0-3,8.
func allowedProcessors(status string) (cpus []int, err error) {
	_, rest, found := strings.Cut(status, "\nCpus_allowed_list:")
	if !found {
		return nil, errors.New("/proc/self/status has no Cpus_allowed_list: is /proc mounted?")
	}
	list, _, _ := strings.Cut(rest, "\n")
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.Atoi(low)
		if err != nil {
			return nil, fmt.Errorf("/proc/self/status: Cpus_allowed_list %q: %w", list, err)
		}
		last, err := strconv.Atoi(high)
		if err != nil {
			return nil, fmt.Errorf("/proc/self/status: Cpus_allowed_list %q: %w", list, err)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// output returns what a command prints, without white space around it.
func output(ctx context.Context, directory, name string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, arguments...) //nolint:gosec // go and git
	cmd.Dir = directory
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(arguments, " "), err, tail(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

const tailLines = 20

// tail returns the last lines of a text.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(len(lines)-tailLines, 0):], "\n")
}
