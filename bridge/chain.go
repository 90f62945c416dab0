package bridge

import (
	"container/heap"
	"iter"
	"slices"
	"sort"
	"strings"
)

// ring is a queue of events in ascending order of their sequence.
type ring struct {
	events []*Event
	head   int
	state  bool // they are of a state topic: a newer one replaces those before it
}

func (r *ring) len() int                       { return len(r.events) - r.head }
func (r *ring) at(i int) *Event                { return r.events[r.head+i] }
func (r *ring) push(event *Event)              { r.events = append(r.events, event) }
func (r *ring) newest() *Event                 { return r.events[len(r.events)-1] }
func (r *ring) isAfter(i int, seq uint64) bool { return r.at(i).Cursor.Seq > seq }

// pop removes the oldest event. It moves the rest down when half of the memory is unused, so that a pop costs
// O(1) in the mean and what is dropped can be collected.
func (r *ring) pop() *Event {
	event := r.events[r.head]
	r.events[r.head] = nil
	r.head++
	if r.head*2 >= len(r.events) {
		rest := make([]*Event, len(r.events)-r.head, (len(r.events)-r.head)*3/2)
		copy(rest, r.events[r.head:])
		r.events, r.head = rest, 0
	}
	return event
}

// search returns the index of the first event with at least this sequence, and whether it is that sequence.
func (r *ring) search(seq uint64) (int, bool) {
	i := sort.Search(r.len(), func(i int) bool { return r.at(i).Cursor.Seq >= seq })
	return i, i < r.len() && r.at(i).Cursor.Seq == seq
}

// from returns the index of the first event from i on that a reader of a state topic receives; the length where there is
// none. That is the newest one which the subscription accepts: up to the horizon as long as there is one, then of all. It
// is looked for from the end, so those that it replaces cost nothing.
func (r *ring) from(i int, sub *Subscription, horizon uint64) int {
	for i < r.len() {
		end := r.len()
		if !r.isAfter(i, horizon) && r.isAfter(end-1, horizon) {
			end, _ = r.search(horizon + 1)
		}
		for k := end - 1; k >= i; k-- {
			if sub.accepts(r.at(k)) {
				return k
			}
		}
		i = end
	}
	return i
}

// replaces reports whether an event of a state topic may stand for an older one of the same topic. What came behind the
// horizon stands for nothing before it.
func replaces(newer, older, horizon uint64) bool { return newer <= horizon || older > horizon }

// node is one segment of the topics in the window. Its children stand in a list, the one with the newest event
// first.
type node struct {
	segment        string
	parent         *node
	children       map[string]*node
	first, last    *node  // of the children
	previous, next *node  // siblings
	newest         uint64 // the highest sequence at or below this node, dropped events included
	chain          ring   // the events of the topic that ends here
}

// nodeBytes is a bound of the memory that a node takes, its entries in maps included, but for its segment.
const nodeBytes = 512

// child returns the child for a segment. It makes it, behind its siblings, where it is missing, and says how much
// memory that took.
func (n *node) child(segment string) (c *node, made int) {
	if c := n.children[segment]; c != nil {
		return c, 0
	}
	if n.children == nil {
		n.children = map[string]*node{}
	}
	c = &node{segment: segment, parent: n, previous: n.last}
	if n.last != nil {
		n.last.next = c
	} else {
		n.first = c
	}
	n.last = c
	n.children[segment] = c
	return c, nodeBytes + len(segment)
}

// push adds the newest event of the window to the node and moves the node and its ancestors to the front.
func (n *node) push(event *Event) {
	n.chain.push(event)
	for ; n != nil; n = n.parent {
		n.newest = event.Cursor.Seq
		if n.previous != nil {
			n.unlink()
			n.previous, n.next = nil, n.parent.first
			n.next.previous = n
			n.parent.first = n
		}
	}
}

// prune removes the node and every ancestor that has neither events nor children left, and says how much memory that
// frees.
func (n *node) prune() (freed int) {
	for n.parent != nil && n.chain.len() == 0 && len(n.children) == 0 {
		n.unlink()
		delete(n.parent.children, n.segment)
		freed += nodeBytes + len(n.segment)
		n = n.parent
	}
	return freed
}

// unlink takes the node out of the list of its siblings.
func (n *node) unlink() {
	if n.previous != nil {
		n.previous.next = n.next
	} else {
		n.parent.first = n.next
	}
	if n.next != nil {
		n.next.previous = n.previous
	} else {
		n.parent.last = n.previous
	}
}

// appendSpan appends what the node's chain holds behind a sequence. The node may be nil.
func (n *node) appendSpan(spans []span, seq uint64) []span {
	if n == nil || n.chain.len() == 0 || n.chain.newest().Cursor.Seq <= seq {
		return spans
	}
	// Readers mostly want the last event or two, so look from the end before searching.
	i := n.chain.len() - 1
	for steps := 0; i > 0 && steps < 4 && n.chain.isAfter(i-1, seq); steps++ {
		i--
	}
	if i > 0 && n.chain.isAfter(i-1, seq) {
		i, _ = n.chain.search(seq + 1)
	}
	return append(spans, span{chain: &n.chain, next: i})
}

// appendSpans appends what the chains below the node that match the segments hold behind a sequence. It visits a
// child only where something newer than the sequence is below it.
func (n *node) appendSpans(spans []span, segments []string, seq uint64) []span {
	if len(segments) == 0 {
		return n.appendSpan(spans, seq)
	}
	switch segments[0] {
	case "**": // the last one: everything from here down
		spans = n.appendSpan(spans, seq)
		for c := n.first; c != nil && c.newest > seq; c = c.next {
			spans = c.appendSpans(spans, segments, seq)
		}
	case "*":
		for c := n.first; c != nil && c.newest > seq; c = c.next {
			spans = c.appendSpans(spans, segments[1:], seq)
		}
	default:
		if c := n.children[segments[0]]; c != nil && c.newest > seq {
			spans = c.appendSpans(spans, segments[1:], seq)
		}
	}
	return spans
}

// span is the rest of a chain from index next on; it is not empty.
type span struct {
	chain *ring
	next  int
}

func (s *span) event() *Event { return s.chain.at(s.next) }

// advance goes behind an event that was taken. It reports whether anything is left.
func (s *span) advance(sub *Subscription, horizon uint64) bool {
	s.next++
	if s.chain.state {
		s.next = s.chain.from(s.next, sub, horizon)
	}
	return s.next < s.chain.len()
}

// spanHeap orders spans by the sequence of their next event.
type spanHeap []span //nolint:recvcheck // heap.Interface asks for both

func (h spanHeap) Len() int           { return len(h) }
func (h spanHeap) Less(i, j int) bool { return h[i].event().Cursor.Seq < h[j].event().Cursor.Seq }
func (h spanHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *spanHeap) Push(x any)        { *h = append(*h, x.(span)) } //nolint:forcetypeassert // heap.Interface; never called
func (h *spanHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// conflate moves the spans of state topics on to the first event that the reader receives, and removes those without.
func conflate(spans []span, sub *Subscription, horizon uint64) []span {
	kept := spans[:0]
	for _, s := range spans {
		if s.chain.state {
			s.next = s.chain.from(s.next, sub, horizon)
		}
		if s.next < s.chain.len() {
			kept = append(kept, s)
		}
	}
	return kept
}

func anyState(spans []span) bool {
	for i := range spans {
		if spans[i].chain.state {
			return true
		}
	}
	return false
}

// merge appends the events of the spans to the batch, in log order, until it is full or they are exhausted.
func merge(spans []span, sub *Subscription, batch *Batch) {
	if len(spans) == 1 {
		s := spans[0]
		for batch.take(s.event(), sub) && s.advance(sub, batch.horizon) {
		}
		return
	}
	h := slices.Clone(spanHeap(spans)) // on the heap: so the one span of most readers need not be
	heap.Init(&h)
	for len(h) > 0 && batch.take(h[0].event(), sub) {
		if h[0].advance(sub, batch.horizon) {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
	}
}

func segmentsOf(topic string) iter.Seq[string] { return strings.SplitSeq(topic, "/") }
