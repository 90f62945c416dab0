package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"

	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

const (
	maxLineBytes  = 3 << 20 // less than a message may hold
	maxUnanswered = 4096    // lines sent without a result
	maxGathered   = 64      // lines in one message
)

// lineMessage is a message of the Publish stream in JSON, as the bridge's JSON codec reads and writes it: the lines
// go to the bridge as they are, and only the bridge needs to know the events' types.
type lineMessage struct {
	Events  []json.RawMessage `json:"events,omitempty"`
	Schema  []byte            `json:"schema,omitempty"`
	Results []json.RawMessage `json:"results,omitempty"`
	Last    bool              `json:"last,omitempty"`
}

// lineCodec is the codec of lineMessage.
type lineCodec struct{}

func (lineCodec) Name() string                             { return "json" }
func (lineCodec) Marshal(message any) ([]byte, error)      { return json.Marshal(message) }
func (lineCodec) Unmarshal(data []byte, message any) error { return json.Unmarshal(data, message) }

type (
	lineClient = connect.Client[lineMessage, lineMessage]
	lineStream = connect.BidiStreamForClient[lineMessage, lineMessage]
)

func newLineClient(base string) *lineClient {
	return connect.NewClient[lineMessage, lineMessage](
		newPublishClient(), base+ssebridgev1connect.PublishServicePublishProcedure, connect.WithCodec(lineCodec{}))
}

// linePublisher sends lines over one stream, and over the next one when the bridge ends it with last.
type linePublisher struct {
	client  *lineClient
	token   string
	schema  []byte
	lines   <-chan []byte
	results *resultPrinter

	mu         sync.Mutex
	room       *sync.Cond
	unanswered [][]byte // sent, oldest first
	ended      bool     // the stream of the unanswered lines has ended
}

// run returns when every line has its result.
func (p *linePublisher) run(ctx context.Context) error {
	p.room = sync.NewCond(&p.mu)
	for {
		again, err := p.runStream(ctx)
		if err != nil || !again {
			return err
		}
	}
}

// runStream sends over one stream until the lines end or the bridge ends it; again tells that there is more to send.
func (p *linePublisher) runStream(ctx context.Context) (again bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := p.client.CallBidiStream(ctx)
	bearer(stream.RequestHeader(), p.token)
	p.mu.Lock()
	p.ended = false
	resend := p.unanswered
	p.unanswered = nil
	p.mu.Unlock()
	received := make(chan error, 1)
	go func() { received <- p.receive(stream) }()
	stopSending := make(chan struct{})
	sent := make(chan bool, 1)
	go func() { sent <- p.send(stream, resend, stopSending) }()
	err = <-received
	p.end()
	close(stopSending)
	all := <-sent
	if err != nil {
		return false, fmt.Errorf("%w; %d events have no result", err, p.count())
	}
	return !all || p.count() > 0, p.results.out.Flush()
}

// end lets a sender that waits for room go on: nothing will be answered on this stream any more.
func (p *linePublisher) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.room.Broadcast()
}

func (p *linePublisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.unanswered)
}

// send sends what a stream before has left unanswered, then the lines, gathered as they come. It reports whether it
// has sent all there is.
func (p *linePublisher) send(stream *lineStream, resend [][]byte, stop <-chan struct{}) (all bool) {
	message := &lineMessage{Schema: p.schema}
	put := func(lines [][]byte) bool {
		p.expect(lines)
		for _, line := range lines {
			message.Events = append(message.Events, line)
		}
		err := stream.Send(message) // the reason of a failure is what Receive returns
		message = &lineMessage{}
		return err == nil
	}
	alive := true
	for len(resend) > 0 {
		n := min(len(resend), maxGathered)
		if alive {
			alive = put(resend[:n])
		} else {
			p.expect(resend[:n]) // for the stream after this one
		}
		resend = resend[n:]
	}
	for alive {
		lines, open := p.gather(stop)
		if len(lines) > 0 {
			alive = put(lines)
		}
		if !open {
			_ = stream.CloseRequest() // likewise
			return true
		}
		if lines == nil {
			return false
		}
	}
	return false
}

// gather waits for a line and takes those that are there already too. It returns nil when the stream ends.
func (p *linePublisher) gather(stop <-chan struct{}) (lines [][]byte, open bool) {
	var size int
	select {
	case <-stop:
		return nil, true
	case line, open := <-p.lines:
		if !open {
			return nil, false
		}
		lines, size = append(lines, line), len(line)
	}
	for len(lines) < maxGathered && size < maxLineBytes/4 {
		select {
		case line, open := <-p.lines:
			if !open {
				return lines, false
			}
			lines, size = append(lines, line), size+len(line)
		default:
			return lines, true
		}
	}
	return lines, true
}

// expect notes lines that are about to be sent. It waits while too many have no result.
func (p *linePublisher) expect(lines [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.unanswered) >= maxUnanswered && !p.ended {
		p.room.Wait()
	}
	p.unanswered = append(p.unanswered, lines...)
}

// receive prints results until the stream ends. Last, and an end after every result, are no error.
func (p *linePublisher) receive(stream *lineStream) error {
	for {
		message, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for _, result := range message.Results {
			if err := p.results.write(result); err != nil {
				return err
			}
		}
		p.answered(len(message.Results))
		if err := p.results.out.Flush(); err != nil {
			return err
		}
	}
}

func (p *linePublisher) answered(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unanswered = p.unanswered[min(n, len(p.unanswered)):]
	p.room.Broadcast()
}
