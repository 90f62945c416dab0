package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readBytes     = 256 << 10 // at once, of one connection
	maxEvents     = 512
	maxConnecting = 128 // at once in each loop: the listener's backlog is bounded
)

// sockets is a swarm over HTTP/1.1 in cleartext.
type sockets struct {
	loops []*loop
	next  int
	ended sync.WaitGroup
}

// newSockets makes a swarm; nil where the readers need a goroutine each.
func newSockets(ctx context.Context, c *crowd) (swarm, error) {
	base, err := url.Parse(c.base)
	if err != nil || base.Scheme != "http" {
		return nil, err
	}
	ip, port, err := resolve(ctx, base)
	if err != nil {
		return nil, err
	}
	s := &sockets{}
	for i := range c.loops {
		l, err := newLoop(c, c.tallies[i])
		if err != nil {
			s.close()
			return nil, err
		}
		l.base = base
		l.address, l.family = socketAddress(ip, port) // each its own: connecting writes to it
		s.loops = append(s.loops, l)
		s.ended.Go(l.run)
	}
	return s, nil
}

// resolve returns where a host is; where it has several addresses, the first one, IPv4 before IPv6.
func resolve(ctx context.Context, base *url.URL) (net.IP, int, error) {
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", cmp.Or(base.Port(), "80"))
	if err != nil {
		return nil, 0, err
	}
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, base.Hostname())
	if err != nil {
		return nil, 0, err
	}
	slices.SortStableFunc(addresses, func(a, b net.IPAddr) int { return len(b.IP.To4()) - len(a.IP.To4()) })
	return addresses[0].IP, port, nil
}

func socketAddress(ip net.IP, port int) (address unix.Sockaddr, family int) {
	if v4 := ip.To4(); v4 != nil {
		return &unix.SockaddrInet4{Port: port, Addr: [4]byte(v4)}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: port, Addr: [16]byte(ip)}, unix.AF_INET6
}

func (s *sockets) connect(readers []*reader) {
	for _, r := range readers {
		l := s.loops[s.next%len(s.loops)]
		s.next++
		l.mu.Lock()
		l.joining = append(l.joining, r)
		l.mu.Unlock()
	}
	for _, l := range s.loops {
		l.wake(func() {})
	}
}

func (s *sockets) drop() {
	var done sync.WaitGroup
	for _, l := range s.loops {
		done.Add(1)
		l.wake(func() { l.dropping = done.Done })
	}
	done.Wait()
	s.next = 0
}

func (s *sockets) close() {
	for _, l := range s.loops {
		_ = l.file.Close() // makes run return
	}
	s.ended.Wait()
}

// socket is the connection of a reader.
type socket struct {
	reader     *reader
	fd         int
	connecting bool // counts in the loop's connecting
	sent       bool // the request
	response   responseParser
	back       time.Time // when it connects again; zero: it has a connection
}

// loop reads the connections of its readers.
type loop struct {
	crowd   *crowd
	tally   *tally
	address unix.Sockaddr
	family  int
	base    *url.URL
	epoll   int
	file    *os.File // of epoll, for the runtime's poller
	buffer  []byte

	mu       sync.Mutex
	joining  []*reader
	dropping func()

	// Owned by run.
	sockets    []*socket
	waiting    []int // sockets that are to connect
	resting    []int // sockets that connect later
	connecting int
}

func newLoop(c *crowd, t *tally) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // asks os for a file that the runtime's poller watches
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	return &loop{crowd: c, tally: t, epoll: fd, file: os.NewFile(uintptr(fd), "epoll"), buffer: make([]byte, readBytes)}, nil
}

// wake makes the loop look at what others have told it.
func (l *loop) wake(tell func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tell()
	_ = l.file.SetReadDeadline(time.Unix(1, 0)) // fails when the file is closed, and then nobody waits
}

// run reads until the file is closed.
func (l *loop) run() {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, maxEvents)
	for {
		l.listen()
		l.begin()
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		for _, event := range events[:max(n, 0)] {
			l.happened(int(event.Fd))
		}
	}
}

// listen takes what others have told, and sets when the loop looks again though nothing happens.
func (l *loop) listen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropping != nil {
		for _, s := range l.sockets {
			l.hangUp(s)
		}
		l.sockets, l.waiting, l.resting, l.connecting = nil, nil, nil, 0
		l.joining = nil // they were told before: drop waits
		l.dropping()
		l.dropping = nil
	}
	for _, r := range l.joining {
		l.waiting = append(l.waiting, len(l.sockets))
		l.sockets = append(l.sockets, &socket{reader: r, fd: -1})
	}
	l.joining = nil
	var until time.Time
	if len(l.resting) > 0 {
		until = time.Now().Add(10 * time.Millisecond)
	}
	_ = l.file.SetReadDeadline(until)
}

// hangUp closes a connection. The reader may have another one.
func (l *loop) hangUp(s *socket) {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
	if s.reader.open {
		s.reader.open = false
		l.crowd.open.Add(-1)
	}
}

// begin connects those whose turn it is.
func (l *loop) begin() {
	now := time.Now()
	l.resting = slices.DeleteFunc(l.resting, func(index int) bool {
		due := !l.sockets[index].back.After(now)
		if due {
			l.waiting = append(l.waiting, index)
		}
		return due
	})
	for len(l.waiting) > 0 && l.connecting < maxConnecting {
		index := l.waiting[0]
		l.waiting = l.waiting[1:]
		s := l.sockets[index]
		s.sent, s.response, s.back = false, responseParser{}, time.Time{}
		s.reader.connecting(time.Now())
		s.connecting = true
		l.connecting++
		if err := l.dial(s, index); err != nil {
			l.lost(s, index, err)
		}
	}
}

func (l *loop) dial(s *socket, index int) (err error) {
	s.fd, err = unix.Socket(l.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(s.fd, l.address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(index)} //nolint:gosec // Fd is whatever the loop puts there
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &event))
}

// happened deals with what epoll says about a connection.
func (l *loop) happened(index int) {
	s := l.sockets[index]
	if !s.sent {
		if err := l.request(s, index); err != nil {
			l.lost(s, index, err)
		}
		return
	}
	n, err := unix.Read(s.fd, l.buffer)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
	case err != nil:
		l.lost(s, index, os.NewSyscallError("read", err))
	case n == 0:
		l.lost(s, index, errEnded)
	default:
		if err := l.read(s, l.buffer[:n]); err != nil {
			l.lost(s, index, err)
		}
	}
}

// request sends the request of a connection that is there, or tells why it is not.
func (l *loop) request(s *socket, index int) error {
	if code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		return errors.Join(err, os.NewSyscallError("connect", syscall.Errno(code)))
	}
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n",
		l.crowd.path(l.base.EscapedPath(), s.reader), l.base.Host)
	if l.crowd.token != "" {
		request = fmt.Appendf(request, "Authorization: Bearer %s\r\n", l.crowd.token)
	}
	if len(s.reader.lastID) > 0 {
		request = fmt.Appendf(request, "Last-Event-ID: %s\r\n", s.reader.lastID)
	}
	request = append(request, "\r\n"...)
	if n, err := unix.Write(s.fd, request); err != nil || n < len(request) {
		return errors.Join(err, fmt.Errorf("%d of %d bytes of the request were sent", n, len(request)))
	}
	s.sent = true
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)} //nolint:gosec // Fd is whatever the loop puts there
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, s.fd, &event))
}

// read takes what a connection has brought.
func (l *loop) read(s *socket, piece []byte) error {
	now := time.Now()
	l.tally.Lock()
	defer l.tally.Unlock()
	for len(piece) > 0 {
		body, rest, err := s.response.next(piece)
		if err != nil {
			return err
		}
		piece = rest
		opened, err := s.reader.read(body, now, l.tally)
		if opened {
			l.settle(s)
			l.crowd.open.Add(1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settle lets the next one connect.
func (l *loop) settle(s *socket) {
	if s.connecting {
		s.connecting = false
		l.connecting--
	}
}

// lost closes a connection that has ended. The reader comes back after a while.
func (l *loop) lost(s *socket, index int, err error) {
	l.settle(s)
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
	l.tally.Lock()
	defer l.tally.Unlock()
	l.crowd.ended(s.reader, l.tally, err)
	s.back = time.Now().Add(s.reader.retry)
	l.resting = append(l.resting, index)
}
