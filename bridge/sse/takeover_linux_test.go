package sse_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/sse"
)

// TestPeerThatGoesOnSending: what it sends behind its request does not cost it the farewell, and the answer is of a
// version that exists, whatever it says it speaks.
func TestPeerThatGoesOnSending(t *testing.T) {
	t.Parallel()
	b := newRealBench(t, everyTransport[0], sse.Config{}, bridge.Settings{})
	conn, err := net.Dial("tcp", b.address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, "GET /v1/events?topic=a HTTP/1.9\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	lines := bufio.NewReader(conn)
	status, err := lines.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 200 OK\r\n", status)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	b.hub.Drain()
	rest, err := io.ReadAll(lines)
	require.NoError(t, err, "the connection ends, and is not reset")
	assert.Contains(t, string(rest), "ssebridge.reconnect")
}

// TestAnswerWhileDraining: who comes to a bridge that goes is sent away together with its connection, or it would come
// back to the same one.
func TestAnswerWhileDraining(t *testing.T) {
	t.Parallel()
	b := newRealBench(t, everyTransport[0], sse.Config{}, bridge.Settings{})
	b.hub.Drain()
	conn, err := net.Dial("tcp", b.address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /v1/events?topic=a HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Contains(t, string(body), `{"reason":"drain"}`)
	assert.True(t, response.Close)
}
