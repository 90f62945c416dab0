package publish_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/jetstream"
	"github.com/ssebridge/ssebridge/bridge/publish"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// openLog opens a real log.
func openLog(t *testing.T) *jetstream.Log {
	t.Helper()
	embedded, err := jetstream.StartEmbedded(jetstream.EmbeddedConfig{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, embedded.Close()) })
	log, err := jetstream.Open(t.Context(), jetstream.Config{Connect: embedded.Connect, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

// contents returns the data of all that a log keeps, in order.
func contents(t *testing.T, log bridge.Log) (all []string) {
	t.Helper()
	bounds, err := log.Bounds(t.Context())
	require.NoError(t, err)
	for after := uint64(0); after < bounds.Newest.Seq; {
		page, err := log.Read(t.Context(), after, bounds.Newest.Seq)
		require.NoError(t, err)
		for _, event := range page.Events {
			all = append(all, string(event.Data))
		}
		after = page.Through
	}
	return all
}

// failingLog is a real log that loses one event, and lets nothing behind that in before its caller can know.
type failingLog struct {
	bridge.Log

	failAt   int64
	appended atomic.Int64
}

func (l *failingLog) Append(ctx context.Context, event *bridge.Event, key string) (bridge.Pending, error) {
	n := l.appended.Add(1)
	if n == l.failAt {
		return lostPending{}, nil
	}
	if l.failAt > 0 && n > l.failAt {
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return l.Log.Append(ctx, event, key)
}

type lostPending struct{}

func (lostPending) Ready() bool { return true }

func (lostPending) Wait() (bridge.Receipt, error) {
	return bridge.Receipt{}, fmt.Errorf("append: %w", bridge.ErrLogUnavailable)
}

func numberedEvents(from, to int) (events []*ssebridgev1.Event, data []string) {
	for n := from; n <= to; n++ {
		text := strconv.Itoa(n)
		events = append(events, &ssebridgev1.Event{Topic: "a", Id: text, Data: &anypb.Any{TypeUrl: "t.T", Value: []byte(text)}})
		data = append(data, text)
	}
	return events, data
}

// results receives until the stream ends.
func results(stream *connect.BidiStreamForClient[ssebridgev1.PublishRequest, ssebridgev1.PublishResponse]) (count int, err error) {
	for {
		response, err := stream.Receive()
		if err != nil {
			return count, err
		}
		count += len(response.GetResults())
	}
}

// TestNothingIsStoredBehindALostEvent: once it is known that an event was not stored, none that follows it is, so that
// the publisher who sends it again keeps the order.
func TestNothingIsStoredBehindALostEvent(t *testing.T) {
	events, data := numberedEvents(1, 20)
	for _, call := range []string{"stream", "batch"} {
		t.Run(call, func(t *testing.T) {
			log := &failingLog{Log: openLog(t), failAt: 8}
			_, client, _ := serve(t, publish.Config{Log: log, Caller: open})
			if call == "stream" {
				stream := client.Publish(t.Context())
				require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: events}))
				count, err := results(stream)
				assert.Equal(t, connect.CodeUnavailable, connect.CodeOf(err))
				assert.Equal(t, 7, count)
				require.NoError(t, stream.CloseRequest())
			} else {
				_, err := client.PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: events}))
				assert.Equal(t, connect.CodeUnavailable, connect.CodeOf(err))
			}
			assert.Equal(t, data[:7], contents(t, log))

			log.failAt = 0
			stream := client.Publish(t.Context())
			require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: events[7:]}))
			require.NoError(t, stream.CloseRequest())
			count, err := results(stream)
			require.ErrorIs(t, err, io.EOF)
			assert.Equal(t, 13, count)
			assert.Equal(t, data, contents(t, log), "in order")
		})
	}
}

// brokenEncoders have a bug that one event finds.
type brokenEncoders struct{ plainEncoders }

func (brokenEncoders) Encoder([]byte) (bridge.Encoder, error) { return brokenEncoders{}, nil }

func (brokenEncoders) Encode(_ string, value []byte) ([]byte, error) {
	if string(value) == "8" {
		panic("a bug")
	}
	return value, nil
}

// slowPending delays the results of a real log, so that they are in flight when the bug is found.
type slowPending struct {
	bridge.Pending

	ready <-chan struct{}
}

func (p slowPending) Ready() bool { return false }

func (p slowPending) Wait() (bridge.Receipt, error) {
	<-p.ready
	return p.Pending.Wait()
}

type delayedLog struct {
	bridge.Log

	ready chan struct{}
}

func (l delayedLog) Append(ctx context.Context, event *bridge.Event, key string) (bridge.Pending, error) {
	pending, err := l.Log.Append(ctx, event, key)
	return slowPending{pending, l.ready}, err
}

// TestBugEndsItsCallOnly, after the results of what is in flight; nothing hangs and no goroutine stays behind.
func TestBugEndsItsCallOnly(t *testing.T) {
	events, data := numberedEvents(1, 20)
	log := delayedLog{Log: openLog(t), ready: make(chan struct{})}
	service := publish.New(publish.Config{Log: log, Caller: open, Encoders: brokenEncoders{}, InFlight: 16})
	mux := http.NewServeMux()
	service.Mount(mux, publish.Wire{Descriptors: protoregistry.GlobalFiles, Extensions: protoregistry.GlobalTypes})
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := ssebridgev1connect.NewPublishServiceClient(server.Client(), server.URL)
	witness := client.Publish(t.Context())
	require.NoError(t, witness.Send(nil))

	time.AfterFunc(300*time.Millisecond, func() { close(log.ready) })
	stream := client.Publish(t.Context())
	require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: events}))
	count, err := results(stream)
	assert.Equal(t, connect.CodeInternal, connect.CodeOf(err), "%v", err)
	assert.ErrorContains(t, err, "the bridge has a bug")
	assert.NotContains(t, err.Error(), "a bug ", "what it is says the log")
	assert.Equal(t, 7, count)
	require.NoError(t, stream.CloseRequest())
	assert.Equal(t, data[:7], contents(t, log))

	_, err = client.PublishBatch(t.Context(), connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: events}))
	assert.Equal(t, connect.CodeInternal, connect.CodeOf(err), "%v", err)
	assert.Equal(t, data[:7], contents(t, log), "the same, which were stored before")

	require.NoError(t, witness.Send(&ssebridgev1.PublishRequest{Events: events[8:]}))
	require.NoError(t, witness.CloseRequest())
	count, err = results(witness)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 12, count, "other calls go on")
	require.Eventually(t, func() bool { return service.Streams() == 0 }, 10*time.Second, time.Millisecond)
}

// TestStoredOncePerTopicAndID in a real log: a retry is the same event, another topic's event with the same id is not.
func TestStoredOncePerTopicAndID(t *testing.T) {
	log := openLog(t)
	_, client, _ := serve(t, publish.Config{Log: log, Caller: open})
	batch := &ssebridgev1.PublishBatchRequest{}
	for _, topic := range []string{"a", "b", "a", "b", "a"} {
		batch.Events = append(batch.Events, &ssebridgev1.Event{Topic: topic, Id: "1", Data: &anypb.Any{TypeUrl: "t.T", Value: []byte(`"` + topic + `"`)}})
	}
	response, err := client.PublishBatch(t.Context(), connect.NewRequest(batch))
	require.NoError(t, err)
	for i, result := range response.Msg.GetResults() {
		assert.Equal(t, i >= 2, result.GetDuplicate(), "event %d", i)
		assert.Equal(t, response.Msg.GetResults()[i%2].GetCursor(), result.GetCursor())
	}
	assert.Equal(t, []string{`"a"`, `"b"`}, contents(t, log))
}
