package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ssebridge/ssebridge/bridge"
)

// encoder implements bridge.Encoder with the registry's files and one publisher's schema.
type encoder struct {
	registry *Registry
	schema   *catalog // nil where the publisher has sent none
}

// resolver returns the types as they are now.
func (e *encoder) resolver() resolver {
	return resolver{files: e.registry.files.Load(), schema: e.schema, room: eventBudget}
}

// TypeName implements bridge.Encoders.
func (r *Registry) TypeName(typeURL string, json []byte) (string, error) {
	var refusal *bridge.Refusal
	if json != nil {
		typeURL, refusal = typeOf(json)
	} else {
		refusal = checkURL(typeURL)
	}
	if refusal != nil {
		return "", refusal
	}
	return string(nameOf(typeURL)), nil
}

// Encode implements bridge.Encoder.
func (e *encoder) Encode(typeName string, value []byte) (data []byte, err error) {
	name := protoreflect.FullName(typeName)
	defer e.guard(name, &data, &err)
	data, refusal := e.encode(e.resolver(), name, value)
	if refusal != nil {
		return nil, refusal
	}
	return data, nil
}

// EncodeJSON implements bridge.Encoder.
func (e *encoder) EncodeJSON(typeName string, text []byte) (data []byte, err error) {
	name := protoreflect.FullName(typeName)
	types := new(e.resolver())
	if found, _ := types.message(name); found == nil {
		return nil, refuseUnknown(name)
	}
	defer e.guard(name, &data, &err)
	// Braces and commas bound how many messages and values there are, whatever they hold.
	if bytes.Count(text, []byte("{"))*eventScale.message+bytes.Count(text, []byte(","))*eventScale.value > eventBudget {
		return nil, tooLarge().refusal()
	}
	var event anypb.Any
	options := protojson.UnmarshalOptions{AllowPartial: true, RecursionLimit: maxDepth, Resolver: types}
	if err := options.Unmarshal(text, &event); err != nil {
		path, message := explainJSON(text, err)
		return nil, refuse(path, ruleJSON, message)
	}
	data, refusal := e.encode(*types, name, event.GetValue())
	if refusal != nil {
		return nil, refusal
	}
	return data, nil
}

// encode checks and encodes one message.
func (e *encoder) encode(types resolver, name protoreflect.FullName, value []byte) ([]byte, *bridge.Refusal) {
	known, source := types.message(name)
	if known == nil {
		return nil, refuseUnknown(name)
	}
	if !known.ruled {
		if data := e.transcode(known, source, value); data != nil {
			return data, nil
		}
	}
	return e.encodeDecoded(types, known, source, value)
}

// transcode encodes a message without decoding it, or returns nil where it must be decoded.
func (e *encoder) transcode(known *message, source *catalog, value []byte) []byte {
	if e.registry.EmitDefaults {
		return nil
	}
	if source == nil && known.form().shape != structure {
		return nil // built-in types are decoded by generated code, which takes some bytes in another way
	}
	return known.transcode(value)
}

// encodeDecoded decodes, checks and encodes one message.
func (e *encoder) encodeDecoded(
	types resolver, known *message, source *catalog, value []byte,
) ([]byte, *bridge.Refusal) {
	name := known.kind.Descriptor().FullName()
	m := known.kind.New()
	if len(value) > lightBytes {
		if wrong := types.weigh(m.Descriptor(), value); wrong != nil {
			return nil, wrong.refusal()
		}
	}
	if err := types.unmarshal(value, m.Interface()); err != nil {
		return nil, refuse(fieldIn(name, err), ruleEncoding, notOfType(name, err))
	}
	if known.required {
		if err := proto.CheckInitialized(m.Interface()); err != nil {
			return nil, refuse(fieldIn(name, err), ruleRequired, clean(err))
		}
	}
	if known.holds {
		if wrong := types.checkDepth(m, maxDepth, maxAnys); wrong != nil {
			return nil, wrong.refusal()
		}
	}
	if known.ruled && source != nil {
		if refusal := source.validate(m.Interface(), len(value)); refusal != nil {
			return nil, refusal
		}
		if data := e.transcode(known, source, value); data != nil {
			return data, nil
		}
	}
	data, err := toJSON(&types, m.Interface(), e.registry.EmitDefaults)
	if err != nil {
		return nil, types.locate(m, err).refusal()
	}
	return data, nil
}

// guard turns a panic into a refusal of its event: a last resort, as the descriptors are not ours.
func (e *encoder) guard(name protoreflect.FullName, data *[]byte, err *error) {
	cause := recover()
	if cause == nil {
		return
	}
	e.registry.log.Error("encoding an event panicked", slog.String("type", string(name)),
		slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
	*data, *err = nil, refuse("", ruleEncoding, fmt.Sprintf("a message of the type %s cannot be encoded", name))
}

// buffers hold JSON before it is compacted.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const maxPooledBytes = 1 << 20 // larger buffers are not kept

// toJSON returns the message in the protobuf JSON mapping. The protobuf runtime spaces it differently from build to
// build; compacted it is stable.
func toJSON(types *resolver, m proto.Message, emitDefaults bool) ([]byte, error) {
	buffer := buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	options := protojson.MarshalOptions{AllowPartial: true, EmitDefaultValues: emitDefaults, Resolver: types}
	spaced, err := options.MarshalAppend((*buffer)[:0], m)
	if err != nil {
		return nil, err
	}
	compact := bytes.NewBuffer(make([]byte, 0, len(spaced)))
	err = json.Compact(compact, spaced)
	if cap(spaced) <= maxPooledBytes {
		*buffer = spaced
		buffers.Put(buffer)
	}
	return compact.Bytes(), err
}

// namedField finds the full name of a field in an error of the protobuf runtime.
var namedField = regexp.MustCompile(`field ([\w.]+)`)

// fieldIn returns the field of a message that an error names; empty where it names none, or one further inside, whose
// path is not known.
func fieldIn(name protoreflect.FullName, err error) string {
	match := namedField.FindStringSubmatch(clean(err))
	if match == nil {
		return ""
	}
	field, ok := strings.CutPrefix(match[1], string(name)+".")
	if !ok || strings.Contains(field, ".") {
		return ""
	}
	return field
}
