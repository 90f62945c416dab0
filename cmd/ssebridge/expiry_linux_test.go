package main

import "syscall"

// smallReceiveBuffer keeps a client's kernel from taking what its reader does not.
func smallReceiveBuffer(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10)
	})
}
