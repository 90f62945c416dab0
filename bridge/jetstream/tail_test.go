package jetstream

import (
	"bytes"
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestTailBegins(t *testing.T) {
	log := openNew(t)
	places := storeMany(t, log, 1, 100)
	for name, test := range map[string]struct {
		warm  int
		first int // index of the first event that is to come
	}{
		"some":     {10, 90},
		"one":      {1, 99},
		"exactly":  {100, 0},
		"more":     {1000, 0},
		"none":     {0, 100},
		"negative": {-1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			sink := &recorder{}
			stop := follow(t, log, test.warm, sink)
			sink.awaitTold(t, "warm")
			stop()
			require.Equal(t, []string{"begin", "warm"}, sink.all())
			require.Equal(t, places[test.first:], sink.places())
			require.Equal(t, len(places)-test.first, sink.after[1], "warm comes behind the last event, before anything else")
			if test.first == 100 {
				require.Equal(t, places[99], sink.bases[0])
			} else {
				require.Equal(t, places[test.first].Before(), sink.bases[0])
			}
			require.NoError(t, log.Check(t.Context(), sink.bases[0]))
		})
	}
}

func TestTailOfEmptyLog(t *testing.T) {
	log := openNew(t)
	sink := &recorder{}
	follow(t, log, 100, sink)
	sink.awaitTold(t, "warm")
	created := stream(t, log).CachedInfo().Created.UnixNano()
	require.Equal(t, bridge.Cursor{Seq: 0, Time: created}, sink.bases[0])
	require.NoError(t, log.Check(t.Context(), sink.bases[0]))
	places := storeMany(t, log, 1, 3)
	sink.awaitEvents(t, 3)
	require.Equal(t, places, sink.places())
	require.NoError(t, log.Check(t.Context(), sink.bases[0]))
}

func TestTailOfEmptiedLog(t *testing.T) {
	log := openNew(t)
	storeMany(t, log, 1, 10)
	require.NoError(t, stream(t, log).Purge(t.Context()))
	sink := &recorder{}
	follow(t, log, 100, sink)
	sink.awaitTold(t, "warm")
	require.Equal(t, uint64(10), sink.bases[0].Seq)
	require.NoError(t, log.Check(t.Context(), sink.bases[0]))
	places := storeMany(t, log, 11, 3)
	sink.awaitEvents(t, 3)
	require.Equal(t, places, sink.places())
	require.NoError(t, log.Check(t.Context(), sink.bases[0]))
	require.Equal(t, []string{"begin", "warm"}, sink.all())
}

// While the sink is busy, what has arrived is gathered: an event costs less when there are many.
func TestTailBatches(t *testing.T) {
	log := openNew(t)
	busy, largest := make(chan struct{}), 0
	sink := &recorder{hold: func(events []*bridge.Event) {
		<-busy
		largest = max(largest, len(events))
	}}
	stop := follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	storeMany(t, log, 1, 2000)
	close(busy)
	sink.awaitEvents(t, 2000)
	stop()
	require.Greater(t, largest, 1)
	require.LessOrEqual(t, largest, tailBatch)
}

func TestTailPassedByRetention(t *testing.T) {
	log := openNew(t, func(config *Config) { config.MaxBytes = 4 << 20 })
	busy := make(chan struct{})
	sink := &recorder{hold: func([]*bridge.Event) { <-busy }}
	stop := follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	const count = 400
	var last bridge.Receipt
	for i := range count { // 25 MiB: more than the log keeps and the server pushes ahead
		event := newEvent(i)
		event.Data = append(append([]byte{'"'}, bytes.Repeat([]byte("x"), 64<<10)...), '"')
		last = store(t, log, event, "")
	}
	bounds, err := log.Bounds(t.Context())
	require.NoError(t, err)
	close(busy)
	require.Eventually(t, func() bool {
		places := sink.places()
		return len(places) > 0 && places[len(places)-1] == last.Cursor
	}, 20*time.Second, time.Millisecond)
	stop()

	require.Equal(t, []string{"begin", "warm", "lost expired"}, sink.all())
	places, gap := sink.places(), sink.after[2]
	require.Equal(t, bounds.Oldest, sink.bases[2], "it continues with the oldest kept event")
	require.Equal(t, sink.bases[2], places[gap].Before())
	for i, place := range places {
		if i > 0 && i != gap {
			require.Equal(t, places[i-1].Seq+1, place.Seq)
		}
	}
	require.Greater(t, places[gap].Seq, places[gap-1].Seq+1)
}

func TestTailWhenAllExpires(t *testing.T) {
	log := openNew(t)
	sink := &recorder{}
	follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	storeMany(t, log, 1, 10)
	sink.awaitEvents(t, 10)
	require.NoError(t, stream(t, log).Purge(t.Context()))
	places := storeMany(t, log, 11, 10)
	sink.awaitEvents(t, 20)
	require.Equal(t, places, sink.places()[10:])
	require.Equal(t, []string{"begin", "warm"}, sink.all(), "the tail had read it all")
}

// storeIn stores events alternately in two topics and returns their places.
func storeInTwo(t *testing.T, log *Log, count int) (kept, removed []bridge.Cursor) {
	t.Helper()
	for i := range count {
		event := newEvent(i)
		if i%2 == 0 {
			kept = append(kept, store(t, log, event, "").Cursor)
		} else {
			event.Topic = "removed"
			removed = append(removed, store(t, log, event, "").Cursor)
		}
	}
	return kept, removed
}

func TestTailOverRemovedEvents(t *testing.T) {
	log := openNew(t)
	kept, _ := storeInTwo(t, log, 100) // ends with removed ones
	require.NoError(t, stream(t, log).Purge(t.Context(), jetstream.WithPurgeSubject("ssebridge.removed")))
	sink := &recorder{}
	stop := follow(t, log, 100, sink)
	sink.awaitTold(t, "warm")
	require.Equal(t, kept, sink.places())
	places := storeMany(t, log, 1, 1)
	sink.awaitEvents(t, 51)
	require.Equal(t, places, sink.places()[50:])
	stop()
	require.Equal(t, []string{"begin", "warm"}, sink.all(), "nothing is lost")

	sink = &recorder{}
	stop = follow(t, log, 2, sink)
	sink.awaitTold(t, "warm")
	stop()
	require.Equal(t, places, sink.places(), "among the newest two is a removed one")
}

func TestTailOfRemovedEnd(t *testing.T) {
	log := openNew(t)
	event := newEvent(1)
	event.Topic = "removed"
	first := store(t, log, newEvent(0), "")
	store(t, log, event, "")
	require.NoError(t, stream(t, log).Purge(t.Context(), jetstream.WithPurgeSubject("ssebridge.removed")))
	for warm, count := range map[int]int{0: 0, 1: 0, 2: 1} {
		sink := &recorder{}
		stop := follow(t, log, warm, sink)
		sink.awaitTold(t, "warm")
		stop()
		require.Len(t, sink.places(), count)
		require.NoError(t, log.Check(t.Context(), sink.bases[0]))
	}
	require.NoError(t, log.Check(t.Context(), first.Cursor))
}

func TestTailOfRecreatedStream(t *testing.T) {
	// Without idle checks, so that the missing heartbeats are what tells.
	log := openNew(t, func(config *Config) { config.CheckInterval = time.Hour })
	sink := &recorder{}
	stop := follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	old := storeMany(t, log, 1, 100)
	sink.awaitEvents(t, 100)

	// The new stream holds more than the old one before the tail can notice, so that sequences alone look right.
	config := stream(t, log).CachedInfo().Config
	require.NoError(t, log.read.DeleteStream(t.Context(), "SSEBRIDGE"))
	_, err := log.read.CreateStream(t.Context(), config)
	require.NoError(t, err)
	places := storeMany(t, log, 1, 300)
	sink.awaitEvents(t, 400)
	places = append(places, storeMany(t, log, 301, 10)...)
	sink.awaitEvents(t, 410)
	stop()

	require.Equal(t, []string{"begin", "warm", "lost recreated"}, sink.all())
	require.Equal(t, 100, sink.after[2])
	require.Equal(t, places[0].Before(), sink.bases[2])
	require.Equal(t, append(old, places...), sink.places())
	require.ErrorIs(t, log.Check(t.Context(), old[99]), bridge.ErrCursorUnknown)
	require.NoError(t, log.Check(t.Context(), sink.bases[2]))
}

func TestTailRecreatesStream(t *testing.T) {
	log := openNew(t)
	sink := &recorder{}
	follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	storeMany(t, log, 1, 10)
	sink.awaitEvents(t, 10)
	require.NoError(t, log.read.DeleteStream(t.Context(), "SSEBRIDGE"))
	sink.awaitTold(t, "lost recreated")
	info := stream(t, log).CachedInfo()
	require.Equal(t, 24*time.Hour, info.Config.MaxAge)
	require.Equal(t, bridge.Cursor{Seq: 0, Time: info.Created.UnixNano()}, sink.bases[2])
	places := storeMany(t, log, 1, 3)
	sink.awaitEvents(t, 13)
	require.Equal(t, places, sink.places()[10:])
}

// A restored backup has the same creation time, but not the same events.
func TestTailResumesOnlyItsOwnLog(t *testing.T) {
	log := openNew(t)
	places := storeMany(t, log, 1, 10)
	info := stream(t, log).CachedInfo()
	for name, test := range map[string]struct {
		place bridge.Cursor
		told  []string
	}{
		"same":       {places[9], nil},
		"same base":  {places[5].Before(), nil},
		"lost end":   {bridge.Cursor{Seq: 12, Time: time.Now().UnixNano()}, []string{"lost recreated"}},
		"other past": {bridge.Cursor{Seq: 8, Time: places[7].Time + 1}, []string{"lost recreated"}},
	} {
		t.Run(name, func(t *testing.T) {
			sink := &recorder{}
			tail := &tail{log: log, js: log.read, sink: sink, begun: true, created: info.Created, place: test.place, seen: test.place.Seq}
			require.NoError(t, tail.resume(t.Context(), info))
			require.Equal(t, test.told, sink.all())
			if test.told == nil {
				require.Equal(t, test.place, tail.place)
				return
			}
			require.Equal(t, places[0].Before(), sink.bases[0])
			require.Equal(t, uint64(0), tail.seen)
		})
	}
}

// While nobody followed, everything behind the place reached was dropped.
func TestTailCatchesUpWithNothing(t *testing.T) {
	log := openNew(t)
	places := storeMany(t, log, 1, 10)
	require.NoError(t, stream(t, log).Purge(t.Context()))
	info := stream(t, log).CachedInfo()

	sink := &recorder{}
	late := &tail{log: log, js: log.read, sink: sink, begun: true, created: info.Created, place: places[4], seen: 5}
	require.NoError(t, late.catchUp(t.Context(), info))
	require.Equal(t, []string{"lost expired", "warm"}, sink.all())
	require.Equal(t, uint64(10), sink.bases[0].Seq)
	require.NoError(t, log.Check(t.Context(), sink.bases[0]))

	sink = &recorder{}
	inTime := &tail{log: log, js: log.read, sink: sink, begun: true, created: info.Created, place: places[9], seen: 10}
	require.NoError(t, inTime.catchUp(t.Context(), info))
	require.Equal(t, []string{"warm"}, sink.all())
}

// hookedStream lets something happen when a tail looks at the stream for the first time after it has made its consumer.
type hookedStream struct {
	jetstream.JetStream

	made   bool
	before bool // else after the look
	happen func()
}

func (h *hookedStream) CreatePushConsumer(
	ctx context.Context, stream string, config jetstream.ConsumerConfig,
) (jetstream.PushConsumer, error) {
	consumer, err := h.JetStream.CreatePushConsumer(ctx, stream, config)
	h.made = true
	return consumer, err
}

func (h *hookedStream) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if h.made && h.before {
		h.made = false
		h.happen()
	}
	stream, err := h.JetStream.Stream(ctx, name)
	if h.made {
		h.made = false
		h.happen()
	}
	return stream, err
}

// Events are dropped, and another one is stored, while the tail finds out where it stands: either they come or it is
// told that they do not.
func TestTailCatchesUpWhileEventsAreDropped(t *testing.T) {
	for _, before := range []bool{true, false} {
		log := openNew(t)
		places := storeMany(t, log, 1, 10)
		info := stream(t, log).CachedInfo()
		hooked := &hookedStream{JetStream: log.read, before: before, happen: func() {
			if len(places) == 10 { // once
				require.NoError(t, stream(t, log).Purge(t.Context()))
				places = append(places, storeMany(t, log, 11, 1)...)
			}
		}}
		sink := &recorder{}
		late := &tail{log: log, js: hooked, sink: sink, begun: true, created: info.Created, place: places[4], seen: 5}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for ctx.Err() == nil {
				_ = late.follow(ctx, func() {}) // as Tail does
			}
		}()
		require.Eventually(t, func() bool {
			come := sink.places()
			return len(come) > 0 && come[len(come)-1].Seq == 11
		}, 20*time.Second, time.Millisecond)
		cancel()
		<-ended
		come, want := sink.places(), places[5:]
		if lost := slices.Index(sink.all(), "lost expired"); lost >= 0 { // behind some of them, if they were quick
			want = append(slices.Clone(want[:sink.after[lost]]), places[10])
		}
		require.Equal(t, want, come)
	}
}

// restarted is a server that can be replaced under its clients.
type restarted struct{ current atomic.Pointer[Embedded] }

func (r *restarted) InProcessConn() (net.Conn, error) { return r.current.Load().server.InProcessConn() }

func (r *restarted) connect(string) (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(r), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond),
		nats.ReconnectBufSize(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

func TestTailSurvivesRestart(t *testing.T) {
	directory := t.TempDir()
	server := &restarted{}
	server.current.Store(startEmbedded(t, directory))
	log := open(t, server.current.Load(), func(config *Config) { config.Connect = server.connect })
	sink := &recorder{}
	follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	var places []bridge.Cursor
	for range 3 {
		places = append(places, storeMany(t, log, 1, 100)...)
		require.NoError(t, server.current.Load().Close())
		server.current.Store(startEmbedded(t, directory))
		require.Eventually(t, func() bool { return log.Ready(t.Context()) == nil }, 20*time.Second, time.Millisecond)
	}
	places = append(places, storeMany(t, log, 1, 100)...)
	sink.awaitEvents(t, 400)
	require.Equal(t, places, sink.places())
	require.Equal(t, []string{"begin", "warm"}, sink.all())
}

func TestTailSurvivesCuts(t *testing.T) {
	gate := newGate(startEmbedded(t, t.TempDir()))
	log := open(t, gate.embedded, gate.connect("tail"))
	sink := &recorder{}
	follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	var places []bridge.Cursor
	for range 5 {
		places = append(places, storeMany(t, log, 1, 500)...)
		gate.cut()
	}
	sink.awaitEvents(t, len(places)) // nothing else is stored: what a cut has lost must come by itself
	require.Equal(t, places, sink.places())
	require.Equal(t, []string{"begin", "warm"}, sink.all())
}

func TestTailSkipsWhatIsNoEvent(t *testing.T) {
	log := openNew(t)
	sink := &recorder{}
	follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	publish := func(subject, data string, header nats.Header) uint64 {
		ack, err := log.read.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: []byte(data), Header: header})
		require.NoError(t, err)
		return ack.Sequence
	}
	publish("ssebridge.a/b", `{}`, nats.Header{headerType: {"t"}})
	publish("ssebridge.a", `{}`, nil)
	publish("ssebridge.a", `{`, nats.Header{headerType: {"t"}})
	publish("ssebridge.a", ``, nats.Header{"Status": {"100"}})
	foreign := publish("ssebridge.a", `{}`, nats.Header{headerType: {"t"}})
	own := store(t, log, newEvent(1), "")
	sink.awaitEvents(t, 2)
	require.Equal(t, foreign, sink.places()[0].Seq)
	require.Equal(t, own.Cursor, sink.places()[1])
	require.NoError(t, log.Check(t.Context(), sink.places()[0]))
	require.Equal(t, []string{"begin", "warm"}, sink.all())

	page, err := log.Read(t.Context(), 0, own.Cursor.Seq)
	require.NoError(t, err)
	require.Len(t, page.Events, 2)
	require.Equal(t, own.Cursor.Seq, page.Through)
	require.Zero(t, page.FirstKept, "a skipped message is no gap")
	require.Equal(t, own.Cursor, page.Last)

	page, err = log.Read(t.Context(), 0, 3)
	require.NoError(t, err)
	require.Empty(t, page.Events)
	require.Equal(t, uint64(3), page.Last.Seq, "a place behind what is skipped")
	require.NoError(t, log.Check(t.Context(), page.Last))
}

func TestTailEndsWhileUnavailable(t *testing.T) {
	embedded := startEmbedded(t, t.TempDir())
	log := open(t, embedded)
	sink := &recorder{}
	stop := follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	require.NoError(t, embedded.Close())
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, log.Tail(ctx, 0, sink), context.Canceled)
	require.Equal(t, []string{"begin", "warm"}, sink.all())
}
