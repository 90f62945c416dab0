package publish_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/publish"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateLog is a log that stores nothing until its gate is opened, and fails from a given event on. A real log cannot
// be made as slow or as broken as these tests ask for.
type gateLog struct {
	bridge.Log

	gate     chan struct{}
	appended atomic.Int64
	failFrom int64 // 0: never
}

func (l *gateLog) Append(_ context.Context, event *bridge.Event, _ string) (bridge.Pending, error) {
	return &gatePending{log: l, number: l.appended.Add(1), event: event}, nil
}

type gatePending struct {
	log    *gateLog
	number int64
	event  *bridge.Event
}

func (p *gatePending) Ready() bool {
	select {
	case <-p.log.gate:
		return true
	default:
		return false
	}
}

func (p *gatePending) Wait() (bridge.Receipt, error) {
	<-p.log.gate
	if p.log.failFrom > 0 && p.number >= p.log.failFrom {
		return bridge.Receipt{}, fmt.Errorf("append: %w", bridge.ErrLogUnavailable)
	}
	return bridge.Receipt{Cursor: bridge.Cursor{Seq: uint64(p.number), Time: 1}}, nil
}

// plainEncoders takes the bytes of an event as its JSON.
type plainEncoders struct{}

func (plainEncoders) TypeName(typeURL string, json []byte) (string, error) {
	if json != nil {
		return "json", nil
	}
	return typeURL, nil
}

func (plainEncoders) Encoder([]byte) (bridge.Encoder, error) { return plainEncoders{}, nil }

func (plainEncoders) Encode(_ string, value []byte) ([]byte, error) { return value, nil }

func (plainEncoders) EncodeJSON(_ string, json []byte) ([]byte, error) { return json, nil }

// serve runs a service and returns clients of it.
func serve(t *testing.T, config publish.Config) (*publish.Service, ssebridgev1connect.PublishServiceClient, *grpchealth.Client) {
	t.Helper()
	config.Encoders = plainEncoders{}
	service := publish.New(config)
	mux := http.NewServeMux()
	service.Mount(mux, publish.Wire{Descriptors: protoregistry.GlobalFiles, Extensions: protoregistry.GlobalTypes})
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return service, ssebridgev1connect.NewPublishServiceClient(server.Client(), server.URL),
		grpchealth.NewClient(server.Client(), server.URL, connect.WithGRPC())
}

// open lets everybody publish everything.
func open(context.Context) publish.Caller {
	return publish.Caller{Authorize: func(_, _ string) (string, error) { return "", nil }}
}

func event(size int) *ssebridgev1.Event {
	return &ssebridgev1.Event{Topic: "a", Data: &anypb.Any{TypeUrl: "t.T", Value: []byte(strings.Repeat("x", size))}}
}

// TestSlowLogSlowsThePublisher: what is in flight is bounded, flow control stops the publisher, and then everything
// arrives in order.
func TestSlowLogSlowsThePublisher(t *testing.T) {
	const total, inFlight, size = 400, 16, 64 << 10
	log := &gateLog{gate: make(chan struct{})}
	_, client, _ := serve(t, publish.Config{Log: log, Caller: open, InFlight: inFlight})
	stream := client.Publish(t.Context())
	var sent atomic.Int64
	var group sync.WaitGroup
	group.Go(func() {
		for range total {
			assert.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{event(size)}}))
			sent.Add(1)
		}
		assert.NoError(t, stream.CloseRequest())
	})
	stalled := func() bool {
		before := sent.Load()
		time.Sleep(200 * time.Millisecond) // real sockets: nothing tells that flow control holds
		return log.appended.Load() > 0 && sent.Load() == before
	}
	require.Eventually(t, stalled, 20*time.Second, time.Millisecond)
	assert.LessOrEqual(t, log.appended.Load(), int64(inFlight+2))
	assert.Less(t, sent.Load(), int64(total/2), "the publisher is held up")
	close(log.gate)
	for n := uint64(1); n <= total; {
		response, err := stream.Receive()
		require.NoError(t, err)
		for _, result := range response.GetResults() {
			assert.Equal(t, bridge.Cursor{Seq: n, Time: 1}.String(), result.GetCursor())
			n++
		}
	}
	group.Wait()
}

// TestResultsAreGathered: what is acknowledged together comes in few responses.
func TestResultsAreGathered(t *testing.T) {
	log := &gateLog{gate: make(chan struct{})}
	_, client, _ := serve(t, publish.Config{Log: log, Caller: open})
	stream := client.Publish(t.Context())
	for range 500 {
		require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{event(1)}}))
	}
	require.Eventually(t, func() bool { return log.appended.Load() == 500 }, 10*time.Second, time.Millisecond)
	close(log.gate)
	responses, results := 0, 0
	for results < 500 {
		response, err := stream.Receive()
		require.NoError(t, err)
		responses++
		results += len(response.GetResults())
		assert.LessOrEqual(t, len(response.GetResults()), 256)
	}
	assert.LessOrEqual(t, responses, 4)
	require.NoError(t, stream.CloseRequest())
	require.NoError(t, stream.CloseResponse())
}

// TestFailedLogEndsTheStream with unavailable, after the results of all earlier events.
func TestFailedLogEndsTheStream(t *testing.T) {
	log := &gateLog{gate: make(chan struct{}), failFrom: 8}
	_, client, _ := serve(t, publish.Config{Log: log, Caller: open})
	stream := client.Publish(t.Context())
	request := &ssebridgev1.PublishRequest{}
	for range 20 {
		request.Events = append(request.Events, event(1))
	}
	require.NoError(t, stream.Send(request)) // and the request stays open
	close(log.gate)
	results := 0
	for {
		response, err := stream.Receive()
		if err != nil {
			assert.Equal(t, connect.CodeUnavailable, connect.CodeOf(err), "%v", err)
			assert.ErrorContains(t, err, "send again every event that has no result")
			break
		}
		results += len(response.GetResults())
	}
	assert.Equal(t, 7, results)
	require.NoError(t, stream.CloseRequest())

	_, err := client.PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: request.GetEvents()}))
	assert.Equal(t, connect.CodeUnavailable, connect.CodeOf(err))
}

// TestLast: at its maximum age, and when the service drains, a stream ends with last after the results of all events
// that it took.
func TestLast(t *testing.T) {
	for name, config := range map[string]publish.Config{"age": {MaxAge: 100 * time.Millisecond}, "drain": {}} {
		t.Run(name, func(t *testing.T) {
			log := &gateLog{gate: make(chan struct{})}
			close(log.gate)
			config.Log, config.Caller = log, open
			service, client, health := serve(t, config)
			stream := client.Publish(t.Context())
			require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{event(1)}}))
			response, err := stream.Receive()
			require.NoError(t, err)
			assert.Len(t, response.GetResults(), 1)
			status := func() grpchealth.Status {
				answer, err := health.Check(t.Context(), &grpchealth.CheckRequest{Service: ssebridgev1connect.PublishServiceName})
				require.NoError(t, err)
				return answer.Status
			}
			assert.Equal(t, grpchealth.StatusServing, status())
			if name == "drain" {
				service.Drain()
				assert.Equal(t, grpchealth.StatusNotServing, status())
			}
			response, err = stream.Receive()
			require.NoError(t, err)
			assert.True(t, response.GetLast())
			assert.Empty(t, response.GetResults())
			_, err = stream.Receive()
			require.Error(t, err)
			require.NoError(t, stream.CloseRequest())
		})
	}
}

func TestClosedByDefault(t *testing.T) {
	log := &gateLog{}
	_, client, _ := serve(t, publish.Config{Log: log})
	response, err := client.PublishBatch(t.Context(), connect.NewRequest(
		&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{event(1)}}))
	require.NoError(t, err)
	assert.Equal(t, "permission_denied", response.Msg.GetResults()[0].GetError().GetCode())
	assert.Zero(t, log.appended.Load())
}
