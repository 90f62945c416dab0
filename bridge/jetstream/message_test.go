package jetstream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestSubject(t *testing.T) {
	for topic, subject := range map[string]string{
		"alerts":               "ssebridge.alerts",
		"shops/7/orders/42":    "ssebridge.shops.7.orders.42",
		"a.b/c..d/.e":          "ssebridge.a!b.c!!d.!e",
		"$bridge/x-y_z~1:@=":   "ssebridge.$bridge.x-y_z~1:@=",
		"files/report.pdf/v1.": "ssebridge.files.report!pdf.v1!",
	} {
		require.Equal(t, subject, subjectOf("ssebridge", topic))
		back, err := topicOf("ssebridge", subject)
		require.NoError(t, err)
		require.Equal(t, topic, back)
	}
}

func TestSubjectOfNoTopic(t *testing.T) {
	for _, subject := range []string{
		"", "ssebridge", "ssebridge.", "ssebridg.a", "ssebridgea.b", "ssebridge..a", "ssebridge.a..b", "ssebridge.a.",
		"ssebridge.a/b", "ssebridge.!", "ssebridge.a.!!", "ssebridge.ä", "ssebridge.*", "ssebridge.a.>", "ssebridge.a b",
		"ssebridge." + strings.Repeat("a.", 16) + "a", "ssebridge." + strings.Repeat("a", 129),
	} {
		_, err := topicOf("ssebridge", subject)
		require.Error(t, err, subject)
	}
}

func FuzzSubject(f *testing.F) {
	f.Add("shops/7/orders/42")
	f.Add("ssebridge.a.b!c")
	f.Add("$a/..b")
	f.Fuzz(func(t *testing.T, text string) {
		if bridge.ValidateTopic(text) == nil {
			subject := subjectOf("p", text)
			require.NotContains(t, subject, "..")
			require.NotContains(t, subject, "/")
			back, err := topicOf("p", subject)
			require.NoError(t, err)
			require.Equal(t, text, back)
		}
		if topic, err := topicOf("ssebridge", text); err == nil {
			require.NoError(t, bridge.ValidateTopic(topic))
			require.Equal(t, text, subjectOf("ssebridge", topic))
		}
	})
}

// overWire returns a message's header as a client receives it.
func overWire(t *testing.T, header nats.Header) nats.Header {
	t.Helper()
	wire := []byte("NATS/1.0\r\n")
	for name, values := range header {
		require.Len(t, values, 1)
		require.NotContains(t, values[0], "\r")
		require.NotContains(t, values[0], "\n")
		wire = append(wire, name+": "+values[0]+"\r\n"...)
	}
	back, err := nats.DecodeHeadersMsg(append(wire, "\r\n"...))
	require.NoError(t, err)
	return back
}

func stampedAs(t *testing.T, event *bridge.Event, stamp string) *stored {
	t.Helper()
	message := encode("ssebridge", event, "key")
	message.Header[headerStamp] = []string{stamp}
	return &stored{seq: 7, time: time.Unix(1, 0), subject: message.Subject, header: overWire(t, message.Header), data: message.Data}
}

func TestMessage(t *testing.T) {
	event := newEvent(1)
	event.ID = " grüße: 100 %\t\r\n" + "\x00\xff "
	event.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	message := stampedAs(t, event, "1z")
	require.Equal(t, "shop.v1.OrderShipped", message.header.Get(headerType))
	require.Equal(t, "/shop/orders", message.header.Get(headerSource))

	back, err := message.event("ssebridge")
	require.NoError(t, err)
	event.Cursor = bridge.Cursor{Seq: 7, Time: 71}
	require.Equal(t, event, back)
}

func TestMessageID(t *testing.T) {
	short, long := messageID("a"), messageID(strings.Repeat("ä\r\n\x00", 1000))
	require.Len(t, short, 22)
	require.Len(t, long, 22)
	require.NotEqual(t, short, long)
	require.Equal(t, short, messageID("a"))
	require.Empty(t, encode("p", newEvent(1), "").Header.Get(jetstream.MsgIDHeader))
	require.Equal(t, short, encode("p", newEvent(1), "a").Header.Get(jetstream.MsgIDHeader))
}

// The time of an event is kept as given, from the first to the last one that a google.protobuf.Timestamp can hold.
func TestTimeOfAnEvent(t *testing.T) {
	log := openNew(t)
	for _, given := range []time.Time{
		{},
		time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Unix(0, 0).UTC(),
		time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		event := newEvent(1)
		event.Time = given
		place := store(t, log, event, "").Cursor
		page, err := log.Read(t.Context(), place.Seq-1, place.Seq)
		require.NoError(t, err)
		require.Len(t, page.Events, 1)
		require.Equal(t, given, page.Events[0].Time)
	}
}

func TestForeignMessage(t *testing.T) {
	message := &stored{
		seq:     3,
		time:    time.Unix(0, 12345),
		subject: "ssebridge.a.b",
		header:  nats.Header{headerType: {"t"}},
		data:    []byte(`{"a": 1}`),
	}
	event, err := message.event("ssebridge")
	require.NoError(t, err)
	require.Equal(t, bridge.Cursor{Seq: 3, Time: 12345}, event.Cursor)
	require.Equal(t, time.Unix(0, 12345).UTC(), event.Time)
	require.Equal(t, "a/b", event.Topic)

	for name, change := range map[string]func(*stored){
		"no type":       func(m *stored) { m.header = nil },
		"bad escape":    func(m *stored) { m.header = nats.Header{headerType: {"t"}, headerID: {"%zz"}} },
		"not JSON":      func(m *stored) { m.data = []byte("hello") },
		"no data":       func(m *stored) { m.data = nil },
		"subject":       func(m *stored) { m.subject = "ssebridge.a/b" },
		"other subject": func(m *stored) { m.subject = "other.a" },
	} {
		t.Run(name, func(t *testing.T) {
			bad := *message
			change(&bad)
			_, err := bad.event("ssebridge")
			require.Error(t, err)
			require.Equal(t, bridge.Cursor{Seq: 3, Time: 12345}, bad.cursor())
		})
	}
}

// What an event carries comes back, whatever it is, and nothing that stands in the stream makes decoding panic.
func FuzzMessage(f *testing.F) {
	f.Add("shop.v1.A", "id 1", "/source", "trace", "zz", "2026-01-02T03:04:05Z", "ssebridge.a.b", []byte(`{}`))
	f.Add("%", "\r\n", " ", "\xff", "-1", "", "x", []byte(nil))
	f.Fuzz(func(t *testing.T, typeName, id, source, trace, stamp, eventTime, subject string, data []byte) {
		event := &bridge.Event{
			Topic: "a/b", Type: "t" + typeName, ID: id, Source: source, TraceParent: trace,
			Time: time.Unix(5, 6).UTC(), Data: data,
		}
		back, err := stampedAs(t, event, "1z").event("ssebridge")
		require.NoError(t, err)
		event.Cursor = bridge.Cursor{Seq: 7, Time: 71}
		require.Equal(t, event, back)

		raw := &stored{seq: 1, subject: subject, data: data, header: nats.Header{
			headerType: {typeName}, headerID: {id}, headerSource: {source}, headerTrace: {trace},
			headerStamp: {stamp}, headerTime: {eventTime},
		}}
		require.Positive(t, raw.cursor().Time)
		if event, err := raw.event("ssebridge"); err == nil {
			require.NotEmpty(t, event.Type)
			require.NoError(t, bridge.ValidateTopic(event.Topic))
		}
	})
}
