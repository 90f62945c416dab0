package bridge

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of the topic grammar.
const (
	MaxTopicBytes    = 512
	MaxTopicSegments = 16
	MaxSegmentChars  = 128
)

const topicChars = "A-Z a-z 0-9 - . _ ~ : @ ="

// ValidateTopic reports why name is not a topic: 1 to 16 segments split by "/", each 1 to 128 characters of
// [topicChars], 512 bytes in all, no segment "." or "..". A first segment may begin with "$", which is reserved
// for the bridge ([ReservedTopic]). The error names the rule, the place and the fix.
func ValidateTopic(name string) error {
	return validateSegments("topic", name, func(string, bool) bool { return false })
}

// ReservedTopic reports whether a topic belongs to the bridge itself: nobody else publishes there.
func ReservedTopic(name string) bool { return strings.HasPrefix(name, "$") }

// Pattern is a topic, or a topic in which whole segments are "*" (any one segment) and the last may be "**" (any
// number of segments, none included), as in google.api.http path templates. A wildcard that comes first matches no
// reserved topic, so that who reads everything does not read what the bridge says about itself, as in MQTT (version
// 5.0, section 4.7.2). The zero value matches nothing.
type Pattern struct {
	text     string
	segments []string // nil for an exact topic: it is compared as a whole
}

// ParsePattern checks a pattern. The error names the rule, the place and the fix.
func ParsePattern(text string) (Pattern, error) {
	wild := false
	err := validateSegments("pattern", text, func(segment string, last bool) bool {
		ok := segment == "*" || segment == "**" && last
		wild = wild || ok
		return ok
	})
	if err != nil {
		return Pattern{}, err
	}
	p := Pattern{text: text}
	if wild {
		p.segments = strings.Split(text, "/")
	}
	return p, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Exact reports whether the pattern is a plain topic.
func (p Pattern) Exact() bool { return p.segments == nil }

// Matches reports whether a topic is matched by the pattern.
func (p Pattern) Matches(topic string) bool {
	if p.Exact() {
		return p.text == topic
	}
	if ReservedTopic(topic) && p.beginsWild() {
		return false
	}
	rest, more := topic, true
	for _, want := range p.segments {
		if want == "**" {
			return true
		}
		if !more {
			return false
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if want != "*" && want != segment {
			return false
		}
	}
	return !more
}

func (p Pattern) beginsWild() bool { return p.segments[0] == "*" || p.segments[0] == "**" }

// validateSegments checks the grammar that topics and patterns share; wildcard says whether a segment is allowed
// although it is none of the topic grammar.
func validateSegments(what, text string, wildcard func(segment string, last bool) bool) error {
	switch {
	case text == "":
		return fmt.Errorf("the %s is empty: name one such as shops/7/orders", what)
	case len(text) > MaxTopicBytes:
		return fmt.Errorf("the %s has %d bytes: at most %d are allowed", what, len(text), MaxTopicBytes)
	}
	segments := strings.Split(text, "/")
	if len(segments) > MaxTopicSegments {
		return fmt.Errorf("the %s has %d segments: at most %d are allowed", what, len(segments), MaxTopicSegments)
	}
	for i, segment := range segments {
		if wildcard(segment, i == len(segments)-1) {
			continue
		}
		if err := validateSegment(segment, i == 0); err != nil {
			return fmt.Errorf("segment %d of the %s %w", i+1, what, err)
		}
	}
	return nil
}

func validateSegment(segment string, first bool) error {
	switch {
	case segment == "":
		return errors.New("is empty: remove the leading, trailing or doubled slash")
	case len(segment) > MaxSegmentChars:
		return fmt.Errorf("has %d characters: at most %d are allowed", len(segment), MaxSegmentChars)
	case segment == "." || segment == "..":
		return fmt.Errorf("is %q: relative segments are not allowed", segment)
	case segment == "*" || segment == "**":
		return fmt.Errorf("is %q: a topic has no wildcards, and in a pattern ** may only be the last segment", segment)
	}
	chars := segment
	if first {
		chars = strings.TrimPrefix(segment, "$")
	}
	for _, c := range chars {
		if !topicChar(c) {
			return fmt.Errorf("has the character %q: allowed are %s", c, topicChars)
		}
	}
	return nil
}

func topicChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._~:@=", c)
}
