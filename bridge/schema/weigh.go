package schema

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// scale says what messages take in memory: two bytes on the wire can become a kilobyte, so what is large is weighed
// before it is decoded.
type scale struct {
	message int  // each message
	value   int  // each value, beside its bytes
	names   bool // count the names of fields and enum values, which JSON spells out
}

var (
	// For sets: decoded and as descriptors. 0.6 to 1.5 KiB were measured for each declaration.
	setScale = scale{message: 1 << 10, value: 32}
	// For events: decoded with dynamicpb, and as JSON.
	eventScale = scale{message: 256, value: 32, names: true}
)

var errTooDeep = errors.New("messages are nested too deep")

// weigh estimates the bytes that a message takes once it is decoded.
func (s scale) weigh(desc protoreflect.MessageDescriptor, data []byte, depth int) (int, error) {
	if depth == 0 {
		return 0, errTooDeep
	}
	cost := s.message
	err := eachField(data, func(number protowire.Number, kind protowire.Type, value []byte) error {
		field := fieldOf(desc, number)
		if field == nil {
			cost += len(value)
			return nil
		}
		if s.names {
			cost += len(field.JSONName())
		}
		if field.Message() == nil || kind != protowire.BytesType && kind != protowire.StartGroupType {
			cost += s.scalars(field, kind, value)
			return nil
		}
		inner, err := s.weigh(field.Message(), value, depth-1)
		cost += inner
		return err
	})
	return cost, err
}

// scalars estimates what one occurrence of a field takes: one value, or a packed list of them.
func (s scale) scalars(field protoreflect.FieldDescriptor, kind protowire.Type, value []byte) int {
	if s.names && field.Enum() != nil {
		return s.enums(field.Enum().Values(), value)
	}
	count := 1
	if kind == protowire.BytesType && field.Kind() != protoreflect.StringKind && field.Kind() != protoreflect.BytesKind {
		count = countPacked(field, value)
	}
	return count*s.value + len(value)
}

// enums estimates what one enum value takes, or a packed list of them.
func (s scale) enums(known protoreflect.EnumValueDescriptors, list []byte) int {
	cost := len(list)
	for len(list) > 0 {
		number, size := protowire.ConsumeVarint(list)
		if size < 0 {
			break // decoding says what is wrong with it
		}
		cost += s.value
		if value := known.ByNumber(protoreflect.EnumNumber(number)); value != nil { //nolint:gosec // truncated as in decoding
			cost += len(value.Name())
		}
		list = list[size:]
	}
	return cost
}

// countPacked counts the values of a packed list.
func countPacked(field protoreflect.FieldDescriptor, list []byte) int {
	switch field.Kind() {
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return len(list) / 8
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return len(list) / 4
	}
	count := 0
	for _, b := range list {
		if b < 0x80 { // the last byte of a varint
			count++
		}
	}
	return count
}

// fieldOf returns a field, or an extension that is linked in.
func fieldOf(desc protoreflect.MessageDescriptor, number protowire.Number) protoreflect.FieldDescriptor {
	if field := desc.Fields().ByNumber(number); field != nil {
		return field
	}
	extension, err := protoregistry.GlobalTypes.FindExtensionByNumber(desc.FullName(), number)
	if err != nil {
		return nil
	}
	return extension.TypeDescriptor()
}

// eachField calls visit for each field of a message in wire format, with the content of those that have an end.
func eachField(data []byte, visit func(number protowire.Number, kind protowire.Type, value []byte) error) error {
	for len(data) > 0 {
		number, kind, tag := protowire.ConsumeTag(data)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		size := protowire.ConsumeFieldValue(number, kind, data[tag:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		value := data[tag : tag+size]
		switch kind {
		case protowire.BytesType:
			value, _ = protowire.ConsumeBytes(value)
		case protowire.StartGroupType:
			value, _ = protowire.ConsumeGroup(number, value)
		}
		if err := visit(number, kind, value); err != nil {
			return err
		}
		data = data[tag+size:]
	}
	return nil
}
