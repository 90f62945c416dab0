package bridge

import "time"

// Code says what kind of refusal it is, by its Connect code name.
type Code string

// The codes with which single events are refused.
const (
	CodeInvalidArgument   Code = "invalid_argument"
	CodeNotFound          Code = "not_found" // the event's type is unknown
	CodePermissionDenied  Code = "permission_denied"
	CodeResourceExhausted Code = "resource_exhausted" // the event is too large
)

// Refusal is the error of an event that is not accepted: what is wrong, where, and how to mend it. It is meant for
// the publisher; it never carries internals.
type Refusal struct { //nolint:errname // the field's word, as in refuse
	Code       Code
	Message    string
	Violations []Violation
	RetryAfter time.Duration // 0: the same event will not be accepted later either
}

// Violation is one rule that one field breaks.
type Violation struct {
	Field   string // path from the event: "topic", "data.order_id"
	Rule    string // "topic", "type", or a protovalidate rule id
	Message string
}

// Rule returns the first rule that is broken; empty where no rule has a name.
func (r *Refusal) Rule() string {
	if len(r.Violations) == 0 {
		return ""
	}
	return r.Violations[0].Rule
}

// Error returns the code and the message.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

// Refuse builds a refusal for one field.
func Refuse(code Code, field, rule, message string) *Refusal {
	return &Refusal{
		Code:       code,
		Message:    field + ": " + message,
		Violations: []Violation{{Field: field, Rule: rule, Message: message}},
	}
}
