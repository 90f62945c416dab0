package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// jsonDataField is the number of the unknown field in which an Event carries its data as JSON from the codec to the
// encoder. No field of Event may ever have it. A client that sends it itself, in the binary format, only sends its
// data as JSON: harmless, as the encoder checks both alike.
const jsonDataField protowire.Number = 15

// maxRequestEvents is how many events one message of a publisher holds at most, so that many small ones do not take many
// times its size in memory.
const maxRequestEvents = 65_536

var errTooManyEvents = fmt.Errorf("events: more than %d in one message: send several messages", maxRequestEvents)

// JSONCodec is a codec for connect.WithCodec (it has the methods of connect's Codec and of its extensions), which
// reads and writes the protobuf JSON mapping. It reads requests to publish in its own way: the data of each event
// stays JSON, for [TakeJSONData], because the codec does not know the types that the stream's schema brings; and fields
// that the request does not have are errors, so that typos are found. It may be used concurrently.
type JSONCodec struct{ name string }

// NewJSONCodec returns a codec with the name under which clients ask for it: "json", or "json; charset=utf-8".
func NewJSONCodec(name string) *JSONCodec { return &JSONCodec{name: name} }

// Name returns the codec's name.
func (c *JSONCodec) Name() string { return c.name }

// IsBinary reports that the codec writes text.
func (c *JSONCodec) IsBinary() bool { return false }

// Marshal writes a proto.Message as compact JSON.
func (c *JSONCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalStable writes a proto.Message as compact JSON, the same for equal messages.
func (c *JSONCodec) MarshalStable(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend appends a proto.Message to dst as compact JSON.
func (c *JSONCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	spaced, err := protojson.Marshal(m)
	if err != nil {
		return nil, errors.New(clean(err))
	}
	compact := bytes.NewBuffer(dst)
	if err := json.Compact(compact, spaced); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// Unmarshal reads JSON into a proto.Message. Errors in requests to publish name the place, such as events[3].topic.
func (c *JSONCodec) Unmarshal(text []byte, message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return errors.New("no bytes are no JSON: send at least {}")
	}
	switch request := m.(type) {
	case *ssebridgev1.PublishRequest:
		return unmarshalRequest(text, request, request.GetEvents)
	case *ssebridgev1.PublishBatchRequest:
		return unmarshalRequest(text, request, request.GetEvents)
	}
	// Unknown fields are let pass, so that both sides need not have the same version of a service.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, m); err != nil {
		return fmt.Errorf("unmarshal into %T: %s", message, clean(err))
	}
	return nil
}

func protoMessage(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no proto.Message", message)
	}
	return m, nil
}

// TakeJSONData returns the data of an event that came as JSON, an Any in the protobuf JSON mapping, and removes it
// from the event. It reports false for an event whose data, if any, is in its field. It must not be called
// concurrently for one event.
func TakeJSONData(event *ssebridgev1.Event) (text []byte, ok bool) {
	rest := event.ProtoReflect().GetUnknown()
	for len(rest) > 0 {
		number, kind, size := protowire.ConsumeField(rest)
		if size < 0 {
			break // not in a message that was decoded
		}
		if number == jsonDataField && kind == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(rest)
			text, _ = protowire.ConsumeBytes(rest[tag:])
			ok = true
		}
		rest = rest[size:]
	}
	if ok {
		event.ProtoReflect().SetUnknown(nil)
	}
	return text, ok
}

// unmarshalRequest reads a request to publish: everything but the data of the events is left to protojson.
func unmarshalRequest(text []byte, request proto.Message, events func() []*ssebridgev1.Event) error {
	if !utf8.Valid(text) {
		return errors.New("the request is not valid UTF-8")
	}
	outer, data, err := cutData(text)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(outer, request); err != nil {
		path, message := explainJSON(outer, err)
		if path == "" {
			path = "the request"
		}
		return fmt.Errorf("%s: %s", path, message)
	}
	for i, event := range events() {
		if i < len(data) && data[i] != nil {
			field := protowire.AppendTag(nil, jsonDataField, protowire.BytesType)
			event.ProtoReflect().SetUnknown(protowire.AppendBytes(field, data[i]))
		}
	}
	return nil
}

// cutData replaces the data of each event in a request by null, and returns the data by the events' index; nil where
// an event has none. Where the text is not shaped like a request it is left as it is, for protojson to say why.
func cutData(text []byte) (outer []byte, data []json.RawMessage, err error) {
	c := &cutter{text: text, decoder: json.NewDecoder(bytes.NewReader(text))}
	if err := c.request(); errors.Is(err, errTooManyEvents) {
		return nil, nil, err
	} else if err != nil {
		return nil, nil, fmt.Errorf("%s: %s", c.where(), notJSON(err))
	}
	return append(c.outer, text[c.copied:]...), c.data, nil
}

type cutter struct {
	text    []byte
	decoder *json.Decoder
	outer   []byte // the text up to copied, without data
	copied  int
	data    []json.RawMessage
}

func (c *cutter) where() string {
	if path := pathAt(c.text, int(c.decoder.InputOffset())); path != "" {
		return path
	}
	return "the request"
}

func (c *cutter) request() error {
	return c.object(func(name string) error {
		if name != "events" {
			return c.skip()
		}
		return c.events()
	})
}

func (c *cutter) events() error {
	if c.next() != '[' {
		return c.skip()
	}
	if _, err := c.decoder.Token(); err != nil {
		return err
	}
	for c.decoder.More() {
		if len(c.data) == maxRequestEvents {
			return errTooManyEvents
		}
		c.data = append(c.data, nil)
		if err := c.object(c.eventField); err != nil {
			return err
		}
	}
	_, err := c.decoder.Token()
	return err
}

func (c *cutter) eventField(name string) error {
	if name != "data" {
		return c.skip()
	}
	var value json.RawMessage
	if err := c.decoder.Decode(&value); err != nil {
		return err
	}
	end := int(c.decoder.InputOffset())
	start := end - len(value)
	if !bytes.Equal(c.text[start:end], value) {
		return errors.New("cannot find the data of the event in the request") // the decoder is at another place
	}
	c.outer = append(append(c.outer, c.text[c.copied:start]...), "null"...)
	c.copied = end
	if string(value) != "null" {
		c.data[len(c.data)-1] = value
	}
	return nil
}

// object calls field for each name of the object that comes next, to read its value. It skips what is no object.
func (c *cutter) object(field func(name string) error) error {
	if c.next() != '{' {
		return c.skip()
	}
	if _, err := c.decoder.Token(); err != nil {
		return err
	}
	for c.decoder.More() {
		name, err := c.decoder.Token()
		if err != nil {
			return err
		}
		if err := field(name.(string)); err != nil { //nolint:forcetypeassert // the decoder admits no other names
			return err
		}
	}
	_, err := c.decoder.Token()
	return err
}

// next returns the first byte of the value that comes next.
func (c *cutter) next() byte {
	if start := skipSeparators(c.text, int(c.decoder.InputOffset())); start < len(c.text) {
		return c.text[start]
	}
	return 0
}

func (c *cutter) skip() error {
	var value json.RawMessage
	return c.decoder.Decode(&value)
}
