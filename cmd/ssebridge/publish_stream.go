package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"

	"github.com/ssebridge/ssebridge/gen/ssebridge/v1/ssebridgev1connect"
)

const (
	maxUnanswered      = 4096     // lines sent without a result
	maxUnansweredBytes = 16 << 20 // likewise, all together
	maxGathered        = 64       // lines in one message
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

func newLineClient(base string, roots *x509.CertPool) *lineClient {
	return connect.NewClient[lineMessage, lineMessage](
		newPublishClient(roots), base+ssebridgev1connect.PublishServicePublishProcedure, connect.WithCodec(lineCodec{}))
}

// linePublisher sends lines over one stream, and over the next one when the bridge ends it with last.
type linePublisher struct {
	client *lineClient
	token  string
	schema []byte
	lines  <-chan eventLine

	mu         sync.Mutex
	results    *resultPrinter
	room       *sync.Cond
	unanswered []eventLine // without a result, oldest first
	size       int         // of their text
	ended      bool        // the stream of the unanswered lines has ended
	failed     error       // what went wrong in printing
}

// run returns when every line has its result.
func (p *linePublisher) run(ctx context.Context) error {
	p.room = sync.NewCond(&p.mu)
	for {
		more, err := p.wait(ctx)
		if err != nil || !more {
			return err
		}
		if err := p.runStream(ctx); err != nil {
			return err
		}
	}
}

// wait returns once there is something to send. It reports false when the lines have ended.
func (p *linePublisher) wait(ctx context.Context) (more bool, err error) {
	for len(p.unanswered) == 0 {
		select {
		case line, open := <-p.lines:
			if !open {
				return false, nil
			}
			p.expect([]eventLine{line})
			if p.failed != nil {
				return false, p.failed
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return true, nil
}

// runStream sends over one stream until the lines end or the bridge ends it.
func (p *linePublisher) runStream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := p.client.CallBidiStream(ctx)
	bearer(stream.RequestHeader(), p.token)
	resend := p.unanswered
	p.unanswered, p.size, p.ended = nil, 0, false
	received := make(chan error, 1)
	go func() { received <- p.receive(stream) }()
	stopSending := make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if !p.send(stream, resend, stopSending) {
			cancel()
		}
	}()
	err := <-received
	p.end()
	close(stopSending)
	<-sent
	if p.failed != nil {
		err = p.failed
	}
	if err != nil {
		return fmt.Errorf("%w; %d events have no result", err, len(p.unanswered))
	}
	return nil
}

// end lets a sender that waits for room go on: nothing will be answered on this stream any more.
func (p *linePublisher) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.room.Broadcast()
}

// send sends what a stream before has left unanswered, then the lines, gathered as they come. It reports false when
// results cannot be printed.
func (p *linePublisher) send(stream *lineStream, resend []eventLine, stop <-chan struct{}) (ok bool) {
	alive := len(p.schema) == 0 || stream.Send(&lineMessage{Schema: p.schema}) == nil
	for ok = true; ok && len(resend) > 0; {
		lines := take(resend)
		resend = resend[len(lines):]
		ok = p.expect(lines) // those that are not sent are for the stream after this one
		alive = alive && put(stream, lines)
	}
	for ok && alive {
		lines, open := p.gather(stop)
		ok = p.expect(lines)
		alive = put(stream, lines)
		if !open {
			_ = stream.CloseRequest() // the reason of a failure is what Receive returns
			return ok
		}
		if lines == nil {
			return ok
		}
	}
	return ok
}

// take returns as many lines as make one message, at least one.
func take(lines []eventLine) []eventLine {
	n, size := 0, 0
	for n < min(len(lines), maxGathered) && size < maxLineBytes/4 {
		size += len(lines[n].text)
		n++
	}
	return lines[:n]
}

// put sends those lines that are not refused here. It reports whether the stream takes more.
func put(stream *lineStream, lines []eventLine) bool {
	message := &lineMessage{}
	for _, line := range lines {
		if line.refused == nil {
			message.Events = append(message.Events, line.text)
		}
	}
	return len(message.Events) == 0 || stream.Send(message) == nil // the reason of a failure is what Receive returns
}

// gather waits for a line and takes those that are there already too. It returns nil when the stream ends.
func (p *linePublisher) gather(stop <-chan struct{}) (lines []eventLine, open bool) {
	var size int
	select {
	case <-stop:
		return nil, true
	case line, open := <-p.lines:
		if !open {
			return nil, false
		}
		lines, size = append(lines, line), len(line.text)
	}
	for len(lines) < maxGathered && size < maxLineBytes/4 {
		select {
		case line, open := <-p.lines:
			if !open {
				return lines, false
			}
			lines, size = append(lines, line), size+len(line.text)
		default:
			return lines, true
		}
	}
	return lines, true
}

// expect notes lines that are about to be sent. It waits while too many have no result. It reports false when results
// cannot be printed.
func (p *linePublisher) expect(lines []eventLine) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (len(p.unanswered) >= maxUnanswered || p.size >= maxUnansweredBytes) && !p.ended {
		p.room.Wait()
	}
	for _, line := range lines {
		p.unanswered = append(p.unanswered, line)
		p.size += len(line.text)
	}
	p.print(nil)
	return p.failed == nil
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
		if err := p.answer(message.Results); err != nil {
			return err
		}
	}
}

func (p *linePublisher) answer(results []json.RawMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(results)
	p.room.Broadcast()
	return p.failed
}

// print prints results, and the refusals that come before, between and behind them. Callers hold mu.
func (p *linePublisher) print(results []json.RawMessage) {
	for len(p.unanswered) > 0 && p.failed == nil {
		line := p.unanswered[0]
		if line.refused == nil && len(results) == 0 {
			break
		}
		if line.refused != nil {
			p.failed = p.results.refuse(line.refused)
		} else {
			p.failed = p.results.write(results[0])
			results = results[1:]
		}
		p.unanswered = p.unanswered[1:]
		p.size -= len(line.text)
	}
	if p.failed == nil {
		p.failed = p.results.out.Flush()
	}
}
