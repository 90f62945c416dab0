package bridge

import (
	"strings"
	"sync"
)

// audiences finds the readers of a topic: exact topics by hash, patterns by a trie. Topics and patterns that nobody
// reads leave it. It may be used concurrently.
type audiences struct {
	mu    sync.RWMutex
	exact map[string]*audience
	root  branch
}

// audience is the readers of one topic or pattern.
type audience struct {
	seats []seat
}

// seat is a reader's place in an audience; pattern is the index of the reader's pattern that led here, so that the
// reader knows where it sits.
type seat struct {
	reader  *Reader
	pattern int
}

// branch is one segment of the patterns that are read.
type branch struct {
	literal  map[string]*branch
	any      *branch  // "*"
	rest     audience // patterns that end here with "**"
	audience audience // patterns that end here
}

func (b *branch) empty() bool {
	return len(b.literal) == 0 && b.any == nil && len(b.rest.seats) == 0 && len(b.audience.seats) == 0
}

// add seats a reader in the audience of each of its patterns.
func (a *audiences) add(reader *Reader) {
	a.mu.Lock()
	defer a.mu.Unlock()
	reader.seats = make([]int, len(reader.sub.Patterns))
	for i, p := range reader.sub.Patterns {
		at := a.of(p)
		reader.seats[i] = len(at.seats)
		at.seats = append(at.seats, seat{reader, i})
	}
}

// of returns the audience of a pattern and makes it where it is missing.
func (a *audiences) of(p Pattern) *audience {
	if p.Exact() {
		at := a.exact[p.text]
		if at == nil {
			if a.exact == nil {
				a.exact = map[string]*audience{}
			}
			at = &audience{}
			a.exact[p.text] = at
		}
		return at
	}
	b := &a.root
	for _, segment := range p.segments {
		if segment == "**" {
			return &b.rest
		}
		b = b.child(segment)
	}
	return &b.audience
}

func (b *branch) child(segment string) *branch {
	if segment == "*" {
		if b.any == nil {
			b.any = &branch{}
		}
		return b.any
	}
	c := b.literal[segment]
	if c == nil {
		if b.literal == nil {
			b.literal = map[string]*branch{}
		}
		c = &branch{}
		b.literal[segment] = c
	}
	return c
}

// remove takes a reader out of every audience.
func (a *audiences) remove(reader *Reader) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, p := range reader.sub.Patterns {
		at := a.of(p)
		last := len(at.seats) - 1
		moved := at.seats[last]
		at.seats[reader.seats[i]] = moved
		moved.reader.seats[moved.pattern] = reader.seats[i]
		at.seats[last] = seat{}
		at.seats = at.seats[:last]
		switch {
		case last > 0:
		case p.Exact():
			delete(a.exact, p.text)
		default:
			a.root.prune(p.segments)
		}
	}
}

// prune removes the branches along the segments that nobody needs any more.
func (b *branch) prune(segments []string) {
	if len(segments) == 0 || segments[0] == "**" {
		return
	}
	c := b.any
	if segments[0] != "*" {
		c = b.literal[segments[0]]
	}
	if c == nil {
		return
	}
	c.prune(segments[1:])
	switch {
	case !c.empty():
	case segments[0] == "*":
		b.any = nil
	default:
		delete(b.literal, segments[0])
	}
}

// wake wakes every reader of a topic and returns how many there are; one with several patterns that match counts
// for each.
func (a *audiences) wake(topic string, before *Cursor) int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	woken := 0
	if at := a.exact[topic]; at != nil {
		woken = at.wake(before)
	}
	if ReservedTopic(topic) { // not for a wildcard that comes first
		segment, rest, more := strings.Cut(topic, "/")
		if c := a.root.literal[segment]; c != nil {
			woken += c.wake(rest, more, before)
		}
		return woken
	}
	return woken + a.root.wake(topic, true, before)
}

// wake wakes the readers of the patterns below the branch that match the rest of a topic; more tells whether there
// is a rest.
func (b *branch) wake(rest string, more bool, before *Cursor) int {
	woken := b.rest.wake(before)
	if !more {
		return woken + b.audience.wake(before)
	}
	if b.any == nil && len(b.literal) == 0 {
		return woken
	}
	segment, rest, more := strings.Cut(rest, "/")
	if b.any != nil {
		woken += b.any.wake(rest, more, before)
	}
	if c := b.literal[segment]; c != nil {
		woken += c.wake(rest, more, before)
	}
	return woken
}

func (a *audience) wake(before *Cursor) int {
	for _, s := range a.seats {
		s.reader.unread.CompareAndSwap(nil, before)
		s.reader.waker.Wake()
	}
	return len(a.seats)
}
