package main

import (
	"context"
	"fmt"

	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// publishUntilCut publishes events with ids over one stream until it breaks, and returns what was sent and how many
// of that have a result.
func publishUntilCut(t *testing.T, base string, events func(int) *ssebridgev1.Event, acknowledged chan<- string) (sent int) {
	t.Helper()
	stream := publisher(base).Publish(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			response, err := stream.Receive()
			if err != nil {
				return
			}
			for _, result := range response.GetResults() {
				assert.Nil(t, result.GetError())
				acknowledged <- result.GetCursor()
			}
		}
	}()
	for ; ; sent++ {
		if stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{events(sent)}}) != nil {
			break
		}
	}
	<-done
	close(acknowledged)
	return sent
}

// TestKillLosesNothingAcknowledged kills the bridge with SIGKILL while events are published.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bridge := startProcess(t, dir, nil)
	event := func(n int) *ssebridgev1.Event {
		e := numbered(t, "a", n)
		e.Id = fmt.Sprintf("event-%d", n)
		return e
	}
	results := make(chan string, 1<<20)
	time.AfterFunc(time.Second, func() { _ = bridge.command.Process.Kill() })
	sent := publishUntilCut(t, "http://"+bridge.internal, event, results)
	var acknowledged []string
	for cursor := range results {
		acknowledged = append(acknowledged, cursor)
	}
	require.NotEmpty(t, acknowledged)
	<-bridge.exited

	bridge = startProcess(t, dir, bridge)
	// The publisher sends again what has no result, and for good measure ten that have.
	first := max(0, len(acknowledged)-10)
	var again []*ssebridgev1.Event
	for n := first; n < sent+1; n++ {
		again = append(again, event(n))
	}
	response, err := publisher("http://"+bridge.internal).PublishBatch(t.Context(),
		connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: again}))
	require.NoError(t, err)
	for i, result := range response.Msg.GetResults() {
		require.Nil(t, result.GetError())
		if n := first + i; n < len(acknowledged) {
			assert.True(t, result.GetDuplicate(), "event %d was stored before", n)
			assert.Equal(t, acknowledged[n], result.GetCursor(), "under the same cursor")
		}
	}
	s := subscribe(t, "http://"+bridge.public, topics("a")+"&since=earliest&format=json", "")
	frames, err := collectEvents(s, sent+1)
	require.NoError(t, err)
	for n, f := range frames {
		require.Equal(t, data(n), f.data, "each event once, in order")
		if n < len(acknowledged) {
			require.Equal(t, acknowledged[n], f.id)
		}
	}
	t.Logf("sent %d, acknowledged %d before the kill", sent, len(acknowledged))
}

// TestTerminateEndsCleanly: on SIGTERM readers are asked to reconnect, publishers get last, and the process exits 0.
func TestTerminateEndsCleanly(t *testing.T) {
	t.Parallel()
	bridge := startProcess(t, t.TempDir(), nil)
	reader := subscribe(t, "http://"+bridge.public, topics("a"), "")
	stream := publisher("http://" + bridge.internal).Publish(t.Context())
	require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, "a", 0)}}))
	response, err := stream.Receive()
	require.NoError(t, err)
	cursor := response.GetResults()[0].GetCursor()
	assert.Equal(t, cursor, reader.nextEvent(t).id)

	require.NoError(t, bridge.command.Process.Signal(syscall.SIGTERM))
	farewell := reader.nextNotice(t, "ssebridge.reconnect")
	assert.JSONEq(t, `{"reason":"drain"}`, farewell.data)
	assert.Equal(t, cursor, farewell.id)
	response, err = stream.Receive()
	require.NoError(t, err)
	assert.True(t, response.GetLast())
	_, err = stream.Receive()
	require.Error(t, err)
	require.NoError(t, stream.CloseRequest())
	select {
	case err := <-bridge.exited:
		assert.NoError(t, err, "exit status 0")
	case <-time.After(20 * time.Second):
		_ = bridge.command.Process.Signal(syscall.SIGQUIT)
		require.Fail(t, "the bridge does not end")
	}
}
