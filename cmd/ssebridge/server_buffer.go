package main

import (
	"bufio"
	"net"
)

// readBuffer is more than most messages of publishers take.
const readBuffer = 16 << 10

// buffer has each connection read as much at once as there is. Go's HTTP/2 server reads the head of each frame, and then
// the rest, in system calls of their own.
func (s *server) buffer() {
	s.listener = &bufferedListener{s.listener}
}

type bufferedListener struct{ net.Listener }

func (l *bufferedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &bufferedConn{Conn: conn, reader: bufio.NewReaderSize(conn, readBuffer)}, nil
}

type bufferedConn struct {
	net.Conn

	reader *bufio.Reader
}

// Read implements net.Conn. As with any connection, one goroutine reads at a time.
func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }
