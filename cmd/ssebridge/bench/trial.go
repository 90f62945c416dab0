package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// trial is one run against one server.
type trial struct {
	config   *Config
	plan     *plan
	label    string
	server   process // 0: its cost is not measured
	crowd    *crowd
	swarm    swarm
	open     func(context.Context) outlet
	template *template

	readers    []*reader
	lanes      []lane
	told       published
	publishers []*publisher
	cost       costs
	connected  time.Duration
	publishing time.Duration // how long was published
	delivering time.Duration // until all was delivered
	storm      *Storm
}

const (
	quiet        = 10 * time.Second // without a delivery nothing more is waited for: readers that are told to come back do so within 5 s
	longestDrain = time.Minute
)

// costs is what the server has used.
type costs struct {
	cpu                        time.Duration
	before, withReaders, after int64 // resident bytes
}

// run opens readers, publishes, waits, and sums up.
func (t *trial) run(ctx context.Context) (*Measurement, error) {
	for i := range t.config.Readers {
		topic := -1
		if i >= t.config.Patterns {
			topic = (i - t.config.Patterns) % t.plan.topics
		}
		t.readers = append(t.readers, newReader(t.plan, topic))
	}
	t.lanes = make([]lane, t.plan.lanes())
	t.publishers = newPublishers(t.plan, t.open, t.template, t.lanes, &t.told)
	stop := t.showProgress()
	defer stop()
	if err := t.ramp(ctx); err != nil {
		return nil, err
	}
	cpu, err := t.cpu()
	if err != nil {
		return nil, err
	}
	if err := t.publish(ctx); err != nil {
		return nil, err
	}
	after, err := t.cpu()
	if err != nil {
		return nil, err
	}
	t.cost.cpu = after - cpu
	if t.cost.after, err = t.memory(); err != nil {
		return nil, err
	}
	t.swarm.drop()
	return t.measurement(), nil
}

// ramp opens the readers.
func (t *trial) ramp(ctx context.Context) (err error) {
	if t.cost.before, err = t.memory(); err != nil {
		return err
	}
	begun := time.Now()
	t.swarm.connect(t.readers)
	if err := t.crowd.await(ctx, len(t.readers)); err != nil {
		return err
	}
	t.connected = time.Since(begun)
	if err := sleep(ctx, t.config.Settle); err != nil {
		return err
	}
	t.cost.withReaders, err = t.memory()
	return err
}

func (t *trial) cpu() (time.Duration, error) {
	if t.server == 0 {
		return 0, nil
	}
	return t.server.cpu()
}

func (t *trial) memory() (int64, error) {
	if t.server == 0 {
		return 0, nil
	}
	return t.server.memory()
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish publishes for the whole time, with a storm in the middle where one is wanted, and waits for what is on its way.
func (t *trial) publish(ctx context.Context) error {
	begun := time.Now()
	duration := t.config.Duration
	if t.config.Storm > 0 {
		duration /= 2
		t.send(ctx, pacer{rate: t.config.Rate, until: begun.Add(duration)})
		t.publishing = time.Since(begun)
		if err := t.somethingPublished(ctx); err != nil {
			return err
		}
		t.delivering = t.drain(ctx).Sub(begun)
		if err := t.runStorm(ctx); err != nil {
			return err
		}
		begun = time.Now()
	}
	t.send(ctx, pacer{rate: t.config.Rate, until: begun.Add(duration)})
	t.publishing += time.Since(begun)
	if err := t.somethingPublished(ctx); err != nil {
		return err
	}
	t.delivering += t.drain(ctx).Sub(begun)
	return ctx.Err()
}

func (t *trial) somethingPublished(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.told.mu.Lock()
	defer t.told.mu.Unlock()
	if t.told.acknowledged.Load() == 0 && t.told.first != "" {
		return fmt.Errorf("nothing was published: %s", t.told.first)
	}
	return nil
}

// send lets all publishers publish, each its share, until the pace says that it is over.
func (t *trial) send(ctx context.Context, pace pacer) {
	var all sync.WaitGroup
	pace.ctx, pace.begun, pace.rate = ctx, time.Now(), pace.rate/float64(len(t.publishers))
	for i, p := range t.publishers {
		own := pace
		if pace.count > 0 {
			own.count = (pace.count + len(t.publishers) - 1 - i) / len(t.publishers)
			if own.count == 0 {
				continue
			}
		}
		// Publishers take turns: else all would send at once.
		if pace.rate > 0 {
			own.begun = own.begun.Add(time.Duration(float64(i) / float64(len(t.publishers)) / pace.rate * float64(time.Second)))
		}
		all.Go(func() { p.run(ctx, &own) })
	}
	all.Wait()
}

// expected returns how many deliveries there may be of what was sent and not refused.
func (t *trial) expected() (n int64) {
	readers := make([]int64, t.plan.topics)
	for _, r := range t.readers {
		if r.topic >= 0 {
			readers[r.topic]++
		}
	}
	for i := range t.lanes {
		l := &t.lanes[i]
		n += (int64(l.sent) - int64(l.refused)) * (readers[t.plan.topicOf(i)] + int64(t.config.Patterns))
	}
	return n
}

// drain waits until everything has arrived, or nothing does any more. It returns when the last delivery was seen. What
// has no result may arrive too.
func (t *trial) drain(ctx context.Context) time.Time {
	expected := t.expected()
	before, since, begun := int64(-1), time.Now(), time.Now()
	for {
		delivered := t.crowd.delivered()
		if delivered != before {
			before, since = delivered, time.Now()
		}
		if delivered >= expected || time.Since(since) > quiet || time.Since(begun) > longestDrain {
			return since
		}
		if sleep(ctx, 2*time.Millisecond) != nil {
			return since
		}
	}
}

// showProgress prints a line each second until stop is called.
func (t *trial) showProgress() (stop func()) {
	ended := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var acknowledged, delivered int64
		before := time.Now()
		for {
			select {
			case <-ended:
				return
			case now := <-tick.C:
				total := t.crowd.sum()
				published := t.told.acknowledged.Load()
				seconds := now.Sub(before).Seconds()
				_, _ = fmt.Fprintf(t.config.Progress, "%s: %d readers, %.0f events/s, %.0f deliveries/s, latency p50 %.2f ms p99 %.2f ms%s\n",
					t.label, t.crowd.open.Load(), float64(published-acknowledged)/seconds,
					float64(total.counts.Delivered-delivered)/seconds,
					milliseconds(total.latency.quantile(0.5)), milliseconds(total.latency.quantile(0.99)), alarm(&total.counts, &t.told))
				acknowledged, delivered, before = published, total.counts.Delivered, now
			}
		}
	})
	return func() { close(ended); done.Wait() }
}

// alarm says what is wrong, if anything is.
func alarm(c *counts, told *published) string {
	var text strings.Builder
	for _, count := range []struct {
		n    int64
		what string
	}{
		{c.Repeated, "repeated"}, {c.Reordered, "out of order"}, {c.Foreign, "foreign"}, {c.Resets, "resets"},
		{c.Dropped, "connections ended"}, {told.refused.Load(), "refused"}, {told.failed.Load(), "publish errors"},
	} {
		if count.n > 0 {
			fmt.Fprintf(&text, ", %d %s", count.n, count.what)
		}
	}
	return text.String()
}

// measurement sums up. Nothing is read or published any more.
func (t *trial) measurement() *Measurement {
	for i := range t.lanes {
		slices.Sort(t.lanes[i].unsure)
	}
	total := t.crowd.sum()
	m := &Measurement{
		Published:    t.told.sent.Load(),
		Acknowledged: t.told.acknowledged.Load(),
		Refused:      t.told.refused.Load(),
		Errors:       t.told.failed.Load(),
		FirstRefusal: t.told.first,
		Delivered:    total.counts.Delivered,
		Repeated:     total.counts.Repeated,
		OutOfOrder:   total.counts.Reordered,
		Foreign:      total.counts.Foreign,
		Resets:       total.counts.Resets,
		Ended:        total.counts.Dropped,
		FirstWrong:   total.first,
		Latency:      newTimes(&total.latency),
		Connect:      newTimes(&total.connect),
		Storm:        t.storm,
	}
	for _, r := range t.readers {
		lost, outstanding := r.missing(t.lanes)
		m.Lost += lost
		m.Outstanding += outstanding
	}
	stormed := int64(0)
	if t.storm != nil {
		stormed = t.storm.Deliveries
		m.AcknowledgedPerSecond = float64(m.Acknowledged-int64(t.storm.Events)) / t.publishing.Seconds()
	} else {
		m.AcknowledgedPerSecond = float64(m.Acknowledged) / t.publishing.Seconds()
	}
	m.DeliveriesPerSecond = float64(m.Delivered-stormed) / t.delivering.Seconds()
	m.ConnectSeconds = t.connected.Seconds()
	m.SlowestPublish = milliseconds(t.told.slowest)
	if t.server != 0 {
		m.Server = &Server{
			CPUPerDelivery:  per(t.cost.cpu, m.Delivered),
			CPUPerEvent:     per(t.cost.cpu, m.Acknowledged),
			MemoryBefore:    t.cost.before,
			MemoryReaders:   t.cost.withReaders,
			MemoryAfter:     t.cost.after,
			MemoryPerReader: float64(t.cost.withReaders-t.cost.before) / float64(len(t.readers)),
		}
	}
	return m
}

// per returns microseconds for each.
func per(d time.Duration, n int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(d) / 1e3 / float64(n)
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }
