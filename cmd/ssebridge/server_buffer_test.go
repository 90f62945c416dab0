package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// countedListener counts the reads of its connections.
type countedListener struct {
	net.Listener

	reads atomic.Int64
}

func (l *countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &countedConn{conn, &l.reads}, err
}

type countedConn struct {
	net.Conn

	reads *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// TestBufferedConnections: what has come is read at once, in whatever pieces it is asked for, and a deadline ends the wait
// for more without losing anything.
func TestBufferedConnections(t *testing.T) {
	t.Parallel()
	s, _, err := listen(t.Context(), "127.0.0.1:0", nil)
	require.NoError(t, err)
	counted := &countedListener{Listener: s.listener}
	s.listener = counted
	s.buffer()
	defer s.close()
	peer, err := net.Dial("tcp", s.listener.Addr().String())
	require.NoError(t, err)
	defer peer.Close()
	conn, err := s.listener.Accept()
	require.NoError(t, err)
	defer conn.Close()

	sent := strings.Repeat("123456789", 500)
	for range 2 {
		_, err = io.WriteString(peer, sent)
		require.NoError(t, err)
		var received strings.Builder
		for piece := make([]byte, 9); received.Len() < len(sent); {
			n, err := io.ReadFull(conn, piece)
			require.NoError(t, err)
			received.Write(piece[:n])
		}
		assert.Equal(t, sent, received.String())
		require.NoError(t, conn.SetReadDeadline(time.Now()))
		_, err = conn.Read(make([]byte, 1))
		require.ErrorContains(t, err, "timeout")
		require.NoError(t, conn.SetReadDeadline(time.Time{}))
	}
	assert.Less(t, counted.reads.Load(), int64(100), "of 1,000 pieces")
}

// TestBufferedServer: requests that come together are answered one after the other, over either protocol.
func TestBufferedServer(t *testing.T) {
	t.Parallel()
	s, base, err := listen(t.Context(), "127.0.0.1:0", nil)
	require.NoError(t, err)
	s.buffer()
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what there is of it is what is compared
		fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	}), slog.New(slog.DiscardHandler), make(chan error, 1))
	defer s.close()
	for name, client := range httpVersions() {
		response, err := client.Post(base+"/"+name, "text/plain", strings.NewReader("hello"))
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, "/"+name+" hello", string(body))
	}
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	const requests = 100
	for n := range requests {
		_, err = fmt.Fprintf(conn, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", n)
		require.NoError(t, err)
	}
	for n, answers := 0, bufio.NewReader(conn); n < requests; n++ {
		response, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, fmt.Sprintf("/%d hello", n), string(body))
	}
}
