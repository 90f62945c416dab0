package bridge

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// MediaType is the media type of an event stream (WHATWG HTML, section 9.2).
const MediaType = "text/event-stream"

// The bridge's own events. Each is a named event, so that onmessage receives published events only.
const (
	EventOpen      = "ssebridge.open"      // the stream begins; the id is where the reader stands
	EventHeartbeat = "ssebridge.heartbeat" // nothing else to say; the id is the place reached
	EventReset     = "ssebridge.reset"     // what was asked for is no longer kept; what follows does so from the id
	EventReconnect = "ssebridge.reconnect" // the bridge ends the stream: come back
	EventExpired   = "ssebridge.expired"   // the stream ends because the caller's identity has: renew it, then come back
)

// AppendFrame appends one SSE event to dst: "id:", "event:" where name is not empty, and one "data:" line. No
// content can end a line or the event early: CR, LF and NUL, which a field cannot hold (WHATWG HTML, section 9.2.6),
// become spaces. In JSON they stand only between tokens, where a space means the same.
func AppendFrame(dst []byte, place Cursor, name string, data []byte) []byte {
	dst = appendHead(dst, place, name)
	start := len(dst)
	return appendEnd(append(dst, data...), start)
}

// appendHead appends what stands before the data.
func appendHead(dst []byte, place Cursor, name string) []byte {
	if !place.IsZero() {
		dst = append(dst, "id: "...)
		dst = place.Append(dst)
		dst = append(dst, '\n')
	}
	if name != "" {
		dst = append(dst, "event: "...)
		start := len(dst)
		dst = append(dst, name...)
		joinLines(dst[start:])
		dst = append(dst, '\n')
	}
	return append(dst, "data: "...)
}

// appendEnd ends the frame whose data begin at start.
func appendEnd(dst []byte, start int) []byte {
	joinLines(dst[start:])
	return append(dst, "\n\n"...)
}

// joinLines makes one line of content.
func joinLines(content []byte) {
	for _, ends := range [...]byte{'\r', '\n', 0} {
		rest := content
		for i := bytes.IndexByte(rest, ends); i >= 0; i = bytes.IndexByte(rest, ends) {
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
}

// AppendCloudEvent appends the event as a CloudEvents 1.0 JSON object (CloudEvents JSON format, section 3); traced adds
// its trace context, if it has one (CloudEvents distributed tracing extension).
func (e *Event) AppendCloudEvent(dst []byte, traced bool) []byte {
	dst = append(dst, `{"specversion":"1.0","id":`...)
	if e.ID != "" {
		dst = appendJSONString(dst, e.ID)
	} else {
		dst = append(dst, '"')
		dst = e.Cursor.Append(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"source":`...)
	dst = appendJSONString(dst, e.Source)
	dst = append(dst, `,"type":`...)
	dst = appendJSONString(dst, e.Type)
	dst = append(dst, `,"subject":`...)
	dst = appendJSONString(dst, e.Topic)
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	if traced && e.TraceParent != "" {
		dst = append(dst, `","traceparent":`...)
		dst = appendJSONString(dst, e.TraceParent)
		dst = append(dst, `,"data":`...)
	} else {
		dst = append(dst, `","data":`...)
	}
	dst = append(dst, e.Data...)
	return append(dst, '}')
}

// appendJSONString appends s as a JSON string. Plain ASCII, the rule here, is copied; the rest is left to
// encoding/json, which replaces invalid UTF-8.
func appendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(dst, `""`...) // a string always marshals
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// AppendRetry appends the field that sets a browser's reconnection time.
func AppendRetry(dst []byte, wait time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, wait.Milliseconds(), 10)
	return append(dst, "\n\n"...)
}

// AppendNotice appends one of the bridge's own events, whose data is a JSON object with one field.
func AppendNotice(dst []byte, place Cursor, name, field, value string) []byte {
	data := append([]byte{'{'}, appendJSONString(nil, field)...)
	data = append(data, ':')
	data = appendJSONString(data, value)
	return AppendFrame(dst, place, name, append(data, '}'))
}
