package schema_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/ssebridge/ssebridge/bridge"
)

const prefix = "type.googleapis.com/"

func TestEncode(t *testing.T) {
	e := encoder(t, shop())
	const text = `{ "orderId": "42\u2028<b>", "totalCents": "9007199254740993", "shippedAt": "2026-01-02T03:04:05.060Z",
		"items": [{"name": "tea", "quantity": 2}, {}], "extra": {"b": [1, null], "a": "x"} }`
	const want = `{"orderId":"42` + "\u2028" + `<b>","totalCents":"9007199254740993",` +
		`"shippedAt":"2026-01-02T03:04:05.060Z","items":[{"name":"tea","quantity":2},{}],"extra":{"a":"x","b":[1,null]}}`
	value := wire(t, text, "shop.v1.OrderShipped", shop())
	for _, url := range []string{prefix + "shop.v1.OrderShipped", "/shop.v1.OrderShipped", "shop.v1.OrderShipped",
		"https://example.com/a/b/shop.v1.OrderShipped"} {
		name, data, err := e.Encode(url, value)
		require.NoError(t, err)
		assert.Equal(t, "shop.v1.OrderShipped", name)
		assert.Equal(t, want, string(data))
	}
	name, data, err := e.EncodeJSON([]byte(`{"@type":"` + prefix + `shop.v1.OrderShipped",` + text[1:]))
	require.NoError(t, err)
	assert.Equal(t, "shop.v1.OrderShipped", name)
	assert.Equal(t, want, string(data))

	_, data, err = e.Encode("shop.v1.OrderShipped", nil)
	require.NoError(t, err)
	assert.Equal(t, "{}", string(data), "an empty message is a message")
	_, data, err = e.Encode("shop.v1.Item", protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	require.NoError(t, err)
	assert.Equal(t, "{}", string(data), "fields of a later version are left out")
}

func TestEmitDefaults(t *testing.T) {
	registry := open(t)
	registry.EmitDefaults = true
	e, err := registry.Encoder(set(shop()))
	require.NoError(t, err)
	_, data, err := e.Encode("shop.v1.Item", nil)
	require.NoError(t, err)
	assert.Equal(t, `{"name":"","quantity":0}`, string(data))
}

func TestEncodeWellKnown(t *testing.T) {
	order := &anypb.Any{TypeUrl: prefix + "shop.v1.Item", Value: wire(t, `{"name":"tea"}`, "shop.v1.Item", shop())}
	structure, err := structpb.NewStruct(map[string]any{"b": 1, "a": []any{nil, true}})
	require.NoError(t, err)
	tests := []struct {
		message      proto.Message
		want, nested string // as an event, and in an Any unless that is the usual {"@type":…,"value":…}
	}{
		{structure, `{"a":[null,true],"b":1}`, ""},
		{structpb.NewNullValue(), `null`, ""},
		{structpb.NewStringValue("x"), `"x"`, ""},
		{&timestamppb.Timestamp{Seconds: 1}, `"1970-01-01T00:00:01Z"`, ""},
		{durationpb.New(-1500e6), `"-1.500s"`, ""},
		{wrapperspb.Int64(math.MaxInt64), `"9223372036854775807"`, ""},
		{wrapperspb.Double(math.Inf(1)), `"Infinity"`, ""},
		{wrapperspb.Bytes([]byte{0xff}), `"/w=="`, ""},
		{&fieldmaskpb.FieldMask{Paths: []string{"a.b_c", "d"}}, `"a.bC,d"`, ""},
		{&emptypb.Empty{}, `{}`, `{"@type":"type.googleapis.com/google.protobuf.Empty"}`},
		{order, `{"@type":"type.googleapis.com/shop.v1.Item","name":"tea"}`, ""},
		{&anypb.Any{}, `{}`, ""},
		{&descriptorpb.DescriptorProto{Name: proto.String("x")}, `{"name":"x"}`,
			`{"@type":"type.googleapis.com/google.protobuf.DescriptorProto","name":"x"}`},
	}
	e := encoder(t, shop())
	for _, test := range tests {
		packed, err := anypb.New(test.message)
		require.NoError(t, err)
		name, data, err := e.Encode(packed.GetTypeUrl(), packed.GetValue())
		require.NoError(t, err)
		assert.Equal(t, string(test.message.ProtoReflect().Descriptor().FullName()), name)
		assert.Equal(t, test.want, string(data))

		if test.nested == "" {
			test.nested = `{"@type":"` + packed.GetTypeUrl() + `","value":` + test.want + `}`
		}
		_, data, err = e.EncodeJSON([]byte(test.nested))
		require.NoError(t, err, test.nested)
		assert.Equal(t, test.want, string(data))
		inside, err := anypb.New(packed)
		require.NoError(t, err)
		_, data, err = e.Encode(inside.GetTypeUrl(), inside.GetValue())
		require.NoError(t, err)
		assert.Equal(t, test.nested, string(data))
	}
}

func TestEncodeRefusesTypes(t *testing.T) {
	e := encoder(t, shop())
	for _, test := range []struct {
		url   string
		code  bridge.Code
		rule  string
		field string
		text  string
	}{
		{"", bridge.CodeInvalidArgument, "any", "data", "the event has no type"},
		{prefix, bridge.CodeInvalidArgument, "any", "data", "does not end with the full name"},
		{prefix + "a..b", bridge.CodeInvalidArgument, "any", "data", `"type.googleapis.com/a..b"`},
		{"shop.v1.OrderShipped/", bridge.CodeInvalidArgument, "any", "data", "does not end with"},
		{"\xff\n", bridge.CodeInvalidArgument, "any", "data", "does not end with"},
		{strings.Repeat("a.", 2<<20) + "b", bridge.CodeInvalidArgument, "any", "data", "a.a.a"},
		{prefix + "shop.v1.Nothing", bridge.CodeNotFound, "type", "data", "the type shop.v1.Nothing is not known here"},
		{prefix + "shop.v1.Nothing", bridge.CodeNotFound, "type", "data", "PublishRequest.schema"},
		{prefix + "shop.v1.Nothing", bridge.CodeNotFound, "type", "data", "--schema"},
		{prefix + "shop.v1.OrderShipped.order_id", bridge.CodeNotFound, "type", "data", "not known"},
		{prefix + "ssebridge.v1.Event", bridge.CodeNotFound, "type", "data", "not known"},
	} {
		_, data, err := e.Encode(test.url, nil)
		refusal := refused(t, err, test.code)
		assert.Nil(t, data)
		assert.Equal(t, test.rule, refusal.Violations[0].Rule)
		assert.Equal(t, test.field, refusal.Violations[0].Field)
		assert.Contains(t, refusal.Message, test.text)
		assert.Less(t, len(refusal.Message), 1000)
	}
}

func TestEncodeRefusesBytes(t *testing.T) {
	tag := func(number protowire.Number) []byte { return protowire.AppendTag(nil, number, protowire.BytesType) }
	anyOf := func(m proto.Message) []byte {
		packed, err := anypb.New(m)
		require.NoError(t, err)
		data, err := proto.Marshal(packed)
		require.NoError(t, err)
		return data
	}
	in := func(number protowire.Number, value []byte) []byte { return protowire.AppendBytes(tag(number), value) }
	unset, err := proto.Marshal(structpb.NewNumberValue(math.NaN()))
	require.NoError(t, err)
	late, err := proto.Marshal(&timestamppb.Timestamp{Seconds: math.MaxInt64})
	require.NoError(t, err)
	for _, test := range []struct {
		name  string
		value []byte
		field string
		rule  string
		text  string
	}{
		{"cut short", in(1, []byte("x"))[:2], "data", "encoding", "the bytes are not of the type shop.v1.OrderShipped"},
		{"text", []byte("hello"), "data", "encoding", "invalid wire-format data"},
		{"UTF-8", in(1, []byte("\xff")), "data.order_id", "encoding", "invalid UTF-8"},
		{"UTF-8 inside", in(4, in(1, []byte("\xff"))), "data", "encoding", "shop.v1.Item.name"},
		{"NaN", in(6, unset), "data.extra", "json", "google.protobuf.Value"},
		{"no value", in(6, nil), "data.extra", "json", "none of the oneof fields is set"},
		{"late", in(3, late), "data.shipped_at", "json", "google.protobuf.Timestamp: seconds out of range"},
		{"unknown inside", in(5, in(1, []byte(prefix+"no.Such"))), "data.detail", "type", "the type no.Such is not known"},
		{"no type inside", in(5, in(2, []byte("x"))), "data.detail", "json", "type_url is not set"},
		{"bytes inside", in(5, append(in(1, []byte(prefix+"shop.v1.Item")), in(2, []byte("x"))...)), "data.detail",
			"encoding", "not of the type shop.v1.Item"},
		{"late inside", append(in(7, nil), in(7, anyOf(&timestamppb.Timestamp{Nanos: -1}))...), "data.more[1]",
			"json", "nanos out of range"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, data, err := encoder(t, shop()).Encode("shop.v1.OrderShipped", test.value)
			refusal := refused(t, err, bridge.CodeInvalidArgument)
			assert.Nil(t, data)
			assert.Equal(t, test.field, refusal.Violations[0].Field)
			assert.Equal(t, test.rule, refusal.Violations[0].Rule)
			assert.Contains(t, refusal.Message, test.text)
			assert.NotContains(t, refusal.Message, "proto:")
			assert.NotContains(t, refusal.Message, "\u00a0")
		})
	}
}

func TestEncodeRequired(t *testing.T) {
	f := file("old.proto", "old", nil, message("Old", field("required string", "name"), field(".old.Old", "next")))
	f.Syntax = proto.String("proto2")
	e := encoder(t, f)
	_, _, err := e.Encode("old.Old", nil)
	refusal := refused(t, err, bridge.CodeInvalidArgument)
	assert.Equal(t, bridge.Violation{Field: "data.name", Rule: "required", Message: "required field old.Old.name not set"},
		refusal.Violations[0])
	_, data, err := e.Encode("old.Old", wire(t, `{"name":"x"}`, "old.Old", f))
	require.NoError(t, err)
	assert.Equal(t, `{"name":"x"}`, string(data))
	_, _, err = e.EncodeJSON([]byte(`{"@type":"/old.Old","next":{"name":"x"}}`))
	_ = refused(t, err, bridge.CodeInvalidArgument)
}

func TestEncodeExtensions(t *testing.T) {
	f := file("ext.proto", "ext", []string{"google/protobuf/any.proto"}, message("Base"))
	f.Syntax = proto.String("proto2")
	f.MessageType[0].ExtensionRange = append(f.MessageType[0].ExtensionRange, extensionRange(100, 200))
	more := field("string", "more")
	more.Number, more.Extendee = proto.Int32(100), proto.String(".ext.Base")
	detail := field(".google.protobuf.Any", "detail")
	detail.Number, detail.Extendee = proto.Int32(101), proto.String(".ext.Base")
	f.Extension = []*fieldProto{more, detail}
	for source, e := range map[string]encoderOfAny{
		"schema": encoder(t, f),
		"files":  must(open(t, write(t, "ext.binpb", set(f))).Encoder(nil)),
	} {
		const text = `{"@type":"/ext.Base","[ext.detail]":{"@type":"/ext.Base","[ext.more]":"y"},"[ext.more]":"x"}`
		_, data, err := e.EncodeJSON([]byte(text))
		require.NoError(t, err, source)
		assert.Equal(t, strings.Replace(text, `"@type":"/ext.Base",`, "", 1), string(data))
		_, _, err = e.EncodeJSON([]byte(`{"@type":"/ext.Base","[ext.less]":1}`))
		assert.Equal(t, "data[ext.less]", refused(t, err, bridge.CodeInvalidArgument).Violations[0].Field)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestEncodeJSONRefuses(t *testing.T) {
	const bad = bridge.CodeInvalidArgument
	of := func(rest string) string { return `{"@type":"` + prefix + `shop.v1.OrderShipped"` + rest + `}` }
	for _, test := range []struct {
		name, text string
		code       bridge.Code
		field      string
		rule       string
		says       string
	}{
		{"unknown type", `{"@type":"/no.Such","x":1}`, bridge.CodeNotFound, "data", "type", "the type no.Such is not known"},
		{"type last", `{"x":1,"@type":"/no.Such"}`, bridge.CodeNotFound, "data", "type", "no.Such"},
		{"no type", `{"orderId":"1"}`, bad, "data", "any", `no "@type"`},
		{"empty", `{}`, bad, "data", "any", `no "@type"`},
		{"no object", `["@type"]`, bad, "data", "any", "an object such as"},
		{"number", `5`, bad, "data", "any", "an object such as"},
		{"type of number", `{"@type":5}`, bad, "data.@type", "any", "is a string"},
		{"type empty", `{"@type":""}`, bad, "data", "any", "has no type"},
		{"not JSON", `{"@type":`, bad, "data", "json", "is not JSON"},
		{"nothing", ``, bad, "data", "json", "is not JSON"},
		{"trailing", of(``) + `{}`, bad, "data", "json", "unexpected token {"},
		{"unknown field", of(`,"orderIdd":"1"`), bad, "data.orderIdd", "json", `unknown field "orderIdd"`},
		{"deep", of(`,
			"items": [{}, {"nâme":"\"", "name":
				"x"}, {"quantity": "ä", "name":5}]`), bad, "data.items[1].nâme", "json", "unknown field"},
		{"deeper", of(`,"items":[{},{"name":"ä\\\"]}","quantity":"x"}]`), bad,
			"data.items[1].quantity", "json", `invalid value for int32 field quantity: "x"`},
		{"duplicate", of(`,"orderId":"1","order_id":"2"`), bad, "data.order_id", "json", "duplicate field"},
		{"duplicate type", of(`,"@type":"/shop.v1.Item"`), bad, "data.@type", "json", "duplicate"},
		{"wrong shape", of(`,"items":{}`), bad, "data.items", "json", "unexpected token {"},
		{"time", of(`,"shippedAt":"today"`), bad, "data.shippedAt", "json", "invalid google.protobuf.Timestamp"},
		{"unknown inside", of(`,"detail":{"@type":"/no.Such"}`), bad, "data.detail.@type", "json", "no.Such"},
		{"UTF-8", of(`,"orderId":"` + "\xff" + `"`), bad, "data.orderId", "json", "invalid UTF-8"},
		{"surrogate", of(`,"orderId":"\ud800"`), bad, "data", "json", "unexpected EOF"},
		{"well-known without value", `{"@type":"/google.protobuf.Timestamp"}`, bad, "data", "json", `missing "value"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, data, err := encoder(t, shop()).EncodeJSON([]byte(test.text))
			refusal := refused(t, err, test.code)
			assert.Nil(t, data)
			assert.Equal(t, test.field, refusal.Violations[0].Field, refusal.Message)
			assert.Equal(t, test.rule, refusal.Violations[0].Rule)
			assert.Contains(t, refusal.Message, test.says)
			assert.NotContains(t, refusal.Message, "proto:")
			assert.NotContains(t, refusal.Message, "line ")
		})
	}
}
