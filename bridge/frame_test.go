package bridge_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tmaxmax/go-sse"

	"github.com/ssebridge/ssebridge/bridge"
)

// parseFrames reads frames with somebody else's parser.
func parseFrames(t *testing.T, frames []byte) []sse.Event {
	t.Helper()
	var events []sse.Event
	for event, err := range sse.Read(strings.NewReader(string(frames)), &sse.ReadConfig{MaxEventSize: 1 << 24}) {
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}

var sampleEvent = bridge.Event{
	Cursor: bridge.Cursor{Seq: 184, Time: 36},
	Topic:  "shops/7/orders/42",
	Type:   "shop.v1.OrderShipped",
	Source: "/ssebridge",
	Time:   time.Date(2026, 3, 1, 12, 0, 0, 5_000_000, time.FixedZone("", 3600)),
	Data:   []byte(`{"orderId":"42"}`),
}

func TestEventFrames(t *testing.T) {
	t.Parallel()
	event := bridge.Event{
		Cursor: sampleEvent.Cursor, Topic: sampleEvent.Topic, Type: sampleEvent.Type, Source: sampleEvent.Source,
		Time: sampleEvent.Time, Data: sampleEvent.Data,
	}
	assert.Equal(t, "id: 184-10\ndata: "+
		`{"specversion":"1.0","id":"184-10","source":"/ssebridge","type":"shop.v1.OrderShipped",`+
		`"subject":"shops/7/orders/42","time":"2026-03-01T11:00:00.005Z","data":{"orderId":"42"}}`+"\n\n",
		string(event.Frame(bridge.FormatCloudEvents)))
	assert.Equal(t, "id: 184-10\nevent: shop.v1.OrderShipped\ndata: {\"orderId\":\"42\"}\n\n",
		string(event.Frame(bridge.FormatJSON)))
	assert.NotContains(t, string(event.Frame(bridge.FormatTraced)), "traceparent", "it has none")
	traced := bridge.Event{
		Cursor: sampleEvent.Cursor, Topic: sampleEvent.Topic, Type: sampleEvent.Type, Source: sampleEvent.Source,
		Time: sampleEvent.Time, Data: sampleEvent.Data, TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	assert.Contains(t, string(traced.Frame(bridge.FormatTraced)),
		`"time":"2026-03-01T11:00:00.005Z","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":{"orderId":"42"}}`)
	assert.NotContains(t, string(traced.Frame(bridge.FormatCloudEvents)), "traceparent")
	first, again := event.Frame(bridge.FormatJSON), event.Frame(bridge.FormatJSON)
	assert.Same(t, &first[0], &again[0], "encoded once")
}

func TestCloudEventUsesPublishersID(t *testing.T) {
	t.Parallel()
	event := bridge.Event{Cursor: bridge.Cursor{Seq: 1, Time: 1}, ID: "a\"\\\n<ü>\u2028", Data: []byte("{}")}
	var decoded struct{ ID string }
	require.NoError(t, json.Unmarshal(event.AppendCloudEvent(nil, false), &decoded))
	assert.Equal(t, event.ID, decoded.ID)
}

func TestNotices(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "retry: 2500\n\n", string(bridge.AppendRetry(nil, 2500*time.Millisecond)))
	assert.Equal(t, "id: 7-1\nevent: ssebridge.reset\ndata: {\"reason\":\"expired\"}\n\n",
		string(bridge.AppendNotice(nil, bridge.Cursor{Seq: 7, Time: 1}, bridge.EventReset, "reason", "expired")))
	assert.Equal(t, "event: ssebridge.reconnect\ndata: {\"reason\":\"drain\"}\n\n",
		string(bridge.AppendNotice(nil, bridge.Cursor{}, bridge.EventReconnect, "reason", "drain")), "no place, no id")
}

// FuzzFrame: whatever is in an event, its frame parses back to one event with the same content.
func FuzzFrame(f *testing.F) {
	f.Add(uint64(1), int64(1), "shop.v1.OrderShipped", "a/b", "id", []byte(`{"a":1}`))
	f.Add(uint64(1), int64(1), "a\nb", "a\rb", "\x00\r\n\n", []byte("{\r\n\"a\":\n\n1\x00}\ndata: x\n\nid: 9\n\n"))
	f.Add(uint64(0), int64(1), "", "", "\u2028\xff", []byte("\n"))
	clean := strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")
	f.Fuzz(func(t *testing.T, seq uint64, storeTime int64, typeName, topic, id string, data []byte) {
		event := bridge.Event{
			Cursor: bridge.Cursor{Seq: seq, Time: storeTime}, Type: typeName, Topic: topic, ID: id, Source: topic, TraceParent: id, Data: data,
		}
		for _, format := range []bridge.Format{bridge.FormatCloudEvents, bridge.FormatJSON, bridge.FormatTraced} {
			frame := event.Frame(format)
			frame = append(slices.Clip(frame), "data: next\n\n"...)
			events := parseFrames(t, frame)
			require.Len(t, events, 2, "%q", frame)
			assert.Equal(t, "next", events[1].Data)
			wantType, wantData := "", string(event.AppendCloudEvent(nil, format == bridge.FormatTraced))
			if format == bridge.FormatJSON {
				wantType, wantData = typeName, string(data)
			}
			assert.Equal(t, clean.Replace(wantType), events[0].Type)
			assert.Equal(t, clean.Replace(wantData), events[0].Data)
			if !event.Cursor.IsZero() {
				assert.Equal(t, event.Cursor.String(), events[0].LastEventID)
			}
			assert.Equal(t, 1, strings.Count(string(event.Frame(format)), "\n\n"))
			assert.NotContains(t, string(event.Frame(format)), "\r")
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	for b.Loop() {
		event := bridge.Event{Cursor: sampleEvent.Cursor, Topic: sampleEvent.Topic, Type: sampleEvent.Type, Source: sampleEvent.Source, Time: sampleEvent.Time, Data: sampleEvent.Data}
		event.Frame(bridge.FormatCloudEvents)
	}
}
