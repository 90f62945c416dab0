package schema_test

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// FuzzSchemaMutated changes fields of valid sets at random, which gets further into the protobuf runtime than changing
// bytes: most of these sets can still be decoded.
func FuzzSchemaMutated(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	base := valid()
	for _, files := range base {
		encoder(f, files...)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		files := &descriptorpb.FileDescriptorSet{File: base[random.IntN(len(base))]}
		files = proto.CloneOf(files)
		for range 1 + random.IntN(3) {
			mutate(random, files.ProtoReflect())
		}
		data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(files)
		require.NoError(t, err)
		registry := openLogging(t, panicking{slog.DiscardHandler})
		e, err := registry.Encoder(data)
		if err != nil {
			checkOutput(t, "", nil, err)
			require.NotContains(t, err.Error(), "cannot take", "the protobuf runtime has panicked")
			return
		}
		for _, file := range files.GetFile() {
			for _, m := range file.GetMessageType() {
				for _, value := range []string{"", "\x0a\x00", "\x08\x01", "\x0a\x01x\x12\x02\x0a\x00\x18\x01\x22\x00",
					"\x0a\x06\x0a\x01k\x12\x01x", "\xa2\x06\x01x"} {
					name, data, err := e.Encode("/"+file.GetPackage()+"."+m.GetName(), []byte(value))
					checkOutput(t, name, data, err)
				}
			}
		}
	})
}

// valid returns sets with all that descriptors have: rules, proto2, maps, oneofs, enums, editions.
func valid() [][]*fileProto {
	old := file("old.proto", "old", nil, message("Old", field("required string", "name"), field("repeated .old.Old", "old")))
	old.Syntax = proto.String("proto2")
	old.MessageType[0].ExtensionRange = append(old.MessageType[0].ExtensionRange, extensionRange(100, 200))
	maps := protodesc.ToFileDescriptorProto(structpb.File_google_protobuf_struct_proto)
	maps.Name, maps.Package = proto.String("maps.proto"), proto.String("maps")
	for _, m := range maps.GetMessageType() {
		for _, f := range m.GetField() {
			f.TypeName = nil
			if f.GetType() == descriptorpb.FieldDescriptorProto_TYPE_MESSAGE {
				f.TypeName = proto.String(".maps.Value")
			}
			if f.GetType() == descriptorpb.FieldDescriptorProto_TYPE_ENUM {
				f.TypeName = proto.String(".maps.NullValue")
			}
		}
	}
	maps.MessageType[0].Field[0].TypeName = proto.String(".maps.Struct.FieldsEntry")
	maps.MessageType[0].NestedType[0].Field[1].TypeName = proto.String(".maps.Value")
	edition := proto.CloneOf(maps)
	edition.Name, edition.Syntax = proto.String("edition.proto"), proto.String("editions")
	edition.Edition = descriptorpb.Edition_EDITION_2024.Enum()
	return [][]*fileProto{{shop()}, {shop(), old}, {maps}, {edition}, {old}}
}

// mutate changes one field somewhere in a message.
func mutate(random *rand.Rand, m protoreflect.Message) {
	var inner []protoreflect.Message
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				inner = append(inner, value.List().Get(i).Message())
			}
		case !field.IsMap():
			inner = append(inner, value.Message())
		}
		return true
	})
	if len(inner) > 0 && random.IntN(4) > 0 {
		mutate(random, inner[random.IntN(len(inner))])
		return
	}
	fields := m.Descriptor().Fields()
	field := fields.Get(random.IntN(fields.Len()))
	switch {
	case field.IsMap():
	case random.IntN(3) == 0:
		m.Clear(field)
	case field.IsList() && random.IntN(2) == 0 && m.Has(field):
		list := m.Mutable(field).List()
		list.Append(list.Get(random.IntN(list.Len()))) // twice, or shared
	case field.IsList() && field.Message() != nil:
		m.Mutable(field).List().AppendMutable()
	case field.IsList():
		m.Mutable(field).List().Append(randomValue(random, field))
	case field.Message() != nil:
		m.Mutable(field)
	default:
		m.Set(field, randomValue(random, field))
	}
}

func randomValue(random *rand.Rand, field protoreflect.FieldDescriptor) protoreflect.Value {
	names := []string{
		"", ".", "x", "name", "Item", ".shop.v1.Item", ".shop.v1.Ruled", ".old.Old", ".maps.Value", "maps.Struct.FieldsEntry",
		".google.protobuf.Any", ".google.protobuf.Timestamp", "google.protobuf", "google", "Timestamp", "value", "key",
		"this", "this.x > 1", "-1", "inf", "1e999", "true", "\xff", "@type", "[x]",
		"google/protobuf/any.proto", "shop/v1/shop.proto", "proto2", "proto3", "editions",
	}
	numbers := []int32{0, 1, 2, 3, 4, 5, 18, 100, 19000, -1, 536870911, 536870912, math.MaxInt32, math.MinInt32}
	number := numbers[random.IntN(len(numbers))]
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(names[random.IntN(len(names))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(names[random.IntN(len(names))]))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(random.IntN(2) == 0)
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		if random.IntN(5) == 0 {
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(number))
		}
		return protoreflect.ValueOfEnum(values.Get(random.IntN(values.Len())).Number())
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(number))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(number))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(number))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(number))
	default:
		return protoreflect.ValueOfInt32(number)
	}
}
