package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ssebridge/ssebridge/bridge"
)

// acknowledgement is what the stream answers to a message.
type acknowledgement struct {
	Seq       uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
}

var (
	errNoAnswer    = errors.New("no acknowledgement came in time")
	errInterrupted = errors.New("the connection was interrupted")
)

// acknowledge takes one answer of the stream. It runs in the subscription's goroutine, in the order of the answers.
func (a *appender) acknowledge(reply *nats.Msg) {
	number, err := strconv.ParseUint(reply.Subject[len(a.inbox):], 10, 64)
	if err != nil {
		return // not an answer to anything sent here
	}
	if seq, ok := a.plainSeq(reply.Data); ok {
		a.settle(number, bridge.Receipt{Cursor: bridge.Cursor{Seq: seq}}, nil)
		return
	}
	ack, err := parseAcknowledgement(reply)
	if err != nil || !ack.Duplicate {
		a.settle(number, bridge.Receipt{Cursor: bridge.Cursor{Seq: ack.Seq}}, err)
		return
	}
	// Only the first event knows its place, and asking must not hold up the other answers.
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.flying[number]; !ok {
		return
	}
	a.lookups.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), a.config.AckTimeout)
		defer cancel()
		place, err := a.first(ctx, ack.Seq)
		a.settle(number, bridge.Receipt{Cursor: place, Duplicate: true}, err)
	})
}

// plainSeq returns the sequence in the answer that servers give to nearly every message, which the general way would take
// ten times as long to read. It returns false for every other one.
func (a *appender) plainSeq(answer []byte) (uint64, bool) {
	digits, ok := bytes.CutPrefix(answer, a.plain)
	if !ok {
		return 0, false
	}
	if digits, ok = bytes.CutSuffix(digits, []byte{'}'}); !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	return seq, err == nil && seq > 0
}

// parseAcknowledgement returns an error for everything that does not say that the message is stored.
func parseAcknowledgement(reply *nats.Msg) (acknowledgement, error) {
	if len(reply.Data) == 0 { // status 503: the stream does not exist, or has no leader
		return acknowledgement{}, unavailable("append", nats.ErrNoResponders)
	}
	var ack acknowledgement
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return acknowledgement{}, unavailable("append", err)
	}
	switch {
	case ack.Error != nil && ack.Error.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return acknowledgement{}, fmt.Errorf("append: %w", ack.Error)
	case ack.Error != nil:
		return acknowledgement{}, unavailable("append", ack.Error)
	case ack.Seq == 0:
		return acknowledgement{}, unavailable("append", errors.New("the acknowledgement has no sequence"))
	}
	return ack, nil
}

// settle ends an append, unless it has ended before, and gives its room back.
func (a *appender) settle(number uint64, receipt bridge.Receipt, err error) {
	stored := err == nil && !receipt.Duplicate
	a.mu.Lock()
	p, ok := a.flying[number]
	if !ok {
		if stored { // after all, and without its event
			a.echo(nil)
		}
		a.mu.Unlock()
		return
	}
	delete(a.flying, number)
	if stored {
		receipt.Cursor.Time = p.stamp
		if len(a.echoes) > 0 {
			p.event.Cursor = receipt.Cursor
			a.echo(p.event)
		}
	}
	p.receipt, p.err = receipt, err
	close(p.done)
	if a.closed && len(a.flying) == 0 {
		close(a.settled)
	}
	a.mu.Unlock()
	a.leave(p.size)
}

// ticksPerTimeout is how many ticks of watch make up the time that an acknowledgement may take. Time is counted in
// ticks because none comes while the whole process stands still, as it may for seconds on a machine that is moved or
// overloaded: answers that wait to be read then are not too late.
const ticksPerTimeout = 10

// watch ends appends that are not answered. It returns when the appender is closed and nothing is in flight.
func (a *appender) watch(interruptions chan nats.Status) {
	defer close(a.watcher)
	defer a.conn.RemoveStatusListener(interruptions)
	tick := time.NewTicker(max(a.config.AckTimeout/ticksPerTimeout, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.mu.Lock()
			a.ticks++
			now := a.ticks
			a.mu.Unlock()
			a.abandon(errNoAnswer, func(p *pending) bool { return p.deadline <= now })
		case _, ok := <-interruptions:
			if !ok {
				interruptions = nil // closed with the connection
			}
			// Answers to what was sent on the broken connection do not come any more.
			a.abandon(errInterrupted, func(*pending) bool { return true })
		case <-a.settled:
			return
		}
	}
}

func (a *appender) abandon(why error, which func(*pending) bool) {
	var numbers []uint64
	a.mu.Lock()
	for number, p := range a.flying {
		if which(p) {
			numbers = append(numbers, number)
		}
	}
	if len(numbers) > 0 {
		a.echo(nil)
	}
	a.mu.Unlock()
	for _, number := range numbers {
		a.settle(number, bridge.Receipt{}, unavailable("append", why))
	}
}

// close refuses further appends, waits for those in flight and closes the connection.
func (a *appender) close() {
	a.mu.Lock()
	a.closed = true
	if len(a.flying) == 0 {
		close(a.settled)
	}
	a.mu.Unlock()
	<-a.settled
	<-a.watcher
	a.lookups.Wait()
	a.conn.Close()
}
