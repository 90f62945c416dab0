package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// TestEveryIDResumesExactly: of 10,500 kept events, the reader of each id receives the next one; most of them are
// older than the window. The events have 700 topics, so that a reader is not sent all the rest.
func TestEveryIDResumesExactly(t *testing.T) {
	t.Parallel()
	const kept = 10_500
	options := testOptions(t)
	options.config.Window.Events = 2000
	b := startBridge(t, options)
	topic := func(i int) string { return fmt.Sprintf("a/%d", i%700) }
	var cursors []string
	for i := 0; i < kept; i += 700 {
		batch := &ssebridgev1.PublishBatchRequest{}
		for k := range 700 {
			batch.Events = append(batch.Events, numbered(t, topic(i+k), i+k))
		}
		response, err := publisher(b.internalURL).PublishBatch(t.Context(), connect.NewRequest(batch))
		require.NoError(t, err)
		for _, result := range response.Msg.GetResults() {
			cursors = append(cursors, result.GetCursor())
		}
	}
	numbers := make(chan int)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range numbers {
				s := subscribe(t, b.publicURL, topics(topic(i+1))+"&format=json", cursors[i])
				open, err := s.next()
				assert.NoError(t, err)
				if open.event == "ssebridge.reconnect" { // a busy machine: the log took too long to answer
					s = subscribe(t, b.publicURL, topics(topic(i+1))+"&format=json", cursors[i])
					open, err = s.next()
					assert.NoError(t, err)
				}
				assert.Equal(t, cursors[i], open.id, "the stream opens at the place")
				f, err := s.next()
				assert.NoError(t, err)
				assert.Equal(t, frame{id: cursors[i+1], event: "google.protobuf.Struct", data: data(i + 1)}, f)
				s.close()
			}
		})
	}
	for i := range kept - 1 {
		numbers <- i
	}
	close(numbers)
	group.Wait()
}

// TestManyMissedEventsArriveInOneConnection, from far behind the window, through it, and on to what is new.
func TestManyMissedEventsArriveInOneConnection(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.config.Window.Events = 500
	b := startBridge(t, options)
	cursors := publishNumbered(t, b.internalURL, "a/b", 0, 5000)
	for query, skip := range map[string]int{"earliest": 0, "10m": 0, cursors[0]: 1} {
		s := subscribe(t, b.publicURL, topics("a/**")+"&since="+query, "")
		frames, err := collectEvents(s, len(cursors)-skip)
		require.NoError(t, err, query)
		assert.Equal(t, cursors[skip:], ids(frames), query)
		next := publishNumbered(t, b.internalURL, "a/c", 5000, 1)[0]
		assert.Equal(t, next, s.nextEvent(t).id, query)
		cursors = append(cursors, next)
	}
}

// TestRestartKeepsEveryPlace: readers of the old bridge go on at the new one, those who had received nothing too.
func TestRestartKeepsEveryPlace(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	first := startBridge(t, options)
	empty := subscribe(t, first.publicURL, topics("later"), "")
	open, err := empty.next()
	require.NoError(t, err)
	require.Equal(t, "ssebridge.open", open.event)
	assert.NotEmpty(t, open.id, "a place, although nothing was ever published")
	cursors := publishNumbered(t, first.internalURL, "a", 0, 10)
	first.shutdown()
	farewell := empty.nextNotice(t, "ssebridge.reconnect")
	assert.JSONEq(t, `{"reason":"drain"}`, farewell.data)
	_, err = empty.next()
	require.Error(t, err, "and the stream ends")

	second := startBridge(t, options)
	more := publishNumbered(t, second.internalURL, "a", 10, 5)
	late := publishNumbered(t, second.internalURL, "later", 0, 1)
	for i, cursor := range cursors {
		s := subscribe(t, second.publicURL, topics("a"), cursor)
		frames, err := collectEvents(s, len(cursors)-i-1+len(more))
		require.NoError(t, err)
		assert.Equal(t, slices.Concat(cursors[i+1:], more), ids(frames))
	}
	assert.Equal(t, late[0], subscribe(t, second.publicURL, topics("later"), open.id).nextEvent(t).id,
		"nothing is skipped for a reader who had received nothing")
	assert.Equal(t, late[0], subscribe(t, second.publicURL, topics("later"), farewell.id).nextEvent(t).id)
}

// TestHeartbeatCarriesThePlace: readers of quiet topics move on with the log.
func TestHeartbeatCarriesThePlace(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.config.Public.Heartbeat = 50 * time.Millisecond
	b := startBridge(t, options)
	s := subscribe(t, b.publicURL, topics("quiet"), "")
	first := s.nextNotice(t, "ssebridge.heartbeat")
	cursor := publishNumbered(t, b.internalURL, "busy", 0, 3)[2]
	require.Eventually(t, func() bool {
		return s.nextNotice(t, "ssebridge.heartbeat").id == cursor
	}, 5*time.Second, time.Millisecond)
	assert.NotEqual(t, cursor, first.id)
}

// TestResets: who asks for what is not kept is told so, and what follows does so without a gap.
func TestResets(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.config.Window.Events = 10
	options.config.Log.MaxBytes = 64 << 10
	b := startBridge(t, options)
	old := publishNumbered(t, b.internalURL, "a", 0, 1)[0]
	cursors := publishNumbered(t, b.internalURL, "a", 1, 2000) // more than is kept
	last := cursors[len(cursors)-1]
	place, err := bridge.ParseCursor(last)
	require.NoError(t, err)
	for _, test := range []struct {
		name, query, lastEventID, reason string
	}{
		{"expired", "", old, "expired"},
		{"expired since", "&since=" + old, "", "expired"},
		{"expired duration", "&since=1h", "", "expired"},
		{"another store", "", bridge.Cursor{Seq: place.Seq, Time: place.Time + 1}.String(), "unknown"},
		{"another store, in the log", "", bridge.Cursor{Seq: place.Seq - 100, Time: place.Time}.String(), "unknown"},
		{"too new", "", bridge.Cursor{Seq: place.Seq + 1, Time: place.Time + 1}.String(), "ahead"},
		{"long before this log", "", "5-1", "unknown"},
		{"garbage", "", "garbage", "unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := subscribe(t, b.publicURL, topics("a")+test.query, test.lastEventID)
			open, err := s.next()
			require.NoError(t, err)
			reset, err := s.next()
			require.NoError(t, err)
			assert.Equal(t, "ssebridge.reset", reset.event)
			assert.JSONEq(t, `{"reason":"`+test.reason+`"}`, reset.data)
			stands, _ := bridge.ParseCursor(strings.TrimPrefix(test.query, "&since=") + test.lastEventID)
			assert.Equal(t, stands.IsZero(), open.id == "")
			if open.id != "" {
				assert.Equal(t, stands.String(), open.id, "until the reset is told, nothing has changed")
			}
			if test.reason == "expired" {
				f := s.nextEvent(t)
				at := slices.Index(cursors, f.id)
				require.Positive(t, at, "the oldest kept event follows")
				frames, err := collectEvents(s, len(cursors)-at-1)
				require.NoError(t, err)
				assert.Equal(t, cursors[at+1:], ids(frames), "and then everything")
				return
			}
			assert.Equal(t, last, reset.id, "new events follow")
		})
	}
}
