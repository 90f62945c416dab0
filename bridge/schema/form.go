package schema

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a field takes in memory in the form of its message: three of them are a map.
const (
	formCost     = 256
	formNameCost = 6 // each byte of its name, which may be escaped
)

// form is a message type as the transcoder needs it. It is not changed once it is made.
type form struct {
	shape    shape
	fields   []formField // in the order of their declaration, in which protojson writes them
	byNumber []int32     // indexes of fields, in the order of their numbers
}

// shape is how the JSON mapping writes a message.
type shape uint8

const (
	object    shape = iota
	foreign         // the transcoder leaves it to the protobuf runtime
	timestamp       // google.protobuf.Timestamp, a string
	duration        // google.protobuf.Duration, a string
	wrapper         // such as google.protobuf.Int64Value, the value of its field
	structure       // google.protobuf.Struct, an object with the keys of its map
	listing         // google.protobuf.ListValue, an array
	anything        // google.protobuf.Value, whatever it holds
)

// formField is a field of a form, or the key or value of a map.
type formField struct {
	number   protowire.Number
	kind     protoreflect.Kind
	wire     protowire.Type // of one value; lists of numbers may be packed too
	list     bool
	foreign  bool // the transcoder leaves messages with this field to the protobuf runtime
	implicit bool // its zero value is as good as none, and left out
	null     bool // a google.protobuf.NullValue
	oneof    int  // which of the message's, counted from 1; 0 for none
	name     string
	message  *message                          // of a message
	enum     protoreflect.EnumValueDescriptors // of an enum
	entry    *mapEntry                         // of a map
}

// mapEntry is what a map holds.
type mapEntry struct{ key, value formField }

// form returns the form of a message type, compiled when it is first needed. It lives as long as the type.
func (m *message) form() *form {
	if compiled := m.compiled.Load(); compiled != nil {
		return compiled
	}
	compiled := m.home.compile(m.kind.Descriptor())
	m.compiled.Store(compiled) // where two compile at once, either form will do
	return compiled
}

// compile makes the form of a message type of the index.
func (i *index) compile(desc protoreflect.MessageDescriptor) *form {
	compiled := &form{shape: shapeOf(desc)}
	switch compiled.shape {
	case foreign, timestamp, duration:
		return compiled
	}
	fields := desc.Fields()
	compiled.fields = make([]formField, fields.Len())
	compiled.byNumber = make([]int32, fields.Len())
	for place := range fields.Len() {
		compiled.fields[place] = i.compileField(fields.Get(place))
		compiled.byNumber[place] = int32(place)
	}
	slices.SortFunc(compiled.byNumber, func(a, b int32) int {
		return int(compiled.fields[a].number - compiled.fields[b].number)
	})
	return compiled
}

// shapeOf tells the types with a JSON of their own by name, as protojson does: "Representation of each type" in
// https://protobuf.dev/programming-guides/json/.
func shapeOf(desc protoreflect.MessageDescriptor) shape {
	if desc.ExtensionRanges().Len() > 0 || desc.RequiredNumbers().Len() > 0 {
		return foreign
	}
	switch desc.FullName() {
	case "google.protobuf.Timestamp":
		return timestamp
	case "google.protobuf.Duration":
		return duration
	case "google.protobuf.BoolValue", "google.protobuf.BytesValue", "google.protobuf.DoubleValue",
		"google.protobuf.FloatValue", "google.protobuf.Int32Value", "google.protobuf.Int64Value",
		"google.protobuf.StringValue", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value":
		return wrapper
	case "google.protobuf.Struct":
		return structure
	case "google.protobuf.ListValue":
		return listing
	case "google.protobuf.Value":
		return anything
	case anyName, "google.protobuf.FieldMask":
		return foreign
	}
	return object
}

// compileField compiles a field of a message type of the index.
func (i *index) compileField(desc protoreflect.FieldDescriptor) formField {
	quoted, ok := appendString(nil, desc.JSONName())
	field := formField{
		number:   desc.Number(),
		kind:     desc.Kind(),
		wire:     wireType(desc.Kind()),
		list:     desc.IsList(),
		foreign:  !ok || desc.Kind() == protoreflect.GroupKind,
		implicit: !desc.HasPresence(),
		name:     string(append(quoted, ':')),
	}
	if oneof := desc.ContainingOneof(); oneof != nil {
		field.oneof = oneof.Index() + 1
	}
	switch {
	case desc.IsMap():
		field.entry = &mapEntry{key: i.compileField(desc.MapKey()), value: i.compileField(desc.MapValue())}
		field.foreign = field.foreign || field.entry.value.foreign
	case desc.Enum() != nil:
		field.enum = desc.Enum().Values()
		field.null = desc.Enum().FullName() == "google.protobuf.NullValue"
	case desc.Message() != nil:
		field.message = i.messageOf(desc.Message())
		field.foreign = field.foreign || field.message == nil || shapeOf(desc.Message()) == foreign
	}
	return field
}

// messageOf returns the type of a field; nil where the name of its type means another one here.
func (i *index) messageOf(desc protoreflect.MessageDescriptor) *message {
	found := i.messages[desc.FullName()]
	if found == nil && i.base != nil {
		found = i.base.messages[desc.FullName()]
	}
	if found == nil || found.kind.Descriptor() != desc {
		return nil
	}
	return found
}

// wireType returns the wire type of one value of a kind: "Message Structure" in
// https://protobuf.dev/programming-guides/encoding/.
func wireType(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	}
	return protowire.VarintType
}

// find returns the index of the field with a number, or -1. Mostly fields are numbered as they are declared; elsewhere
// it mostly is the one that is expected next, or the one before again.
func (f *form) find(number protowire.Number, expected int) int {
	if guess := int(number) - 1; guess < len(f.fields) && f.fields[guess].number == number {
		return guess
	}
	if expected < len(f.fields) && f.fields[expected].number == number {
		return expected
	}
	if expected > 0 && f.fields[expected-1].number == number {
		return expected - 1
	}
	at, found := slices.BinarySearchFunc(f.byNumber, number, func(place int32, number protowire.Number) int {
		return int(f.fields[place].number - number)
	})
	if !found {
		return -1
	}
	return int(f.byNumber[at])
}
