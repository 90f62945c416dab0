package sse

import (
	"container/heap"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attach takes a connection in.
func (l *loop) attach(c *conn) bool {
	if len(l.free) == 0 {
		l.free = append(l.free, int32(len(l.slots))) //nolint:gosec // as many as there are descriptors
		l.slots = append(l.slots, slot{})
	}
	c.slot = l.free[len(l.free)-1]
	generation := l.slots[c.slot].generation
	// Edge-triggered: an event comes when a full send buffer has room again, or when the peer goes. A peer that sends
	// is not read from, so that what it sends stays in its own kernel and in a small buffer of this one.
	err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, int(c.fd), &unix.EpollEvent{
		Events: unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: c.slot, Pad: generation,
	})
	if err != nil {
		l.loops.config.Logger.Error("epoll_ctl", "error", err)
		c.release()
		return false
	}
	l.free = l.free[:len(l.free)-1]
	l.slots[c.slot].conn = c
	c.state = stateOpen
	c.beat = l.now + jitter(l.loops.config.Heartbeat)
	if l.loops.config.MaxAge > 0 {
		c.age = l.now + jitter(l.loops.config.MaxAge)
	}
	c.due = c.nextDue(l.now)
	heap.Push(&l.timers, c)
	return true
}

// close closes a connection; only the loop does.
func (l *loop) close(c *conn) {
	heap.Remove(&l.timers, int(c.timer))
	l.slots[c.slot].conn = nil
	l.slots[c.slot].generation++
	l.free = append(l.free, c.slot)
	if c.state == stateEnding {
		c.discard()
	}
	if c.log != nil {
		l.loops.config.Logger.DebugContext(c.log, "stream ended", "reader", c.reader.ID)
	}
	c.release()
}

// discard drops what the peer has sent and nobody has read: closed over it, the connection would be reset, and the
// farewell with it (RFC 9112, section 9.6).
func (c *conn) discard() {
	_, _, _ = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), 0, 1<<30, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0) //nolint:dogsled,gosec // it has sent something or not
}

// hangUp closes a connection whose peer has gone.
func (l *loop) hangUp(c *conn) {
	if c.state == stateAsking || c.state == stateGone {
		c.state = stateGone
		return
	}
	l.close(c)
}

// addFrame adds a frame to what the next write takes.
func (l *loop) addFrame(frame []byte) {
	iovec := unix.Iovec{Base: unsafe.SliceData(frame)} //nolint:gosec // what the kernel takes
	iovec.SetLen(len(frame))
	l.iovecs = append(l.iovecs, iovec)
}

// write gives the frames that were added to the connection, in one system call. It returns how many it has taken,
// one that was cut included, whose rest the connection keeps. It is blocked then.
func (l *loop) write(c *conn) (frames, bytes int) {
	n, err := c.send(l.iovecs)
	if err != nil {
		l.fail(c)
		return 0, 0
	}
	for i := range l.iovecs {
		size := int(l.iovecs[i].Len) //nolint:gosec // it was an int
		if n < size {
			if n > 0 {
				c.rest = unsafe.Slice(l.iovecs[i].Base, size)[n:] //nolint:gosec // it was a slice of that length
				frames++
				bytes += size
			}
			l.block(c)
			break
		}
		n -= size
		frames++
		bytes += size
	}
	clear(l.iovecs) // the loop holds no frame
	if frames > 0 {
		l.wrote(c)
	}
	return frames, bytes
}

// mustWrite writes a frame that cannot be taken again: the connection keeps what is not written.
func (l *loop) mustWrite(c *conn, frame []byte) {
	c.rest = slices.Concat(c.rest, frame)
	l.flush(c)
}

// flush writes what the connection keeps and reports whether all of it went.
func (l *loop) flush(c *conn) bool {
	l.iovecs = l.iovecs[:0]
	l.addFrame(c.rest)
	n, err := c.send(l.iovecs)
	if err != nil {
		l.fail(c)
		return false
	}
	clear(l.iovecs)
	if n > 0 {
		l.wrote(c)
	}
	if c.rest = c.rest[n:]; len(c.rest) > 0 {
		l.block(c)
		return false
	}
	c.rest = nil
	return true
}

// send writes without waiting. It returns 0 when the send buffer is full.
func (c *conn) send(iovecs []unix.Iovec) (int, error) {
	for {
		// sendto(2) and sendmsg(2) take 6 % less time than write(2) and writev(2), which do what files need. The scheduler
		// need not be told of a system call that does not block, which costs a tenth of a delivery.
		const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
		var n uintptr
		var errno unix.Errno
		if len(iovecs) == 1 {
			n, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(iovecs[0].Base)), uintptr(iovecs[0].Len), flags, 0, 0) //nolint:gosec // the system call's own form
		} else {
			message := unix.Msghdr{Iov: unsafe.SliceData(iovecs)} //nolint:gosec // the system call's own form
			message.SetIovlen(len(iovecs))
			n, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&message)), flags) //nolint:gosec // likewise
		}
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, errno
		}
	}
}

// wrote notes that the connection is alive and not silent.
func (l *loop) wrote(c *conn) {
	c.pulse = false
	if c.state != stateEnding {
		c.late = 0
	}
	c.beat = l.now + jitter(l.loops.config.Heartbeat)
	if c.beat < c.due { // it was late, as it is for a reader that waits for the log
		l.schedule(c, c.beat)
	}
}

// block notes that the send buffer is full: an event of epoll brings the connection back, or the loop gives up on it.
func (l *loop) block(c *conn) {
	c.blocked = true
	if c.late == 0 {
		c.unsent = c.outQueue()
		c.late = l.now + l.loops.config.Stall
		l.schedule(c, c.late)
	}
}

// fail notes that the connection is broken: the event of epoll that says so closes it, as whoever called is not done
// with it.
func (l *loop) fail(c *conn) {
	clear(l.iovecs)
	c.state, c.blocked, c.rest = stateEnding, true, nil
	c.late = l.now
	l.schedule(c, c.late)
}

// outQueue returns how many bytes the peer has not acknowledged.
func (c *conn) outQueue() int32 {
	n, err := unix.IoctlGetInt(int(c.fd), unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return int32(n) //nolint:gosec // the send buffer is small
}
