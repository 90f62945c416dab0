package schema

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ssebridge/ssebridge/bridge"
)

// Rules that refusals name, beside the ids of protovalidate rules.
const (
	ruleAny        = "any"        // the google.protobuf.Any itself is malformed
	ruleType       = "type"       // nobody knows its type
	ruleEncoding   = "encoding"   // the bytes are not of the type
	ruleRequired   = "required"   // a required field is not set
	ruleJSON       = "json"       // the JSON mapping of the type cannot be read, or cannot express the message
	ruleSize       = "size"       // it would take too much memory
	ruleValidation = "validation" // the type's own validation rules are broken
)

const (
	maxMessageBytes = 500 // of a refusal's text that is not ours, so that it stays readable whatever was sent
	anyName         = "google.protobuf.Any"
)

// refuse builds a refusal for the data of an event; path is the place in it and may be empty.
func refuse(path, rule, message string) *bridge.Refusal {
	return bridge.Refuse(bridge.CodeInvalidArgument, under("data", path), rule, message)
}

func refuseUnknown(name protoreflect.FullName) *bridge.Refusal {
	return bridge.Refuse(bridge.CodeNotFound, "data", ruleType, unknown(name))
}

func unknown(name protoreflect.FullName) string {
	return fmt.Sprintf("the type %s is not known here: send its FileDescriptorSet in PublishRequest.schema "+
		"(`buf build -o events.binpb`), or start the bridge with --schema", name)
}

// nameOf returns the full name of the type that a type URL names: what follows the last slash.
func nameOf(url string) protoreflect.FullName {
	return protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
}

// checkURL says why a type URL names no type.
func checkURL(url string) *bridge.Refusal {
	const example = `such as "type.googleapis.com/shop.v1.OrderShipped"`
	name := nameOf(url)
	switch {
	case url == "":
		return refuse("", ruleAny, "the event has no type: pack it into a google.protobuf.Any, whose type URL is "+example)
	case len(name) > maxNameBytes || !name.IsValid():
		return refuse("", ruleAny, fmt.Sprintf("the type URL %q does not end with the full name of a message, %s",
			shorten(url, 100), example))
	}
	return nil
}

// under joins a path and one below it: a field, or an index or key in brackets.
func under(path, below string) string {
	if path == "" || below == "" || strings.HasPrefix(below, "[") {
		return path + below
	}
	return path + "." + below
}

var (
	protoPrefix  = regexp.MustCompile(`(^|[ "(])proto: `)
	jsonPosition = regexp.MustCompile(` ?\(line (\d+):(\d+)\)(: )?`)
)

// clean returns the text of a protobuf runtime's error without what it varies from build to build, in valid UTF-8
// and not longer than one wants to read.
func clean(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	text = protoPrefix.ReplaceAllString(text, "$1")
	return shorten(text, maxMessageBytes)
}

// shorten cuts a text to about that many bytes of valid UTF-8.
func shorten(text string, length int) string {
	if len(text) > length {
		for length > 0 && !utf8.RuneStart(text[length]) {
			length--
		}
		text = text[:length] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
