package bridge

import (
	"fmt"
	"regexp"
	"strings"
)

// Subscription is what a reader asks for.
type Subscription struct {
	Patterns []Pattern    // at least one
	Types    []TypeFilter // none: every type
	Format   Format
}

// accepts reports whether an event's type is wanted.
func (s *Subscription) accepts(event *Event) bool {
	if len(s.Types) == 0 {
		return true
	}
	for _, filter := range s.Types {
		if filter.Matches(event.Type) {
			return true
		}
	}
	return false
}

// reads reports whether a topic is one of the subscription's.
func (s *Subscription) reads(topic string) bool {
	for _, p := range s.Patterns {
		if p.Matches(topic) {
			return true
		}
	}
	return false
}

// TypeFilter is the full name of a type, or a package followed by ".*", which stands for every type whose name
// begins with that package.
type TypeFilter string

// typeFilter is written as in the protobuf language specification, "Identifiers".
var typeFilter = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(\.\*)?$`)

// ParseTypeFilter reads a filter. The error says how to mend it.
func ParseTypeFilter(text string) (TypeFilter, error) {
	if !typeFilter.MatchString(text) {
		return "", fmt.Errorf("%.80q: use the full name of a type, such as shop.v1.OrderShipped, or a package, such as shop.v1.*", text)
	}
	return TypeFilter(text), nil
}

// Matches reports whether the filter lets a type pass.
func (f TypeFilter) Matches(name string) bool {
	if prefix, ok := strings.CutSuffix(string(f), "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return string(f) == name
}

// ResetReason says why a reader does not receive what it asked for.
type ResetReason string

// Why readers are reset.
const (
	// ResetExpired: events between the reader's place and what follows are no longer kept. The oldest kept
	// events follow.
	ResetExpired ResetReason = "expired"
	// ResetUnknown: the reader's place is of another log, or no place at all. New events follow.
	ResetUnknown ResetReason = "unknown"
	// ResetAhead: the reader's place is beyond the end of the log, which has lost its end. New events follow.
	ResetAhead ResetReason = "ahead"
	// ResetRecreated: the log was replaced while the reader was connected. What the new log holds follows.
	ResetRecreated ResetReason = "recreated"
)

// EndReason says why the bridge ends a stream that is to reconnect.
type EndReason string

// Why streams are asked to reconnect.
const (
	EndDrain       EndReason = "drain"       // this replica is going away
	EndUnavailable EndReason = "unavailable" // the log cannot be reached, or the window is not warm yet
	EndMaxAge      EndReason = "max_age"     // it has lasted long, and may go on elsewhere
	EndRequested   EndReason = "requested"   // somebody who may do so asked for it
)

// Why streams are not even opened, but asked to reconnect.
const (
	EndOverload       EndReason = "overload"        // this replica has as many streams as it may have
	EndPrincipalLimit EndReason = "principal_limit" // the caller's identity has
	EndAddressLimit   EndReason = "address_limit"   // the caller's address has
)
