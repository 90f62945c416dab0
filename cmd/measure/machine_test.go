package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAllowedProcessors(t *testing.T) {
	t.Parallel()
	for list, cpus := range map[string][]int{"0": {0}, "0-1": {0, 1}, "2-4,8": {2, 3, 4, 8}} {
		found, err := allowedProcessors("Name:\tmeasure\nCpus_allowed_list:\t" + list + "\nMems_allowed:\t1\n")
		require.NoError(t, err)
		assert.Equal(t, cpus, found)
	}
	for _, status := range []string{"", "\nCpus_allowed_list:\t\n", "\nCpus_allowed_list:\t1-\n", "\nCpus_allowed_list:\tf\n"} {
		_, err := allowedProcessors(status)
		assert.ErrorContains(t, err, "Cpus_allowed_list", status)
	}
}

func TestModelOf(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "AMD EPYC", modelOf([]byte("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n")))
	assert.NotEmpty(t, modelOf([]byte("processor\t: 0\nBogoMIPS\t: 100.00\n")))
}

func TestTaken(t *testing.T) {
	t.Parallel()
	at := taken{Date: "2026-11-21", Commit: "abc", CPU: "AMD EPYC", Processors: 2, Kernel: "6.18.44", Go: "go1.26.8", Load: 0.4}
	assert.Equal(t, "2026-11-21, commit abc, AMD EPYC, 2 processors, Linux 6.18.44, go1.26.8", at.String())
	at.Load = 1.25
	assert.Equal(t, "2026-11-21, commit abc, AMD EPYC, 2 processors, Linux 6.18.44, go1.26.8, load 1.2 before", at.String())
}

func TestOutput(t *testing.T) {
	t.Parallel()
	out, err := output(t.Context(), "", "sh", "-c", "echo ' a '; echo b >&2")
	require.NoError(t, err)
	assert.Equal(t, "a", out)
	_, err = output(t.Context(), "", "sh", "-c", "seq 30 >&2; exit 3")
	require.ErrorContains(t, err, "exit status 3\n11\n12\n")
	assert.NotContains(t, err.Error(), "\n10\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = output(ctx, "", "sleep", "60")
	assert.ErrorIs(t, err, context.Canceled)
}

func TestParseBenchmark(t *testing.T) {
	t.Parallel()
	const text = `goos: linux
BenchmarkFloor/headers=0-2         	  120438	      9940 ns/op	  20.12 MB/s	    5201 B/op
BenchmarkFloor/headers=6-2         	   71246	     19702.5 ns/op	  10.15 MB/s
BenchmarkLatency/idle         	     100	  50655052 ns/op	    228548 p50-ns/op
BenchmarkBroken 	 1	 0 ns/op
PASS
`
	for _, test := range []struct {
		name, unit string
		value      float64
		message    string
	}{
		{"BenchmarkFloor/headers=6", "ns/op", 19702.5, ""},
		{"BenchmarkLatency/idle", "p50-ns/op", 228548, ""},
		{"BenchmarkLatency/idle", "MB/s", 0, "the benchmark BenchmarkLatency/idle has printed no MB/s"},
		{"BenchmarkFloor", "ns/op", 0, "the benchmark BenchmarkFloor has printed no ns/op"},
		{"BenchmarkBroken", "ns/op", 0, `BenchmarkBroken: "0" is no ns/op`},
	} {
		value, err := parseBenchmark(text, test.name, test.unit)
		assert.InDelta(t, test.value, value, 0)
		if test.message == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, test.message)
		}
	}
	assert.InDelta(t, 50_000, publishAsync.of(20_000), 1e-9)
	assert.InDelta(t, 0.25, idleTail.of(250_000), 1e-9)
}

func TestWorkFlags(t *testing.T) {
	t.Parallel()
	for _, row := range table() {
		assert.Positive(t, row.work.Duration, row.name)
		assert.NotEmpty(t, row.lines, row.name)
	}
	flags := strings.Join(table()[7].work.flags(), " ")
	assert.Equal(t, "--readers 10000 --rate 5 --storm 100 --duration 2s", flags)
	assert.Equal(t, "--readers 500 --rate 5 --storm 5 --duration 500ms --settle 100ms", strings.Join(table()[7].work.tiny().flags(), " "))
	assert.Equal(t, "--readers 1 --rate 0 --duration 500ms --settle 100ms", strings.Join(publishing.tiny().flags(), " "))
}
