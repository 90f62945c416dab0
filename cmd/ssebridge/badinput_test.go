package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// TestRefusedRequests: each request that cannot be served gets a problem document that names the parameter and the
// fix.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	witness := subscribe(t, b.publicURL, topics("witness"), "")
	manyTopics := make([]string, 65)
	for i := range manyTopics {
		manyTopics[i] = fmt.Sprint("t", i)
	}
	for _, test := range []struct {
		name, query, accept string
		status              int
		parameter, detail   string
	}{
		{"no topic", "", "", 400, "topic", "at least one topic"},
		{"empty topic", "topic=", "", 400, "topic", "is empty"},
		{"malformed topic", topics("a//b"), "", 400, "topic", "segment 2"},
		{"malformed pattern", topics("a/**/b"), "", 400, "topic", "last segment"},
		{"half wildcard", topics("a*"), "", 400, "topic", "'*'"},
		{"invalid UTF-8", "topic=%ff", "", 400, "topic", "has the character"},
		{"NUL", "topic=a%00", "", 400, "topic", "has the character"},
		{"65 topics", topics(manyTopics...), "", 400, "topic", "at most 64"},
		{"long topic", topics(strings.Repeat("a/", 400)), "", 400, "topic", "512"},
		{"one bad of two", topics("good", "bad!"), "", 400, "topic", "bad!"},
		{"garbage cursor", "topic=a&since=garbage", "", 400, "since", "duration such as 5m"},
		{"negative duration", "topic=a&since=-5m", "", 400, "since", "positive"},
		{"endless duration", "topic=a&since=900000h", "", 400, "since", "ten years"},
		{"since twice", "topic=a&since=1m&since=2m", "", 400, "since", "once"},
		{"bad type", "topic=a&type=shop.*.x", "", 400, "type", "shop.v1.*"},
		{"bad format", "topic=a&format=xml", "", 400, "format", "cloudevents or json"},
		{"unknown parameter", "topic=a&topics=b", "", 400, "topics", "unknown parameter"},
		{"bad escape", "topic=%zz", "", 400, "query", "percent-encode"},
		{"semicolon", "topic=a;b", "", 400, "query", "percent-encode"},
		{"not acceptable", "topic=a", "text/html", 406, "", "text/event-stream"},
		{"stream not wanted", "topic=a", "text/event-stream;q=0", 406, "", "text/event-stream"},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := get(t, b.publicURL+"/v1/events?"+test.query, func(r *http.Request) {
				if test.accept != "" {
					r.Header.Set("Accept", test.accept)
				}
			})
			defer response.Body.Close()
			assert.Equal(t, test.status, response.StatusCode)
			assert.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
			var problem struct {
				Type, Title, Detail, Parameter string
				Status                         int
			}
			require.NoError(t, json.NewDecoder(response.Body).Decode(&problem))
			assert.Equal(t, test.status, problem.Status)
			assert.Equal(t, test.parameter, problem.Parameter)
			assert.Contains(t, problem.Detail, test.detail)
			assert.Equal(t, http.StatusText(test.status), problem.Title)
		})
	}
	response, err := http.Post(b.publicURL+"/v1/events?topic=a", "text/plain", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	_ = response.Body.Close()
	cursor := publishNumbered(t, b.internalURL, "witness", 0, 1)[0]
	assert.Equal(t, cursor, witness.nextEvent(t).id, "nobody else is disturbed")
}

// TestRefusedEvents: each event that cannot be accepted gets a result that names the field and the fix; those around
// it are stored.
func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	good := func() *ssebridgev1.Event { return numbered(t, "a", 1) }
	big, err := structpb.NewStruct(map[string]any{"text": strings.Repeat("x", 256<<10)})
	require.NoError(t, err)
	change := func(change func(*ssebridgev1.Event)) *ssebridgev1.Event {
		event := good()
		change(event)
		return event
	}
	schema, shipped := orderShipped(t, "order_id")
	wrongBytes := shipped("42")
	wrongBytes.Value = []byte{0x0a, 0x7f, 'x'} // a string that is longer than what follows
	invalidUTF8 := shipped("42")
	invalidUTF8.Value = []byte{0x0a, 0x01, 0xff}
	tests := []struct {
		name                 string
		event                *ssebridgev1.Event
		code, field, message string
	}{
		{"no topic", change(func(e *ssebridgev1.Event) { e.Topic = "" }), "invalid_argument", "topic", "empty"},
		{"malformed topic", change(func(e *ssebridgev1.Event) { e.Topic = "a//b" }), "invalid_argument", "topic", "segment 2"},
		{"pattern", change(func(e *ssebridgev1.Event) { e.Topic = "a/*" }), "invalid_argument", "topic", "wildcards"},
		{"reserved topic", change(func(e *ssebridgev1.Event) { e.Topic = "$bridge" }), "permission_denied", "topic", "belong to the bridge"},
		{"no data", change(func(e *ssebridgev1.Event) { e.Data = nil }), "invalid_argument", "data", "missing"},
		{"empty data", change(func(e *ssebridgev1.Event) { e.Data = &anypb.Any{} }), "invalid_argument", "data", "type"},
		{"unknown type", change(func(e *ssebridgev1.Event) { e.Data = &anypb.Any{TypeUrl: "type.googleapis.com/x.Y"} }), "not_found", "data", "x.Y"},
		{"wrong bytes", change(func(e *ssebridgev1.Event) { e.Data = wrongBytes }), "invalid_argument", "data", "shop.v1.OrderShipped"},
		{"invalid UTF-8", change(func(e *ssebridgev1.Event) { e.Data = invalidUTF8 }), "invalid_argument", "data", "UTF-8"},
		{"too large", change(func(e *ssebridgev1.Event) { e.Data = packed(t, big) }), "resource_exhausted", "data", "at most 262144"},
		{"long id", change(func(e *ssebridgev1.Event) { e.Id = strings.Repeat("ü", 129) }), "invalid_argument", "id", "129 characters"},
		{"unprintable id", change(func(e *ssebridgev1.Event) { e.Id = "a\nb" }), "invalid_argument", "id", "printable"},
		{"bad time", change(func(e *ssebridgev1.Event) { e.Time = &timestamppb.Timestamp{Nanos: -1} }), "invalid_argument", "time", "years 1 and 9999"},
		{"bad traceparent", change(func(e *ssebridgev1.Event) { e.Traceparent = "00-0-0-0" }), "invalid_argument", "traceparent", "W3C"},
		{"zero traceparent", change(func(e *ssebridgev1.Event) {
			e.Traceparent = "00-00000000000000000000000000000000-00f067aa0ba902b7-01"
		}), "invalid_argument", "traceparent", "W3C"},
	}
	request := &ssebridgev1.PublishRequest{Schema: schema}
	for _, test := range tests {
		request.Events = append(request.Events, good(), test.event)
	}
	request.Events = append(request.Events, good())
	stream := publisher(b.internalURL).Publish(t.Context())
	require.NoError(t, stream.Send(request))
	require.NoError(t, stream.CloseRequest())
	var results []*ssebridgev1.PublishResult
	for {
		response, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		results = append(results, response.GetResults()...)
	}
	require.Len(t, results, len(request.GetEvents()))
	for i, test := range tests {
		assert.NotEmpty(t, results[2*i].GetCursor(), "the event before %q is stored", test.name)
		refused := results[2*i+1]
		assert.Empty(t, refused.GetCursor(), test.name)
		assert.Equal(t, test.code, refused.GetError().GetCode(), "%s: %v", test.name, refused.GetError())
		require.NotEmpty(t, refused.GetError().GetViolations(), test.name)
		assert.Equal(t, test.field, strings.SplitN(refused.GetError().GetViolations()[0].GetField(), ".", 2)[0], test.name)
		assert.Contains(t, refused.GetError().GetMessage(), test.message, test.name)
	}
	frames, err := collectEvents(subscribe(t, b.publicURL, topics("**")+"&since=earliest", ""), len(tests)+1)
	require.NoError(t, err)
	assert.Len(t, frames, len(tests)+1, "nothing that was refused is stored")
}

// TestBrokenMessageEndsTheStream with invalid_argument, after the results of what came before it.
func TestBrokenMessageEndsTheStream(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	client := connect.NewClient[string, lineMessage](newPublishClient(nil),
		b.internalURL+"/ssebridge.v1.PublishService/Publish", connect.WithCodec(rawCodec{}))
	for name, test := range map[string]struct {
		body string
		code connect.Code
	}{
		"not JSON":      {`{"events":[`, connect.CodeInvalidArgument},
		"unknown field": {`{"events":[{"topik":"a"}]}`, connect.CodeInvalidArgument},
		"bad schema":    {`{"schema":"AAAA","events":[{"topic":"a","data":{"@type":"type.googleapis.com/x.Y"}}]}`, connect.CodeInvalidArgument},
		"many events":   {`{"events":[` + strings.Repeat("{},", 65_536) + `{}]}`, connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			stream := client.CallBidiStream(t.Context())
			good := `{"events":[{"topic":"a","data":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{}}}]}`
			require.NoError(t, stream.Send(&good))
			require.NoError(t, stream.Send(&test.body))
			response, err := stream.Receive()
			require.NoError(t, err)
			assert.Len(t, response.Results, 1, "the result of what came before")
			_, err = stream.Receive()
			assert.Equal(t, test.code, connect.CodeOf(err), "%v", err)
		})
	}
}

// rawCodec sends text as it is.
type rawCodec struct{ lineCodec }

func (rawCodec) Marshal(message any) ([]byte, error) { return []byte(*message.(*string)), nil } //nolint:forcetypeassert // panics in a test

// TestLargeMessageIsRefused: a message of more than 4 MiB.
func TestLargeMessageIsRefused(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	request := &ssebridgev1.PublishBatchRequest{}
	big, err := structpb.NewStruct(map[string]any{"text": strings.Repeat("x", 200<<10)})
	require.NoError(t, err)
	for range 25 {
		request.Events = append(request.Events, &ssebridgev1.Event{Topic: "a", Data: packed(t, big)})
	}
	_, err = publisher(b.internalURL).PublishBatch(t.Context(), connect.NewRequest(request))
	assert.Equal(t, connect.CodeResourceExhausted, connect.CodeOf(err), "%v", err)
	request.Events = request.Events[:15]
	response, err := publisher(b.internalURL).PublishBatch(t.Context(), connect.NewRequest(request))
	require.NoError(t, err)
	assert.Len(t, response.Msg.GetResults(), 15)
}

// TestTooManyEventsAreRefused: a small message of events that would be large.
func TestTooManyEventsAreRefused(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	events := make([]*ssebridgev1.Event, 65_537)
	for i := range events {
		events[i] = &ssebridgev1.Event{}
	}
	for name, options := range map[string][]connect.ClientOption{"binary": nil, "JSON": {connect.WithProtoJSON()}} {
		_, err := publisher(b.internalURL, options...).PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: events}))
		assert.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(err), name)
		assert.ErrorContains(t, err, "more than 65536 in one message", name)
		stream := publisher(b.internalURL, options...).Publish(t.Context())
		require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, "a", 0)}}), name)
		require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: events}), name)
		response, err := stream.Receive()
		require.NoError(t, err, name)
		assert.Len(t, response.GetResults(), 1, "the result of what came before")
		_, err = stream.Receive()
		assert.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(err), name)
		response2, err := publisher(b.internalURL, options...).PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: events[1:]}))
		require.NoError(t, err, name)
		assert.Len(t, response2.Msg.GetResults(), 65_536)
	}
}

// TestHostileConnections: headers without end, handshakes that take for ever, and HTTP that is none.
func TestHostileConnections(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	witness := subscribe(t, b.publicURL, topics("witness"), "")
	for _, base := range []string{b.publicURL, b.internalURL} {
		response := func(send string) string {
			conn := dial(t, base)
			_, _ = io.WriteString(conn, send) // the bridge may close while this is being sent
			line, _ := bufio.NewReader(conn).ReadString('\n')
			return line
		}
		assert.Contains(t, response("GET /v1/events?topic=a HTTP/1.1\r\nHost: localhost\r\nX-Big: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"), "431")
		assert.Contains(t, response("GET /v1/events?topic=a HTTP/1.1\r\nHost: localhost\r\n"+strings.Repeat("X-Many: xxxxxxxxxx\r\n", 60_000)+"\r\n"), "431")
		assert.Contains(t, response("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n"), "400")
		slow := make([]net.Conn, 200)
		for i := range slow {
			slow[i] = dial(t, base)
			_, err := io.WriteString(slow[i], "GET /v1/events?topic=a HTTP/1.1\r\nHost:")
			require.NoError(t, err)
		}
		begun := time.Now()
		for _, conn := range slow {
			_, _ = io.Copy(io.Discard, conn) // until the bridge closes
		}
		assert.Less(t, time.Since(begun), 20*time.Second, "who does not finish a request is closed")
	}
	cursor := publishNumbered(t, b.internalURL, "witness", 0, 1)[0]
	assert.Equal(t, cursor, witness.nextEvent(t).id, "nobody else is disturbed")
}

func dial(t *testing.T, base string) net.Conn {
	t.Helper()
	u, err := url.Parse(base)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	return conn
}

// TestClosedWithoutDev: without open rules nobody may publish or read.
func TestClosedWithoutDev(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.dev = false
	b := startBridge(t, options)
	response := get(t, b.publicURL+"/v1/events?topic=a", func(*http.Request) {})
	assert.Equal(t, http.StatusForbidden, response.StatusCode)
	_ = response.Body.Close()
	answer, err := publisher(b.internalURL).PublishBatch(t.Context(),
		connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{numbered(t, "a", 1)}}))
	require.NoError(t, err)
	assert.Equal(t, "permission_denied", answer.Msg.GetResults()[0].GetError().GetCode())
	for _, path := range []string{"/", "/dev/drop"} {
		response := get(t, b.publicURL+path, func(*http.Request) {})
		assert.Equal(t, http.StatusNotFound, response.StatusCode)
		_ = response.Body.Close()
	}
}

// TestOpenRulesStayOnLoopback: --dev does not listen on the network.
func TestOpenRulesStayOnLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080": "127.0.0.1:8080", "localhost:1": "127.0.0.1:1", "127.0.0.2:1": "127.0.0.2:1", "[::1]:1": "[::1]:1",
	} {
		got, err := loopback(addr)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, addr := range []string{"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.com:1", "8080"} {
		_, err := loopback(addr)
		assert.ErrorContains(t, err, ": use ")
	}
}

// TestTimesAreKeptAsGiven, also where a year of 1 looks like no time at all.
func TestTimesAreKeptAsGiven(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	reader := subscribe(t, b.publicURL, topics("a"), "")
	for _, given := range []string{"0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"} {
		at, err := time.Parse(time.RFC3339Nano, given)
		require.NoError(t, err)
		event := numbered(t, "a", 1)
		event.Time = timestamppb.New(at)
		_, err = publisher(b.internalURL).PublishBatch(t.Context(),
			connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{event}}))
		require.NoError(t, err)
		assert.Contains(t, reader.nextEvent(t).data, `"time":"`+given+`"`)
	}
}

// TestReservedTypes: an event whose type a browser would take for an event of the bridge, or of EventSource itself, is
// refused, whoever sends the schema.
func TestReservedTypes(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	reserved := []string{"ssebridge.open", "ssebridge.Anything", "ssebridge.shop.v1.Order", "open", "message", "error"}
	free := []string{"ssebridgex.v1.Order", "Open", "errors", "open.v1.Order", "shop.ssebridge.Order", "shop.v1.error", "ssebridge"}
	set := &descriptorpb.FileDescriptorSet{}
	for _, name := range slices.Concat(reserved, free) {
		file := &descriptorpb.FileDescriptorProto{Name: proto.String(name + ".proto"), Syntax: proto.String("proto3")}
		message := name
		if dot := strings.LastIndexByte(name, '.'); dot > 0 {
			file.Package, message = proto.String(name[:dot]), name[dot+1:]
		}
		if name == "ssebridge" || name == "open" { // there are packages of that name: a set of its own
			continue
		}
		file.MessageType = []*descriptorpb.DescriptorProto{{Name: proto.String(message)}}
		set.File = append(set.File, file)
	}
	sets := []*descriptorpb.FileDescriptorSet{set, {File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("alone.proto"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("open")}, {Name: proto.String("ssebridge")}},
	}}}, {File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(durationpb.File_google_protobuf_duration_proto),
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
		protodesc.ToFileDescriptorProto(anypb.File_google_protobuf_any_proto),
		protodesc.ToFileDescriptorProto(ssebridgev1.File_ssebridge_v1_publish_proto),
	}}}
	reserved = append(reserved, "ssebridge.v1.Event", "ssebridge.v1.PublishRequest")
	results := map[string]*ssebridgev1.PublishError{}
	for _, set := range sets {
		schema, err := proto.Marshal(set)
		require.NoError(t, err)
		for _, options := range [][]connect.ClientOption{nil, {connect.WithCodec(anyJSON{})}} {
			batch := &ssebridgev1.PublishBatchRequest{Schema: schema}
			names := slices.Concat(reserved, free)
			for _, name := range names {
				batch.Events = append(batch.Events, &ssebridgev1.Event{Topic: "a", Data: &anypb.Any{TypeUrl: "type.googleapis.com/" + name}})
			}
			response, err := publisher(b.internalURL, options...).PublishBatch(t.Context(), connect.NewRequest(batch))
			require.NoError(t, err)
			for i, result := range response.Msg.GetResults() {
				if code := result.GetError().GetCode(); code != "not_found" {
					results[names[i]+map[bool]string{true: " in JSON"}[options != nil]] = result.GetError()
				}
			}
		}
	}
	for _, format := range []string{"", " in JSON"} {
		for _, name := range reserved {
			refused := results[name+format]
			require.NotNil(t, refused, name+format)
			require.Len(t, refused.GetViolations(), 1)
			assert.Equal(t, "data", refused.GetViolations()[0].GetField())
			assert.Equal(t, "type.reserved", refused.GetViolations()[0].GetRule())
			assert.Contains(t, refused.GetMessage(), "package", "how to mend it")
		}
		for _, name := range free {
			refused, known := results[name+format]
			assert.True(t, known, name+format)
			assert.Nil(t, refused, name+format)
		}
	}
}

// anyJSON is a codec that writes empty events as JSON without knowing their types.
type anyJSON struct{}

func (anyJSON) Name() string { return "json" }

func (anyJSON) Marshal(message any) ([]byte, error) {
	batch := message.(*ssebridgev1.PublishBatchRequest) //nolint:forcetypeassert // panics in a test
	var events []map[string]any
	for _, event := range batch.GetEvents() {
		events = append(events, map[string]any{"topic": event.GetTopic(), "data": map[string]any{"@type": event.GetData().GetTypeUrl()}})
	}
	return json.Marshal(map[string]any{"events": events, "schema": batch.GetSchema()})
}

func (anyJSON) Unmarshal(text []byte, message any) error {
	return protojson.Unmarshal(text, message.(proto.Message)) //nolint:forcetypeassert // likewise
}
