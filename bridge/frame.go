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
	if !place.IsZero() {
		dst = append(dst, "id: "...)
		dst = place.Append(dst)
		dst = append(dst, '\n')
	}
	if name != "" {
		dst = append(dst, "event: "...)
		dst = appendLine(dst, []byte(name))
		dst = append(dst, '\n')
	}
	dst = append(dst, "data: "...)
	dst = appendLine(dst, data)
	return append(dst, "\n\n"...)
}

func appendLine(dst, content []byte) []byte {
	for {
		i := bytes.IndexAny(content, "\r\n\x00")
		if i < 0 {
			return append(dst, content...)
		}
		dst = append(dst, content[:i]...)
		dst = append(dst, ' ')
		content = content[i+1:]
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
