package publish

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ssebridge/ssebridge/bridge"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

const maxIDChars = 128

// traceParent is the form of a traceparent (W3C Trace Context, section 3.2). All zeros and version ff are invalid.
var traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// check looks at everything but the data of an event and returns the event without its data. The error is a
// *bridge.Refusal.
func check(in *ssebridgev1.Event, now time.Time) (*bridge.Event, error) {
	if err := bridge.ValidateTopic(in.GetTopic()); err != nil {
		return nil, bridge.Refuse(bridge.CodeInvalidArgument, "topic", "topic", err.Error())
	}
	if bridge.ReservedTopic(in.GetTopic()) {
		return nil, bridge.Refuse(bridge.CodePermissionDenied, "topic", "topic.reserved",
			"topics that begin with $ belong to the bridge: publish to another topic")
	}
	if err := checkID(in.GetId()); err != nil {
		return nil, bridge.Refuse(bridge.CodeInvalidArgument, "id", "id", err.Error())
	}
	event := &bridge.Event{Topic: in.GetTopic(), ID: in.GetId(), Time: now}
	if in.GetTime() != nil {
		if err := in.GetTime().CheckValid(); err != nil {
			return nil, bridge.Refuse(bridge.CodeInvalidArgument, "time", "time",
				"not a time between the years 1 and 9999: leave it out to use the time of receipt")
		}
		event.Time = in.GetTime().AsTime()
	}
	if in.GetTraceparent() != "" && !validTraceParent(in.GetTraceparent()) {
		return nil, bridge.Refuse(bridge.CodeInvalidArgument, "traceparent", "traceparent",
			"not a W3C traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01: leave it out to use the RPC's own")
	}
	event.TraceParent = in.GetTraceparent()
	return event, nil
}

// checkType refuses types whose names mean something else to a reader: with format=json the name of the type is that of
// the SSE event, under which a page hears the bridge's own events and EventSource its own.
func checkType(name string) error {
	switch {
	case strings.HasPrefix(name, "ssebridge."):
		return bridge.Refuse(bridge.CodePermissionDenied, "data", "type.reserved",
			"the type "+name+" belongs to the bridge: publish a message of a package of your own")
	case name == "open", name == "message", name == "error":
		return bridge.Refuse(bridge.CodeInvalidArgument, "data", "type.reserved",
			"EventSource has events of its own with the name "+name+": put the message into a package")
	}
	return nil
}

func checkID(id string) error {
	if !utf8.ValidString(id) {
		return fmt.Errorf("is not UTF-8: use up to %d printable characters", maxIDChars)
	}
	if n := utf8.RuneCountInString(id); n > maxIDChars {
		return fmt.Errorf("has %d characters: at most %d are allowed", n, maxIDChars)
	}
	for _, c := range id {
		if !unicode.IsPrint(c) {
			return fmt.Errorf("has the character %q: use printable characters", c)
		}
	}
	return nil
}

func validTraceParent(text string) bool {
	return traceParent.MatchString(text) && !strings.HasPrefix(text, "ff") &&
		text[3:35] != strings.Repeat("0", 32) && text[36:52] != strings.Repeat("0", 16)
}
