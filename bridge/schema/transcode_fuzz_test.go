package schema

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// everyKind are the types of testdata/every, which have all that descriptors can say about fields.
var everyKind = []protoreflect.FullName{
	"every.Scalars", "every.Optionals", "every.Lists", "every.Maps", "every.Choice", "every.WellKnown", "every.Nested",
	"every.Nothing", "every.old.Scalars", "every.old.Case", "every.edition.Features", "google.protobuf.Struct",
}

// FuzzTranscode compares what the transcoder writes with what the protobuf runtime does, for any bytes.
func FuzzTranscode(f *testing.F) {
	e := every(f)
	for kind, name := range everyKind {
		f.Add(uint8(kind), []byte(nil))
		for seed := range uint64(20) {
			g := generator{rand.New(rand.NewPCG(seed, 0)), false}
			f.Add(uint8(kind), g.message(descriptor(e, name), 4))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, value []byte) {
		_ = compare(t, e, everyKind[int(kind)%len(everyKind)], value)
	})
}

// FuzzTranscodeGenerated does the same for messages made of what wire formats can hold, which gets further.
func FuzzTranscodeGenerated(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	e := every(f)
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		name := everyKind[random.IntN(len(everyKind))]
		g := generator{random, random.IntN(2) == 0}
		value := g.message(descriptor(e, name), 4)
		if random.IntN(4) == 0 {
			value = g.damage(value)
		}
		_ = compare(t, e, name, value)
	})
}

// The two targets prove nothing about messages that the transcoder leaves to the protobuf runtime.
func TestTranscodeGenerated(t *testing.T) {
	e := every(t)
	taken, all := map[protoreflect.FullName]int{}, 500
	for _, name := range everyKind {
		for seed := range all {
			g := generator{rand.New(rand.NewPCG(uint64(seed), 1)), seed%2 == 0}
			if compare(t, e, name, g.message(descriptor(e, name), 4)) {
				taken[name]++
			}
		}
		assert.Greater(t, taken[name], all/5, name)
	}
}

func descriptor(e *encoder, name protoreflect.FullName) protoreflect.MessageDescriptor {
	types := e.resolver()
	known, _ := types.message(name)
	return known.kind.Descriptor()
}

// compare reports whether the transcoder took a message, which must then be what the protobuf runtime writes.
func compare(t *testing.T, e *encoder, name protoreflect.FullName, value []byte) bool {
	t.Helper()
	types := e.resolver()
	known, source := types.message(name)
	fast := e.transcode(known, source, value)
	if fast == nil {
		return false
	}
	slow, refusal := e.encodeDecoded(types, known, source, value)
	require.Nil(t, refusal, "%s %x was written as %s", name, value, fast)
	require.Equal(t, string(slow), string(fast), "%s %x", name, value)
	return true
}

// generator makes messages in wire format, in an order and with values that parsers must cope with.
type generator struct {
	*rand.Rand

	strange bool // fields that are not known, have another wire type or come again
}

func (g generator) message(desc protoreflect.MessageDescriptor, depth int) []byte {
	var data []byte
	fields := desc.Fields()
	if fields.Len() == 0 || depth == 0 {
		return data
	}
	places := g.Perm(fields.Len())[:g.IntN(min(fields.Len(), 8)+1)]
	oneofs := map[protoreflect.Name]bool{}
	for _, place := range places {
		field := fields.Get(place)
		if field.Kind() == protoreflect.GroupKind && g.IntN(8) > 0 {
			continue
		}
		if oneof := field.ContainingOneof(); oneof != nil && g.IntN(30) > 0 {
			if oneofs[oneof.Name()] {
				continue
			}
			oneofs[oneof.Name()] = true
		}
		times := 1
		if field.IsList() || field.IsMap() || g.strange && g.IntN(30) == 0 {
			times = g.IntN(4)
		}
		for range times {
			data = g.field(data, field, depth)
		}
		if g.strange && g.IntN(5) == 0 {
			data = g.field(data, fields.Get(g.IntN(fields.Len())), depth)
		}
		if g.strange && g.IntN(5) == 0 {
			data = g.unknown(data, fields.Get(g.IntN(fields.Len())).Number())
		}
	}
	return data
}

// unknown appends a field that is not known, or has any wire type.
func (g generator) unknown(data []byte, number protowire.Number) []byte {
	numbers := []protowire.Number{number, number, 99, 19000, protowire.MaxValidNumber - 1}
	number = numbers[g.IntN(len(numbers))]
	switch g.IntN(5) {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(data, number, protowire.VarintType), g.bits())
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(data, number, protowire.Fixed32Type), uint32(g.bits()))
	case 2:
		return protowire.AppendFixed64(protowire.AppendTag(data, number, protowire.Fixed64Type), g.bits())
	case 3:
		return protowire.AppendBytes(protowire.AppendTag(data, number, protowire.BytesType), []byte(g.text()))
	default:
		return protowire.AppendGroup(protowire.AppendTag(data, number, protowire.StartGroupType), number, []byte{8, 1})
	}
}

func (g generator) field(data []byte, field protoreflect.FieldDescriptor, depth int) []byte {
	number := field.Number()
	switch field.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind:
		return protowire.AppendString(protowire.AppendTag(data, number, protowire.BytesType), g.text())
	case protoreflect.MessageKind:
		var inner []byte
		switch field.Message().FullName() {
		case "google.protobuf.Timestamp", "google.protobuf.Duration":
			inner = g.time()
		case "google.protobuf.Value":
			inner = g.value(field.Message(), depth-1)
		default:
			inner = g.message(field.Message(), depth-1)
		}
		return protowire.AppendBytes(protowire.AppendTag(data, number, protowire.BytesType), inner)
	case protoreflect.GroupKind:
		inner := g.message(field.Message(), depth-1)
		return protowire.AppendGroup(protowire.AppendTag(data, number, protowire.StartGroupType), number, inner)
	}
	wire := wireType(field.Kind())
	if field.IsList() && g.IntN(2) == 0 {
		var packed []byte
		for range g.IntN(4) {
			packed = g.number(packed, wire)
		}
		return protowire.AppendBytes(protowire.AppendTag(data, number, protowire.BytesType), packed)
	}
	return g.number(protowire.AppendTag(data, number, wire), wire)
}

// value makes a google.protobuf.Value, mostly with one value.
func (g generator) value(desc protoreflect.MessageDescriptor, depth int) []byte {
	if g.strange && g.IntN(10) == 0 {
		return g.message(desc, depth)
	}
	kinds := []protoreflect.Name{"string_value", "null_value", "bool_value", "number_value", "struct_value", "list_value"}
	kind := kinds[g.IntN(len(kinds))]
	if kind == "number_value" && g.IntN(2) == 0 {
		return []byte{2<<3 | 1, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f} // 1.5
	}
	return g.field(nil, desc.Fields().ByName(kind), depth)
}

// time makes a timestamp or duration, about valid.
func (g generator) time() []byte {
	var data []byte
	seconds := []int64{0, 1, -1, 1767323045, minTimestamp, minTimestamp - 1, maxTimestamp, maxTimestamp + 1, maxDuration,
		maxDuration + 1, -maxDuration, -maxDuration - 1, g.Int64N(maxTimestamp), -g.Int64N(-minTimestamp)}
	nanos := []int64{0, 0, 0, 1, 1000, 60e6, 60e3, 999999999, 1e9, -1, -5e8, 1<<32 + 5, g.Int64N(1e9), 100 * g.Int64N(1e7)}
	if g.IntN(4) > 0 {
		data = protowire.AppendVarint(protowire.AppendTag(data, 1, protowire.VarintType), uint64(seconds[g.IntN(len(seconds))]))
	}
	if g.IntN(2) > 0 {
		data = protowire.AppendVarint(protowire.AppendTag(data, 2, protowire.VarintType), uint64(nanos[g.IntN(len(nanos))]))
	}
	return data
}

func (g generator) number(data []byte, wire protowire.Type) []byte {
	switch wire {
	case protowire.Fixed32Type:
		if g.IntN(2) == 0 {
			return protowire.AppendFixed32(data, math.Float32bits(float32(g.real())))
		}
		return protowire.AppendFixed32(data, uint32(g.bits()))
	case protowire.Fixed64Type:
		if g.IntN(2) == 0 {
			return protowire.AppendFixed64(data, math.Float64bits(g.real()))
		}
		return protowire.AppendFixed64(data, g.bits())
	default:
		return protowire.AppendVarint(data, g.bits())
	}
}

func (g generator) bits() uint64 {
	some := []uint64{0, 0, 1, 2, 7, 8, 127, 128, 1 << 31, 1<<31 - 1, 1 << 32, 1<<32 + 1, 1 << 63, math.MaxUint64,
		math.MaxUint64 - 4, math.MaxUint32, 9007199254740993}
	if g.IntN(4) == 0 {
		return g.Uint64() >> g.IntN(64)
	}
	return some[g.IntN(len(some))]
}

func (g generator) real() float64 {
	some := []float64{0, math.Copysign(0, -1), 1, 0.1, -1.5, 1e20, 1e21, 1e22, 1e-6, 9.9e-7, 1e-7, -1e-9, 1e-10, 1e100, math.NaN(),
		math.Inf(1), math.Inf(-1), math.MaxFloat64, math.MaxFloat32, math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat32}
	if g.IntN(3) == 0 {
		return g.NormFloat64() * math.Pow(10, float64(g.IntN(60)-30))
	}
	return some[g.IntN(len(some))]
}

func (g generator) text() string {
	some := []string{"", "", "a", "b", "tea", "A longer text, as people write it.", `"\/`, "\x00\x1f\x7f\b\f\n\r\t", "ä€😀",
		"\u2028\ufffd<>&", "\u0080", "\x0f\x10"}
	if g.strange && g.IntN(40) == 0 {
		return "\xff"
	}
	return some[g.IntN(len(some))] + some[g.IntN(len(some))]
}

// damage changes bytes, cuts them off or repeats them.
func (g generator) damage(data []byte) []byte {
	for range 1 + g.IntN(3) {
		if len(data) == 0 {
			return []byte{byte(g.IntN(256))}
		}
		at := g.IntN(len(data))
		switch g.IntN(4) {
		case 0:
			data[at] = byte(g.IntN(256))
		case 1:
			data = data[:at]
		case 2:
			data = append(data[:at:at], data[min(at+1+g.IntN(4), len(data)):]...)
		default:
			data = append(slices.Clip(data), data[at:]...)
		}
	}
	return data
}
