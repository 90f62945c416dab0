package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wellFormed reads a picture as a browser does, and counts its elements.
func wellFormed(t *testing.T, svg string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return counts
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok {
			counts[start.Name.Local]++
		}
	}
}

func TestDraw(t *testing.T) {
	t.Parallel()
	part := sampleResults().Growth
	svg := draw(pictureTitle, growthCaption(part), charts(part.Points))
	golden(t, "growth.svg", svg)
	counts := wellFormed(t, svg)
	assert.Equal(t, len(panels), counts["g"])
	one := 6 + 4 + 6 + 7 + 6 + 6 // values of the panels
	assert.Equal(t, one+1, counts["circle"], "a point for each value, and one in the legend")
	assert.Equal(t, one+1+1, counts["rect"], "likewise, and the background")
}

func TestDrawOddities(t *testing.T) {
	t.Parallel()
	wellFormed(t, draw("", "", nil))
	assert.Empty(t, charts(nil))
	one := chart{title: `<&">`, unit: "µs", axis: "topics", series: []series{{name: "a", points: []point{{1, spread{}}}}, {name: "b"}}}
	svg := draw("<", "&", []chart{one})
	wellFormed(t, svg)
	assert.NotContains(t, svg, "NaN")
	assert.NotContains(t, svg, "Inf")
	assert.Contains(t, svg, "&lt;&amp;&#34;&gt;")
}

func chartOf(axis string, highest float64, values ...float64) *chart {
	c := &chart{axis: axis, series: []series{{}}}
	for _, v := range values {
		c.series[0].points = append(c.series[0].points, point{v, spreadOf([]float64{highest})})
	}
	return c
}

func labels(s scale) string {
	var all []string
	for _, v := range s.ticks {
		all = append(all, s.label(v))
	}
	return strings.Join(all, " ")
}

func TestUp(t *testing.T) {
	t.Parallel()
	for highest, expected := range map[float64]string{
		10: "0 2 4 6 8 10", 11: "0 2 4 6 8 10 12", 0.35: "0.0 0.1 0.2 0.3 0.4", 99: "0 20 40 60 80 100", 1300: "0 500 1000 1500", 16: "0 5 10 15 20", 0: "0 1",
	} {
		c := chartOf("topics", highest, 1)
		s := c.up()
		assert.Equal(t, expected, labels(s), highest)
		assert.Zero(t, s.place(0))
		assert.InDelta(t, 1, s.place(s.ticks[len(s.ticks)-1]), 1e-9)
		assert.LessOrEqual(t, s.place(highest), 1.0)
	}
	for highest, expected := range map[float64]string{0.5: "0.1 1", 1: "1 10", 1300: "1 10 100 1000 10000", 0: "0 1"} {
		c := chartOf("bytes", highest, 100, 200)
		c.powers = true
		c.series[0].points[0].y = spreadOf([]float64{min(highest, 2)})
		s := c.up()
		assert.Equal(t, expected, labels(s), highest)
		assert.Zero(t, s.place(s.ticks[0]))
		assert.InDelta(t, 1, s.place(s.ticks[len(s.ticks)-1]), 1e-9)
	}
}

func TestAcross(t *testing.T) {
	t.Parallel()
	for _, axis := range axes {
		var values []float64
		for _, v := range axis.values {
			values = append(values, float64(v))
		}
		s := chartOf(axis.Name, 1, values...).across()
		assert.Zero(t, s.place(values[0]))
		assert.InDelta(t, 1, s.place(values[len(values)-1]), 1e-9)
		assert.Equal(t, map[string]string{
			"readers": "100 1k 10k 19k", "topics": "1 10 100 1k 10k 100k", "publishers": "1 2 4 8 16 32 64",
			"bytes": "100 B 256 B 1 KiB 4 KiB 16 KiB 64 KiB",
		}[axis.Name], labels(s))
	}
	assert.InDelta(t, 0.5, chartOf("topics", 1, 10).across().place(10), 0)
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for value, text := range map[float64]string{
		0: "0.00", 1.096: "1.10", -2: "-2.00", 12.34: "12.3", 207.4: "207", 4588: "4,588", 41_234: "41.2k", 207_100: "207k", 4_588_123: "4,588k",
	} {
		assert.Equal(t, text, number(value))
	}
	assert.Equal(t, "41.2k/s", quantity(41_234, "/s"))
	assert.Equal(t, "5.90 µs", quantity(5.9, "µs"))
	assert.Equal(t, "-1,234,567", withCommas(-1_234_567))
}
