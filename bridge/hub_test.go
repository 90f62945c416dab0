package bridge

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// benchTopics are as many as readers; benchBatch is how many events the log hands over at once.
const (
	benchTopics = 10_000
	benchBatch  = 64
)

// benchHub is a hub with a full window and a reader for each of 10,000 topics, and the function that hands it the next
// 64 events, of as many topics.
func benchHub(b *testing.B) (hub *Hub, readers []*Reader, feed func()) {
	b.Helper()
	hub = NewHub(&keptLog{}, Settings{})
	sink := (*hubSink)(hub)
	sink.Begin(Cursor{Time: 1})
	sink.Warm()
	topics := make([]string, benchTopics)
	for i := range topics {
		topics[i] = fmt.Sprintf("shops/%d/orders/%d", i%100, i)
		reader, err := hub.Subscribe(b.Context(), Subscription{Patterns: mustPatterns(b, topics[i])}, StartLatest(), make(signal, 1))
		require.NoError(b, err)
		b.Cleanup(reader.Close)
		readers = append(readers, reader)
	}
	// Events are used again once the window has dropped them, so that what is measured is the hub's.
	events := make([]*Event, hub.settings.WindowEvents+benchBatch)
	for i := range events {
		events[i] = &Event{Type: "shop.v1.OrderShipped", Data: make([]byte, 200)}
	}
	seq := 0
	feed = func() {
		begin := seq % len(events)
		next := events[begin : begin+benchBatch]
		for _, event := range next {
			event.Topic = topics[seq%benchTopics]
			seq++
			event.Cursor = Cursor{Seq: uint64(seq), Time: int64(seq + 1)}
		}
		sink.Append(next)
	}
	for range len(events) / benchBatch {
		feed()
	}
	return hub, readers, feed
}

// BenchmarkHubAppend measures how an event enters the window, pushes the oldest out and wakes its reader, in batches of
// 64. An operation is an event.
func BenchmarkHubAppend(b *testing.B) {
	_, _, feed := benchHub(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%benchBatch == 0 {
			feed()
		}
	}
}

// BenchmarkPoll measures how a reader takes the one event that is new for it.
func BenchmarkPoll(b *testing.B) {
	hub, readers, _ := benchHub(b)
	newest := hub.window.events.newest()
	var reader *Reader
	for _, r := range readers {
		if r.sub.reads(newest.Topic) {
			reader = r
		}
	}
	dst := make([]*Event, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		reader.Rewind(newest.Cursor.Before())
		if batch, ok := reader.Poll(cap(dst), dst); !ok || len(batch.Events) != 1 {
			b.Fatal(ok, len(batch.Events))
		}
	}
}
