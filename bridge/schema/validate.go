package schema

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/ssebridge/ssebridge/bridge"
)

const (
	maxViolations = 100      // of one event; a long list of bad items breaks a rule with each
	maxNamed      = 3        // violations that the text for a person repeats
	maxCheckedAll = 64 << 10 // bytes of an event whose violations are all looked for: each takes 1 KiB and more
)

// validate checks a message of this catalog, of that many bytes, against the protovalidate rules of its type. Of a
// large message only the first violation is looked for.
func (c *catalog) validate(m proto.Message, size int) *bridge.Refusal {
	var options []protovalidate.ValidationOption
	if size > maxCheckedAll {
		options = append(options, protovalidate.WithFailFast())
	}
	validator, err := c.validator()
	if err == nil {
		err = validator.Validate(m, options...)
	}
	if err == nil {
		return nil
	}
	if broken, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		return refuseBroken(broken.Violations)
	}
	name := m.ProtoReflect().Descriptor().FullName()
	return refuse("", ruleValidation, fmt.Sprintf("the validation rules of %s cannot be checked, mend its .proto file: %s",
		name, clean(err)))
}

// refuseBroken builds the refusal for broken rules.
func refuseBroken(broken []*protovalidate.Violation) *bridge.Refusal {
	refusal := &bridge.Refusal{Code: bridge.CodeInvalidArgument}
	var named []string
	for i, violation := range broken {
		if i == maxViolations {
			break
		}
		v := bridge.Violation{
			Field:   under("data", shorten(protovalidate.FieldPathString(violation.Proto.GetField()), maxMessageBytes)),
			Rule:    shorten(violation.Proto.GetRuleId(), maxMessageBytes),
			Message: shorten(violation.Proto.GetMessage(), maxMessageBytes),
		}
		if v.Message == "" {
			v.Message = "breaks the rule " + v.Rule
		}
		refusal.Violations = append(refusal.Violations, v)
		if i < maxNamed {
			named = append(named, v.Field+": "+v.Message)
		}
	}
	refusal.Message = strings.Join(named, "; ")
	if more := len(broken) - maxNamed; more > 0 {
		refusal.Message += fmt.Sprintf("; and %d more", more)
	}
	return refusal
}
