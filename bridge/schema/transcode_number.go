package schema

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// consumeTag reads a field's number and wire type. The size is negative where there is none.
func consumeTag(data []byte) (protowire.Number, protowire.Type, int) {
	if len(data) > 0 && data[0] < 0x80 && data[0] >= 1<<3 {
		return protowire.Number(data[0] >> 3), protowire.Type(data[0] & 7), 1
	}
	return protowire.ConsumeTag(data)
}

// consumeVarint reads a number. The size is negative where there is none.
func consumeVarint(data []byte) (uint64, int) {
	if len(data) > 0 && data[0] < 0x80 {
		return uint64(data[0]), 1
	}
	return protowire.ConsumeVarint(data)
}

// consumeNumber reads one value of a field that is neither text, bytes nor a message: signed ones with their sign
// extended to 64 bits, floats as their bits. The size is negative where there is none.
func (f *formField) consumeNumber(data []byte) (uint64, int) {
	switch f.wire {
	case protowire.Fixed32Type:
		if len(data) < 4 {
			return 0, -1
		}
		number := binary.LittleEndian.Uint32(data)
		if f.kind == protoreflect.Sfixed32Kind {
			return extend(number), 4
		}
		return uint64(number), 4
	case protowire.Fixed64Type:
		if len(data) < 8 {
			return 0, -1
		}
		return binary.LittleEndian.Uint64(data), 8
	default:
		number, size := consumeVarint(data)
		return f.narrow(number), size
	}
}

// narrow gives a varint the width and sign of its field. What does not fit is cut off: "Updating A Message Type" in
// https://protobuf.dev/programming-guides/proto3/.
func (f *formField) narrow(number uint64) uint64 {
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.EnumKind:
		return extend(uint32(number)) //nolint:gosec // cut off
	case protoreflect.Uint32Kind:
		return number & math.MaxUint32
	case protoreflect.Sint32Kind:
		return extend(uint32(protowire.DecodeZigZag(number & math.MaxUint32))) //nolint:gosec // of 32 bits
	case protoreflect.Sint64Kind:
		return uint64(protowire.DecodeZigZag(number)) //nolint:gosec // the sign stays
	case protoreflect.BoolKind:
		return min(number, 1)
	}
	return number
}

func extend(number uint32) uint64 {
	return uint64(int64(int32(number))) //nolint:gosec // the sign stays
}

// number writes a value that consumeNumber has read. 64-bit integers are strings, as JavaScript's numbers could not
// hold them: "Representation of each type" in https://protobuf.dev/programming-guides/json/.
func (t *transcoder) number(field *formField, number uint64) bool {
	switch field.kind {
	case protoreflect.BoolKind:
		t.out = strconv.AppendBool(t.out, number != 0)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		t.out = strconv.AppendInt(t.out, int64(number), 10) //nolint:gosec // signed
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		t.out = strconv.AppendUint(t.out, number, 10)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		t.out = append(strconv.AppendInt(append(t.out, '"'), int64(number), 10), '"') //nolint:gosec // signed
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		t.out = append(strconv.AppendUint(append(t.out, '"'), number, 10), '"')
	case protoreflect.FloatKind:
		t.float(float64(math.Float32frombits(uint32(number))), 32) //nolint:gosec // of 32 bits
	case protoreflect.DoubleKind:
		t.float(math.Float64frombits(number), 64)
	case protoreflect.EnumKind:
		return t.enum(field, protoreflect.EnumNumber(int64(number))) //nolint:gosec // of 32 bits
	default:
		return false
	}
	return true
}

// enum writes the first name of an enum value, or the number of one that has none. The protobuf runtime does not keep
// closed enums apart in messages that it knows by descriptor alone.
func (t *transcoder) enum(field *formField, number protoreflect.EnumNumber) bool {
	if field.null {
		t.out = append(t.out, "null"...)
		return true
	}
	value := field.enum.ByNumber(number)
	if value == nil {
		t.out = strconv.AppendInt(t.out, int64(number), 10)
		return true
	}
	var valid bool
	t.out, valid = appendString(t.out, string(value.Name()))
	return valid
}

// float writes a number as the protobuf runtime does, which is how encoding/json does: with an exponent where it is
// very small or large.
func (t *transcoder) float(number float64, bits int) {
	switch {
	case math.IsNaN(number):
		t.out = append(t.out, `"NaN"`...)
		return
	case math.IsInf(number, 1):
		t.out = append(t.out, `"Infinity"`...)
		return
	case math.IsInf(number, -1):
		t.out = append(t.out, `"-Infinity"`...)
		return
	}
	if !exponential(math.Abs(number), bits) {
		t.out = strconv.AppendFloat(t.out, number, 'f', -1, bits)
		return
	}
	t.out = strconv.AppendFloat(t.out, number, 'e', -1, bits)
	// e-09 is written e-9.
	if n := len(t.out); t.out[n-4] == 'e' && t.out[n-3] == '-' && t.out[n-2] == '0' {
		t.out[n-2] = t.out[n-1]
		t.out = t.out[:n-1]
	}
}

// exponential compares floats of 32 bits as such: in 64 bits, the one nearest to 1e-6 lies below it.
func exponential(size float64, bits int) bool {
	if bits == 32 {
		return size != 0 && (float32(size) < 1e-6 || float32(size) >= 1e21)
	}
	return size != 0 && (size < 1e-6 || size >= 1e21)
}
