package jetstream

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ssebridge/ssebridge/bridge"
)

// Headers of a stored message. A header that would be empty is left out. The names are short because the server
// walks through all of them for each message. The trace context is not under its usual name, traceparent, because
// the server looks for that to trace a message's way through NATS, and copies all headers when it finds it.
const (
	headerType   = "type"   // full name of the event's type
	headerID     = "id"     // the publisher's id
	headerSource = "source" // CloudEvents source
	headerTime   = "time"   // when the event happened, RFC 3339
	headerTrace  = "trace"  // W3C traceparent
	headerStamp  = "stamp"  // store time: nanoseconds since 1970, in base 36 as in a cursor
)

var (
	errNoType  = errors.New("it has no type")
	errNotJSON = errors.New("its data is not JSON")
)

// subjectOf returns the subject under which events of a topic are stored. The mapping is one to one: "!" is not a
// character of topics, and "/" none of a subject that this function has made.
func subjectOf(prefix, topic string) string {
	subject := make([]byte, 0, len(prefix)+1+len(topic))
	subject = append(subject, prefix...)
	subject = append(subject, '.')
	for i := range len(topic) {
		c := topic[i]
		switch c {
		case '/':
			c = '.'
		case '.':
			c = '!'
		}
		subject = append(subject, c)
	}
	return string(subject)
}

// topicOf is the inverse of subjectOf. The error says why the subject is none of a topic.
func topicOf(prefix, subject string) (string, error) {
	rest, ok := strings.CutPrefix(subject, prefix+".")
	if !ok {
		return "", fmt.Errorf("its subject does not begin with %q", prefix+".")
	}
	topic := []byte(rest)
	for i, c := range topic {
		switch c {
		case '.':
			topic[i] = '/'
		case '!':
			topic[i] = '.'
		case '/': // a second spelling of some topic
			return "", errors.New("its subject has a slash")
		}
	}
	if err := bridge.ValidateTopic(string(topic)); err != nil {
		return "", err
	}
	return string(topic), nil
}

// encode returns the message that stores an event, complete but for the stamp.
func encode(prefix string, event *bridge.Event, key string) *nats.Msg {
	header, values := make(nats.Header, 8), make([]string, 0, 8)
	set := func(name, value string) {
		if value != "" {
			values = append(values, value)
			header[name] = values[len(values)-1 : len(values) : len(values)]
		}
	}
	set(headerType, escape(event.Type))
	set(headerID, escape(event.ID))
	set(headerSource, escape(event.Source))
	set(headerTrace, escape(event.TraceParent))
	set(headerTime, event.Time.UTC().Format(time.RFC3339Nano)) // the zero time is a time too, in the year 1
	if key != "" {
		set(jetstream.MsgIDHeader, messageID(key))
	}
	return &nats.Msg{Subject: subjectOf(prefix, event.Topic), Header: header, Data: event.Data}
}

// messageID shortens a key, which may be long and hold any bytes, to 132 bits: the server keeps it in memory for the
// whole duplicate window.
func messageID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}

// stored is a message of the stream, however it was fetched.
type stored struct {
	seq     uint64
	time    time.Time // JetStream's own store time
	subject string
	header  nats.Header
	data    []byte
}

// cursor returns the place just behind the message. A message that was not appended by a bridge has no stamp;
// JetStream's time serves then.
func (m *stored) cursor() bridge.Cursor {
	stamp, ok := m.stamp()
	if !ok {
		stamp = max(m.time.UnixNano(), 1)
	}
	return bridge.Cursor{Seq: m.seq, Time: stamp}
}

func (m *stored) stamp() (nanoseconds int64, ok bool) {
	nanoseconds, err := strconv.ParseInt(headerValue(m.header, headerStamp), 36, 64)
	return nanoseconds, err == nil && nanoseconds > 0
}

// event decodes the message. The error says what is wrong with a message that is no event.
func (m *stored) event(prefix string) (*bridge.Event, error) {
	topic, err := topicOf(prefix, m.subject)
	if err != nil {
		return nil, err
	}
	event := &bridge.Event{Cursor: m.cursor(), Topic: topic, Data: m.data}
	for _, field := range []struct {
		name string
		text *string
	}{
		{headerType, &event.Type},
		{headerID, &event.ID},
		{headerSource, &event.Source},
		{headerTrace, &event.TraceParent},
	} {
		if *field.text, err = unescape(headerValue(m.header, field.name)); err != nil {
			return nil, fmt.Errorf("its header %s: %w", field.name, err)
		}
	}
	if event.Type == "" {
		return nil, errNoType
	}
	// What a bridge has stamped was JSON when it was appended; what somebody else has stored may be anything.
	if _, ok := m.stamp(); !ok && !json.Valid(m.data) {
		return nil, errNotJSON
	}
	if event.Time, err = time.Parse(time.RFC3339Nano, headerValue(m.header, headerTime)); err != nil {
		event.Time = m.time
	}
	event.Time = event.Time.UTC()
	return event, nil
}

func headerValue(header nats.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// escape percent-encodes what a header value cannot hold (line breaks, and spaces at its ends) or what other readers
// of the stream may stumble over: everything but visible ASCII. Types, sources and most ids stay as they are.
func escape(value string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return ' ' < c && c < 0x7f && c != '%' }
	for i := range len(value) {
		if plain(value[i]) {
			continue
		}
		escaped := append(make([]byte, 0, 3*len(value)), value[:i]...)
		for _, c := range []byte(value[i:]) {
			if plain(c) {
				escaped = append(escaped, c)
			} else {
				escaped = append(escaped, '%', hex[c>>4], hex[c&15])
			}
		}
		return string(escaped)
	}
	return value
}

func unescape(value string) (string, error) { return url.PathUnescape(value) }
