package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteJSON writes the result as one JSON object.
func (r *Result) WriteJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// row is a line of the table: a name and a cell for each server.
type row struct {
	name string
	of   func(*Measurement) string
}

// WriteTable writes the result as a table.
func (r *Result) WriteTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	columns := []*Measurement{&r.Bridge}
	_, _ = fmt.Fprintln(w, r.Work.String())
	if r.Floor != nil {
		columns = append(columns, r.Floor)
		_, _ = fmt.Fprintln(w, "\tbridge\tfloor\tratio")
	}
	for _, row := range rows(&r.Bridge) {
		line := []string{row.name}
		for _, m := range columns {
			line = append(line, row.of(m))
		}
		if r.Ratio != nil {
			line = append(line, r.ratio(row.name))
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(line, "\t"), "\t"))
	}
	return w.Flush() // with the first error of all that was written
}

func (w *Work) String() string {
	text := fmt.Sprintf("%d readers", w.Readers)
	if w.Patterns > 0 {
		text += fmt.Sprintf(" (%d of all topics)", w.Patterns)
	}
	text += fmt.Sprintf(", %d topics, %d publishers, ", w.Topics, w.Publishers)
	if w.Rate > 0 {
		text += fmt.Sprintf("%v events/s", w.Rate)
	} else {
		text += "as fast as results come back"
	}
	text += fmt.Sprintf(", %d bytes, %s, %s, %v s", w.Size, w.Format, w.Transport, w.Seconds)
	if w.Runs > 1 {
		text += fmt.Sprintf(", medians of %d runs", w.Runs)
	}
	return text
}

const (
	rowDeliveries = "deliveries/s"
	rowCPU        = "server CPU per delivery"
)

func (r *Result) ratio(name string) string {
	switch {
	case name == rowDeliveries:
		return fmt.Sprintf("%.2f", r.Ratio.DeliveriesPerSecond)
	case name == rowCPU && r.Ratio.CPUPerDelivery > 0:
		return fmt.Sprintf("%.2f", r.Ratio.CPUPerDelivery)
	default:
		return ""
	}
}

// rows returns the lines for a measurement such as this one.
func rows(like *Measurement) []row {
	all := []row{
		{"events acknowledged", func(m *Measurement) string {
			return fmt.Sprintf("%d of %d, %.0f/s", m.Acknowledged, m.Published, m.AcknowledgedPerSecond)
		}},
		{rowDeliveries, func(m *Measurement) string { return fmt.Sprintf("%.0f (%d)", m.DeliveriesPerSecond, m.Delivered) }},
		{"latency p50 / p90 / p99", func(m *Measurement) string {
			return fmt.Sprintf("%.2f / %.2f / %.2f ms", m.Latency.P50, m.Latency.P90, m.Latency.P99)
		}},
		{"latency p99.9 / max", func(m *Measurement) string { return fmt.Sprintf("%.2f / %.2f ms", m.Latency.P999, m.Latency.Max) }},
		{"lost, repeated, out of order", func(m *Measurement) string {
			return fmt.Sprintf("%d, %d, %d", m.Lost, m.Repeated, m.OutOfOrder)
		}},
		{"outstanding, foreign, resets", func(m *Measurement) string {
			return fmt.Sprintf("%d, %d, %d", m.Outstanding, m.Foreign, m.Resets)
		}},
		{"refused, failed, connections ended", func(m *Measurement) string {
			return fmt.Sprintf("%d, %d, %d", m.Refused, m.Errors, m.Ended)
		}},
		{"slowest publish", func(m *Measurement) string { return fmt.Sprintf("%.2f ms", m.SlowestPublish) }},
		{"all readers open after", func(m *Measurement) string {
			return fmt.Sprintf("%.2f s (p50 %.2f ms, max %.2f ms)", m.ConnectSeconds, m.Connect.P50, m.Connect.Max)
		}},
	}
	if like.Server != nil {
		all = append(all, serverRows...)
	}
	if like.Storm != nil {
		all = append(all,
			row{"storm: all readers open, caught up", func(m *Measurement) string {
				return fmt.Sprintf("%.2f s, %.2f s (%d events missed, %d deliveries)", m.Storm.OpenSeconds, m.Storm.CaughtUp, m.Storm.Events, m.Storm.Deliveries)
			}},
			row{"storm: slowest publish", func(m *Measurement) string { return fmt.Sprintf("%.2f ms", m.Storm.SlowestPublish) }})
	}
	return all
}

var serverRows = []row{
	{rowCPU, func(m *Measurement) string { return fmt.Sprintf("%.2f µs", m.Server.CPUPerDelivery) }},
	{"server CPU per event", func(m *Measurement) string { return fmt.Sprintf("%.1f µs", m.Server.CPUPerEvent) }},
	{"server memory before, per reader, after", func(m *Measurement) string {
		return fmt.Sprintf("%.1f MiB, %.2f KiB, %.1f MiB", float64(m.Server.MemoryBefore)/(1<<20), m.Server.MemoryPerReader/(1<<10), float64(m.Server.MemoryAfter)/(1<<20))
	}},
}
