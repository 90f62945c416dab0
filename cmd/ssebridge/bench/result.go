package bench

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Result is what was measured. The names of its JSON fields stay as they are. Of several runs, numbers are medians, each
// by itself, and counts of what must not be are sums.
type Result struct {
	Work   Work         `json:"work"`
	Bridge Measurement  `json:"bridge"`
	Floor  *Measurement `json:"floor,omitempty"` // one write(2) per delivery and nothing else
	Ratio  *Ratio       `json:"ratio,omitempty"` // bridge to floor, the median of the runs' ratios
}

// Work is what was asked for.
type Work struct {
	Readers    int     `json:"readers"`
	Topics     int     `json:"topics"`
	Patterns   int     `json:"patterns"` // readers of all topics, among the readers
	Publishers int     `json:"publishers"`
	Rate       float64 `json:"rate"` // events per second; 0: as fast as results came back
	Size       int     `json:"size"` // bytes of an event's data
	Format     string  `json:"format"`
	Transport  string  `json:"transport"`
	Seconds    float64 `json:"seconds"`
	Storm      int     `json:"storm,omitempty"`
	Runs       int     `json:"runs"`
}

// Measurement is what was measured of one server.
type Measurement struct {
	Published             int64   `json:"published"`    // events that were sent
	Acknowledged          int64   `json:"acknowledged"` // events whose result has come, and is no refusal
	AcknowledgedPerSecond float64 `json:"acknowledged_per_second"`
	Refused               int64   `json:"refused"                       runs:"sum"`
	Errors                int64   `json:"publish_errors"                runs:"sum"` // streams that have failed
	FirstRefusal          string  `json:"first_publish_error,omitempty"`
	SlowestPublish        float64 `json:"slowest_publish_ms"` // until the result came

	Delivered           int64   `json:"deliveries"`
	DeliveriesPerSecond float64 `json:"deliveries_per_second"`
	Latency             Times   `json:"latency_ms"` // from publishing to receiving

	Lost        int64  `json:"lost"                  runs:"sum"` // deliveries that were passed over
	Repeated    int64  `json:"repeated"              runs:"sum"` // deliveries of what a reader had before
	OutOfOrder  int64  `json:"out_of_order"          runs:"sum"` // deliveries behind later ones of the same publisher and topic
	Foreign     int64  `json:"foreign"               runs:"sum"` // deliveries of events that this reader did not ask for
	Outstanding int64  `json:"outstanding"           runs:"sum"` // deliveries that had not come when waiting ended, and neither had later ones
	Resets      int64  `json:"resets"                runs:"sum"`
	Ended       int64  `json:"connections_ended"     runs:"sum"` // by the server or the network
	FirstWrong  string `json:"first_wrong,omitempty"`

	ConnectSeconds float64 `json:"connect_seconds"` // until all readers were open
	Connect        Times   `json:"connect_ms"`      // from connecting to the first event

	Server *Server `json:"server,omitempty"`
	Storm  *Storm  `json:"storm,omitempty"`
}

// Times are percentiles, in milliseconds.
type Times struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Server is what the server has used, from the first event to the last delivery.
type Server struct {
	CPUPerDelivery  float64 `json:"cpu_us_per_delivery"`
	CPUPerEvent     float64 `json:"cpu_us_per_event"`
	MemoryBefore    int64   `json:"memory_before_bytes"` // resident, before the readers came
	MemoryReaders   int64   `json:"memory_readers_bytes"`
	MemoryAfter     int64   `json:"memory_after_bytes"`
	MemoryPerReader float64 `json:"memory_per_reader_bytes"`
}

// Storm is what happened when all readers came back at once.
type Storm struct {
	Events         int     `json:"events"` // that were published while nobody was there
	Deliveries     int64   `json:"deliveries"`
	OpenSeconds    float64 `json:"open_seconds"`       // until all readers were open
	CaughtUp       float64 `json:"caught_up_seconds"`  // until all readers had all events; 0: they never had
	SlowestPublish float64 `json:"slowest_publish_ms"` // meanwhile
}

// Ratio compares the bridge with the floor.
type Ratio struct {
	CPUPerDelivery      float64 `json:"cpu_per_delivery"`
	DeliveriesPerSecond float64 `json:"deliveries_per_second"`
}

func newTimes(h *histogram) Times {
	at := func(q float64) float64 { return milliseconds(h.quantile(q)) }
	return Times{P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: milliseconds(h.max)}
}

func newResult(c *Config, bridges, floors []*Measurement) *Result {
	r := &Result{
		Work: Work{
			Readers: c.Readers, Topics: c.Topics, Patterns: c.Patterns, Publishers: c.Publishers, Rate: c.Rate, Size: c.Size,
			Format: c.Format, Transport: c.Transport, Seconds: c.Duration.Seconds(), Storm: c.Storm, Runs: c.Runs,
		},
		Bridge: *medians(bridges),
	}
	if len(floors) == 0 {
		return r
	}
	r.Floor, r.Ratio = medians(floors), &Ratio{}
	var cpu, rate []float64
	for i, floor := range floors {
		if floor.Server != nil && bridges[i].Server != nil && floor.Server.CPUPerDelivery > 0 {
			cpu = append(cpu, bridges[i].Server.CPUPerDelivery/floor.Server.CPUPerDelivery)
		}
		if floor.DeliveriesPerSecond > 0 {
			rate = append(rate, bridges[i].DeliveriesPerSecond/floor.DeliveriesPerSecond)
		}
	}
	r.Ratio.CPUPerDelivery, r.Ratio.DeliveriesPerSecond = median(cpu), median(rate)
	return r
}

// wrong is what must not be, in words, and how much of it there is.
func (m *Measurement) wrong() (faults []string) {
	for _, fault := range []struct {
		n    int64
		what string
	}{
		{m.Lost, "deliveries lost"}, {m.Repeated, "repeated"}, {m.OutOfOrder, "out of order"}, {m.Foreign, "foreign"},
		{m.Outstanding, "outstanding"}, {m.Resets, "resets"}, {m.Refused, "events refused"}, {m.Errors, "Publish streams failed"},
	} {
		if fault.n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", fault.n, fault.what))
		}
	}
	return faults
}

// Wrong returns what the bridge did that it must not do; nil where there is nothing.
func (r *Result) Wrong() error {
	faults := r.Bridge.wrong()
	if len(faults) == 0 {
		return nil
	}
	if first := cmp.Or(r.Bridge.FirstWrong, r.Bridge.FirstRefusal); first != "" {
		return fmt.Errorf("%s; first: %s", strings.Join(faults, ", "), first)
	}
	return errors.New(strings.Join(faults, ", "))
}
