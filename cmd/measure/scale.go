package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// scale says where values are, and which are named.
type scale struct {
	ticks []float64
	place func(float64) float64 // 0 at the first tick, 1 at the last one
	label func(float64) string
}

// across makes the logarithmic scale of a chart's axis, from its smallest value to its largest. Powers of ten and of two
// among the values have a tick, and so have the ends.
func (c *chart) across() scale {
	values := map[float64]bool{}
	for _, one := range c.series {
		for _, p := range one.points {
			values[p.x] = true
		}
	}
	ticks := slices.Sorted(maps.Keys(values))
	low, high := ticks[0], ticks[len(ticks)-1]
	ticks = slices.DeleteFunc(ticks, func(v float64) bool {
		return v != low && v != high && !isPower(v, 10) && !isPower(v, 2)
	})
	s := scale{ticks: ticks, place: logarithmic(low, high), label: thousands}
	if c.axis == "bytes" {
		s.label = kibibytes
	}
	return s
}

func isPower(v, base float64) bool {
	exponent := math.Log(v) / math.Log(base)
	return math.Abs(exponent-math.Round(exponent)) < 1e-9
}

func logarithmic(low, high float64) func(float64) float64 {
	return func(v float64) float64 {
		if low == high {
			return 0.5
		}
		return math.Log(max(v, low)/low) / math.Log(high/low)
	}
}

// up makes the scale of a chart's numbers: from 0, or with powers of ten where the chart says so.
func (c *chart) up() scale {
	least, most := math.Inf(1), 0.0
	for _, one := range c.series {
		for _, p := range one.points {
			least, most = min(least, p.y.Min), max(most, p.y.Max)
		}
	}
	if c.powers && least > 0 {
		return decades(least, most)
	}
	return linear(most)
}

// decades makes a logarithmic scale with a tick at each power of ten.
func decades(least, most float64) scale {
	low := math.Floor(math.Log10(least) + 1e-9)
	high := max(math.Ceil(math.Log10(most)-1e-9), low+1)
	s := scale{label: plain, place: logarithmic(math.Pow(10, low), math.Pow(10, high))}
	for exponent := low; exponent <= high; exponent++ {
		s.ticks = append(s.ticks, math.Pow(10, exponent))
	}
	return s
}

// linear makes a scale with three to six steps of 1, 2 or 5 times a power of ten.
func linear(highest float64) scale {
	const most = 6
	step := 1.0
	if highest > 0 {
		power := math.Pow(10, math.Floor(math.Log10(highest/most)))
		step = power
		for _, factor := range []float64{2, 5, 10} {
			if highest/step <= most {
				break
			}
			step = power * factor
		}
	}
	steps := max(math.Ceil(highest/step-1e-9), 1)
	digits := max(int(-math.Floor(math.Log10(step)+1e-9)), 0)
	s := scale{
		place: func(v float64) float64 { return max(v, 0) / (steps * step) },
		label: func(v float64) string { return strconv.FormatFloat(v, 'f', digits, 64) },
	}
	for n := range int(steps) + 1 {
		s.ticks = append(s.ticks, float64(n)*step)
	}
	return s
}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func thousands(v float64) string {
	if v >= 1000 {
		return plain(v/1000) + "k"
	}
	return plain(v)
}

func kibibytes(v float64) string {
	if v >= 1024 {
		return plain(v/1024) + " KiB"
	}
	return plain(v) + " B"
}

// number writes a number with three digits, or all of them before the point.
func number(v float64) string {
	switch size := math.Abs(v); {
	case size >= 100_000:
		return withCommas(math.Round(v/1000)) + "k"
	case size >= 10_000:
		return strconv.FormatFloat(v/1000, 'f', 1, 64) + "k"
	case size >= 1000:
		return withCommas(math.Round(v))
	case size >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// withCommas writes a whole number with a comma before each three digits.
func withCommas(v float64) string {
	text := strconv.FormatFloat(v, 'f', 0, 64)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return sign + text
}

// quantity writes a number with its unit.
func quantity(v float64, unit string) string {
	if strings.HasPrefix(unit, "/") {
		return number(v) + unit
	}
	return fmt.Sprintf("%s %s", number(v), unit)
}
