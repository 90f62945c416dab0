package rule

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/ssebridge/ssebridge/bridge"
)

// Fields of a [Declaration] that an [Error] names.
const (
	FieldPattern   = "pattern"
	FieldTypes     = "types"
	FieldSource    = "source"
	FieldPublish   = "publish"
	FieldSubscribe = "subscribe"
)

// Error is what is wrong with a field of a declaration.
type Error struct {
	Index        int    // of the declaration, from 0
	Field        string // one of the fields above
	Line, Column int    // within the text of a rule, from 1, in characters; 0 where it is about the whole field
	Message      string // what is wrong and how to mend it
}

func (e *Error) Error() string {
	place := ""
	if e.Line > 0 {
		place = fmt.Sprintf(" line %d column %d", e.Line, e.Column)
	}
	return fmt.Sprintf("declaration %d: %s%s: %s", e.Index, e.Field, place, e.Message)
}

// Compile checks declarations and compiles their rules. The error joins an [*Error] for each field that is wrong.
func Compile(declarations []Declaration) (*Set, error) {
	publish, subscribe, err := environments()
	if err != nil {
		return nil, err
	}
	c := compiler{publish: publish, subscribe: subscribe}
	set := &Set{index: newIndex()}
	for i, in := range declarations {
		c.index = i
		d := c.declaration(in)
		if d.pattern.segments == nil {
			continue // refused
		}
		c.reachable(set.declarations, d)
		d.number = i
		set.index.add(d.pattern, len(set.declarations))
		set.declarations = append(set.declarations, d)
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return set, nil
}

// compiler takes declarations one by one and gathers what is wrong.
type compiler struct {
	publish, subscribe *cel.Env
	index              int // of the declaration at hand
	errs               []error
}

func (c *compiler) refuse(field, message string) {
	c.errs = append(c.errs, &Error{Index: c.index, Field: field, Message: message})
}

func (c *compiler) declaration(in Declaration) *declaration {
	d := &declaration{text: in.Pattern, source: in.Source, state: in.State}
	var err error
	if d.pattern, d.captures, err = parsePattern(in.Pattern); err != nil {
		c.refuse(FieldPattern, err.Error())
	}
	if d.types, err = parseTypes(in.Types); err != nil {
		c.refuse(FieldTypes, err.Error())
	}
	if err := checkSource(in.Source); err != nil {
		c.refuse(FieldSource, err.Error())
	}
	if d.pattern.segments == nil {
		return d // what the rules may name is not known
	}
	if in.Publish != "" && bridge.ReservedTopic(in.Pattern) {
		c.refuse(FieldPublish, "topics that begin with $ belong to the bridge, which alone publishes there: remove the rule")
	}
	d.publish = c.rule(c.publish, FieldPublish, in.Publish, d.captures)
	d.subscribe = c.rule(c.subscribe, FieldSubscribe, in.Subscribe, d.captures)
	return d
}

// reachable refuses a declaration that governs nothing, because its author thinks it does.
func (c *compiler) reachable(earlier []*declaration, d *declaration) {
	for _, e := range earlier {
		if e.pattern.covers(d.pattern) {
			c.refuse(FieldPattern, fmt.Sprintf(
				"declaration %d (%s) matches all of its topics and comes first: move this one above it, or remove it", e.number, e.text))
			return
		}
	}
}

// rule compiles one expression. What is wrong is gathered, and the result allows nobody.
func (c *compiler) rule(known *cel.Env, field, text string, captures []capture) rule {
	if text == "" {
		return rule{}
	}
	options := make([]cel.EnvOption, 0, len(captures))
	for _, capture := range captures {
		options = append(options, cel.Variable(capture.variable, cel.StringType))
	}
	env, err := known.Extend(options...)
	if err != nil {
		c.refuse(field, err.Error())
		return rule{}
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		for _, issue := range issues.Errors() {
			c.errs = append(c.errs, &Error{
				Index: c.index, Field: field, Line: max(issue.Location.Line(), 0), Column: issue.Location.Column() + 1,
				Message: explain(issue.Message, field, captures),
			})
		}
		return rule{}
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		c.refuse(field, fmt.Sprintf("the rule is of type %s, not bool: compare it with something", checked.OutputType()))
		return rule{}
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostTracking(meter{}), cel.CostLimit(maxCost))
	if err != nil {
		c.refuse(field, err.Error())
		return rule{}
	}
	return rule{program: program}
}

// explain adds to the messages of cel-go how to mend what they are about.
func explain(message, field string, captures []capture) string {
	switch {
	case strings.HasPrefix(message, "invalid matches argument"):
		return fmt.Sprintf("%s: write a regular expression of RE2 that compiles to at most %d instructions", message, maxRegexProgram)
	case field == FieldSubscribe && strings.Contains(message, "type(type)"): // the name is that of a function of CEL too
		return message + ": type is known to publish rules only; readers choose types by themselves"
	case !strings.HasPrefix(message, "undeclared reference"):
		return message
	}
	names := []string{varKind, varSubject, varIssuer, varClaims, varTopicName}
	for _, capture := range captures {
		names = append(names, capture.variable)
	}
	own := varType
	if field == FieldSubscribe {
		own = funcGranted + "(list)"
	}
	return fmt.Sprintf("%s: this rule knows %s, %s and the standard functions of CEL", message, strings.Join(names, ", "), own)
}
