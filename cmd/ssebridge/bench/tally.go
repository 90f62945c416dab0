package bench

import "sync"

// counts is what readers have seen.
type counts struct {
	Delivered int64 // events, each counted once for each reader
	Repeated  int64 // events that a reader had before
	Reordered int64 // events that came behind later ones of the same lane
	Foreign   int64 // events of others, or for others
	Resets    int64 // the bridge said that something is no longer kept
	Dropped   int64 // connections that ended while they should not
}

func (c *counts) add(other counts) {
	c.Delivered += other.Delivered
	c.Repeated += other.Repeated
	c.Reordered += other.Reordered
	c.Foreign += other.Foreign
	c.Resets += other.Resets
	c.Dropped += other.Dropped
}

// tally is where the readers of one loop note what they see. Whoever has locked it may use the rest.
type tally struct {
	sync.Mutex

	counts  counts
	timing  bool      // times are noted: not while readers catch up
	latency histogram // from publishing to receiving
	connect histogram // from connecting to the first event, ssebridge.open
	first   string    // what was wrong first
	marks   markFinder
}

// note keeps the first thing that is wrong.
func (t *tally) note(wrong string) {
	if t.first == "" {
		t.first = wrong
	}
}
