package sse

import (
	"net/http"
	"time"
)

// frameWriter puts frames on one connection. It is used by one goroutine.
type frameWriter interface {
	// Write takes a frame; it may hold it back until Flush. It does not keep or change the frame.
	Write(frame []byte) error
	// Flush returns once the connection has taken everything.
	Flush() error
}

// responseWriter is the frameWriter over net/http, for every protocol that it speaks. Every write has a deadline.
type responseWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	end     time.Time // no deadline is later, unless it is zero
	allowed int       // bytes that may still be written under the deadline that is set
}

// piece is how much a reader must take within one stall time: far less than any reader that is alive does.
const piece = 16 << 10

// farewell is how long a reader may take for what it is told at the end.
const farewell = 500 * time.Millisecond

// newResponseWriter makes a writer whose writes fail after stall, and soon after until where that is not zero.
func newResponseWriter(w http.ResponseWriter, stall time.Duration, until time.Time) *responseWriter {
	rw := &responseWriter{w: w, control: http.NewResponseController(w), stall: stall}
	if !until.IsZero() {
		rw.end = until.Add(farewell)
	}
	return rw
}

func (rw *responseWriter) Write(frame []byte) error {
	for len(frame) > 0 {
		if rw.allowed <= 0 {
			if err := rw.extend(); err != nil {
				return err
			}
		}
		n, err := rw.w.Write(frame[:min(len(frame), rw.allowed)])
		if err != nil {
			return err
		}
		rw.allowed -= n
		frame = frame[n:]
	}
	return nil
}

func (rw *responseWriter) Flush() error {
	if err := rw.extend(); err != nil {
		return err
	}
	if err := rw.control.Flush(); err != nil {
		return err
	}
	rw.allowed = 0
	// HTTP/2 resets a stream at its deadline even when nothing is being written.
	return rw.control.SetWriteDeadline(time.Time{})
}

// extend gives the next piece its own deadline.
func (rw *responseWriter) extend() error {
	rw.allowed = piece
	deadline := time.Now().Add(rw.stall)
	if !rw.end.IsZero() && rw.end.Before(deadline) {
		deadline = rw.end
	}
	return rw.control.SetWriteDeadline(deadline)
}
