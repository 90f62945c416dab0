package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"sync/atomic"
	"time"
)

// swarm holds the connections of readers. One goroutine uses it.
type swarm interface {
	// connect opens connections for readers that have none. It does not wait for them. Whenever one ends, the reader
	// comes back by itself, as EventSource does.
	connect(readers []*reader)
	// drop closes every connection and returns when nothing is read any more.
	drop()
	// close releases everything else; drop comes before.
	close()
}

// crowd is what all readers have in common.
type crowd struct {
	base    string // URL of the public listener
	query   string // of every request, behind the topic
	token   string
	loops   int
	tallies []*tally
	open    atomic.Int64 // readers whose connection has brought ssebridge.open
	failed  atomic.Pointer[error]
}

func newCrowd(p *plan, base, token, format string) *crowd {
	c := &crowd{base: base, query: "&format=" + url.QueryEscape(format), token: token, loops: min(runtime.GOMAXPROCS(0), 4)}
	for range c.loops {
		c.tallies = append(c.tallies, &tally{timing: true, marks: newMarkFinder(p.run)})
	}
	return c
}

// path returns the path and query of a reader's request, with what is before it in the base's own path.
func (c *crowd) path(base string, r *reader) string {
	return base + "/v1/events?topic=" + url.QueryEscape(r.what()) + c.query
}

// ended notes that a reader's connection has ended while it should not.
func (c *crowd) ended(r *reader, t *tally, err error) {
	if r.parted != "" {
		err = errors.New(r.parted)
	}
	err = fmt.Errorf("reader of %s: %w", r.what(), err)
	c.failed.CompareAndSwap(nil, &err)
	t.counts.Dropped++
	t.note(err.Error())
	if r.open {
		c.open.Add(-1)
		r.open = false
	}
}

const rampSilence = 30 * time.Second // without another open connection is too long

// await returns when so many readers are open, with the reason when one cannot.
func (c *crowd) await(ctx context.Context, readers int) error {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	before, since := int64(-1), time.Now()
	for {
		open := c.open.Load()
		failed := c.failed.Load()
		switch {
		case failed != nil:
			return *failed
		case open >= int64(readers):
			return nil
		case open != before:
			before, since = open, time.Now()
		case time.Since(since) > rampSilence:
			return fmt.Errorf("%d of %d readers are open, and for %v none has been added", open, readers, rampSilence)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sum adds up what the tallies hold.
func (c *crowd) sum() *tally {
	total := &tally{}
	for _, t := range c.tallies {
		t.Lock()
		total.counts.add(t.counts)
		total.latency.merge(&t.latency)
		total.connect.merge(&t.connect)
		total.note(t.first)
		t.Unlock()
	}
	return total
}

// delivered returns how many events readers have received.
func (c *crowd) delivered() (n int64) {
	for _, t := range c.tallies {
		t.Lock()
		n += t.counts.Delivered
		t.Unlock()
	}
	return n
}

// setTiming says whether times count from now on.
func (c *crowd) setTiming(on bool) {
	for _, t := range c.tallies {
		t.Lock()
		t.timing = on
		t.Unlock()
	}
}
