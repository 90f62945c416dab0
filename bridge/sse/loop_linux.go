package sse

import (
	"container/heap"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ssebridge/ssebridge/bridge"
)

// loops serve the connections that are taken over from net/http: one goroutine per core writes to all of them. None
// has a goroutine, a buffer or a timer of its own.
type loops struct {
	config *Config
	made   time.Time // times of loops count from here, which takes a third of the memory
	begin  sync.Once
	all    []*loop       // none where they cannot work
	next   atomic.Uint32 // the loop for the next connection
	open   atomic.Int64  // connections
	cancel context.CancelFunc
	ended  sync.WaitGroup

	admissions *admissions
}

// loop is one goroutine and the connections that it alone reads, writes and closes.
type loop struct {
	loops *loops
	hub   *bridge.Hub
	ctx   context.Context

	mu      sync.Mutex
	queue   []*conn       // to be looked at; others add to it
	woken   chan struct{} // holds a token when the queue is not empty
	stopped bool          // and takes nothing more

	epoll   int      // an epoll instance
	file    *os.File // the same, which the runtime's poller watches
	polled  chan []unix.EpollEvent
	handled chan struct{} // what was polled has been dealt with

	slots   []slot // by the index in an epoll event
	free    []int32
	timers  timers
	timer   *time.Timer
	armed   time.Duration // when it fires
	now     time.Duration // of this round
	working []*conn       // the queue of this round
	many    bool          // there was more than one in the last round
	events  []*bridge.Event
	iovecs  []unix.Iovec
	asking  int // readers that wait for the log
	asks    sync.WaitGroup
	waiting []*conn // for their turn to do so, and some that were closed meanwhile
}

// slot is where a connection stands in its loop. The generation tells an event of the connection that is there from
// one of a connection that was.
type slot struct {
	conn       *conn
	generation int32
}

const (
	maxAsking = 8                     // readers of one loop that wait for the log at once
	timerStep = 50 * time.Millisecond // timers fire together at its multiples
	maxEvents = 256                   // of epoll, at once
)

func newLoops(config *Config, admissions *admissions) *loops {
	return &loops{config: config, made: time.Now(), admissions: admissions}
}

func (ls *loops) now() time.Duration { return time.Since(ls.made) }

// start starts a loop per core, once. It returns whether connections can be taken over.
func (ls *loops) start() bool {
	ls.begin.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		var all []*loop
		for range runtime.GOMAXPROCS(0) {
			l, err := newLoop(ctx, ls)
			if err != nil {
				ls.config.Logger.Error("each stream gets a goroutine, which costs memory", "error", err)
				cancel()
				for _, l := range all {
					_ = l.file.Close() // nothing has used it
				}
				return
			}
			all = append(all, l)
		}
		for _, l := range all {
			ls.ended.Go(l.run)
			ls.ended.Go(l.watch)
		}
		ls.all, ls.cancel = all, cancel
	})
	return len(ls.all) > 0
}

func newLoop(ctx context.Context, ls *loops) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // asks os for a file that the runtime's poller watches
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	return &loop{
		loops:   ls,
		hub:     ls.config.Hub,
		ctx:     ctx,
		woken:   make(chan struct{}, 1),
		epoll:   fd,
		file:    os.NewFile(uintptr(fd), "epoll"),
		polled:  make(chan []unix.EpollEvent),
		handled: make(chan struct{}),
		timer:   time.NewTimer(time.Hour),
		events:  make([]*bridge.Event, 0, batchLimit),
		iovecs:  make([]unix.Iovec, 0, batchLimit+1),
	}, nil
}

// stop ends every loop and cuts what is still open.
func (ls *loops) stop() {
	ls.begin.Do(func() {}) // none are started any more
	if len(ls.all) == 0 {
		return
	}
	ls.cancel()
	for _, l := range ls.all {
		_ = l.file.Close() // makes watch return; the loop has no other use for it then
	}
	ls.ended.Wait()
}

// shutdown returns when every connection has ended; when ctx ends it cuts those that have not.
func (ls *loops) shutdown(ctx context.Context) error {
	defer ls.stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for ls.open.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// assign gives a connection to a loop, which looks at it at once.
func (ls *loops) assign(c *conn) {
	ls.open.Add(1)
	ls.config.Telemetry.ReaderOpened(transportHTTP1)
	c.watch = ls.config.Telemetry.Stopwatch()
	c.loop = ls.all[ls.next.Add(1)%uint32(len(ls.all))] //nolint:gosec // a handful
	if !c.loop.enqueue(c) {
		c.release()
	}
}

// watch hands what epoll says to the loop. It returns when the epoll instance is closed.
func (l *loop) watch() {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, maxEvents)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		select {
		case l.polled <- events[:n]:
			<-l.handled
		case <-l.ctx.Done():
			return
		}
	}
}

// run deals with one thing after the other until the loop is stopped.
func (l *loop) run() {
	defer l.timer.Stop()
	for {
		select {
		case <-l.woken:
			l.now = l.loops.now()
		case events := <-l.polled:
			l.now = l.loops.now()
			for _, event := range events {
				l.happened(event)
			}
			l.handled <- struct{}{}
		case <-l.timer.C:
			l.now = l.loops.now()
			l.expire()
		case <-l.ctx.Done():
			l.cut()
			return
		}
		l.work()
		l.arm()
	}
}

// cut closes every connection, those that wait in the queue included.
func (l *loop) cut() {
	l.asks.Wait()
	l.mu.Lock()
	l.stopped = true
	queue := l.queue
	l.mu.Unlock()
	for _, c := range queue {
		if c.state == stateNew {
			c.release()
		}
	}
	for _, s := range l.slots {
		if s.conn != nil {
			l.close(s.conn)
		}
	}
}

// enqueue asks the loop to look at a connection. Anybody may call it. It returns false when the loop has stopped.
func (l *loop) enqueue(c *conn) bool {
	l.mu.Lock()
	first, taken := len(l.queue) == 0, !l.stopped
	if taken {
		l.queue = append(l.queue, c)
	}
	l.mu.Unlock()
	if first {
		select {
		case l.woken <- struct{}{}:
		default:
		}
	}
	return taken
}

// work looks at every connection in the queue once.
func (l *loop) work() {
	if l.many {
		// Those who bring events go first: on a busy core what they bring meanwhile shares the writes that follow.
		runtime.Gosched()
	}
	l.mu.Lock()
	l.working, l.queue = l.queue, l.working[:0]
	l.mu.Unlock()
	l.many = len(l.working) > 1
	for i, c := range l.working {
		l.working[i] = nil
		c.queued.Store(false) // before looking: what happens from now on queues it again
		l.serve(c)
	}
	if cap(l.working) > 1024 && cap(l.working) > 4*len(l.slots) {
		l.working = nil
	}
}

// happened deals with one event of epoll.
func (l *loop) happened(event unix.EpollEvent) {
	s := l.slots[event.Fd]
	if s.conn == nil || s.generation != event.Pad {
		return // of a connection that is gone
	}
	if event.Events&(unix.EPOLLERR|unix.EPOLLHUP|unix.EPOLLRDHUP) != 0 {
		l.hangUp(s.conn)
		return
	}
	if s.conn.blocked {
		s.conn.blocked = false
		l.serve(s.conn)
	}
}

// expire looks at every connection whose time has come.
func (l *loop) expire() {
	for len(l.timers) > 0 && l.timers[0].due <= l.now {
		c := l.timers[0]
		l.tick(c)
		if c.state != stateClosed {
			c.due = c.nextDue(l.now)
			heap.Fix(&l.timers, int(c.timer))
		}
	}
}

// arm sets the loop's timer.
func (l *loop) arm() {
	if len(l.timers) > 0 && l.timers[0].due != l.armed {
		l.armed = l.timers[0].due
		l.timer.Reset(l.armed - l.now)
	}
}

// schedule makes sure that the loop looks at a connection at t, or a step later.
func (l *loop) schedule(c *conn, t time.Duration) {
	if t = t.Truncate(timerStep) + timerStep; t < c.due {
		c.due = t
		heap.Fix(&l.timers, int(c.timer))
	}
}
