package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"

	"github.com/ssebridge/ssebridge/bridge"
)

// appender publishes events and matches the stream's acknowledgements with them. It does so itself, instead of with
// the client library's futures: those retry by themselves, behind later events, take a timer and two channels per
// event, and cannot say that a duplicate is settled before its first event's place is known.
type appender struct {
	conn    *nats.Conn
	config  Config
	first   firstPlace
	replies *nats.Subscription
	inbox   string // what acknowledgements are sent to: this and the append's number
	plain   []byte // beginning of most acknowledgements

	// Room in flight. It is taken before sending, and given back by the acknowledgement.
	events, bytes *semaphore.Weighted

	// sending makes stamping and publishing one step, so that sequences and stamps are in the same order.
	sending sync.Mutex
	stamp   int64 // the last one given

	mu      sync.Mutex
	ticks   int                 // of watch
	last    uint64              // number of the last append
	flying  map[uint64]*pending // by number
	echoes  map[*echo]struct{}
	closed  bool
	settled chan struct{}  // closed when the appender is closed and nothing is in flight
	lookups sync.WaitGroup // of first events of duplicates
	watcher chan struct{}  // closed when watch has returned
}

// firstPlace finds the place of an event that is stored already.
type firstPlace func(ctx context.Context, seq uint64) (bridge.Cursor, error)

var errClosed = errors.New("the log is closed")

func newAppender(conn *nats.Conn, config Config, first firstPlace) (*appender, error) {
	a := &appender{
		conn:    conn,
		config:  config,
		first:   first,
		inbox:   conn.NewInbox() + ".",
		plain:   fmt.Appendf(nil, `{"stream":%q,"seq":`, config.Stream),
		events:  semaphore.NewWeighted(int64(config.MaxInFlightEvents)),
		bytes:   semaphore.NewWeighted(config.MaxInFlightBytes),
		flying:  make(map[uint64]*pending),
		echoes:  make(map[*echo]struct{}),
		settled: make(chan struct{}),
		watcher: make(chan struct{}),
	}
	var err error
	if a.replies, err = conn.Subscribe(a.inbox+"*", a.acknowledge); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	if err = a.replies.SetPendingLimits(-1, -1); err != nil { // bounded by what is in flight
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	// Listened to from before the first append: one that is interrupted must not be missed.
	go a.watch(conn.StatusChanged(nats.RECONNECTING, nats.CLOSED))
	return a, nil
}

// Append implements [bridge.Log]. Besides the errors named there it returns plain ones for what no retry can mend: a
// topic that is none, and an event larger than the server takes.
func (l *Log) Append(ctx context.Context, event *bridge.Event, key string) (bridge.Pending, error) {
	if err := bridge.ValidateTopic(event.Topic); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	event.Time = event.Time.UTC().Round(0) // as it will be read: without a clock reading
	message := encode(l.config.Prefix, event, key)
	p := &pending{event: event, done: make(chan struct{}), size: l.appender.sizeOf(message)}
	if err := l.appender.enter(ctx, p.size); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if err := l.appender.send(p, message); err != nil {
		return nil, err
	}
	return p, nil
}

// sizeOf is what a message counts in flight, never more than all the room: a larger one goes alone.
func (a *appender) sizeOf(message *nats.Msg) int64 {
	const overhead = 512 // headers and bookkeeping
	return min(int64(len(message.Data)+len(message.Subject)+overhead), a.config.MaxInFlightBytes)
}

// enter takes room for an append.
func (a *appender) enter(ctx context.Context, size int64) error {
	if err := a.events.Acquire(ctx, 1); err != nil {
		return err
	}
	if err := a.bytes.Acquire(ctx, size); err != nil {
		a.events.Release(1)
		return err
	}
	return nil
}

// leave gives an append's room back.
func (a *appender) leave(size int64) {
	a.bytes.Release(size)
	a.events.Release(1)
}

// send stamps and publishes. It returns an error only if the message was certainly not sent.
func (a *appender) send(p *pending, message *nats.Msg) error {
	err := a.publish(p, message)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		err = fmt.Errorf("append: the event has %d bytes: %w", len(message.Data), err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining),
		errors.Is(err, nats.ErrReconnectBufExceeded):
		err = unavailable("append", err)
	case errors.Is(err, errClosed):
		a.leave(p.size)
		return unavailable("append", err)
	default: // the connection broke, and the server may have the message or not
		a.mu.Lock()
		a.echo(nil)
		a.mu.Unlock()
		a.settle(p.number, bridge.Receipt{}, unavailable("append", err))
		return nil
	}
	a.settle(p.number, bridge.Receipt{}, err)
	return err
}

func (a *appender) publish(p *pending, message *nats.Msg) error {
	a.sending.Lock()
	defer a.sending.Unlock()
	a.stamp = max(time.Now().UnixNano(), a.stamp+1)
	p.stamp = a.stamp
	if err := a.register(p); err != nil {
		return err
	}
	p.event.Cursor.Time = p.stamp
	message.Header[headerStamp] = []string{strconv.FormatInt(p.stamp, 36)}
	message.Reply = a.inbox + strconv.FormatUint(p.number, 10)
	return a.conn.PublishMsg(message)
}

// register gives an append its number, by which its acknowledgement is known.
func (a *appender) register(p *pending) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errClosed
	}
	a.last++
	p.number, p.deadline = a.last, a.ticks+ticksPerTimeout+1
	a.flying[p.number] = p
	return nil
}

// passStamp makes all further stamps later than one.
func (a *appender) passStamp(stamp int64) {
	a.sending.Lock()
	defer a.sending.Unlock()
	a.stamp = max(a.stamp, stamp)
}

// pending is an append on its way. It implements [bridge.Pending].
type pending struct {
	event    *bridge.Event
	number   uint64
	size     int64
	stamp    int64
	deadline int // the tick at which it is too late for an acknowledgement

	done    chan struct{} // closed when the following are set
	receipt bridge.Receipt
	err     error
}

// Ready implements [bridge.Pending].
func (p *pending) Ready() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait implements [bridge.Pending]. Unlike there, nothing is held up by an append that nobody waits for.
func (p *pending) Wait() (bridge.Receipt, error) {
	<-p.done
	return p.receipt, p.err
}
