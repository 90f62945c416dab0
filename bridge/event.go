package bridge

import (
	"sync/atomic"
	"time"
)

// Event is one typed event as readers receive it. It must not be changed once the hub has it; then it may be used
// concurrently.
type Event struct {
	Cursor      Cursor // its place in the log
	Topic       string
	Type        string // full name of the protobuf message, such as shop.v1.OrderShipped
	ID          string // the publisher's id; empty: the cursor serves
	Source      string // CloudEvents source
	Time        time.Time
	TraceParent string // W3C trace context of the span that stored it, or of its cause; may be empty
	Data        []byte // the message in the protobuf JSON mapping, compact

	frames [formats]atomic.Pointer[[]byte]
}

// Format is one of the shapes in which readers receive events.
type Format uint8

// The formats.
const (
	FormatCloudEvents Format = iota // a CloudEvents 1.0 JSON object, received by onmessage
	FormatJSON                      // the message alone, received by a listener for its type
	FormatTraced                    // FormatCloudEvents with the event's trace context
	formats
)

// String returns the format's name on the wire.
func (f Format) String() string {
	if f == FormatJSON {
		return "json"
	}
	return "cloudevents"
}

// Frame returns the event's SSE frame. It is encoded once per format, whatever the number of readers, and must not
// be changed.
func (e *Event) Frame(format Format) []byte {
	if frame := e.frames[format].Load(); frame != nil {
		return *frame
	}
	frame := e.encode(format)
	e.frames[format].CompareAndSwap(nil, &frame)
	return *e.frames[format].Load()
}

// encode returns a frame, in memory of about its size.
func (e *Event) encode(format Format) []byte {
	if format == FormatJSON {
		return AppendFrame(make([]byte, 0, len(e.Data)+len(e.Type)+frameBytes), e.Cursor, e.Type, e.Data)
	}
	size := len(e.Data) + len(e.Topic) + len(e.Type) + len(e.ID) + len(e.Source) + cloudEventBytes
	frame := appendHead(make([]byte, 0, size), e.Cursor, "")
	start := len(frame)
	return appendEnd(e.AppendCloudEvent(frame, format == FormatTraced), start)
}

// What a frame, and that of a CloudEvent, has beside the fields of its event, with the longest cursor, time and trace
// context.
const (
	frameBytes      = 64
	cloudEventBytes = 256
)

// size is a bound of the memory that the event takes, frames included.
func (e *Event) size() int {
	const overhead = 768 // struct, chain and ring entries, and what the frames add to the data
	return overhead + 3*len(e.Data) + 2*(len(e.Topic)+len(e.Type)+len(e.ID)+len(e.Source)+len(e.TraceParent))
}
