package bench

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// reader is one subscription, over as many connections as it takes. One goroutine uses it at a time.
type reader struct {
	plan   *plan
	topic  int      // -1: all
	last   []uint32 // newest number of each lane that it reads
	gaps   []gap    // what was missing before a number that came
	lastID []byte   // of the newest frame, for Last-Event-ID
	retry  time.Duration
	frames frameParser
	begun  time.Time // of the connection
	open   bool      // the connection has brought ssebridge.open
	parted string    // why the bridge wants the connection to end
}

// gap is numbers of a lane, with and without the ends.
type gap struct {
	lane, from, until uint32
}

const firstRetry = time.Second // where the bridge has not said when readers come back

func newReader(p *plan, topic int) *reader {
	r := &reader{plan: p, topic: topic, retry: firstRetry}
	if topic < 0 {
		r.last = make([]uint32, p.lanes())
	} else {
		r.last = make([]uint32, p.lanesOf(topic))
	}
	return r
}

// what returns the topic or pattern that it reads.
func (r *reader) what() string {
	if r.topic < 0 {
		return r.plan.pattern()
	}
	return r.plan.topic(r.topic)
}

// laneOf returns the lane of a place in last.
func (r *reader) laneOf(place int) int {
	if r.topic < 0 {
		return place
	}
	return r.topic + place*r.plan.topics
}

// placeOf is the inverse; false where the lane is not one that it reads.
func (r *reader) placeOf(lane uint32) (int, bool) {
	if r.topic < 0 {
		return int(lane), int(lane) < len(r.last)
	}
	place := int(lane) / r.plan.topics
	return place, int(lane)%r.plan.topics == r.topic && place < len(r.last)
}

// connecting begins another connection.
func (r *reader) connecting(now time.Time) {
	r.frames = frameParser{}
	r.begun, r.open, r.parted = now, false, ""
}

// read takes a piece of the event stream. Opened tells that ssebridge.open was in it.
func (r *reader) read(piece []byte, now time.Time, t *tally) (opened bool, err error) {
	for {
		f, rest, ok, err := r.frames.next(piece)
		if !ok {
			return opened, err
		}
		piece = rest
		if len(f.id) > 0 {
			r.lastID = append(r.lastID[:0], f.id...)
		}
		switch {
		case len(f.retry) > 0:
			if ms, err := strconv.Atoi(string(f.retry)); err == nil {
				r.retry = min(time.Duration(ms)*time.Millisecond, time.Minute)
			}
		case bytes.HasPrefix(f.name, []byte("ssebridge.")):
			opened = r.notice(f, now, t) || opened
		case len(f.data) > 0:
			r.take(f.data, now, t)
		}
	}
}

// notice takes an event of the bridge itself.
func (r *reader) notice(f frame, now time.Time, t *tally) (opened bool) {
	switch string(f.name) {
	case "ssebridge.open":
		opened = !r.open
		if opened && t.timing {
			t.connect.add(now.Sub(r.begun))
		}
		r.open = true
	case "ssebridge.reset":
		t.counts.Resets++
		t.note(fmt.Sprintf("reader of %s: %s %s", r.what(), f.name, f.data))
	case "ssebridge.reconnect", "ssebridge.expired":
		r.parted = fmt.Sprintf("%s %s", f.name, f.data)
	}
	return opened
}

// take notes a published event.
func (r *reader) take(data []byte, now time.Time, t *tally) {
	m, ok := t.marks.find(data)
	place, mine := r.placeOf(m.lane)
	if !ok || !mine || m.number == 0 {
		t.counts.Foreign++
		t.note(fmt.Sprintf("reader of %s: an event that is not for it: %.200s", r.what(), data))
		return
	}
	last := r.last[place]
	switch {
	case m.number == last+1:
		r.last[place] = m.number
	case m.number > last:
		r.gaps = append(r.gaps, gap{lane: m.lane, from: last + 1, until: m.number})
		r.last[place] = m.number
	case r.fill(m.lane, m.number):
		t.counts.Reordered++
		t.note(fmt.Sprintf("reader of %s: number %d of lane %d came behind %d", r.what(), m.number, m.lane, last))
	default:
		t.counts.Repeated++
		t.note(fmt.Sprintf("reader of %s: number %d of lane %d came again", r.what(), m.number, m.lane))
		return
	}
	t.counts.Delivered++
	if t.timing {
		t.latency.add(time.Duration(now.UnixNano() - m.time))
	}
}

// fill takes a number out of the gaps. It reports false where it is in none.
func (r *reader) fill(lane, number uint32) bool {
	for i, g := range r.gaps {
		if g.lane != lane || number < g.from || number >= g.until {
			continue
		}
		r.gaps = slices.Delete(r.gaps, i, i+1)
		for _, part := range []gap{{lane, g.from, number}, {lane, number + 1, g.until}} {
			if part.from < part.until {
				r.gaps = append(r.gaps, part)
			}
		}
		return true
	}
	return false
}

// missing returns how many events that were acknowledged it has not received: those before one that came, and those
// behind.
func (r *reader) missing(lanes []lane) (lost, outstanding int64) {
	for _, g := range r.gaps {
		lost += lanes[g.lane].stored(g.from, g.until)
	}
	for place, last := range r.last {
		l := &lanes[r.laneOf(place)]
		outstanding += l.stored(last+1, l.sent+1)
	}
	return lost, outstanding
}

// lane is what was published in one lane.
type lane struct {
	sent    uint32   // the newest number
	refused uint32   // how many were refused
	unsure  []uint32 // numbers, in order, that were refused or have no result
}

// stored returns how many events of a range were acknowledged.
func (l *lane) stored(from, until uint32) int64 {
	if from >= until {
		return 0
	}
	first, _ := slices.BinarySearch(l.unsure, from)
	behind, _ := slices.BinarySearch(l.unsure, until)
	return int64(until-from) - int64(behind-first)
}
