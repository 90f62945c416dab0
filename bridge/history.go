package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// history serves places older than the window from the log, through pages that all readers share. What it keeps and
// what it reads at once is bounded.
type history struct {
	log      Log
	maxBytes int
	isState  func(topic string) bool // as Settings.State
	reads    chan struct{}           // holds a token for each read of the log under way

	mu         sync.Mutex
	pages      []*historyPage // the least recently used first
	bytes      int
	generation uint64 // counts clear: a page read before the newest is not kept
}

// historyPage is a page of the log and where it begins.
type historyPage struct {
	Page

	after uint64
	bytes int
	// newer has, for each event of a state topic, the index of the next one of its topic, or 0 where the page has no
	// other; for each event of another topic notState. It is empty where the page has no state topic.
	newer []int
}

const notState = -1

// isState reports whether the event with an index is one of a state topic.
func (p *historyPage) isState(i int) bool { return len(p.newer) > 0 && p.newer[i] != notState }

// covers reports whether the page has stored events behind a sequence and misses none between.
func (p *historyPage) covers(after uint64) bool {
	return p.after <= after && after < p.Last.Seq
}

func newHistory(log Log, maxBytes, maxReads int, isState func(topic string) bool) *history {
	return &history{log: log, maxBytes: maxBytes, isState: isState, reads: make(chan struct{}, maxReads)}
}

// pageSpan is how many sequences a page covers. Pages begin at its multiples, so that readers at any place share them.
const pageSpan = 256

// page returns a page that covers what follows the sequence after, read up to the sequence through at most. Events
// at or before after may be in it.
func (h *history) page(ctx context.Context, after, through uint64) (*historyPage, error) {
	if page, _ := h.cached(after); page != nil {
		return page, nil
	}
	select {
	case h.reads <- struct{}{}:
		defer func() { <-h.reads }()
	case <-ctx.Done():
		return nil, errors.Join(ErrLogUnavailable, ctx.Err())
	}
	page, cut := h.cached(after) // another reader may have read it while this one waited
	if page != nil {
		return page, nil
	}
	begin := after - after%pageSpan
	if !cut {
		page, err := h.read(ctx, begin, min(begin+pageSpan, through))
		if err != nil || page.covers(after) {
			return page, err
		}
	}
	// The page was cut because its events are large, or has nothing behind after: take what comes next.
	return h.read(ctx, after, through)
}

// read reads a page and keeps it.
func (h *history) read(ctx context.Context, after, through uint64) (*historyPage, error) {
	h.mu.Lock()
	generation := h.generation
	h.mu.Unlock()
	read, err := h.log.Read(ctx, after, through)
	if err != nil {
		return nil, err
	}
	const overhead = 1 << 10 // of a page without events
	page := &historyPage{Page: read, after: after, bytes: overhead}
	for _, event := range read.Events {
		page.bytes += event.size()
	}
	page.newer = h.newerIn(read.Events)
	page.bytes += 8 * len(page.newer)
	h.keep(page, generation)
	return page, nil
}

// newerIn makes historyPage.newer.
func (h *history) newerIn(events []*Event) []int {
	newer := make([]int, len(events))
	next, states := map[string]int{}, false // next: the oldest event seen of each topic
	for i, event := range slices.Backward(events) {
		k, seen := next[event.Topic]
		if !seen && !h.isState(event.Topic) {
			k = notState
		}
		newer[i] = k
		if k != notState {
			k, states = i, true
		}
		next[event.Topic] = k
	}
	if !states {
		return nil
	}
	return newer
}

// cached returns a page that covers what follows a sequence, or nil; cut tells that the page which begins at the
// multiple before is there and does not reach so far.
func (h *history) cached(after uint64) (page *historyPage, cut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, page := range h.pages {
		if page.covers(after) {
			h.pages = append(slices.Delete(h.pages, i, i+1), page)
			return page, false
		}
		cut = cut || page.after == after-after%pageSpan && page.after != after
	}
	return nil, cut
}

func (h *history) keep(page *historyPage, generation uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if generation != h.generation {
		return
	}
	h.pages = append(h.pages, page)
	h.bytes += page.bytes
	for h.bytes > h.maxBytes && len(h.pages) > 1 {
		h.bytes -= h.pages[0].bytes
		h.pages = slices.Delete(h.pages, 0, 1)
	}
}

// clear forgets every page.
func (h *history) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pages, h.bytes = nil, 0
	h.generation++
}
