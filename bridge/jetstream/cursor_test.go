package jetstream

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestCheck(t *testing.T) {
	log := openNew(t)
	created := stream(t, log).CachedInfo().Created.UnixNano()
	start := bridge.Cursor{Seq: 0, Time: created}
	require.NoError(t, log.Check(t.Context(), start), "the empty log")
	require.ErrorIs(t, log.Check(t.Context(), bridge.Cursor{Seq: 1, Time: created}), bridge.ErrCursorAhead)

	places := storeMany(t, log, 1, 100)
	at := func(seq uint64, change int64) bridge.Cursor {
		return bridge.Cursor{Seq: seq, Time: places[seq-1].Time + change}
	}
	check := func(place bridge.Cursor, want error, why string) {
		t.Helper()
		require.ErrorIs(t, log.Check(t.Context(), place), want, why)
	}
	for _, place := range places {
		check(place, nil, "every event's place")
		check(place.Before(), nil, "every place before an event")
	}
	check(start, nil, "the beginning")
	check(at(50, 1), bridge.ErrCursorUnknown, "another store time")
	check(at(50, -1), bridge.ErrCursorUnknown, "another store time")
	check(bridge.Cursor{Seq: 50, Time: places[60].Time}, bridge.ErrCursorUnknown, "another event's store time")
	check(bridge.Cursor{Seq: 50, Time: created - 1}, bridge.ErrCursorUnknown, "before the stream was created")
	check(bridge.Cursor{Seq: 0, Time: created - 1}, bridge.ErrCursorUnknown, "before the stream was created")
	check(bridge.Cursor{Seq: 500, Time: 1}, bridge.ErrCursorUnknown, "before the stream was created, ahead too")
	check(bridge.Cursor{Seq: 0, Time: places[0].Time}, bridge.ErrCursorUnknown, "the beginning, but later than the first event")
	check(bridge.Cursor{Seq: 101, Time: places[99].Time + 1}, bridge.ErrCursorAhead, "beyond the end")
	check(bridge.Cursor{Seq: 1<<64 - 1, Time: time.Now().UnixNano()}, bridge.ErrCursorAhead, "far beyond the end")

	require.NoError(t, stream(t, log).Purge(t.Context(), jetstream.WithPurgeSequence(51)))
	check(at(10, 0), bridge.ErrCursorExpired, "dropped, and so is the next one")
	check(at(49, 0), bridge.ErrCursorExpired, "dropped, and so is the next one")
	check(start, bridge.ErrCursorExpired, "the beginning")
	check(at(50, 0), nil, "dropped, but not the next one")
	check(at(50, 5), nil, "a time between what was there and the next one cannot be told apart")
	check(at(51, 0).Before(), nil, "before the oldest kept event")
	check(bridge.Cursor{Seq: 50, Time: places[50].Time}, bridge.ErrCursorUnknown, "the next event is not later")
	check(at(51, 0), nil, "the oldest kept event")

	require.NoError(t, stream(t, log).DeleteMsg(t.Context(), 70))
	require.NoError(t, stream(t, log).DeleteMsg(t.Context(), 71))
	check(at(70, 0), nil, "removed by an operator")
	check(at(71, 0), nil, "removed by an operator")
	check(bridge.Cursor{Seq: 71, Time: places[71].Time}, bridge.ErrCursorUnknown, "the next kept event is not later")
	check(bridge.Cursor{Seq: 71, Time: places[68].Time - 1}, bridge.ErrCursorUnknown, "the previous kept event is later")

	require.NoError(t, stream(t, log).Purge(t.Context()))
	check(places[99], nil, "the end of a log in which nothing is kept")
	check(places[98], bridge.ErrCursorExpired, "the last event is dropped")
	storeMany(t, log, 101, 1)
	check(places[99], nil, "and then there is something behind it")
}

// What a log that has lost its end stores in the same sequences is not taken for what was there.
func TestCheckLostEnd(t *testing.T) {
	log := openNew(t)
	storeMany(t, log, 1, 10)
	other := openNew(t)
	places := storeMany(t, other, 1, 20)
	require.ErrorIs(t, log.Check(t.Context(), places[15]), bridge.ErrCursorAhead)
	storeMany(t, log, 11, 20)
	require.ErrorIs(t, log.Check(t.Context(), places[15]), bridge.ErrCursorUnknown)
}

func TestBounds(t *testing.T) {
	log := openNew(t)
	bounds := func() bridge.Bounds {
		t.Helper()
		bounds, err := log.Bounds(t.Context())
		require.NoError(t, err)
		require.NoError(t, log.Check(t.Context(), bounds.Oldest))
		require.NoError(t, log.Check(t.Context(), bounds.Newest))
		return bounds
	}
	start := bridge.Cursor{Time: stream(t, log).CachedInfo().Created.UnixNano()}
	require.Equal(t, bridge.Bounds{Oldest: start, Newest: start}, bounds())
	places := storeMany(t, log, 1, 100)
	require.Equal(t, bridge.Bounds{Oldest: places[0].Before(), Newest: places[99]}, bounds())
	require.NoError(t, stream(t, log).Purge(t.Context(), jetstream.WithPurgeSequence(51)))
	require.Equal(t, bridge.Bounds{Oldest: places[50].Before(), Newest: places[99]}, bounds())
	require.NoError(t, stream(t, log).DeleteMsg(t.Context(), 100))
	require.Equal(t, uint64(100), bounds().Newest.Seq)
	require.NoError(t, stream(t, log).Purge(t.Context()))
	empty := bounds()
	require.Equal(t, empty.Newest, empty.Oldest)
	require.Equal(t, uint64(100), empty.Newest.Seq)
}

func TestSince(t *testing.T) {
	log := openNew(t)
	since := func(nanoseconds int64, want bridge.Cursor, wantErr error) {
		t.Helper()
		place, err := log.Since(t.Context(), time.Unix(0, nanoseconds))
		require.ErrorIs(t, err, wantErr)
		require.Equal(t, want, place)
		require.NoError(t, log.Check(t.Context(), place))
	}
	created := stream(t, log).CachedInfo().Created.UnixNano()
	start := bridge.Cursor{Time: created}
	since(0, start, nil)
	since(created+1e9, start, nil)

	places := storeMany(t, log, 1, 200)
	for i, place := range places {
		since(place.Time, place.Before(), nil)
		since(place.Time-1, places[i].Before(), nil)
	}
	since(0, places[0].Before(), nil)
	since(created, places[0].Before(), nil)
	since(places[199].Time+1, places[199], nil)
	since(1<<62, places[199], nil)
	for _, far := range []time.Time{{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		_, err := log.Since(t.Context(), far)
		require.NoError(t, err)
	}

	require.NoError(t, stream(t, log).DeleteMsg(t.Context(), 120))
	since(places[119].Time, places[120].Before(), nil)
	require.NoError(t, stream(t, log).Purge(t.Context(), jetstream.WithPurgeSequence(51)))
	since(places[50].Time, places[50].Before(), nil)
	since(places[50].Time-1, places[50].Before(), nil) // an operator has removed them, retention could not have
	since(0, places[50].Before(), bridge.ErrCursorExpired)
	since(places[150].Time, places[150].Before(), nil)

	require.NoError(t, stream(t, log).Purge(t.Context()))
	bounds, err := log.Bounds(t.Context())
	require.NoError(t, err)
	since(places[199].Time, bounds.Newest, bridge.ErrCursorExpired)
	since(bounds.Newest.Time+1, bounds.Newest, nil)
}

// TestSinceAfterRetention: what was dropped long before is not missed by who asks for less.
func TestSinceAfterRetention(t *testing.T) {
	const kept = 2 * time.Second
	log := openNew(t, func(c *Config) { c.MaxAge = kept })
	first := store(t, log, newEvent(1), "")
	require.Eventually(t, func() bool {
		return errors.Is(log.Check(t.Context(), bridge.Cursor{Seq: 0, Time: first.Cursor.Time - 1}), bridge.ErrCursorExpired)
	},
		20*time.Second, 50*time.Millisecond)
	second := store(t, log, newEvent(2), "").Cursor
	place, err := log.Since(t.Context(), time.Now().Add(-kept/2))
	require.NoError(t, err)
	require.Equal(t, second.Before(), place)
	place, err = log.Since(t.Context(), time.Now().Add(-time.Minute))
	require.ErrorIs(t, err, bridge.ErrCursorExpired)
	require.Equal(t, second.Before(), place)

	full := openNew(t, func(c *Config) { c.MaxBytes = 64 << 10 })
	storeMany(t, full, 1, 2000)
	_, err = full.Since(t.Context(), time.Now().Add(-time.Minute))
	require.ErrorIs(t, err, bridge.ErrCursorExpired, "dropped by size a moment ago")
}

// JetStream's times only lead near the place: stamps decide, however far they are from the clock.
func TestSinceFarFromTheClock(t *testing.T) {
	log := openNew(t)
	places := storeMany(t, log, 1, 100)
	log.appender.passStamp(time.Now().Add(time.Hour).UnixNano())
	places = append(places, storeMany(t, log, 101, 900)...)
	for i := 0; i < len(places); i += 37 {
		place, err := log.Since(t.Context(), time.Unix(0, places[i].Time))
		require.NoError(t, err)
		require.Equal(t, places[i].Before(), place)
	}
}
