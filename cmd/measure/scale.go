package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// logScale is a logarithmic scale from the smallest to the largest value of a chart.
type logScale struct {
	low, high float64
	ticks     []float64
	label     func(float64) string
}

// newLogScale makes a scale with a tick at powers of ten, or at each value where they are powers of two, and at the ends.
func newLogScale(c *chart) *logScale {
	s := &logScale{label: thousands}
	values := map[float64]bool{}
	for _, one := range c.series {
		for _, p := range one.points {
			values[p.x] = true
		}
	}
	for v := range values {
		s.ticks = append(s.ticks, v)
	}
	slices.Sort(s.ticks)
	s.low, s.high = s.ticks[0], s.ticks[len(s.ticks)-1]
	if c.axis == "bytes" {
		s.label = kibibytes
	}
	s.ticks = slices.DeleteFunc(s.ticks, func(v float64) bool {
		isPower := func(base float64) bool { n := math.Log(v) / math.Log(base); return math.Abs(n-math.Round(n)) < 1e-9 }
		end := v == s.low || v == s.high
		return !end && !isPower(10) && !isPower(2)
	})
	return s
}

// place returns where a value is, from 0 to 1.
func (s *logScale) place(v float64) float64 {
	if s.low == s.high {
		return 0.5
	}
	return math.Log(v/s.low) / math.Log(s.high/s.low)
}

func thousands(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v/1000, 'f', -1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func kibibytes(v float64) string {
	if v >= 1024 {
		return strconv.FormatFloat(v/1024, 'f', -1, 64) + " KiB"
	}
	return strconv.FormatFloat(v, 'f', -1, 64) + " B"
}

// scale is a linear scale from 0 to a round number.
type scale struct{ step, top float64 }

// newScale makes a scale with three to six steps of 1, 2 or 5 times a power of ten.
func newScale(c *chart) scale {
	highest := 0.0
	for _, one := range c.series {
		for _, p := range one.points {
			highest = max(highest, p.y.Max)
		}
	}
	if highest <= 0 {
		return scale{step: 1, top: 1}
	}
	const most = 6
	power := math.Pow(10, math.Floor(math.Log10(highest/most)))
	step := power
	for _, factor := range []float64{2, 5, 10} {
		if highest/step <= most {
			break
		}
		step = power * factor
	}
	return scale{step: step, top: math.Ceil(highest/step-1e-9) * step}
}

func (s scale) place(v float64) float64 { return max(v, 0) / s.top }

func (s scale) ticks() (all []float64) {
	for n := range int(math.Round(s.top/s.step)) + 1 {
		all = append(all, float64(n)*s.step)
	}
	return all
}

func (s scale) label(v float64) string {
	digits := max(int(-math.Floor(math.Log10(s.step)+1e-9)), 0)
	return strconv.FormatFloat(v, 'f', digits, 64)
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
