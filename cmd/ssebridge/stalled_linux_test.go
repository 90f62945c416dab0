package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// field returns the number behind a name in a file of /proc.
func field(t *testing.T, path, line, name string) (value int) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), line)
	require.True(t, found, line)
	_, rest, found = strings.Cut(rest, name)
	require.True(t, found, name)
	_, err = fmt.Sscan(rest, &value)
	require.NoError(t, err)
	return value
}

// TestReadersThatNeverRead: 500 of them hold a place each while 100 MiB are published, and neither the bridge nor the
// kernel holds the events for them. Another bridge, without readers, tells what publishing alone takes.
func TestReadersThatNeverRead(t *testing.T) {
	t.Parallel()
	const readers = 500
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("window: {bytes: 8MiB}\n"), 0o600))
	alone := startProcess(t, t.TempDir(), nil, "--config", file)
	heldAlone, socketsAlone := publishMuch(t, alone)
	require.NoError(t, alone.command.Process.Kill())

	bridge := startProcess(t, t.TempDir(), nil, "--config", file)
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { // what their own end holds is not the bridge's
			assert.NoError(t, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10))
		})
	}}
	for range readers {
		conn, err := dialer.DialContext(t.Context(), "tcp", bridge.public)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "GET /v1/events?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
	}
	open := func() string { return sample(scrape(t, "http://"+bridge.ops), `ssebridge_readers{transport="http1"}`) }
	require.Eventually(t, func() bool { return open() == strconv.Itoa(readers) }, 10*time.Second, 10*time.Millisecond)
	held, sockets := publishMuch(t, bridge)
	assert.Equal(t, strconv.Itoa(readers), open(), "they are all there")

	t.Logf("process: %d MiB without, %d MiB with them; sockets: %d KiB each", heldAlone>>20, held>>20, (sockets-socketsAlone)>>10/readers)
	assert.Less(t, held-heldAlone, heldAlone/3, "one event for each would be 62 MiB, all events 50 GiB")
	assert.Less(t, sockets-socketsAlone, readers*4*publicSendBuffer, "the kernel doubles it, and overshoots by a segment")
}

// publishMuch publishes 100 MiB and returns how many bytes the bridge and the kernel's sockets held at most.
func publishMuch(t *testing.T, bridge *process) (process, sockets int) {
	t.Helper()
	const total, size, batched = 100 << 20, 128 << 10, 8
	client := publisher("http://" + bridge.internal)
	batch := &ssebridgev1.PublishBatchRequest{}
	for range batched {
		batch.Events = append(batch.Events, &ssebridgev1.Event{Topic: "a", Data: packed(t, wrapperspb.Bytes(make([]byte, size)))})
	}
	for range total / size / batched {
		response, err := client.PublishBatch(t.Context(), connect.NewRequest(batch))
		require.NoError(t, err)
		for _, result := range response.Msg.GetResults() {
			require.Nil(t, result.GetError(), "%v", result.GetError())
		}
		status := fmt.Sprintf("/proc/%d/status", bridge.command.Process.Pid)
		process = max(process, field(t, status, "VmRSS", ":")<<10)
		sockets = max(sockets, field(t, "/proc/net/sockstat", "TCP:", " mem ")*os.Getpagesize())
	}
	return process, sockets
}
