package main

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitSilence has the kernel break a connection whose peer acknowledges nothing, or takes nothing, for so long (RFC
// 5482). Of a peer that has vanished it would otherwise not be sure for a quarter of an hour: what little a quiet stream
// sends always finds room in the send buffer.
func limitSilence(tcp *net.TCPConn, limit time.Duration) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it has gone already
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
}
