package sse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ssebridge/ssebridge/bridge"
)

// tcpKey is the key of a request's connection in its context.
type tcpKey struct{}

// ConnContext lets a Handler take over the connections of a server whose field of that name it is. Without it each
// stream has a goroutine.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if tcp, ok := c.(*net.TCPConn); ok {
		return context.WithValue(ctx, tcpKey{}, tcp)
	}
	return ctx
}

// takeable returns the connection of a request if it is one that can be taken over: a cleartext one, over which HTTP/1
// is spoken.
func takeable(r *http.Request) *net.TCPConn {
	tcp, _ := r.Context().Value(tcpKey{}).(*net.TCPConn)
	if r.ProtoMajor != 1 || r.TLS != nil {
		return nil
	}
	return tcp
}

// newConn makes what is to become the connection of a reader, by takeOver or abandon; nil where the request needs a
// goroutine, which is also when there is no descriptor left for it.
func (ls *loops) newConn(r *http.Request, until time.Time, place admission) *conn {
	tcp := takeable(r)
	if tcp == nil || !ls.start() {
		return nil
	}
	fd, err := detach(tcp)
	if err != nil {
		return nil
	}
	c := &conn{fd: fd, place: place}
	if !until.IsZero() {
		const never = 1 << 61 // far enough, and no sum of it overflows
		c.until = max(ls.now()+min(time.Until(until), never), 1)
	}
	c.queued.Store(true) // until a loop has it
	return c
}

// abandon leaves the request to net/http.
func (c *conn) abandon() { _ = unix.Close(int(c.fd)) }

// takeOver takes the connection of a request from net/http, before anything is written, and gives it and the reader to
// a loop.
//
// The stream ends where the connection does (RFC 9112, section 6.3), so that the frames go out as they are, shared by
// all readers: chunks would need a length in front of each write. Every HTTP/1.1 client and proxy has to accept this;
// an event cut short is one without its empty line, which EventSource drops (WHATWG HTML, section 9.2.6).
func (ls *loops) takeOver(c *conn, w http.ResponseWriter, r *http.Request, reader *bridge.Reader) error {
	taken, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		c.abandon()
		return fmt.Errorf("take the connection over: %w", err)
	}
	_ = taken.Close() // the descriptor that was detached keeps the connection
	c.reader = reader
	if ls.config.Logger.Enabled(r.Context(), slog.LevelDebug) {
		c.log = context.WithoutCancel(r.Context())
	}
	setStreamHeader(w.Header())
	var head bytes.Buffer // whose writes do not fail
	fmt.Fprintf(&head, "HTTP/1.%d 200 OK\r\nDate: %s\r\nConnection: close\r\n", min(r.ProtoMinor, 1), time.Now().UTC().Format(http.TimeFormat))
	_ = w.Header().Write(&head)
	head.WriteString("\r\n")
	c.rest = append(head.Bytes(), openFrames(reader)...)
	ls.assign(c)
	return nil
}

// receiveBuffer is enough for a peer that has nothing to send.
const receiveBuffer = 4 << 10

// detach returns a descriptor for a connection that the runtime's poller does not know, which would cost memory.
func detach(tcp *net.TCPConn) (fd int32, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var detached int
	var duplicateErr error
	err = raw.Control(func(fd uintptr) {
		if detached, duplicateErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); duplicateErr != nil {
			return
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // saves memory where it can be set
	})
	return int32(detached), errors.Join(err, duplicateErr) //nolint:gosec // descriptors are small
}
