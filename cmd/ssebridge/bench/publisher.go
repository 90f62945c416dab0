package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

const (
	maxUnanswered = 1024      // events of a publisher without a result
	maxGathered   = 64        // events in one message
	maxGatherSize = 512 << 10 // bytes in one message, unless one event is larger
)

// newRun returns the hexadecimal digits of a run.
func newRun() string {
	run := make([]byte, runDigits/2)
	_, _ = rand.Read(run) // never fails
	return hex.EncodeToString(run)
}

// outlet is where a publisher's events go: a stream of the bridge, or the floor. One goroutine sends, another one
// receives.
type outlet interface {
	// send sends events, each of them a copy of the template.
	send(events []byte) error
	// end says that no more are sent.
	end() error
	// receive returns the next results, in the order of the events; io.EOF after the last one.
	receive() (*ssebridgev1.PublishResponse, error)
}

// bridgeOutlet is a Publish stream, whose messages are encoded already.
type bridgeOutlet struct {
	*connect.BidiStreamForClient[[]byte, ssebridgev1.PublishResponse]

	schema []byte // an encoded request that goes with the first events
}

func (o *bridgeOutlet) send(events []byte) error {
	if o.schema != nil {
		events = slices.Concat(o.schema, events)
		o.schema = nil
	}
	return o.Send(&events)
}

func (o *bridgeOutlet) end() error { return o.CloseRequest() }
func (o *bridgeOutlet) receive() (*ssebridgev1.PublishResponse, error) {
	return o.Receive()
}

// encodedCodec takes encoded requests as they are.
type encodedCodec struct{}

func (encodedCodec) Name() string { return "proto" }

// Marshal returns a copy: connect keeps what it gets, for other messages.
func (c encodedCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend is what connect calls instead, with a buffer of its own.
func (encodedCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	if encoded, ok := message.(*[]byte); ok {
		return append(dst, *encoded...), nil
	}
	return nil, fmt.Errorf("%T is not encoded", message)
}

func (encodedCodec) Unmarshal(data []byte, message any) error {
	if response, ok := message.(*ssebridgev1.PublishResponse); ok {
		return proto.Unmarshal(data, response)
	}
	return fmt.Errorf("%T is not a response", message)
}

// dialBridge returns what opens Publish streams; schema is what newSchemaRequest has made.
func dialBridge(client *http.Client, base, token string, schema []byte) func(context.Context) outlet {
	service := connect.NewClient[[]byte, ssebridgev1.PublishResponse](
		client, base+ssebridgev1connect.PublishServicePublishProcedure, connect.WithCodec(encodedCodec{}))
	return func(ctx context.Context) outlet {
		stream := service.CallBidiStream(ctx)
		if token != "" {
			stream.RequestHeader().Set("Authorization", "Bearer "+token)
		}
		return &bridgeOutlet{stream, schema}
	}
}

// published is what publishers have to tell. The methods may be called concurrently.
type published struct {
	sent, acknowledged, refused, failed atomic.Int64

	mu      sync.Mutex
	first   string // refusal or error
	slowest time.Duration
}

func (p *published) note(wrong string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == "" {
		p.first = wrong
	}
}

func (p *published) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slowest = max(p.slowest, d)
}

// publisher publishes the events of its lanes, one after the other.
type publisher struct {
	plan     *plan
	open     func(context.Context) outlet
	template *template
	lanes    []lane // of the plan; only those of this publisher are touched
	own      []int
	turn     int // in own
	told     *published

	unanswered chan sentEvent
	again      []sentEvent // events of a stream that ended with last
	buffer     []byte
}

type sentEvent struct {
	mark

	at time.Time
}

func newPublishers(p *plan, open func(context.Context) outlet, t *template, lanes []lane, told *published) (made []*publisher) {
	for i := range p.publishers {
		one := &publisher{plan: p, open: open, template: t, lanes: lanes, told: told, unanswered: make(chan sentEvent, maxUnanswered)}
		for own := i; own < p.lanes(); own += p.publishers {
			one.own = append(one.own, own)
		}
		made = append(made, one)
	}
	return made
}

const errorPause = 100 * time.Millisecond

// run publishes until the pacer says that it is over, over as many streams as it takes. It returns when every event has
// its result or never will.
func (p *publisher) run(ctx context.Context, pace *pacer) {
	for ctx.Err() == nil && (len(p.again) > 0 || !pace.over()) {
		err := p.stream(ctx, pace)
		if err == nil || ctx.Err() != nil {
			continue
		}
		p.told.failed.Add(1)
		p.told.note(fmt.Sprintf("Publish stream: %v", err))
		if p.told.acknowledged.Load() == 0 {
			break // there is nothing to measure
		}
		select {
		case <-time.After(errorPause):
		case <-ctx.Done():
		}
	}
	p.giveUp(p.again)
	p.again = nil
}

// stream publishes over one stream. Events without a result are sent again if the bridge asked for it.
func (p *publisher) stream(ctx context.Context, pace *pacer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := p.open(ctx)
	var last bool
	var err error
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		last, err = p.receive(out)
	}()
	p.send(out, pace, gone)
	_ = out.end() // the reason of a failure is what receive returns
	<-gone
	unanswered := p.drain()
	if last {
		p.again = append(unanswered, p.again...)
	} else {
		p.giveUp(unanswered)
	}
	return err
}

// send sends what is due until it is over or the stream has ended.
func (p *publisher) send(out outlet, pace *pacer, gone <-chan struct{}) {
	for {
		due := min(len(p.again), maxGathered)
		if due == 0 {
			due = pace.wait(gone)
		}
		if due == 0 || !p.gather(due, pace, gone) {
			return
		}
		if out.send(p.buffer) != nil {
			return // the reason is what receive returns
		}
	}
}

// gather makes a message of so many events at most. It waits for room for the first one, and reports false when the
// stream has ended instead.
func (p *publisher) gather(due int, pace *pacer, gone <-chan struct{}) bool {
	p.buffer = p.buffer[:0]
	for n := 0; n < due && len(p.buffer) < maxGatherSize; n++ {
		event := p.peek()
		select {
		case p.unanswered <- event:
		default:
			if n > 0 {
				return true
			}
			select {
			case p.unanswered <- event:
			case <-gone:
				return false
			}
		}
		p.buffer = p.template.append(p.buffer, p.plan.topicOf(int(event.lane)), event.mark)
		if len(p.again) > 0 {
			p.again = p.again[1:]
			continue
		}
		p.lanes[event.lane].sent = event.number
		p.turn = (p.turn + 1) % len(p.own)
		pace.sent++
		p.told.sent.Add(1)
	}
	return true
}

// peek returns the event that is next.
func (p *publisher) peek() sentEvent {
	now := time.Now()
	if len(p.again) > 0 {
		return p.again[0]
	}
	own := p.own[p.turn]
	return sentEvent{at: now, mark: mark{
		lane: uint32(own), number: p.lanes[own].sent + 1, time: now.UnixNano(), //nolint:gosec // at most maxTopics
	}}
}

// receive takes results until the stream ends. It reports whether the bridge wants what has no result once more.
func (p *publisher) receive(out outlet) (last bool, err error) {
	for {
		response, err := out.receive()
		if errors.Is(err, io.EOF) {
			return last, nil
		} else if err != nil {
			return last, err
		}
		now := time.Now()
		for _, result := range response.GetResults() {
			select {
			case event := <-p.unanswered:
				p.answered(event, result, now)
			default:
				return last, errors.New("the bridge sent a result for which there is no event")
			}
		}
		last = last || response.GetLast()
	}
}

func (p *publisher) answered(event sentEvent, result *ssebridgev1.PublishResult, now time.Time) {
	p.told.took(now.Sub(event.at))
	if refusal := result.GetError(); refusal != nil {
		p.told.refused.Add(1)
		p.told.note(fmt.Sprintf("event to %s refused: %s: %s", p.plan.topic(p.plan.topicOf(int(event.lane))), refusal.GetCode(), refusal.GetMessage()))
		l := &p.lanes[event.lane]
		l.refused++
		l.unsure = append(l.unsure, event.number)
		return
	}
	p.told.acknowledged.Add(1)
}

// drain returns the events without a result.
func (p *publisher) drain() (events []sentEvent) {
	for {
		select {
		case event := <-p.unanswered:
			events = append(events, event)
		default:
			return events
		}
	}
}

// giveUp notes events of which nobody knows whether they are stored.
func (p *publisher) giveUp(events []sentEvent) {
	for _, event := range events {
		l := &p.lanes[event.lane]
		l.unsure = append(l.unsure, event.number)
	}
}

// pacer says when a publisher publishes how many events.
type pacer struct {
	ctx   context.Context
	rate  float64 // events per second; 0: as fast as results come back
	begun time.Time
	until time.Time // zero: until count
	count int       // of events; 0: until the time
	sent  int
}

// over reports whether nothing is to be sent any more.
func (p *pacer) over() bool {
	return p.ctx.Err() != nil || p.count > 0 && p.sent >= p.count || !p.until.IsZero() && !time.Now().Before(p.until)
}

// wait returns how many events are due as soon as there are some; 0 when it is over, or when gone is closed.
func (p *pacer) wait(gone <-chan struct{}) int {
	for !p.over() {
		left := maxGathered
		if p.count > 0 {
			left = min(left, p.count-p.sent)
		}
		if p.rate == 0 {
			return left
		}
		next := p.begun.Add(time.Duration(float64(p.sent) / p.rate * float64(time.Second)))
		if rest := time.Until(next); rest <= 0 {
			return min(left, int(-rest.Seconds()*p.rate)+1)
		}
		if !p.until.IsZero() && next.After(p.until) {
			next = p.until
		}
		select {
		case <-time.After(time.Until(next)):
		case <-gone:
			return 0
		case <-p.ctx.Done():
			return 0
		}
	}
	return 0
}
