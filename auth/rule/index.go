package rule

import (
	"math"
	"strings"

	"github.com/ssebridge/ssebridge/bridge"
)

const none = math.MaxInt

// index finds the first declaration that matches a topic: a trie of segments that keeps the lowest number below each
// node, so that branches that cannot do better are left out.
type index struct {
	children map[string]*index
	wild     *index
	lowest   int // of the declarations that end at this node or below it
	end      int // of those that end here
	rest     int // of those that end here and go on with "**"
}

func newIndex() *index { return &index{lowest: none, end: none, rest: none} }

func (x *index) add(p pattern, number int) {
	x.lowest = min(x.lowest, number)
	for _, segment := range p.segments {
		x = x.child(segment)
		x.lowest = min(x.lowest, number)
	}
	if p.rest {
		x.rest = min(x.rest, number)
	} else {
		x.end = min(x.end, number)
	}
}

func (x *index) child(segment string) *index {
	if segment == anySegment {
		if x.wild == nil {
			x.wild = newIndex()
		}
		return x.wild
	}
	if x.children == nil {
		x.children = map[string]*index{}
	}
	if x.children[segment] == nil {
		x.children[segment] = newIndex()
	}
	return x.children[segment]
}

// find returns the number of the first declaration that matches topic.
func (x *index) find(topic string) (number int, found bool) {
	if topic == "" {
		return 0, false
	}
	number = x.below(topic, true, !bridge.ReservedTopic(topic), none)
	return number, number != none
}

// below returns the lowest number here or below that matches what is left of a topic, or best where that is lower.
// more says whether anything is left, wild whether wildcards may match the next segment.
func (x *index) below(left string, more, wild bool, best int) int {
	best = min(best, x.rest)
	if !more {
		return min(best, x.end)
	}
	segment, left, more := strings.Cut(left, "/")
	if child := x.children[segment]; child != nil && child.lowest < best {
		best = child.below(left, more, true, best)
	}
	if wild && x.wild != nil && x.wild.lowest < best {
		best = x.wild.below(left, more, true, best)
	}
	return best
}
