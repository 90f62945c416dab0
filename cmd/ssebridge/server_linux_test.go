package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

// queued returns how many bytes the kernel holds at the bridge's end of a connection: the tx_queue of /proc/net/tcp.
func queued(t *testing.T, client net.Conn) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	port := func(addr net.Addr) string {
		return fmt.Sprintf(":%04X", addr.(*net.TCPAddr).Port) //nolint:forcetypeassert // panics in a test
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasSuffix(fields[1], port(client.RemoteAddr())) || !strings.HasSuffix(fields[2], port(client.LocalAddr())) {
			continue
		}
		sending, _, _ := strings.Cut(fields[4], ":")
		bytes, err := strconv.ParseInt(sending, 16, 64)
		require.NoError(t, err)
		return int(bytes)
	}
	require.Fail(t, "no such connection")
	return 0
}

// TestStalledReaderCostsLittleKernelMemory: a reader that has read fast, for which the kernel would hold megabytes, and
// then takes nothing.
func TestStalledReaderCostsLittleKernelMemory(t *testing.T) {
	t.Parallel()
	t.Run("cleartext", func(t *testing.T) {
		t.Parallel()
		b := startBridge(t, testOptions(t))
		stallReader(t, publisher(b.internalURL), dialNarrow(t, b.publicURL))
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		ca := newAuthority(t)
		b, _, _ := startTLSBridge(t, ca)
		publisher := ssebridgev1connect.NewPublishServiceClient(newPublishClient(ca.pool()), b.internalURL)
		stallReader(t, publisher, tls.Client(dialNarrow(t, b.publicURL), &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}))
	})
}

// dialNarrow is dial with a receive buffer of a few MiB: systems that allow a reader who reads fast more than all that
// there is to send would leave the bridge nothing to hold.
func dialNarrow(t *testing.T, base string) net.Conn {
	t.Helper()
	conn := dial(t, base)
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(1<<20))
	return conn
}

// stallReader reads 10 of 30 MiB from a bridge that holds nothing else.
func stallReader(t *testing.T, publisher ssebridgev1connect.PublishServiceClient, conn net.Conn) {
	t.Helper()
	batch := largeBatch(t, "a")
	for range 10 { // 30 MiB
		_, err := publisher.PublishBatch(t.Context(), connect.NewRequest(batch))
		require.NoError(t, err)
	}
	_, err := fmt.Fprintf(conn, "GET /v1/events?topic=a&since=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	for taken, piece := 0, make([]byte, 64<<10); taken < 10<<20; {
		n, err := conn.Read(piece)
		require.NoError(t, err)
		taken += n
	}
	before := -1
	require.Eventually(t, func() bool {
		now := queued(t, conn)
		stalled := now > 0 && now == before
		before = now
		return stalled
	}, 20*time.Second, 500*time.Millisecond)
	assert.LessOrEqual(t, before, 4*publicSendBuffer, "the kernel doubles it, and overshoots by a segment")
}

// TestVanishedReader: the kernel breaks a connection whose peer has acknowledged nothing for the time of a stall.
func TestVanishedReader(t *testing.T) {
	t.Parallel()
	s, url, err := listen(t.Context(), "127.0.0.1:0", nil)
	require.NoError(t, err)
	s.cap(publicSendBuffer, 42*time.Second)
	defer s.listener.Close()
	dial(t, url)
	conn, err := s.listener.Accept()
	require.NoError(t, err)
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	limit := 0
	require.NoError(t, raw.Control(func(fd uintptr) {
		limit, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	}))
	require.NoError(t, err)
	assert.Equal(t, 42_000, limit)
}
