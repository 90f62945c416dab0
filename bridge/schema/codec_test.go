package schema_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ssebridge/ssebridge/bridge/schema"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

func TestCodecRequest(t *testing.T) {
	const text = ` {"schema": "-_8", "events": [
		{"topic": "a/b", "data": {"@type": "/no.Such", "x": [1, "}"]} , "id": "1", "time": "2026-01-02T03:04:05Z"},
		{"d\u0061ta":null,"topic":"c","traceparent":"00-1"},
		{"data":7}, {"data": "x\"", "topic": null}, {} ]} `
	check := func(t *testing.T, request interface {
		proto.Message
		GetEvents() []*ssebridgev1.Event
		GetSchema() []byte
	}) {
		t.Helper()
		require.NoError(t, schema.NewJSONCodec("json").Unmarshal([]byte(text), request))
		assert.Equal(t, []byte{0xfb, 0xff}, request.GetSchema())
		events := request.GetEvents()
		require.Len(t, events, 5)
		for i, want := range []string{`{"@type": "/no.Such", "x": [1, "}"]}`, "", "7", `"x\""`, ""} {
			data, ok := schema.TakeJSONData(events[i])
			assert.Equal(t, want, string(data))
			assert.Equal(t, want != "", ok)
			_, ok = schema.TakeJSONData(events[i])
			assert.False(t, ok, "taken once")
			assert.Nil(t, events[i].GetData())
		}
		assert.True(t, proto.Equal(events[0], &ssebridgev1.Event{
			Topic: "a/b", Id: "1", Time: &timestamppb.Timestamp{Seconds: 1767323045},
		}))
		assert.True(t, proto.Equal(events[1], &ssebridgev1.Event{Topic: "c", Traceparent: "00-1"}))
	}
	check(t, &ssebridgev1.PublishRequest{})
	check(t, &ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{{Topic: "of before"}}})
}

func TestCodecSpellings(t *testing.T) {
	schemaBytes := []byte{0xfb, 0xff, 0xfe, 0x00}
	for _, encoded := range []string{
		base64.StdEncoding.EncodeToString(schemaBytes), base64.RawStdEncoding.EncodeToString(schemaBytes),
		base64.URLEncoding.EncodeToString(schemaBytes), base64.RawURLEncoding.EncodeToString(schemaBytes),
	} {
		var request ssebridgev1.PublishRequest
		require.NoError(t, schema.NewJSONCodec("json").Unmarshal([]byte(`{"schema":"`+encoded+`"}`), &request))
		assert.Equal(t, schemaBytes, request.GetSchema())
	}
	for _, text := range []string{`{}`, `{"events":null,"schema":null}`, `{"events":[]}`} {
		var request ssebridgev1.PublishRequest
		require.NoError(t, schema.NewJSONCodec("json").Unmarshal([]byte(text), &request))
		assert.True(t, proto.Equal(&ssebridgev1.PublishRequest{}, &request))
	}
	var result ssebridgev1.PublishError // both lowerCamelCase and the original names, in all messages
	require.NoError(t, schema.NewJSONCodec("json").Unmarshal([]byte(`{"retry_after":"1s"}`), &result))
	require.NoError(t, schema.NewJSONCodec("json").Unmarshal([]byte(`{"retryAfter":"1s","of_tomorrow":1}`), &result))
	assert.EqualValues(t, 1, result.GetRetryAfter().GetSeconds())
}

func TestCodecErrors(t *testing.T) {
	for _, test := range []struct{ text, says string }{
		{``, "no bytes"},
		{`[]`, "the request: "},
		{`null`, "the request: "},
		{`{`, "the request: is not JSON: it ends too early"},
		{`{"events":[{},{"data":{"x":]}}]}`, "events[1].data: is not JSON: invalid character"},
		{`{"events":[{"topic":"a"} {}]}`, "events[1]: is not JSON"},
		{`{} x`, "the request: "},
		{`{}{}`, "the request: "},
		{"{\"events\":[{\"topic\":\"\xff\"}]}", "not valid UTF-8"},
		{"{\"events\":[{\"data\":\"\xff\"}]}", "not valid UTF-8"},
		{`{"event":[]}`, `event: unknown field "event"`},
		{`{"events":[{},{},{"topic":"a"},{"data":{"@type":"x"},"topik":"a"}]}`, `events[3].topik: unknown field "topik"`},
		{`{"events":[{"data":{},"data":{}}]}`, `events[0].data: duplicate field "data"`},
		{`{"events":[{"data":null,"data":{}}]}`, `events[0].data: duplicate field`},
		{`{"events":[],"events":[{"data":1}]}`, `events: duplicate field "events"`},
		{`{"schema":"","schema":""}`, `schema: duplicate field`},
		{`{"schema":"*"}`, `schema: invalid value for bytes field schema: "*"`},
		{`{"events":{}}`, "events: "},
		{`{"events":[null]}`, "events[0]: "},
		{`{"events":[[]]}`, "events[0]: "},
		{`{"events":[{"topic":5}]}`, `events[0].topic: invalid value for string field topic: 5`},
		{`{"events":[{"time":"now"}]}`, `events[0].time: invalid google.protobuf.Timestamp value "now"`},
		{`{"events":[{"topic":"\ud800"}]}`, "unexpected EOF"},
		{`{"events":[` + strings.Repeat(`[`, 20000), "events[0]: is not JSON"},
		{`{"events":[{"data":` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `}]}`, "exceeded max depth"},
	} {
		err := schema.NewJSONCodec("json").Unmarshal([]byte(test.text), &ssebridgev1.PublishRequest{})
		require.Error(t, err, test.text)
		assert.Contains(t, err.Error(), test.says)
		assert.NotContains(t, err.Error(), "proto:")
		assert.NotContains(t, err.Error(), "\u00a0")
		assert.Less(t, len(err.Error()), 1200)
	}
}

func TestCodecMarshal(t *testing.T) {
	codec := schema.NewJSONCodec("json; charset=utf-8")
	assert.Equal(t, "json; charset=utf-8", codec.Name())
	assert.False(t, codec.IsBinary())
	response := &ssebridgev1.PublishResponse{
		Last: true, Results: []*ssebridgev1.PublishResult{{Cursor: "1-a"}, {Duplicate: true}},
	}
	const want = `{"results":[{"cursor":"1-a"},{"duplicate":true}],"last":true}`
	for _, marshal := range []func(any) ([]byte, error){
		codec.Marshal, codec.MarshalStable,
		func(m any) ([]byte, error) {
			data, err := codec.MarshalAppend([]byte("before"), m)
			return []byte(strings.TrimPrefix(string(data), "before")), err
		},
	} {
		data, err := marshal(response)
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
		_, err = marshal("text")
		require.ErrorContains(t, err, "string is no proto.Message")
		_, err = marshal(&anypb.Any{TypeUrl: "/no.Such"})
		require.ErrorContains(t, err, "no.Such")
	}
	var back ssebridgev1.PublishResponse
	require.NoError(t, codec.Unmarshal([]byte(want), &back))
	assert.True(t, proto.Equal(response, &back))
	require.ErrorContains(t, codec.Unmarshal([]byte(want), "text"), "string is no proto.Message")
	require.ErrorContains(t, codec.Unmarshal([]byte("{"), &back), "unmarshal into *ssebridgev1.PublishResponse: ")
}

func TestTakeJSONDataOfBinaryClient(t *testing.T) {
	assert.Nil(t, (&ssebridgev1.Event{}).ProtoReflect().Descriptor().Fields().ByNumber(15), "the number is taken")

	value := protowire.AppendVarint(protowire.AppendTag(nil, 14, protowire.VarintType), 1)
	value = protowire.AppendVarint(protowire.AppendTag(value, 15, protowire.VarintType), 1)
	var event ssebridgev1.Event
	require.NoError(t, proto.Unmarshal(value, &event))
	_, ok := schema.TakeJSONData(&event)
	assert.False(t, ok)

	value = protowire.AppendString(protowire.AppendTag(value, 15, protowire.BytesType), `{"@type":"/x.Y"}`)
	require.NoError(t, proto.Unmarshal(value, &event))
	data, ok := schema.TakeJSONData(&event)
	assert.True(t, ok)
	assert.Equal(t, `{"@type":"/x.Y"}`, string(data))
	_, ok = schema.TakeJSONData(&event)
	assert.False(t, ok)
}
