package main

import (
	"context"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testRig is a rig whose progress goes to the log of the test.
func testRig(t *testing.T) *rig {
	t.Helper()
	if _, err := checkMachine(); err != nil {
		if runtime.GOOS != "linux" || os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	root, err := findRoot(t.Context())
	require.NoError(t, err)
	r, err := newRig(root, t.Output())
	require.NoError(t, err)
	t.Cleanup(r.close)
	require.NoError(t, r.build(t.Context()))
	return r
}

// TestMeasure measures tiny work of a real bridge beside its floor, and takes its profile.
func TestMeasure(t *testing.T) {
	t.Parallel()
	r := testRig(t)
	row := table()[2]
	row.work = row.work.tiny()
	result, err := r.measureRow(t.Context(), &row, &plan{quick: true, count: 1})
	require.NoError(t, err)
	assert.Equal(t, "--readers 50 --rate 0 --duration 500ms --settle 100ms", result.Flags)
	require.Len(t, result.Runs, 1)
	require.Len(t, result.Lines, 1)
	line := result.Lines[0]
	assert.Positive(t, line.Bridge.Min)
	assert.Positive(t, line.Floor.Min)
	assert.Positive(t, line.Ratio.Min)
	assert.LessOrEqual(t, line.Ratio.Min, line.Ratio.Median)
	assert.Equal(t, "≥ 4 × floor", line.Budget)

	w := publishing.tiny()
	w.Duration = 2_500_000_000
	profiled, err := r.profile(t.Context(), r.twoProcessors(), w, 1)
	require.NoError(t, err)
	assert.Positive(t, profiled.CPU)
	assert.Positive(t, profiled.Sampled)
	assert.Positive(t, profiled.of("JSON of the event"))
	assert.Less(t, profiled.of(stageOther), 0.3)
	stagesHaveFunctions(t, r.binary)

	leftover, err := os.ReadDir(r.dir)
	require.NoError(t, err)
	assert.Len(t, leftover, 1, "bridges and their logs are gone, the program is left")
}

// stagesHaveFunctions: a function that is renamed would move its time to another stage.
func stagesHaveFunctions(t *testing.T, binary string) {
	t.Helper()
	file, err := elf.Open(binary)
	require.NoError(t, err)
	defer file.Close()
	symbols, err := file.Symbols()
	require.NoError(t, err)
	for _, s := range stages {
		for _, function := range s.functions {
			found := slices.ContainsFunc(symbols, func(symbol elf.Symbol) bool { return strings.Contains(symbol.Name, function) })
			assert.True(t, found, "stage %s: there is no function %s", s.name, function)
		}
	}
}

// TestServeSaysWhatIsWrong: a bridge that does not start has written why.
func TestServeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	cpus, err := checkMachine()
	if err != nil {
		t.Skip(err) // TestMeasure fails in CI
	}
	broken := filepath.Join(t.TempDir(), "ssebridge")
	require.NoError(t, os.WriteFile(broken, []byte("#!/bin/sh\necho 'listen tcp 127.0.0.1:1: address already in use' >&2\nexit 1\n"), 0o700))
	r := &rig{binary: broken, dir: t.TempDir(), cpus: cpus, progress: t.Output()}
	_, err = r.serve(t.Context(), r.oneProcessor())
	require.ErrorContains(t, err, "the bridge ended before it was ready\nlisten tcp 127.0.0.1:1: address already in use")
	assert.ErrorContains(t, err, " serve --dev --data-dir ")
	self := &server{cpus: r.oneProcessor(), process: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	_, err = r.measure(t.Context(), self, work{Readers: 7}, false)
	require.ErrorContains(t, err, "--readers 7 --rate 0")
	require.ErrorContains(t, err, "exit status 1\nlisten tcp")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.serve(ctx, r.oneProcessor())
	assert.ErrorIs(t, err, context.Canceled)
}

func TestFreeAddresses(t *testing.T) {
	t.Parallel()
	addresses, err := freeAddresses(t.Context(), 3)
	require.NoError(t, err)
	assert.Len(t, addresses, 3)
	assert.NotEqual(t, addresses[0], addresses[1])
	assert.NotEqual(t, addresses[1], addresses[2])
	for _, address := range addresses {
		assert.True(t, strings.HasPrefix(address, "127.0.0.1:"))
	}
}

func TestGenerator(t *testing.T) {
	t.Parallel()
	two, three := &rig{cpus: []int{0, 1}}, &rig{cpus: []int{2, 3, 5}}
	assert.Equal(t, []int{1}, two.generatorOf(two.oneProcessor()))
	assert.Equal(t, []int{0, 1}, two.generatorOf(two.twoProcessors()))
	assert.True(t, two.sharedGenerator())
	assert.Equal(t, []int{3}, three.generatorOf(three.oneProcessor()))
	assert.Equal(t, []int{5}, three.generatorOf(three.twoProcessors()))
	assert.False(t, three.sharedGenerator())
	assert.Equal(t, []string{"taskset", "-c", "2,3", "true", "-x"}, on(t.Context(), three.twoProcessors(), "true", "-x").Args)
}
