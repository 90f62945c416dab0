package schema_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/schema"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// kinds are the types that fuzzing encodes: ruled, nested, proto2 and well-known ones.
var kinds = []string{
	"shop.v1.OrderShipped", "shop.v1.Around", "shop.v1.Failing", "old.Old", "google.protobuf.Any",
	"google.protobuf.Struct", "google.protobuf.FieldMask", "google.protobuf.FileDescriptorProto", "no.Such", "",
}

func fuzzEncoder(f testing.TB) encoderOfAny {
	old := file("old.proto", "old", []string{"google/protobuf/wrappers.proto"}, message("Old",
		field("required string", "name"), field("repeated .old.Old", "next"), field("bytes", "bytes"), field("repeated double", "numbers"),
		field(".google.protobuf.Int64Value", "wrapped"), field("repeated float", "floats")))
	old.Syntax = proto.String("proto2")
	registry := openLogging(f, panicking{slog.DiscardHandler})
	return must(registry.Encoder(set(shop(), old)))
}

// panicking finds out when the encoder had to recover.
type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool { return true }

func (panicking) Handle(_ context.Context, record slog.Record) error { panic(record.Message) }

// checkOutput asserts what readers and publishers rely on for any input.
func checkOutput(t *testing.T, name string, data []byte, err error) {
	t.Helper()
	if err != nil {
		var refusal *bridge.Refusal
		require.ErrorAs(t, err, &refusal)
		require.NotEmpty(t, refusal.Code)
		require.NotEmpty(t, refusal.Violations)
		require.True(t, utf8.ValidString(refusal.Message))
		require.Less(t, len(refusal.Message), 8<<10)
		require.Nil(t, data)
		return
	}
	require.NotEmpty(t, name)
	require.True(t, json.Valid(data))
	require.False(t, bytes.ContainsAny(data, "\r\n\x00"))
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, data))
	require.Equal(t, compact.String(), string(data))
}

func FuzzEncode(f *testing.F) {
	for kind := range kinds {
		f.Add(uint8(kind), []byte(nil))
		f.Add(uint8(kind), []byte("\x0a\x01x\x10\x02"))
	}
	f.Add(uint8(0), wire(f, `{"orderId":"1","items":[{"name":"a"}],"detail":{"@type":"/google.protobuf.Empty","value":{}},
		"extra":{"a":[1,null,true,"x"]},"shippedAt":"2026-01-01T00:00:00Z"}`, kinds[0], shop()))
	f.Add(uint8(1), wire(f, `{"all":[{"name":"abc","tags":["ab"],"high":1}]}`, kinds[1], shop()))
	e := fuzzEncoder(f)
	f.Fuzz(func(t *testing.T, kind uint8, value []byte) {
		name, data, err := e.Encode("/"+kinds[int(kind)%len(kinds)], value)
		checkOutput(t, name, data, err)
		_, again, _ := e.Encode("/"+kinds[int(kind)%len(kinds)], value)
		require.Equal(t, string(data), string(again), "stable")
	})
}

func FuzzEncodeJSON(f *testing.F) {
	for _, kind := range kinds {
		f.Add([]byte(`{"@type":"/` + kind + `"}`))
		f.Add([]byte(`{"@type":"/` + kind + `","value":{}}`))
	}
	f.Add([]byte(`{"@type":"/shop.v1.OrderShipped","orderId":"1","items":[{"name":"a"}],"extra":{"a":[1,null,true,"x"]},
		"detail":{"@type":"/google.protobuf.Empty","value":{}},"shippedAt":"2026-01-01T00:00:00Z"}`))
	e := fuzzEncoder(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		name, data, err := e.EncodeJSON(text)
		checkOutput(t, name, data, err)
		if err != nil || name != kinds[0] || len(data) == len("{}") {
			return
		}
		// What was written is read as the same.
		_, again, err := e.EncodeJSON(append([]byte(`{"@type":"/`+name+`",`), data[1:]...))
		require.NoError(t, err)
		require.Equal(t, string(data), string(again))
	})
}

func FuzzSchema(f *testing.F) {
	f.Add(set(shop()))
	f.Add(set(shop(), protodesc.ToFileDescriptorProto(ssebridgev1.File_ssebridge_v1_publish_proto)))
	f.Add(must(os.ReadFile("testdata/shop.binpb")))
	old := file("old.proto", "old", nil, message("Old", field("required string", "name")))
	old.Syntax = proto.String("proto2")
	old.MessageType[0].ExtensionRange = append(old.MessageType[0].ExtensionRange, extensionRange(100, 200))
	f.Add(set(old))
	f.Fuzz(func(t *testing.T, data []byte) {
		registry := openLogging(t, panicking{slog.DiscardHandler})
		e, err := registry.Encoder(data)
		if err != nil {
			checkOutput(t, "", nil, err)
			require.NotContains(t, err.Error(), "cannot take", "the protobuf runtime has panicked")
			return
		}
		var decoded descriptorpb.FileDescriptorSet
		if proto.Unmarshal(data, &decoded) != nil {
			return
		}
		for _, file := range decoded.GetFile() {
			for _, m := range file.GetMessageType() {
				url := "/" + file.GetPackage() + "." + m.GetName()
				for _, value := range []string{"", "\x0a\x00", "\x08\x01", "\x0a\x01x\x12\x02\x0a\x00\x18\x01\x22\x00"} {
					name, data, err := e.Encode(url, []byte(value))
					checkOutput(t, name, data, err)
				}
			}
		}
	})
}

func FuzzCodec(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"events":[]}`, `{"schema":"AAAA"}`,
		`{"events":[{"topic":"a","data":{"@type":"/google.protobuf.Empty","value":{}}}]}`,
		`{"events":[{"data":{}},{"data":null},{"id":"\"","time":"2026-01-01T00:00:00Z"}]}`, `{"events":[{"data":7}]} `,
		`{"events":[{"data":{"@type":"/ssebridge.v1.Event","topic":"x"},"topic":"\u00e4"}]}`,
	} {
		f.Add([]byte(text))
	}
	codec := schema.NewJSONCodec("json")
	f.Fuzz(func(t *testing.T, text []byte) {
		var request, want ssebridgev1.PublishRequest
		err := codec.Unmarshal(text, &request)
		if plain := protojson.Unmarshal(text, &want); plain != nil {
			return // all else that the codec admits is data of whatever kind
		}
		require.NoError(t, err, "protojson reads it")
		for _, event := range request.GetEvents() {
			data, ok := schema.TakeJSONData(event)
			if !ok {
				continue
			}
			event.Data = &anypb.Any{}
			require.NoError(t, protojson.Unmarshal(data, event.GetData()))
		}
		assert.True(t, proto.Equal(&want, &request), "%v %v", &want, &request)
	})
}
