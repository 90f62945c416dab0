package bridge

import (
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/ssebridge/ssebridge/bridge/telemetry"
)

// window is a bounded record of the newest events, complete from base to end. A trie of the topics in it leads to a
// chain of events per topic; siblings are kept in the order of their newest event, so that looking for what is new
// behind a place costs what is found, whatever the number of topics. One goroutine appends, any number select.
type window struct {
	maxEvents, maxBytes int
	isState             func(topic string) bool // as Settings.State

	mu     sync.RWMutex
	events ring // ascending by sequence
	bytes  int
	base   Cursor           // every kept event behind base is here
	end    Cursor           // the newest event, or base
	loss   loss             // the newest
	topics map[string]*node // of every topic in the window
	root   *node            // of all but the reserved
	own    *node            // of the reserved, which no wildcard leads to that comes first
}

func newWindow(maxEvents, maxBytes int, isState func(topic string) bool, base Cursor) *window {
	w := &window{maxEvents: maxEvents, maxBytes: maxBytes, isState: isState}
	w.begin(base)
	return w
}

// begin forgets everything: the window begins at base.
func (w *window) begin(base Cursor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear(base)
}

// lose begins anew at base because events before it will not follow. Readers learn it from their next call of after.
func (w *window) lose(base Cursor, reason ResetReason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear(base)
	w.loss.number++
	w.loss.base, w.loss.reason = base, reason
	if reason == ResetRecreated {
		w.loss.recreated = w.loss.number
	}
}

func (w *window) clear(base Cursor) {
	w.events, w.bytes = ring{}, 0
	w.base, w.end = base, base
	w.topics, w.root, w.own = map[string]*node{}, &node{}, &node{}
}

// loss says which events a window has lost: those before base, or, when the log was recreated, all there were.
type loss struct {
	number    uint64 // 1, 2, …; a reader that has seen a lower one has not been told yet
	recreated uint64 // the number of the newest loss by which the log was recreated; 0: none
	base      Cursor
	reason    ResetReason
}

// since returns why a reader at place, which has seen the losses up to a number, has missed something; "" where it
// has not. Its place means nothing in a log that was recreated.
func (l loss) since(seen uint64, place Cursor) ResetReason {
	switch {
	case seen < l.recreated:
		return ResetRecreated
	case place.Seq < l.base.Seq:
		return l.reason
	}
	return ""
}

// lastLoss returns the newest loss.
func (w *window) lastLoss() loss {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.loss
}

// append adds events behind the end and drops the oldest beyond the bounds.
func (w *window) append(events []*Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, event := range events {
		w.events.push(event)
		w.bytes += event.size()
		w.end = event.Cursor
		w.node(event.Topic).push(event)
	}
	for w.events.len() > w.maxEvents || w.bytes > w.maxBytes && w.events.len() > 1 {
		w.dropOldest()
	}
}

func (w *window) dropOldest() {
	event := w.events.pop()
	w.bytes -= event.size()
	w.base = event.Cursor
	node := w.topics[event.Topic]
	node.chain.pop()
	if node.chain.len() == 0 {
		delete(w.topics, event.Topic)
		w.bytes -= node.prune()
	}
}

// node returns the node of a topic and makes it where it is missing.
func (w *window) node(topic string) *node {
	if n := w.topics[topic]; n != nil {
		return n
	}
	n := w.rootOf(topic)
	for segment := range segmentsOf(topic) {
		child, made := n.child(segment)
		w.bytes += made
		n = child
	}
	n.chain.state = w.isState(topic)
	w.topics[topic] = n
	return n
}

// rootOf returns the root below which a topic, or the topics of a pattern, stand.
func (w *window) rootOf(text string) *node {
	if ReservedTopic(text) {
		return w.own
	}
	return w.root
}

// state tells how much the window holds.
func (w *window) state() telemetry.Window {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return telemetry.Window{Events: w.events.len(), Bytes: w.bytes}
}

// bounds returns the window's two ends.
func (w *window) bounds() (base, end Cursor) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.base, w.end
}

// position is where a place stands relative to the window.
type position uint8

const (
	inside position = iota // the window holds everything behind the place
	behind                 // older than the window: the log knows
	unsure                 // events were lost since the place was taken
)

// holds reports whether a place is one of this log, and the window holds everything behind it: it is one of the
// window's ends, an event's, or was made by [Cursor.Before] of an event. Of any other place the window knows nothing.
func (w *window) holds(place Cursor) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if place == w.base || place == w.end {
		return true
	}
	if place.Seq < w.base.Seq {
		return false
	}
	i, found := w.events.search(place.Seq)
	if found && w.events.at(i).Cursor == place {
		return true
	}
	if found {
		i++
	}
	return i < w.events.len() && w.events.at(i).Cursor.Before() == place
}

// since returns the place before the first event stored at or after t, or the end; ok is false where the window does
// not reach back to t.
func (w *window) since(t time.Time) (place Cursor, ok bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	nanos := t.UnixNano()
	if w.base.Time >= nanos {
		return Cursor{}, false
	}
	i := sort.Search(w.events.len(), func(i int) bool { return w.events.at(i).Cursor.Time >= nanos })
	if i == w.events.len() {
		return w.end, true
	}
	return w.events.at(i).Cursor.Before(), true
}

// after appends to the batch the events behind place that the subscription matches, in log order, until it is full,
// and sets the place reached: the window's end where nothing more matches. Of a state topic it leaves out the events
// that a newer one replaces, which is in the window and also matches. Where it returns another position than inside it
// appends nothing: behind, where the window does not reach back to the place, and unsure, where there was a loss since
// the one numbered seen. It moves the batch's horizon on when the place has reached it.
func (w *window) after(place Cursor, seen uint64, sub *Subscription, batch *Batch) position {
	w.mu.RLock()
	defer w.mu.RUnlock()
	batch.Place = place
	if w.loss.number != seen {
		return unsure
	}
	if place.Seq >= batch.horizon {
		batch.horizon = w.end.Seq
	}
	switch {
	case place.Seq < w.base.Seq:
		return behind
	case place.Seq >= w.end.Seq: // ahead of this replica's tail: it waits
		return inside
	}
	var few [8]span // most readers have one topic
	spans := few[:0]
	for _, p := range sub.Patterns {
		if p.Exact() {
			spans = w.topics[p.text].appendSpan(spans, place.Seq)
		} else {
			spans = w.rootOf(p.text).appendSpans(spans, p.segments, place.Seq)
		}
	}
	if len(sub.Patterns) > 1 {
		spans = distinct(spans)
	}
	if anyState(spans) {
		spans = conflate(spans, sub, batch.horizon)
	}
	merge(spans, sub, batch)
	if batch.Place = w.end; batch.More {
		batch.Place = batch.Events[len(batch.Events)-1].Cursor
	}
	return inside
}

// replaced reports whether an event of a state topic, older than the window, is replaced by one in the window that the
// subscription accepts.
func (w *window) replaced(event *Event, sub *Subscription, horizon uint64) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	n := w.topics[event.Topic]
	if n == nil {
		return false
	}
	i, _ := n.chain.search(event.Cursor.Seq + 1)
	i = n.chain.from(i, sub, horizon)
	return i < n.chain.len() && replaces(n.chain.at(i).Cursor.Seq, event.Cursor.Seq, horizon)
}

// distinct removes the chains that several patterns led to.
func distinct(spans []span) []span {
	seen := make(map[*ring]struct{}, len(spans))
	return slices.DeleteFunc(spans, func(s span) bool {
		_, again := seen[s.chain]
		seen[s.chain] = struct{}{}
		return again
	})
}
