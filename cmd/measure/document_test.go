package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

var update = flag.Bool("update", false, "write the files of testdata")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	expected, err := os.ReadFile(path)
	require.NoError(t, err, "go test ./cmd/measure -update writes it")
	assert.Equal(t, string(expected), text)
}

func TestReplaceSection(t *testing.T) {
	t.Parallel()
	replaced, err := replaceSection("a\n<!-- measured:begin -->\nold\n<!-- measured:end -->\nb\n", "new\n")
	require.NoError(t, err)
	assert.Equal(t, "a\n<!-- measured:begin -->\nnew\n<!-- measured:end -->\nb\n", replaced)
	again, err := replaceSection(replaced, "new\n")
	require.NoError(t, err)
	assert.Equal(t, replaced, again)
	for _, readme := range []string{
		"", "<!-- measured:begin -->", "<!-- measured:end -->",
		"<!-- measured:begin --><!-- measured:begin --><!-- measured:end -->",
		"<!-- measured:begin --><!-- measured:end --><!-- measured:end -->",
	} {
		_, err := replaceSection(readme, "new")
		assert.ErrorContains(t, err, "it must have the lines <!-- measured:begin --> and <!-- measured:end --> once each", readme)
	}
	_, err = replaceSection("<!-- measured:end -->\n<!-- measured:begin -->", "new")
	assert.ErrorContains(t, err, "exchange them")
}

// sampleResults has something of everything that a document may show.
func sampleResults() *results {
	at := taken{Date: "2026-11-21", Commit: "0123456789", CPU: "AMD EPYC", Processors: 2, Kernel: "6.18.44", Go: "go1.26.8", Load: 0.25, Command: "go run ./cmd/measure"}
	rows := table()
	withFloor := &rowResult{Name: rows[0].name, Flags: strings.Join(rows[0].work.flags(), " "), Processors: 1, Floor: rows[0].floor.name}
	for _, run := range [][2]float64{{5, 6}, {6, 6.6}, {4, 4.2}} {
		withFloor.Runs = append(withFloor.Runs, bench.Result{
			Work:   bench.Work{Readers: 1000},
			Floor:  &bench.Measurement{Server: &bench.Server{CPUPerDelivery: run[0]}},
			Bridge: bench.Measurement{Server: &bench.Server{CPUPerDelivery: run[1]}},
		})
	}
	rows[0].conclude(withFloor)
	publish := &rowResult{Name: rows[5].name, Flags: "--readers 1", Processors: 2, Floor: rows[5].floor.name, FloorRuns: []float64{100_000, 110_000}}
	for _, rate := range []float64{50_000, 51_000} {
		publish.Runs = append(publish.Runs, bench.Result{Bridge: bench.Measurement{AcknowledgedPerSecond: rate}})
	}
	rows[5].conclude(publish)
	storm := &rowResult{Name: rows[7].name, Flags: "--storm 100", Processors: 1}
	storm.Runs = []bench.Result{{Bridge: bench.Measurement{Storm: &bench.Storm{CaughtUp: 1.5, SlowestPublish: 51}}}}
	rows[7].conclude(storm)
	failed := &rowResult{Name: "a row", Flags: "--readers 7", Processors: 1, Fault: "3 deliveries lost | or not"}
	var points []growthPoint
	for _, axis := range axes {
		for i, value := range axis.values {
			for processors := 1; processors <= 2; processors++ {
				for run := range 3 {
					amount := float64(10*processors + i*i + run)
					points = append(points, growthPoint{Axis: axis.Name, Value: value, Processors: processors, Run: bench.Result{Bridge: bench.Measurement{
						AcknowledgedPerSecond: 1000 * amount,
						Server:                &bench.Server{CPUPerDelivery: amount, CPUPerEvent: 2 * amount, MemoryPerReader: 100 * amount},
					}}})
				}
			}
		}
	}
	return &results{
		Rows: &rowsPart{Taken: at, Count: 3, Shared: true, Rows: []rowResult{*withFloor, *publish, *storm, *failed}},
		Stages: &stagesPart{Taken: at, Work: []stagesResult{
			{Name: "one stream", Flags: "--rate 0", CPU: 20, Shares: []share{{"JSON of the event", 0.6}, {"log server: store", 0.4}}},
			{Name: "many topics", Flags: "--rate 0", CPU: 40, Shares: []share{{"write to readers", 0.75}, {"JSON of the event", 0.25}}},
		}},
		Growth: &growthPart{Taken: at, Shared: true, Runs: 3, Points: points},
	}
}

func TestSection(t *testing.T) {
	t.Parallel()
	golden(t, "section.md", section(sampleResults(), "growth.svg"))
	assert.Empty(t, section(&results{}, "growth.svg"))
}

// TestQuickIsNoVerdict: tiny work says nothing about a budget, and its figures say so.
func TestQuickIsNoVerdict(t *testing.T) {
	t.Parallel()
	made := sampleResults()
	assert.Equal(t, 2, strings.Count(section(made, ""), "**missed**"))
	made.Rows.Quick = true
	text := section(made, "")
	assert.NotContains(t, text, "**missed**")
	assert.Contains(t, text, "These figures mean nothing")
}

func TestBudget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		budget budget
		value  float64
		text   string
		met    bool
	}{
		{budget{limit: 3}, 3, "≤ 3 KiB", true},
		{budget{limit: 3}, 3.01, "≤ 3 KiB", false},
		{budget{ratio: true, limit: 1.1}, 1.2, "≤ 1.1 × floor", false},
		{budget{ratio: true, least: true, limit: 4}, 3.9, "≥ 4 × floor", false},
		{budget{ratio: true, least: true, limit: 4}, 4, "≥ 4 × floor", true},
		{budget{}, 1e9, "", true},
	} {
		assert.Equal(t, test.text, test.budget.text("KiB"))
		assert.Equal(t, test.met, test.budget.met(test.value), "%+v %v", test.budget, test.value)
	}
	assert.Equal(t, "≥ 35,500/s", atLeast(35_500).text("/s"))
}

func TestParagraph(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a b\n", paragraph("  a\n b "))
	text := paragraph(strings.Repeat("word µs ", 60))
	for line := range strings.Lines(text) {
		assert.LessOrEqual(t, len([]rune(line)), 129)
	}
	assert.Equal(t, 60, strings.Count(text, "word"))
}
