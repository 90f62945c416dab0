package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/ssebridge/ssebridge/bridge"
)

// nest returns a message declared inside of that many others.
func nest(depth int) *messageProto {
	nested := message("A")
	for range depth {
		nested = &messageProto{Name: proto.String("A"), NestedType: []*messageProto{nested}}
	}
	return nested
}

// layers returns files in layers, each of which imports all of the layer before it publicly.
func layers(depth, width int) []*fileProto {
	var files, before []*fileProto
	for layer := range depth {
		var here []*fileProto
		for i := range width {
			f := file(fmt.Sprint(layer, "-", i, ".proto"), "d", nil)
			for j, imported := range before {
				f.Dependency = append(f.Dependency, imported.GetName())
				f.PublicDependency = append(f.PublicDependency, int32(j))
			}
			here = append(here, f)
		}
		files, before = append(files, here...), here
	}
	return files
}

// many returns a message with that many fields and a long name.
func many(fields int) *messageProto {
	m := message(strings.Repeat("M", 400))
	for i := range fields {
		m.Field = append(m.Field, &fieldProto{Name: proto.String(fmt.Sprint("f", i))})
	}
	return m
}

// ruled returns that many messages whose rules see them.
func ruled(messages int) *fileProto {
	f := file("r.proto", "r", []string{"buf/validate/validate.proto"})
	for i := range messages {
		f.MessageType = append(f.MessageType, celMessage(message(fmt.Sprint("M", i)), "x", "true", ""))
	}
	return f
}

// importing returns a file that imports another that often.
func importing(times int) *fileProto {
	f := file("m.proto", "m", nil)
	for i := range times {
		f.Dependency = append(f.Dependency, "google/protobuf/any.proto")
		f.PublicDependency = append(f.PublicDependency, int32(i))
	}
	return f
}

// Each of these sets fits into one request and would take gigabytes, minutes, or the process, if it were taken.
func TestSchemaAttacks(t *testing.T) {
	inner := func(outer protowire.Number, data []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, outer, protowire.BytesType), data)
	}
	empty := func(number protowire.Number, times int) []byte {
		return []byte(strings.Repeat(string(inner(number, nil)), times))
	}
	long := strings.TrimSuffix(strings.Repeat("a.", 1<<20), ".")
	for _, test := range []struct {
		name string
		data []byte
		says string
	}{
		{"empty files", empty(1, 1<<20), "MiB of memory"},
		{"empty messages", inner(1, empty(4, 1<<20)), "MiB of memory"},
		{"reserved names", inner(1, inner(4, empty(10, 2<<20))), "MiB of memory"},
		{"deep", set(file("a.proto", "a", nil, nest(500))), "nested too deep"},
		{"long package", set(file("a.proto", long, nil, message("M"))), "longer than 512 bytes"},
		{"long name", set(file("a.proto", "a", nil, message("M", field("."+long, "x")))), "longer than 512 bytes"},
		{"long import", set(file("a.proto", "a", []string{long})), "longer than 512 bytes"},
		{"long names", set(file("a.proto", "a", nil, many(60000))), "MiB of memory"},
		{"diamonds of public imports", set(layers(64, 2)...), "too many public imports"},
		{"chain of public imports", set(layers(2000, 1)...), "too many public imports"},
		{"many imports", set(importing(100000)), "already imported"},
		{"rules that see all types", set(ruled(2000)), "MiB of memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Less(t, len(test.data), 5<<20)
			_, err := open(t).Encoder(test.data)
			assert.Contains(t, refused(t, err, bridge.CodeInvalidArgument).Message, test.says)
		})
	}
}

func TestSchemaComments(t *testing.T) {
	f := file("a.proto", "a", nil)
	f.SourceCodeInfo = &descriptorpb.SourceCodeInfo{}
	for range 1 << 17 { // more than would be granted, were they decoded
		f.SourceCodeInfo.Location = append(f.SourceCodeInfo.Location, &descriptorpb.SourceCodeInfo_Location{})
	}
	_, err := open(t).Encoder(set(f))
	require.NoError(t, err)
}

func TestSchemaNesting(t *testing.T) {
	_, data, err := encoder(t, file("a.proto", "a", nil, nest(31))).Encode("a"+strings.Repeat(".A", 32), nil)
	require.NoError(t, err)
	assert.Equal(t, "{}", string(data))
	_, err = open(t).Encoder(set(file("a.proto", "a", nil, nest(32))))
	assert.Contains(t, refused(t, err, bridge.CodeInvalidArgument).Message, "inside of more than 32 messages")
}

func TestDepth(t *testing.T) {
	tree := file("t.proto", "t", []string{"google/protobuf/any.proto"},
		message("T", field(".t.T", "t")), message("H", field(".t.H", "h"), field(".google.protobuf.Any", "any")))
	e := encoder(t, tree)
	wrap := func(value []byte, number protowire.Number) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	levels := func(depth int) []byte {
		var value []byte
		for range depth {
			value = wrap(value, 1)
		}
		return value
	}
	_, _, err := e.Encode("t.T", levels(99))
	require.NoError(t, err)
	_, _, err = e.Encode("t.T", levels(101))
	assert.Contains(t, refused(t, err, bridge.CodeInvalidArgument).Message, "recursion depth")

	// What an Any holds counts too: the runtime alone would begin anew with each.
	deep := wrap(append(wrap([]byte("/t.H"), 1), wrap(levels(60), 2)...), 2)
	for range 60 {
		deep = wrap(deep, 1)
	}
	_, _, err = e.Encode("t.H", deep)
	assert.Contains(t, refused(t, err, bridge.CodeInvalidArgument).Message, "nested more than 100 deep")

	anys := func(depth int) (proto.Message, string) {
		var m proto.Message = structpb.NewStringValue("x")
		text := `{"@type":"/google.protobuf.Value","value":"x"}`
		for range depth {
			packed, err := anypb.New(m)
			require.NoError(t, err)
			m = packed
			text = `{"@type":"/google.protobuf.Any","value":` + text + `}`
		}
		return m, text
	}
	for depth, ok := range map[int]bool{16: true, 17: false, 90: false, 3000: false} {
		m, text := anys(depth)
		value, err := proto.Marshal(m)
		require.NoError(t, err)
		_, _, err = e.Encode("google.protobuf.Any", value)
		_, _, fromJSON := e.EncodeJSON([]byte(text))
		if ok {
			require.NoError(t, err)
			require.NoError(t, fromJSON)
			continue
		}
		_ = refused(t, err, bridge.CodeInvalidArgument)
		_ = refused(t, fromJSON, bridge.CodeInvalidArgument)
	}
}

// Each of these events fits into one request and would take gigabytes of memory, decoded or as JSON.
func TestEventAttacks(t *testing.T) {
	long := strings.Repeat("N", 200)
	f := file("b.proto", "b", []string{"google/protobuf/any.proto", "buf/validate/validate.proto"}, message("B",
		field("repeated .b.B", "b"), field("repeated .google.protobuf.Any", "any"), field("repeated int32", "numbers"),
		field("repeated .b.Named", "named"), field("repeated string", "tags", validate.FieldRules_builder{
			Repeated: validate.RepeatedRules_builder{Items: minLen(1)}.Build()}.Build())),
		message("Named", field("bool", "x"), field("repeated int32", "enum")))
	f.MessageType[1].Field[0].JsonName = proto.String(long)
	f.MessageType[1].Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum()
	f.MessageType[1].Field[1].TypeName = proto.String(".b.Enum")
	f.EnumType = []*descriptorpb.EnumDescriptorProto{{
		Name:  proto.String("Enum"),
		Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String(long), Number: proto.Int32(0)}},
	}}
	e := encoder(t, f)
	in := func(number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	repeat := func(value []byte, size int) []byte { return []byte(strings.Repeat(string(value), size/len(value))) }
	anyOf := func(value []byte) []byte { return in(2, append(in(1, []byte("/b.B")), in(2, value)...)) }
	const size = 1 << 20
	for name, value := range map[string][]byte{
		"messages":        repeat(in(1, nil), size),
		"messages in Any": anyOf(repeat(in(1, nil), size)),
		"in many Anys":    repeat(anyOf(repeat(in(1, nil), 10<<10)), size),
		"numbers":         in(3, make([]byte, 3<<20)),
		"field names":     repeat(in(4, []byte{0x08, 0x01}), size),
		"enum names":      in(4, in(2, make([]byte, size))),
		"unpacked enums":  in(4, repeat([]byte{0x10, 0x00}, size)),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := e.Encode("b.B", value)
			refusal := refused(t, err, bridge.CodeResourceExhausted)
			assert.Equal(t, "size", refusal.Violations[0].Rule)
			assert.Contains(t, refusal.Message, "send several smaller ones")
		})
	}
	_, _, err := e.EncodeJSON([]byte(`{"@type":"/b.B","b":[` + strings.Repeat(`{},`, 1<<20) + `{}]}`))
	_ = refused(t, err, bridge.CodeResourceExhausted)

	_, _, err = e.Encode("b.B", repeat(in(5, nil), size))
	assert.Len(t, refused(t, err, bridge.CodeInvalidArgument).Violations, 1, "of a large event, the first is enough")

	// What is large without being a bomb passes.
	_, data, err := e.Encode("b.B", in(5, make([]byte, size)))
	require.NoError(t, err)
	assert.Greater(t, len(data), size)
	_, _, err = e.Encode("b.B", append(in(3, make([]byte, 100<<10)), repeat(in(1, in(5, []byte("x"))), 100<<10)...))
	require.NoError(t, err)
}

// No text of a publisher's may break the JSON, the line or the refusal.
func TestNamesOfPublishers(t *testing.T) {
	f := file("a.proto", "a", nil, message("M", field("string", "x"), field("string", "y"), field(".a.M", "m")))
	f.MessageType[0].Field[0].JsonName = proto.String("a\"\n\r\u2028\x00")
	f.MessageType[0].Field[1].JsonName = proto.String("\xff")
	e := encoder(t, f)
	_, data, err := e.Encode("a.M", []byte("\x0a\x01\n"))
	require.NoError(t, err)
	assert.Equal(t, `{"a\"\n\r`+"\u2028"+`\u0000":"\n"}`, string(data))
	_, _, err = e.Encode("a.M", []byte("\x1a\x03\x12\x01x"))
	refusal := refused(t, err, bridge.CodeInvalidArgument)
	assert.Equal(t, "data.m", refusal.Violations[0].Field)
	assert.Equal(t, "json", refusal.Violations[0].Rule)
}
