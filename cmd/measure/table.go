package main

import (
	"time"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/bench"
)

func cpuPerDelivery(m *bench.Measurement) float64 { return m.Server.CPUPerDelivery }
func cpuPerEvent(m *bench.Measurement) float64    { return m.Server.CPUPerEvent }
func kibPerReader(m *bench.Measurement) float64   { return m.Server.MemoryPerReader / (1 << 10) }
func deliveries(m *bench.Measurement) float64     { return m.DeliveriesPerSecond }
func acknowledged(m *bench.Measurement) float64   { return m.AcknowledgedPerSecond }
func medianLatency(m *bench.Measurement) float64  { return m.Latency.P50 }
func latency99(m *bench.Measurement) float64      { return m.Latency.P99 }
func caughtUp(m *bench.Measurement) float64       { return m.Storm.CaughtUp }
func slowestInStorm(m *bench.Measurement) float64 { return m.Storm.SlowestPublish }
func perDelivery(limit float64) []line {
	return []line{{"CPU per delivery", "µs", cpuPerDelivery, budget{ratio: true, limit: limit}}}
}
func atLeast(limit float64) budget        { return budget{least: true, limit: limit} }
func atLeastOfFloor(limit float64) budget { return budget{least: true, ratio: true, limit: limit} }

const eventsPerSecond = "/s"

// The work of two rows is also that of the stages.
var (
	publishing = work{Readers: 1, Duration: 6 * time.Second}
	manyTopics = work{Readers: 10_000, Topics: 10_000, Duration: 5 * time.Second}
)

// table returns what is measured, and what it may be.
func table() []row {
	return []row{
		{
			name: "1,000 readers of one topic, 50 events/s", floor: oneWrite, lines: perDelivery(1.1),
			work: work{Readers: 1000, Rate: 50, Duration: 6 * time.Second},
		},
		{
			name: "10,000 readers of one topic, 5 events/s", floor: oneWrite, lines: perDelivery(1.1),
			work: work{Readers: 10_000, Rate: 5, Duration: 8 * time.Second},
		},
		{
			name: "1,000 readers of one topic, as fast as results come back", floor: oneWrite,
			work:  work{Readers: 1000, Duration: 4 * time.Second},
			lines: []line{{"deliveries", eventsPerSecond, deliveries, atLeastOfFloor(4)}},
		},
		{
			name: "19,000 idle readers, a minute after the last one came", fresh: true, most: 3,
			work:  work{Readers: 19_000, Rate: 1, Duration: time.Second, Settle: time.Minute},
			lines: []line{{"memory per reader", "KiB", kibPerReader, budget{limit: 3}}},
		},
		{
			name: "10,000 topics with a reader each, as fast as results come back", work: manyTopics,
			lines: []line{
				{"events end to end", eventsPerSecond, deliveries, atLeast(35_500)},
				{"99th percentile of latency", "ms", latency99, budget{}},
				{"CPU per event", "µs", cpuPerEvent, budget{}},
			},
		},
		{
			name: "one stream of events, acknowledged when durable, one reader", two: true, floor: publishAsync, work: publishing,
			lines: []line{{"events acknowledged", eventsPerSecond, acknowledged, atLeastOfFloor(0.6)}},
		},
		{
			name: "latency when idle, 20 events/s, one reader", floor: idleTail, work: work{Readers: 1, Rate: 20, Duration: 5 * time.Second},
			lines: []line{{"p50, publisher to reader", "ms", medianLatency, budget{ratio: true, limit: 1.5}}},
		},
		{
			name: "10,000 readers return at once, each has missed 100 events",
			work: work{Readers: 10_000, Rate: 5, Storm: 100, Duration: 2 * time.Second},
			lines: []line{
				{"all caught up", "s", caughtUp, budget{limit: 2}},
				{"slowest publish meanwhile", "ms", slowestInStorm, budget{limit: 50}},
			},
		},
	}
}
