package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// largeBatch returns 3 MiB of events.
func largeBatch(t *testing.T, topic string) *ssebridgev1.PublishBatchRequest {
	t.Helper()
	large, err := structpb.NewStruct(map[string]any{"text": strings.Repeat("x", 200<<10)})
	require.NoError(t, err)
	batch := &ssebridgev1.PublishBatchRequest{}
	for range 15 {
		batch.Events = append(batch.Events, &ssebridgev1.Event{Topic: topic, Data: packed(t, large)})
	}
	return batch
}

// stall opens a stream of many events and reads none of them, so that the bridge cannot say farewell.
func stall(t *testing.T, bridge *process) {
	t.Helper()
	_, err := publisher("http://"+bridge.internal).PublishBatch(t.Context(), connect.NewRequest(largeBatch(t, "big")))
	require.NoError(t, err)
	conn := dial(t, "http://"+bridge.public)
	tcp, ok := conn.(*net.TCPConn)
	require.True(t, ok)
	require.NoError(t, tcp.SetReadBuffer(32<<10)) // 3 MiB are more than both kernels hold then
	_, err = fmt.Fprintf(conn, "GET /v1/events?topic=big&since=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1<<10)) // it has begun
	require.NoError(t, err)
	sent := func() string { return sample(scrape(t, "http://"+bridge.ops), "ssebridge_sent_bytes_total") }
	for before := ""; before != sent(); {
		before = sent()
		time.Sleep(300 * time.Millisecond) // nothing tells that both kernels are full, but that no more is sent
	}
}

func status(t *testing.T, address string) int {
	t.Helper()
	response := get(t, address, func(*http.Request) {})
	_ = response.Body.Close()
	return response.StatusCode
}

// TestListenersStayOpenWhileDraining: from SIGTERM on the bridge is not ready, those who are connected are sent away,
// and who still comes is told to come back, until the last has gone or has had five seconds.
func TestListenersStayOpenWhileDraining(t *testing.T) {
	t.Parallel()
	bridge := startProcess(t, t.TempDir(), nil)
	stall(t, bridge)
	reader := subscribe(t, "http://"+bridge.public, topics("a"), "")
	stream := publisher("http://" + bridge.internal).Publish(t.Context())
	require.NoError(t, stream.Send(&ssebridgev1.PublishRequest{Events: []*ssebridgev1.Event{numbered(t, "a", 0)}}))
	_, err := stream.Receive()
	require.NoError(t, err)

	begun := time.Now()
	require.NoError(t, bridge.command.Process.Signal(syscall.SIGTERM))
	reader.nextNotice(t, "ssebridge.reconnect")
	assert.Equal(t, http.StatusServiceUnavailable, status(t, "http://"+bridge.ops+"/readyz"))
	assert.Equal(t, http.StatusOK, status(t, "http://"+bridge.ops+"/livez"))
	response, err := stream.Receive()
	require.NoError(t, err)
	assert.True(t, response.GetLast())

	for late := 0; time.Since(begun) < 4*time.Second; late++ {
		notice, err := subscribe(t, "http://"+bridge.public, topics("a"), "").next()
		require.NoError(t, err, "reader %d after SIGTERM", late)
		assert.Equal(t, frame{event: "ssebridge.reconnect", data: `{"reason":"drain"}`}, notice)
		again := publisher("http://" + bridge.internal).Publish(t.Context())
		_ = again.Send(nil)
		response, err := again.Receive()
		require.NoError(t, err, "publisher %d after SIGTERM", late)
		assert.True(t, response.GetLast())
		time.Sleep(500 * time.Millisecond) // who comes late comes at any time of the five seconds
	}
	select {
	case err := <-bridge.exited:
		assert.NoError(t, err, "exit status 0")
		assert.Greater(t, time.Since(begun), 4900*time.Millisecond, "the stalled reader has its time")
		assert.Less(t, time.Since(begun), 10*time.Second, "and no more")
	case <-time.After(20 * time.Second):
		require.Fail(t, "one reader that takes nothing holds the bridge up")
	}
}

// TestSecondSignalKills a bridge that waits for a reader.
func TestSecondSignalKills(t *testing.T) {
	t.Parallel()
	bridge := startProcess(t, t.TempDir(), nil)
	stall(t, bridge)
	require.NoError(t, bridge.command.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		return status(t, "http://"+bridge.ops+"/readyz") == http.StatusServiceUnavailable
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, bridge.command.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-bridge.exited:
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		ended, ok := exit.Sys().(syscall.WaitStatus)
		require.True(t, ok)
		assert.Equal(t, syscall.SIGTERM, ended.Signal())
	case <-time.After(5 * time.Second):
		require.Fail(t, "it goes on")
	}
}
