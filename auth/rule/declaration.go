package rule

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/ssebridge/ssebridge/bridge"
)

// Declaration says which topics exist, what may be published there and who may do what.
type Declaration struct {
	// Pattern is a [bridge.Pattern] whose wildcards may have names: {name} is one segment, {name=**}, which comes last,
	// is the rest. A name is a CEL identifier and is known to the rules as topic.name.
	Pattern string

	// Types are the full names of what may be published here, or packages such as shop.v1.*. None: what the publish
	// rule allows.
	Types []string

	// Source is the CloudEvents source of what is published here, a URI reference. Empty: the default of the bridge.
	Source string

	// Publish and Subscribe are CEL expressions of type bool: who may publish and subscribe. Empty: nobody.
	Publish, Subscribe string

	// State says that only the newest event of each topic counts. It changes nothing of what anybody may do.
	State bool
}

// declaration is a Declaration that was found right.
type declaration struct {
	number    int // among all, from 0
	text      string
	pattern   pattern
	captures  []capture
	types     []bridge.TypeFilter
	source    string
	state     bool
	publish   rule
	subscribe rule
}

// capture is a wildcard with a name.
type capture struct {
	variable string // as rules name it, such as topic.shop
	segment  int
	rest     bool
}

// value returns what the capture binds in a topic that its declaration matches.
func (c capture) value(topic string) string {
	for range c.segment {
		_, topic, _ = strings.Cut(topic, "/") // leaves nothing where the rest is empty
	}
	if c.rest {
		return topic
	}
	segment, _, _ := strings.Cut(topic, "/")
	return segment
}

// requested returns what the capture binds in every topic that both its declaration and q match. It is not known
// where q leaves it open.
func (c capture) requested(q pattern) (value string, known bool) {
	if !c.rest {
		if c.segment >= len(q.segments) || q.segments[c.segment] == anySegment {
			return "", false
		}
		return q.segments[c.segment], true
	}
	if q.rest {
		return "", false
	}
	rest := q.segments[min(c.segment, len(q.segments)):]
	if slices.Contains(rest, anySegment) {
		return "", false
	}
	return strings.Join(rest, "/"), true
}

// words that CEL reserves (language definition, "Syntax": KEYWORD and RESERVED).
var words = []string{
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
	"namespace", "null", "package", "return", "true", "var", "void", "while",
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

	// uriReference has the characters of a URI reference (RFC 3986, section 2).
	uriReference = regexp.MustCompile(`^[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*$`)
)

// parsePattern reads a declared pattern. The error names the rule, the place and the fix.
func parsePattern(text string) (pattern, []capture, error) {
	var captures []capture
	segments := strings.Split(text, "/")
	for i, segment := range segments {
		if !strings.ContainsAny(segment, "{}") {
			continue
		}
		name, wildcard, err := parseVariable(segment)
		if err != nil {
			return pattern{}, nil, fmt.Errorf("segment %d of the pattern is %.140q: %w", i+1, segment, err)
		}
		c := capture{variable: topicPrefix + name, segment: i, rest: wildcard == anyRest}
		if c.rest && i < len(segments)-1 {
			return pattern{}, nil, fmt.Errorf("segment %d of the pattern is %q: the rest may only be the last segment", i+1, segment)
		}
		if slices.ContainsFunc(captures, func(other capture) bool { return other.variable == c.variable }) {
			return pattern{}, nil, fmt.Errorf("segment %d of the pattern is %q: the name is taken, choose another", i+1, segment)
		}
		captures = append(captures, c)
		segments[i] = wildcard
	}
	parsed, err := bridge.ParsePattern(strings.Join(segments, "/"))
	if err != nil {
		return pattern{}, nil, err
	}
	return newPattern(parsed), captures, nil
}

// parseVariable reads a segment {name} or {name=**}.
func parseVariable(segment string) (name, wildcard string, err error) {
	inner, opens := strings.CutPrefix(segment, "{")
	inner, closes := strings.CutSuffix(inner, "}")
	if !opens || !closes || strings.ContainsAny(inner, "{}") {
		return "", "", errors.New("a variable is a whole segment, such as {shop}, or {rest=**} at the end")
	}
	name, wildcard, assigned := strings.Cut(inner, "=")
	switch {
	case assigned && wildcard != anyRest:
		return "", "", fmt.Errorf("write {%.40s} for one segment, {%.40s=**} for the rest", name, name)
	case !identifier.MatchString(name):
		return "", "", errors.New("a name has letters, digits and _, and does not begin with a digit")
	case len(name) > bridge.MaxSegmentChars:
		return "", "", fmt.Errorf("a name has at most %d characters", bridge.MaxSegmentChars)
	case slices.Contains(words, name):
		return "", "", fmt.Errorf("%s is a reserved word of CEL: choose another name", name)
	case topicPrefix+name == varTopicName:
		return "", "", fmt.Errorf("%s is the whole topic: choose another name", varTopicName)
	}
	if !assigned {
		wildcard = anySegment
	}
	return name, wildcard, nil
}

func parseTypes(texts []string) ([]bridge.TypeFilter, error) {
	filters := make([]bridge.TypeFilter, len(texts))
	for i, text := range texts {
		var err error
		if filters[i], err = bridge.ParseTypeFilter(text); err != nil {
			return nil, err
		}
	}
	return filters, nil
}

func checkSource(text string) error {
	_, err := url.Parse(text)
	if err != nil || !uriReference.MatchString(text) {
		return fmt.Errorf("%.80q is not a URI reference (RFC 3986): use one such as /shop/orders", text)
	}
	return nil
}
