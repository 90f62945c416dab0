package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// orderShipped describes shop.v1.OrderShipped with one string field of the given name, as a version of a service
// would have it.
func orderShipped(t testing.TB, field string) (schema []byte, message func(value string) *anypb.Any) {
	t.Helper()
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("shop/v1/order.proto"), Package: proto.String("shop.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("OrderShipped"),
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String(field), Number: proto.Int32(1),
				Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}},
		}},
	}
	schema, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	require.NoError(t, err)
	descriptor, err := protodesc.NewFile(file, nil)
	require.NoError(t, err)
	kind := descriptor.Messages().Get(0)
	return schema, func(value string) *anypb.Any {
		m := dynamicpb.NewMessage(kind)
		m.Set(kind.Fields().Get(0), protoreflect.ValueOfString(value))
		return packed(t, m)
	}
}

// TestEveryProtocol publishes over the stream and the unary call with Connect, gRPC and gRPC-Web, each in binary and
// JSON.
func TestEveryProtocol(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	reader := subscribe(t, b.publicURL, topics("a")+"&format=json", "")
	n := 0
	for protocol, options := range map[string][]connect.ClientOption{
		"connect": nil, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()},
	} {
		t.Run(protocol, func(t *testing.T) {
			client := publisher(b.internalURL, options...)
			stream := client.Publish(t.Context())
			for range 3 {
				require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, "a", n)}}))
				response, err := stream.Receive()
				require.NoError(t, err)
				f := reader.nextEvent(t)
				assert.Equal(t, response.GetResults()[0].GetCursor(), f.id)
				assert.Equal(t, data(n), f.data)
				n++
			}
			require.NoError(t, stream.CloseRequest())
			_, err := stream.Receive()
			require.ErrorIs(t, err, io.EOF)

			http1 := ssebridgev1connect.NewPublishServiceClient(http.DefaultClient, b.internalURL, options...)
			for name, unary := range map[string]ssebridgev1connect.PublishServiceClient{"HTTP/1.1": http1, "HTTP/2": client} {
				if protocol == "grpc" && name == "HTTP/1.1" {
					continue // gRPC is defined over HTTP/2 only
				}
				response, err := unary.PublishBatch(t.Context(), connect.NewRequest(
					&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{numbered(t, "a", n)}}))
				require.NoError(t, err, name)
				assert.Equal(t, response.Msg.GetResults()[0].GetCursor(), reader.nextEvent(t).id)
				n++
			}
		})
	}
}

// TestTwoVersionsOfAType publish side by side, each stream with its own schema.
func TestTwoVersionsOfAType(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	reader := subscribe(t, b.publicURL, topics("shop")+"&format=json&type=shop.v1.*", "")
	oldSchema, oldMessage := orderShipped(t, "order")
	newSchema, newMessage := orderShipped(t, "order_id")
	older, newer := publisher(b.internalURL).Publish(t.Context()), publisher(b.internalURL).Publish(t.Context())
	for i := range 3 {
		for _, side := range []struct {
			stream *connect.BidiStreamForClient[ssebridgev1.PublishRequest, ssebridgev1.PublishResponse]
			schema []byte
			data   *anypb.Any
			want   string
		}{
			{older, oldSchema, oldMessage("7"), `{"order":"7"}`},
			{newer, newSchema, newMessage("7"), `{"orderId":"7"}`},
		} {
			request := &ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{{Topic: "shop", Data: side.data}}}
			if i == 0 {
				request.Schema = side.schema // counts for the rest of the stream
			}
			require.NoError(t, side.stream.Send(request))
			response, err := side.stream.Receive()
			require.NoError(t, err)
			require.Nil(t, response.GetResults()[0].GetError())
			f := reader.nextEvent(t)
			assert.Equal(t, "shop.v1.OrderShipped", f.event)
			assert.Equal(t, side.want, f.data)
		}
	}
	third := publisher(b.internalURL).Publish(t.Context())
	require.NoError(t, third.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{{Topic: "shop", Data: newMessage("7")}}}))
	response, err := third.Receive()
	require.NoError(t, err)
	assert.Equal(t, "not_found", response.GetResults()[0].GetError().GetCode(), "a schema counts for its own stream only")
}

// TestJSONCodecUsesTheSchemaOfTheStream: Any in JSON is resolved with the types of the stream, and an unknown type
// refuses its event alone.
func TestJSONCodecUsesTheSchemaOfTheStream(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	schema, _ := orderShipped(t, "order_id")
	schemaJSON, err := json.Marshal(schema)
	require.NoError(t, err)
	body := fmt.Sprintf(`{"events":[
		{"topic":"a","data":{"@type":"type.googleapis.com/shop.v1.OrderShipped","orderId":"1"}},
		{"topic":"a","data":{"@type":"type.googleapis.com/shop.v1.Unknown","orderId":"2"}},
		{"topic":"a","data":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"x":1}}}],"schema":%s}`, schemaJSON)
	response, err := http.Post(b.internalURL+"/ssebridge.v1.PublishService/PublishBatch", "application/json", bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	defer response.Body.Close()
	var answer struct {
		Results []struct {
			Cursor string
			Error  struct{ Code, Message string }
		}
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.Len(t, answer.Results, 3)
	assert.NotEmpty(t, answer.Results[0].Cursor)
	assert.Equal(t, "not_found", answer.Results[1].Error.Code)
	assert.Contains(t, answer.Results[1].Error.Message, "shop.v1.Unknown")
	assert.NotEmpty(t, answer.Results[2].Cursor)
}
