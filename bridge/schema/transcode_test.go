package schema

import (
	"encoding/hex"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	benchv1 "github.com/ssebridge/ssebridge/gen/bench/v1"
	demov1 "github.com/ssebridge/ssebridge/gen/demo/v1"
)

// every returns an encoder for the types of testdata/every.
func every(t testing.TB) *encoder {
	t.Helper()
	registry, err := Open([]string{"testdata/every.binpb"}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return &encoder{registry: registry}
}

// What follows makes fields in wire format.

func varint(number protowire.Number, values ...uint64) string {
	var data []byte
	for _, value := range values {
		data = protowire.AppendVarint(protowire.AppendTag(data, number, protowire.VarintType), value)
	}
	return string(data)
}

func fixed32(number protowire.Number, value uint32) string {
	return string(protowire.AppendFixed32(protowire.AppendTag(nil, number, protowire.Fixed32Type), value))
}

func fixed64(number protowire.Number, value uint64) string {
	return string(protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), value))
}

func text(number protowire.Number, parts ...string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), strings.Join(parts, "")))
}

func group(number protowire.Number, parts ...string) string {
	data := protowire.AppendTag(nil, number, protowire.StartGroupType)
	return string(protowire.AppendGroup(data, number, []byte(strings.Join(parts, ""))))
}

func negative(value int64) uint64 { return uint64(value) }

// Each row is one rule of the JSON mapping or of the wire format.
func TestTranscode(t *testing.T) {
	const extreme = math.MaxUint64
	real64 := func(value float64) string { return fixed64(1, math.Float64bits(value)) }
	real32 := func(value float32) string { return fixed32(2, math.Float32bits(value)) }
	for _, test := range []struct {
		name, kind, value, want string
	}{
		{"nothing", "Nothing", "", `{}`},
		{"declared order", "Scalars", varint(3, 1) + varint(13, 1) + text(15, "x"), `{"stringValue":"x","boolValue":true,"int32Value":1}`},
		{"json_name", "Scalars", text(100, "x"), `{"a\"b<ä\n":"x"}`},
		{"names", "old.Case", text(1, "a") + text(2, "b") + text(3, "c"), `{"orderId":"a","OrderId9":"b","ORDER":"c"}`},
		{"options of fields", "Scalars", text(101, "x"), `{"secret":"x"}`},

		{"int32", "Scalars", varint(3, negative(math.MinInt32)), `{"int32Value":-2147483648}`},
		{"int32 cut off", "Scalars", varint(3, 1<<32|7), `{"int32Value":7}`},
		{"int32 cut off to zero", "Scalars", varint(3, 1<<32), `{}`},
		{"int64", "Scalars", varint(4, negative(math.MinInt64)), `{"int64Value":"-9223372036854775808"}`},
		{"uint32", "Scalars", varint(5, extreme), `{"uint32Value":4294967295}`},
		{"uint64", "Scalars", varint(6, extreme), `{"uint64Value":"18446744073709551615"}`},
		{"sint32", "Scalars", varint(7, math.MaxUint32), `{"sint32Value":-2147483648}`},
		{"sint64", "Scalars", varint(8, extreme), `{"sint64Value":"-9223372036854775808"}`},
		{"fixed32", "Scalars", fixed32(9, math.MaxUint32), `{"fixed32Value":4294967295}`},
		{"fixed64", "Scalars", fixed64(10, extreme), `{"fixed64Value":"18446744073709551615"}`},
		{"sfixed32", "Scalars", fixed32(11, math.MaxUint32), `{"sfixed32Value":-1}`},
		{"sfixed64", "Scalars", fixed64(536870911, extreme), `{"sfixed64Value":"-1"}`},
		{"bool", "Scalars", varint(13, 2), `{"boolValue":true}`},
		{"bytes", "Scalars", text(14, "\xff\x00"), `{"bytesValue":"/wA="}`},

		{"enum", "Scalars", varint(12, 1), `{"enumValue":"COLOR_RED"}`},
		{"negative enum", "Scalars", varint(12, negative(-5)), `{"enumValue":"COLOR_LOW"}`},
		{"unknown enum", "Scalars", varint(12, 9), `{"enumValue":9}`},
		{"unknown closed enum", "old.Scalars", varint(4, 9), `{"closed":9}`},
		{"null", "Optionals", varint(9, 0), `{"nullValue":null}`},
		{"null unset", "Scalars", varint(16, 0), `{}`},

		{"double", "Scalars", real64(0.1), `{"doubleValue":0.1}`},
		{"large double", "Scalars", real64(1e21), `{"doubleValue":1e+21}`},
		{"not so large double", "Scalars", real64(123456789012345678901), `{"doubleValue":123456789012345680000}`},
		{"small double", "Scalars", real64(1e-7), `{"doubleValue":1e-7}`},
		{"smaller double", "Scalars", real64(1e-10), `{"doubleValue":1e-10}`},
		{"NaN", "Scalars", real64(math.NaN()), `{"doubleValue":"NaN"}`},
		{"infinity", "Scalars", real64(math.Inf(1)), `{"doubleValue":"Infinity"}`},
		{"-infinity", "Scalars", real64(math.Inf(-1)), `{"doubleValue":"-Infinity"}`},
		{"-0", "Scalars", real64(math.Copysign(0, -1)), `{"doubleValue":-0}`},
		{"float", "Scalars", real32(0.1), `{"floatValue":0.1}`},
		{"float near 1e-6", "Scalars", real32(1e-6), `{"floatValue":0.000001}`},
		{"float near 1e21", "Scalars", real32(1e21), `{"floatValue":1e+21}`},
		{"float NaN", "Scalars", fixed32(2, 0x7fc00001), `{"floatValue":"NaN"}`},

		{"escapes", "Scalars", text(15, "\"\\/\b\f\n\r\t\x00\x1f\x7f<>&"), `{"stringValue":"\"\\/\b\f\n\r\t\u0000\u001f` + "\x7f" + `<>&"}`},
		{"Unicode", "Scalars", text(15, "ä\u2028\ufffd😀"), `{"stringValue":"` + "ä\u2028\ufffd😀" + `"}`},
		{"escape last", "Scalars", text(15, "a\n"), `{"stringValue":"a\n"}`},

		{"zero values", "Scalars", varint(3, 0) + text(15) + text(14) + varint(13, 0) + varint(12, 0) + real64(0), `{}`},
		{"zero values with presence", "Optionals", fixed64(1, 0) + varint(3, 0) + text(6) + text(7) + varint(8, 0) + varint(5, 0),
			`{"doubleValue":0,"int32Value":0,"boolValue":false,"stringValue":"","bytesValue":"","enumValue":"COLOR_NONE"}`},
		{"defaults of proto2", "old.Scalars", varint(3, 7), `{"int32Value":7}`},
		{"zero values of proto2", "old.Scalars", text(1) + varint(3, 0), `{"stringValue":"","int32Value":0}`},
		{"presence of editions", "edition.Features", text(1) + text(2) + varint(11, 0), `{"explicit":""}`},
		{"text that need not be UTF-8", "edition.Features", text(3, "x") + text(4, "y"), `{"loose":"x","looseList":["y"]}`},

		{"list", "Lists", text(14, "a") + text(14) + text(14, "b"), `{"strings":["a","","b"]}`},
		{"packed", "Lists", text(3, "\x01\x00\x7f"), `{"int32s":[1,0,127]}`},
		{"unpacked", "Lists", varint(3, 1, 0), `{"int32s":[1,0]}`},
		{"packed in parts", "Lists", text(3, "\x01") + varint(3, 2) + text(3) + text(3, "\x03\x04"), `{"int32s":[1,2,3,4]}`},
		{"packed, empty", "Lists", text(3), `{}`},
		{"declared unpacked", "Lists", text(4, "\x01"), `{"int64s":["1"]}`},
		{"packed fixed", "Lists", text(9, "\x01\x00\x00\x00\x02\x00\x00\x00"), `{"fixed32s":[1,2]}`},
		{"packed enums", "Lists", text(16, "\x01\x09"), `{"enums":["COLOR_RED",9]}`},
		{"list apart", "Lists", text(14, "a") + varint(13, 1) + text(14, "b"), `{"bools":[true],"strings":["a","b"]}`},
		{"messages", "Lists", text(17) + text(17, text(15, "x")), `{"messages":[{},{"stringValue":"x"}]}`},

		{"map", "Maps", text(1, text(1, "b"), text(2, "x")) + text(1, text(1, "a"), text(2)), `{"strings":{"a":"","b":"x"}}`},
		{"map of bytes, not code units", "Maps", text(1, text(1, "\U00010000")) + text(1, text(1, "\uffff")),
			`{"strings":{"` + "\uffff" + `":"","` + "\U00010000" + `":""}}`},
		{"map by size", "Maps", text(2, varint(1, 10)) + text(2, varint(1, 9)) + text(2, varint(1, negative(-1))),
			`{"int32s":{"-1":"","9":"","10":""}}`},
		{"map by unsigned size", "Maps", text(5, varint(1, extreme)) + text(5, varint(1, 2)), `{"uint64s":{"2":0,"18446744073709551615":0}}`},
		{"map of bools", "Maps", text(12, varint(1, 1)) + text(12), `{"bools":{"false":"","true":""}}`},
		{"map entry without key and value", "Maps", text(8), `{"fixed32s":{"0":"COLOR_NONE"}}`},
		{"map entry, value first", "Maps", text(7, varint(2, 5), varint(1, 3)), `{"sint64s":{"-2":"5"}}`},
		{"map entry with more", "Maps", text(1, text(1, "a"), varint(3, 1), varint(2, 7), text(2, "b")), `{"strings":{"a":"b"}}`},
		{"map of messages", "Maps", text(10, fixed32(1, 1)), `{"sfixed32s":{"1":{}}}`},
		{"map of times", "Maps", text(11), `{"sfixed64s":{"0":"1970-01-01T00:00:00Z"}}`},
		{"map in map", "Maps", text(13, text(2, text(13, text(1, "b")))+text(1, "a")) + text(13), `{"maps":{"":{},"a":{"maps":{"b":{}}}}}`},

		{"oneof", "Choice", varint(3, 0) + varint(8, 1), `{"number":0,"no":true}`},
		{"oneof between", "Choice", text(9) + text(4) + text(1, "x"), `{"before":"x","choice":{},"after":""}`},

		{"unknown fields", "Scalars", varint(99, 1) + text(99, "\xff") + fixed32(99, 1) + fixed64(99, 1) + group(99, varint(1, 1)) +
			varint(13, 1), `{"boolValue":true}`},
		{"other wire type", "Scalars", varint(15, 1) + text(13, "x") + fixed32(1, 1), `{}`},
		{"other wire type than foreign", "WellKnown", varint(14, 1), `{}`},

		{"timestamp", "WellKnown", text(1, varint(1, 1767323045), varint(2, 60e6)), `{"timestamp":"2026-01-02T03:04:05.060Z"}`},
		{"timestamp, micros", "WellKnown", text(1, varint(2, 1000)), `{"timestamp":"1970-01-01T00:00:00.000001Z"}`},
		{"timestamp, nanos", "WellKnown", text(1, varint(2, 999999999)), `{"timestamp":"1970-01-01T00:00:00.999999999Z"}`},
		{"first timestamp", "WellKnown", text(1, varint(1, negative(minTimestamp))), `{"timestamp":"0001-01-01T00:00:00Z"}`},
		{"last timestamp", "WellKnown", text(1, varint(1, maxTimestamp)), `{"timestamp":"9999-12-31T23:59:59Z"}`},
		{"duration", "WellKnown", text(2, varint(1, 3)), `{"duration":"3s"}`},
		{"negative duration", "WellKnown", text(2, varint(2, negative(-5e8))), `{"duration":"-0.500s"}`},
		{"longest duration", "WellKnown", text(2, varint(1, maxDuration)+varint(2, 1)), `{"duration":"315576000000.000000001s"}`},
		{"empty", "WellKnown", text(3, varint(1, 1)), `{"empty":{}}`},
		{"wrappers", "WellKnown", text(4, varint(1, 1)) + text(5, text(1, "\xff")) + text(8, varint(1, negative(-1))) + text(9, varint(1, 1)) +
			text(10, text(1, "x")), `{"boolValue":true,"bytesValue":"/w==","int32Value":-1,"int64Value":"1","stringValue":"x"}`},
		{"empty wrappers", "WellKnown", text(4) + text(5) + text(6) + text(7) + text(8) + text(9) + text(10) + text(11) + text(12),
			`{"boolValue":false,"bytesValue":"","doubleValue":0,"floatValue":0,"int32Value":0,"int64Value":"0","stringValue":"",` +
				`"uint32Value":0,"uint64Value":"0"}`},
		{"plain message of google.protobuf", "WellKnown", text(13, text(1, "x")), `{"enumValue":{"name":"x"}}`},
		{"struct", "WellKnown", text(15, text(1, text(1, "b"), text(2, fixed64(2, 0)))+text(1, text(1, "a"), text(2, varint(1, 0)))),
			`{"struct":{"a":null,"b":0}}`},
		{"empty struct and list", "WellKnown", text(15) + text(17), `{"struct":{},"list":[]}`},
		{"value", "WellKnown", text(16, text(6, text(1, text(3, "x")), text(1, varint(4, 0)))), `{"value":["x",false]}`},

		{"nested", "Nested", text(1, text(1, text(4, varint(13, 1)), text(2), text(2))),
			`{"nested":{"nested":{"list":[{},{}],"scalars":{"boolValue":true}}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, name := every(t), protoreflect.FullName("every."+test.kind)
			require.True(t, compare(t, e, name, []byte(test.value)), "%s is left to the protobuf runtime", hex.EncodeToString([]byte(test.value)))
			data, err := e.Encode(string(name), []byte(test.value))
			require.NoError(t, err)
			assert.Equal(t, test.want, string(data))
		})
	}
}

// Each row is left to the protobuf runtime, which refuses those without JSON here.
func TestTranscodeLeaves(t *testing.T) {
	deep := ""
	for range maxDepth/2 + 1 {
		deep = text(1, deep)
	}
	for _, test := range []struct {
		name, kind, value, want string
	}{
		{"scalar twice", "Scalars", varint(3, 1, 0), `{}`},
		{"message twice", "Nested", text(4, varint(13, 1)) + text(4, varint(3, 1)), `{"scalars":{"boolValue":true,"int32Value":1}}`},
		{"oneof twice", "Choice", text(2, "x") + varint(3, 1), `{"number":1}`},
		{"oneof member twice", "Choice", varint(3, 1, 2), `{"number":2}`},
		{"key twice", "Maps", text(1, text(1, "a"), text(2, "x")) + text(1, text(1, "a"), text(2, "y")), `{"strings":{"a":"y"}}`},
		{"entry with two keys", "Maps", text(1, text(1, "a"), text(1, "b")), `{"strings":{"b":""}}`},
		{"entry with two values", "Maps", text(1, text(2, "a"), text(2, "b")), `{"strings":{"":"b"}}`},
		{"key of another wire type", "Maps", text(1, varint(1, 1)), `{"strings":{"":""}}`},
		{"second key of another wire type", "Maps", text(1, text(1, "a"), varint(1, 1)), ""}, // the runtime panics
		{"deep", "Nested", deep, strings.Repeat(`{"nested":`, maxDepth/2+1) + "{}" + strings.Repeat("}", maxDepth/2+1)},
		{"large", "Scalars", text(15, strings.Repeat("x", lightBytes)), `{"stringValue":"` + strings.Repeat("x", lightBytes) + `"}`},

		{"cut short", "Scalars", text(15, "x")[:2], ""},
		{"number cut short", "Scalars", "\x18\xff", ""},
		{"number too long", "Scalars", "\x18" + strings.Repeat("\xff", 10), ""},
		{"fixed cut short", "Scalars", fixed64(1, 1)[:8], ""},
		{"packed cut short", "Lists", text(9, "\x01\x00\x00"), ""},
		{"packed number cut short", "Lists", text(3, "\xff"), ""},
		{"unknown field cut short", "Scalars", "\xfa\x3f\x05x", ""},
		{"field zero", "Scalars", "\x00\x01", ""},
		{"field too high", "Scalars", "\x80\x80\x80\x80\x10\x01", ""},
		{"end of no group", "Scalars", "\x0c", ""},
		{"reserved wire type", "Scalars", "\x0f", ""},
		{"not UTF-8", "Scalars", text(15, "\xff"), ""},
		{"cut-off UTF-8", "Scalars", text(15, "\xe2\x82"), ""},
		{"surrogate", "Scalars", text(15, "\xed\xa0\x80"), ""},
		{"key not UTF-8", "Maps", text(1, text(1, "\xff")), ""},
		{"not UTF-8, proto2", "old.Scalars", text(1, "\xff"), ""},
		{"not UTF-8, editions", "edition.Features", text(3, "\xff"), ""},

		{"any", "WellKnown", text(14), `{"any":{}}`},
		{"field mask", "WellKnown", text(18, text(1, "a_b")), `{"mask":"aB"}`},
		{"map of any", "Maps", text(15), `{"foreign":{"":{}}}`},
		{"group", "old.Scalars", group(12, text(1, "x")), `{"group":[{"text":"x"}]}`},
		{"delimited", "edition.Features", group(8, text(1, "x")), `{"delimited":{"text":"x"}}`},
		{"extension", "old.Scalars", text(10, text(100, "x")), `{"open":{"[every.old.more]":"x"}}`},
		{"required", "old.Scalars", text(11, text(1, "x")), `{"required":{"text":"x"}}`},
		{"required, unset", "old.Scalars", text(11), ""},
		{"required in editions", "edition.Features", text(10), ""},
		{"itself extensible", "old.Open", text(1, "x"), `{"text":"x"}`},
		{"itself with required fields", "old.Required", text(1, "x"), `{"text":"x"}`},

		{"early timestamp", "WellKnown", text(1, varint(1, negative(minTimestamp-1))), ""},
		{"late timestamp", "WellKnown", text(1, varint(1, maxTimestamp+1)), ""},
		{"negative nanos", "WellKnown", text(1, varint(2, negative(-1))), ""},
		{"too many nanos", "WellKnown", text(1, varint(2, 1e9)), ""},
		{"timestamp in another order", "WellKnown", text(1, varint(2, 1e8), varint(1, 1)), `{"timestamp":"1970-01-01T00:00:01.100Z"}`},
		{"long duration", "WellKnown", text(2, varint(1, maxDuration+1)), ""},
		{"duration of two signs", "WellKnown", text(2, varint(1, 1), varint(2, negative(-1))), ""},
		{"wrapper twice", "WellKnown", text(8, varint(1, 1, 2)), `{"int32Value":2}`},
		{"no value", "WellKnown", text(16), ""},
		{"value NaN", "WellKnown", text(16, fixed64(2, math.Float64bits(math.NaN()))), ""},
		{"value infinite", "WellKnown", text(16, fixed64(2, math.Float64bits(math.Inf(-1)))), ""},
		{"two values", "WellKnown", text(16, varint(1, 0), varint(4, 1)), `{"value":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, name := every(t), "every."+test.kind
			types := e.resolver()
			known, source := types.message(protoreflect.FullName(name))
			require.Nil(t, e.transcode(known, source, []byte(test.value)))
			data, err := e.Encode(name, []byte(test.value))
			if test.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, string(data))
		})
	}
}

// The types that users meet first, and those that measurements are made with, are transcoded.
func TestTranscodeTypes(t *testing.T) {
	schema, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(demov1.File_demo_v1_demo_proto),
		protodesc.ToFileDescriptorProto(benchv1.File_bench_v1_sample_proto),
	}})
	require.NoError(t, err)
	r, err := Open([]string{"testdata/*.binpb"}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	publisher, err := r.schemas.get(schema)
	require.NoError(t, err)
	e := &encoder{registry: r, schema: publisher}
	at := &timestamppb.Timestamp{Seconds: 1767323045, Nanos: 60e6}
	structure, err := structpb.NewStruct(map[string]any{"n": 1, "list": []any{nil, true, "x"}})
	require.NoError(t, err)
	for _, event := range []proto.Message{
		&demov1.Tick{Number: 7, ServerTime: at},
		&demov1.OrderUpdated{OrderId: "1042", Status: demov1.OrderStatus_ORDER_STATUS_SHIPPED, TotalCents: 129900,
			Items: []*demov1.OrderItem{{Name: "tea", Quantity: 2}, {Name: "cup"}}},
		&benchv1.Sample{Mark: "0a", Number: 1, Status: benchv1.SampleStatus_SAMPLE_STATUS_ACTIVE, At: at, Pad: "x",
			Item: &benchv1.SampleItem{Name: "green tea", Weight: 0.25}},
		structure,
	} {
		value, err := proto.Marshal(event)
		require.NoError(t, err)
		name := event.ProtoReflect().Descriptor().FullName()
		assert.True(t, compare(t, e, name, value), name)
	}
	assert.True(t, compare(t, e, "shop.v1.Order", []byte(text(1, "42")+text(3, text(1, "tea"), varint(2, 2)))))
	for _, name := range []protoreflect.FullName{"google.protobuf.Timestamp", "google.protobuf.Any", "google.protobuf.Empty",
		"google.protobuf.Value"} {
		assert.False(t, compare(t, e, name, nil), name)
	}
	r.EmitDefaults = true
	assert.False(t, compare(t, e, "demo.v1.Tick", nil))
	assert.False(t, compare(t, e, "google.protobuf.Struct", nil))
}

// The order of fields on the wire changes nothing, however many there are.
func TestTranscodeUnsorted(t *testing.T) {
	e := every(t)
	value := strings.Repeat(text(14, "x")+varint(13, 1)+text(3, "\x01\x02")+varint(4, 5), 500)
	require.True(t, compare(t, e, "every.Lists", []byte(value)))
}

func TestTranscodeConcurrently(t *testing.T) {
	e := every(t)
	value := []byte(text(1, text(4, text(15, "x"))) + text(6, text(13, text(1, "a"))))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				data, err := e.Encode("every.Nested", value)
				assert.NoError(t, err)
				assert.Equal(t, `{"nested":{"scalars":{"stringValue":"x"}},"maps":{"maps":{"a":{}}}}`, string(data))
			}
		})
	}
	group.Wait()
}

// namedSet serializes a set with one message, a.M, and one field.
func namedSet(t *testing.T, field string) []byte {
	t.Helper()
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("a.proto"), Package: proto.String("a"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: proto.String(field), Number: proto.Int32(1), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}}}},
	}}})
	require.NoError(t, err)
	return data
}

// What has been compiled goes with the types that it was compiled from.
func TestTranscodeReloaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.binpb")
	put(t, path, namedSet(t, "before"))
	r, err := Open([]string{path}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	e := &encoder{registry: r}
	encode := func() string {
		require.True(t, compare(t, e, "a.M", []byte(text(1, "x"))))
		data, err := e.Encode("a.M", []byte(text(1, "x")))
		require.NoError(t, err)
		return string(data)
	}
	assert.Equal(t, `{"before":"x"}`, encode())
	put(t, path, namedSet(t, "afterwards"))
	r.reload()
	assert.Equal(t, `{"afterwards":"x"}`, encode())
}

// A schema is charged for what will be compiled of it, as its publisher chooses which types that are.
func TestTranscodeCost(t *testing.T) {
	short, err := parse(namedSet(t, "x"), schemaBudget)
	require.NoError(t, err)
	long, err := parse(namedSet(t, strings.Repeat("x", 401)), schemaBudget)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, long.cost-short.cost, 400*formNameCost)
	assert.GreaterOrEqual(t, short.index.formCost, int(unsafe.Sizeof(formField{})*3), "a map is three fields")
}

// Streams with the same schema share what has been compiled, and those with another one have their own.
func TestTranscodeOfPublishers(t *testing.T) {
	r, err := Open(nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	stream := func(field string) (*form, string) {
		opened, err := r.Encoder(namedSet(t, field))
		require.NoError(t, err)
		data, err := opened.Encode("a.M", []byte(text(1, "x")))
		require.NoError(t, err)
		e, ok := opened.(*encoder)
		require.True(t, ok)
		types := e.resolver()
		known, _ := types.message("a.M")
		require.NotNil(t, known.compiled.Load())
		return known.compiled.Load(), string(data)
	}
	mine, data := stream("mine")
	assert.Equal(t, `{"mine":"x"}`, data)
	again, _ := stream("mine")
	assert.Same(t, mine, again)
	yours, data := stream("yours")
	assert.Equal(t, `{"yours":"x"}`, data)
	assert.NotSame(t, mine, yours)
}

// One allocation, of the result, whatever the message holds; a few more where the race detector drops pooled memory.
func TestTranscodeAllocates(t *testing.T) {
	e := every(t)
	value := []byte(strings.Repeat(text(17, text(15, "x"), varint(12, 1), fixed64(1, 1)), 100) + strings.Repeat(text(18, varint(1, 1)), 100))
	require.True(t, compare(t, e, "every.Lists", value))
	assert.Less(t, testing.AllocsPerRun(100, func() { _, _ = e.Encode("every.Lists", value) }), 10.0)
}
