package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// publishConcurrently runs publishers that each publish numbered events over a stream of their own, several to a
// message, and returns the cursors of each.
func publishConcurrently(t *testing.T, base, topic string, publishers, events int) [][]string {
	t.Helper()
	cursors := make([][]string, publishers)
	var group sync.WaitGroup
	for i := range publishers {
		group.Go(func() {
			stream := publisher(base).Publish(context.Background())
			group.Go(func() {
				for n := 0; n < events; n += 5 {
					request := &ssebridgev1.PublishRequest{}
					for k := range 5 {
						request.Events = append(request.Events, numbered(t, topic, i*events+n+k))
					}
					assert.NoError(t, stream.Send(request))
				}
				assert.NoError(t, stream.CloseRequest())
			})
			for len(cursors[i]) < events {
				response, err := stream.Receive()
				if !assert.NoError(t, err) {
					return
				}
				for _, result := range response.GetResults() {
					assert.Nil(t, result.GetError())
					cursors[i] = append(cursors[i], result.GetCursor())
				}
			}
		})
	}
	group.Wait()
	return cursors
}

// collectEvents reads count published events.
func collectEvents(s *eventStream, count int) ([]frame, error) {
	frames := make([]frame, 0, count)
	for len(frames) < count {
		f, err := s.next()
		if err != nil {
			return frames, fmt.Errorf("after %d events: %w", len(frames), err)
		}
		if !strings.HasPrefix(f.event, "ssebridge.") {
			frames = append(frames, f)
		}
	}
	return frames, nil
}

func ids(frames []frame) []string {
	list := make([]string, len(frames))
	for i, f := range frames {
		list[i] = f.id
	}
	return list
}

// TestEveryReaderReceivesEverythingOnce: 1,000 readers of one topic while 10 publishers publish, and readers who join
// in the middle with Last-Event-ID and with since.
func TestEveryReaderReceivesEverythingOnce(t *testing.T) {
	t.Parallel()
	const readers, publishers, each = 1000, 10, 40
	const total = publishers * each
	b := startBridge(t, testOptions(t))
	before := publishNumbered(t, b.internalURL, "orders/1", 0, 1)[0]
	subscribe(t, b.publicURL, topics("orders/1")+"&since=earliest", "").nextEvent(t) // it is behind those who come now

	received := make([][]frame, readers)
	failures := make([]error, readers)
	var group sync.WaitGroup
	streams := make([]*eventStream, readers)
	for i := range streams {
		patterns := []string{"orders/1", "orders/*", "**"}
		streams[i] = subscribe(t, b.publicURL, topics(patterns[i%3]), "")
	}
	for i, s := range streams {
		group.Go(func() { received[i], failures[i] = collectEvents(s, total) })
	}
	joiners := make([][]frame, 20)
	for i := range joiners {
		group.Go(func() {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond) // spread over the time of publishing
			query, lastEventID := topics("orders/*"), ""
			switch i % 3 {
			case 0:
				lastEventID = before
			case 1:
				query += "&since=" + before
			default:
				query += "&since=1m"
			}
			s := subscribe(t, b.publicURL, query, lastEventID)
			count := total
			if i%3 == 2 {
				count++ // since a minute ago there was one more
			}
			frames, err := collectEvents(s, count)
			assert.NoError(t, err)
			joiners[i] = frames[count-total:]
		})
	}
	cursors := publishConcurrently(t, b.internalURL, "orders/1", publishers, each)
	group.Wait()

	want := ids(received[0])
	acknowledged := slices.Concat(cursors...)
	assert.ElementsMatch(t, acknowledged, want, "every acknowledged event, once")
	for i := range received {
		require.NoError(t, failures[i])
		require.Equal(t, received[0][0].data, received[i][0].data)
		require.Equal(t, want, ids(received[i]), "reader %d: the same events in the same order", i)
	}
	for i := range joiners {
		require.Equal(t, want, ids(joiners[i]), "joiner %d", i)
	}
	for _, own := range cursors {
		positions := make([]int, len(own))
		for i, cursor := range own {
			positions[i] = slices.Index(want, cursor)
		}
		assert.True(t, slices.IsSorted(positions), "each publisher's order is kept")
	}
}
