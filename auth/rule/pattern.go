package rule

import (
	"strings"

	"github.com/ssebridge/ssebridge/bridge"
)

const (
	anySegment = "*"
	anyRest    = "**"
)

// pattern is a [bridge.Pattern] taken apart, to be compared with others. It has at least one segment, because a topic
// has: "**" is kept as "*" with a rest.
type pattern struct {
	segments []string // literal or anySegment
	rest     bool     // any number of segments may follow, none included
}

func newPattern(p bridge.Pattern) pattern {
	segments := strings.Split(p.String(), "/")
	last := len(segments) - 1
	if segments[last] != anyRest {
		return pattern{segments: segments}
	}
	if last == 0 {
		return pattern{segments: []string{anySegment}, rest: true}
	}
	return pattern{segments: segments[:last], rest: true}
}

// covers reports whether p matches every topic that q matches. The limits of the topic grammar change nothing here:
// a pattern that may be written leaves room for one segment more where it ends in "**", and for more than one value
// of each "*".
func (p pattern) covers(q pattern) bool {
	if len(q.segments) < len(p.segments) || !p.rest && (q.rest || len(q.segments) > len(p.segments)) {
		return false
	}
	for i, want := range p.segments {
		switch have := q.segments[i]; {
		case want == anySegment:
			if i == 0 && bridge.ReservedTopic(have) {
				return false
			}
		case want != have:
			return false
		}
	}
	return true
}

// intersects reports whether there is a topic that both match. What both ask for may be longer than a topic can be.
func (p pattern) intersects(q pattern) bool {
	short, long := p, q
	if len(short.segments) > len(long.segments) {
		short, long = long, short
	}
	if len(short.segments) < len(long.segments) && !short.rest {
		return false
	}
	bytes := len(long.segments) - 1 // slashes
	for i, a := range long.segments {
		b := anySegment
		if i < len(short.segments) {
			b = short.segments[i]
		}
		if a == anySegment {
			a, b = b, a // a is the literal, where there is one
		}
		if b != anySegment && a != b || b == anySegment && i == 0 && bridge.ReservedTopic(a) {
			return false
		}
		bytes += len(a) // a "*" is as long as the shortest segment
	}
	return bytes <= bridge.MaxTopicBytes
}
