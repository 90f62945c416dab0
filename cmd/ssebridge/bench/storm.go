package bench

import (
	"context"
	"time"
)

// runStorm drops all readers, publishes while nobody is there, and lets all come back at once.
func (t *trial) runStorm(ctx context.Context) error {
	t.swarm.drop()
	t.crowd.setTiming(false) // of catching up; its time is told by itself
	before := t.crowd.delivered()
	t.send(ctx, pacer{count: t.config.Storm})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.storm = &Storm{Events: t.config.Storm}
	meanwhile := t.probe(ctx)
	begun := time.Now()
	t.swarm.connect(t.readers)
	opened, err := t.awaitReturn(ctx)
	t.storm.OpenSeconds = opened.Seconds()
	if err == nil {
		t.drain(ctx)
		if t.crowd.delivered() >= t.expected() {
			t.storm.CaughtUp = time.Since(begun).Seconds()
		}
	}
	t.storm.SlowestPublish = milliseconds(meanwhile())
	t.storm.Deliveries = t.crowd.delivered() - before
	t.crowd.setTiming(true)
	return err
}

// awaitReturn waits until all readers are open. Those that are put off come back by themselves.
func (t *trial) awaitReturn(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	for t.crowd.open.Load() < int64(len(t.readers)) && time.Since(begun) < longestDrain {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

// probe publishes to a topic that nobody reads until the function that it returns is called, which returns how long the
// slowest result took.
func (t *trial) probe(ctx context.Context) (stop func() time.Duration) {
	until, cancel := context.WithCancel(ctx)
	aside := &plan{prefix: t.plan.prefix + "/storm", run: newRun(), topics: 1, publishers: 1}
	var told published
	ended := make(chan struct{})
	template, err := aside.newPublishTemplate(t.config.Size)
	go func() {
		defer close(ended)
		if err != nil {
			return
		}
		one := newPublishers(aside, t.open, template, make([]lane, 1), &told)[0]
		one.run(ctx, &pacer{ctx: until, rate: probeRate, begun: time.Now()})
	}()
	return func() time.Duration {
		cancel()
		<-ended
		return told.slowest
	}
}

const probeRate = 50 // events per second: a result every 20 ms
