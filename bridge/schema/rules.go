package schema

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a validator takes in memory, measured with protovalidate 1.4 and rounded up.
const (
	validatorCost = 512 << 10 // an empty one
	ruleCost      = 8 << 10   // the rules of one field or message
	ruleByteCost  = 32        // each byte of their text
	visibleCost   = 1 << 10   // each message type of the set, once for each CEL rule that sees a message
)

// ruleSurvey estimates what the rules of a set take once they are compiled.
type ruleSurvey struct {
	fixed  int // what each rule takes by itself
	seeing int // CEL rules that see a message: each keeps a table of all types of the set
}

// add surveys the rules of a message and reports whether it has any.
func (s *ruleSurvey) add(desc protoreflect.MessageDescriptor) bool {
	ruled := false
	count := func(rules proto.Message) {
		ruled = true
		s.fixed += ruleCost + ruleByteCost*proto.Size(rules)
	}
	// Errors: an option that cannot be read counts as absent, as it does for the validator.
	if rules, err := protovalidate.ResolveMessageRules(desc); err == nil && rules != nil {
		count(rules)
		if len(rules.GetCel())+len(rules.GetCelExpression()) > 0 {
			s.seeing++
		}
	}
	for i := range desc.Oneofs().Len() {
		if rules, err := protovalidate.ResolveOneofRules(desc.Oneofs().Get(i)); err == nil && rules != nil {
			count(rules)
		}
	}
	for i := range desc.Fields().Len() {
		field := desc.Fields().Get(i)
		rules, err := protovalidate.ResolveFieldRules(field)
		if err != nil || rules == nil {
			continue
		}
		count(rules)
		if field.Message() != nil && hasCEL(rules) {
			s.seeing++
		}
	}
	return ruled
}

// hasCEL reports whether a field's rules, those of its items, keys and values included, hold CEL.
func hasCEL(rules *validate.FieldRules) bool {
	if rules == nil {
		return false
	}
	return len(rules.GetCel())+len(rules.GetCelExpression()) > 0 ||
		hasCEL(rules.GetRepeated().GetItems()) ||
		hasCEL(rules.GetMap().GetKeys()) ||
		hasCEL(rules.GetMap().GetValues())
}

// cost estimates the bytes for all rules in a set of that many messages.
func (s *ruleSurvey) cost(messages int) int {
	if s.fixed == 0 {
		return 0
	}
	return validatorCost + s.fixed + s.seeing*messages*visibleCost
}
