package jetstream

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

// readAll reads page by page and returns the places of the events.
func readAll(t *testing.T, log *Log, after, through uint64) (places []bridge.Cursor, pages int) {
	t.Helper()
	for after < through {
		page, err := log.Read(t.Context(), after, through)
		require.NoError(t, err)
		require.Greater(t, page.Through, after)
		require.LessOrEqual(t, page.Through, through)
		for _, event := range page.Events {
			require.Greater(t, event.Cursor.Seq, after)
			require.LessOrEqual(t, event.Cursor.Seq, page.Through)
			after = event.Cursor.Seq
			places = append(places, event.Cursor)
		}
		after = page.Through
		pages++
	}
	return places, pages
}

func TestReadPages(t *testing.T) {
	log := openNew(t)
	places := storeMany(t, log, 1, 10_100)
	read, pages := readAll(t, log, 0, 10_100)
	require.Equal(t, places, read)
	require.Equal(t, 40, pages)

	read, _ = readAll(t, log, 17, 9_999)
	require.Equal(t, places[17:9_999], read)
}

func TestReadBounds(t *testing.T) {
	log := openNew(t)
	places := storeMany(t, log, 1, 20)
	for name, test := range map[string]struct {
		after, through uint64
		first, last    int // indices of the events
		covers         uint64
	}{
		"all":            {0, 20, 0, 20, 20},
		"one":            {4, 5, 4, 5, 5},
		"nothing":        {5, 5, 0, 0, 5},
		"backwards":      {7, 5, 0, 0, 7},
		"beyond the end": {10, 100, 10, 20, 20},
		"behind the end": {20, 100, 0, 0, 20},
		"far behind":     {200, 300, 0, 0, 200},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := log.Read(t.Context(), test.after, test.through)
			require.NoError(t, err)
			require.Equal(t, test.covers, page.Through)
			require.Zero(t, page.FirstKept)
			require.Len(t, page.Events, test.last-test.first)
			for i, event := range page.Events {
				require.Equal(t, places[test.first+i], event.Cursor)
			}
		})
	}
}

func TestReadEmptyLog(t *testing.T) {
	log := openNew(t)
	page, err := log.Read(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, bridge.Page{Events: []*bridge.Event{}}, page)

	storeMany(t, log, 1, 10)
	require.NoError(t, stream(t, log).Purge(t.Context()))
	page, err = log.Read(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, bridge.Page{Events: []*bridge.Event{}, Through: 10, FirstKept: 11}, page)
}

func TestReadLargeEvents(t *testing.T) {
	log := openNew(t)
	var places []bridge.Cursor
	for i := range 40 {
		event := newEvent(i)
		event.Data = bytes.Repeat([]byte("1"), 100<<10)
		places = append(places, store(t, log, event, "").Cursor)
	}
	page, err := log.Read(t.Context(), 0, 40)
	require.NoError(t, err)
	require.Less(t, len(page.Events), 15, "a page holds about 1 MiB")
	require.Equal(t, uint64(len(page.Events)), page.Through)
	read, _ := readAll(t, log, 0, 40)
	require.Equal(t, places, read)
}

func TestReadOverRemovedEvents(t *testing.T) {
	log := openNew(t)
	kept, removed := storeInTwo(t, log, 1000)
	require.NoError(t, stream(t, log).Purge(t.Context(), jetstream.WithPurgeSubject("ssebridge.removed")))
	read, _ := readAll(t, log, 0, 1000)
	require.Equal(t, kept, read)

	page, err := log.Read(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, page.Events, 5)
	require.Equal(t, uint64(1), page.FirstKept, "the gaps are not retention's")
	page, err = log.Read(t.Context(), kept[499].Seq, removed[499].Seq)
	require.NoError(t, err)
	require.Empty(t, page.Events)
	require.Equal(t, removed[499].Seq, page.Through, "the end is covered although nothing is kept there")
}

func TestReadBehindRetention(t *testing.T) {
	log := openNew(t)
	places := storeMany(t, log, 1, 100)
	require.NoError(t, stream(t, log).Purge(t.Context(), jetstream.WithPurgeSequence(51)))
	page, err := log.Read(t.Context(), 20, 60)
	require.NoError(t, err)
	require.Len(t, page.Events, 10)
	require.Equal(t, places[50], page.Events[0].Cursor)
	require.Equal(t, uint64(60), page.Through)
	require.Equal(t, uint64(51), page.FirstKept)

	page, err = log.Read(t.Context(), 20, 40)
	require.NoError(t, err)
	require.Empty(t, page.Events)
	require.Equal(t, uint64(40), page.Through)
	require.Equal(t, uint64(51), page.FirstKept)
}

// Whatever the log does not say is not taken for an end.
func TestReadSilence(t *testing.T) {
	gate := newGate(startEmbedded(t, t.TempDir()))
	log := open(t, gate.embedded, gate.connect("read"))
	storeMany(t, log, 1, 10)
	release := gate.hold()
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := log.Read(ctx, 0, 10)
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)

	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	_, err = log.Read(ctx, 0, 10)
	require.ErrorIs(t, err, bridge.ErrLogUnavailable)
	require.ErrorIs(t, err, context.Canceled)
}
