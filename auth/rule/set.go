package rule

import (
	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/bridge"
)

// Set is the declared topics and their rules. The first declaration that matches a topic governs it. Any number of
// goroutines may use a Set; it never changes. Who asks may be nil, which is [auth.Anonymous]; whether a principal has
// expired is for the caller to see.
type Set struct {
	declarations []*declaration
	index        *index
	open         bool
}

// everything governs every topic of [Open].
var everything = &declaration{text: anyRest, publish: rule{everybody: true}, subscribe: rule{everybody: true}}

// Open returns the set that allows everything to everybody, but for publishing to reserved topics.
func Open() *Set { return &Set{open: true} }

// Verdict is what a publisher is told.
type Verdict int

// Verdicts.
const (
	Forbidden Verdict = iota // no topic of this name, or one that is not for this publisher: they are told apart nowhere
	WrongType                // the publisher may publish here, but not this type
	Allowed
)

// Decision is what the rules say about publishing an event.
type Decision struct {
	Verdict  Verdict
	Declared string              // as [Set.Declared] says
	Source   string              // the CloudEvents source; empty: the default of the bridge
	Types    []bridge.TypeFilter // what may be published here, where the type is wrong
}

// Publish decides whether p may publish an event of a type to a topic. The topic has passed [bridge.ValidateTopic].
func (s *Set) Publish(p *auth.Principal, topic, typeName string) Decision {
	d := s.governing(topic)
	if d == nil {
		return Decision{}
	}
	decision := Decision{Declared: d.text}
	switch {
	case bridge.ReservedTopic(topic):
	case !d.publish.allows(question{principal: p, declaration: d, topic: topic, typeName: typeName}):
	case !d.takes(typeName):
		decision.Verdict, decision.Types = WrongType, d.types
	default:
		decision.Verdict, decision.Source = Allowed, d.source
	}
	return decision
}

// Subscribe decides whether p may subscribe to a topic or a pattern. A pattern is allowed only where every declaration
// that intersects it, up to the first that covers it, allows it for every topic that the pattern matches; if none covers
// it, it is not allowed.
func (s *Set) Subscribe(p *auth.Principal, requested bridge.Pattern) bool {
	topic := requested.String()
	if topic == "" {
		return false
	}
	q := newPattern(requested)
	if requested.Exact() {
		d := s.governing(topic)
		return d != nil && d.subscribe.allows(question{principal: p, declaration: d, topic: topic, requested: q})
	}
	if s.open {
		return true
	}
	for _, d := range s.declarations {
		if !d.pattern.intersects(q) {
			continue
		}
		if !d.subscribe.allows(question{principal: p, declaration: d, requested: q}) {
			return false
		}
		if d.pattern.covers(q) {
			return true
		}
	}
	return false
}

// Declared returns the pattern of the declaration that governs a topic, as it was written, or nothing where none does:
// a name for the topic of which there are only so many. The topic has passed [bridge.ValidateTopic].
func (s *Set) Declared(topic string) string {
	if d := s.governing(topic); d != nil {
		return d.text
	}
	return ""
}

// State reports whether the declaration that governs a topic says that only its newest event counts. The topic has
// passed [bridge.ValidateTopic].
func (s *Set) State(topic string) bool {
	d := s.governing(topic)
	return d != nil && d.state
}

// governing returns the first declaration that matches a topic, nil where none does.
func (s *Set) governing(topic string) *declaration {
	if s.open {
		return everything
	}
	if number, found := s.index.find(topic); found {
		return s.declarations[number]
	}
	return nil
}

func (d *declaration) takes(typeName string) bool {
	if len(d.types) == 0 {
		return true
	}
	for _, filter := range d.types {
		if filter.Matches(typeName) {
			return true
		}
	}
	return false
}
