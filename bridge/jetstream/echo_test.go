package jetstream

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

// TestSoleWriter: what holds of a tail that reads the log holds of one that hears what is appended, also where somebody
// else writes to the stream all the same, or deletes it.
func TestSoleWriter(t *testing.T) {
	soleWriter = true
	defer func() { soleWriter = false }()
	for name, test := range map[string]func(*testing.T){
		"append in order":         TestAppendInOrder,
		"duplicates":              TestAppendDuplicates,
		"interrupted":             TestAppendInterrupted,
		"tail begins":             TestTailBegins,
		"tail of empty log":       TestTailOfEmptyLog,
		"tail of emptied log":     TestTailOfEmptiedLog,
		"tail batches":            TestTailBatches,
		"tail over removed":       TestTailOverRemovedEvents,
		"tail of removed end":     TestTailOfRemovedEnd,
		"tail of recreated":       TestTailOfRecreatedStream,
		"tail recreates":          TestTailRecreatesStream,
		"tail survives restart":   TestTailSurvivesRestart,
		"tail survives cuts":      TestTailSurvivesCuts,
		"tail skips":              TestTailSkipsWhatIsNoEvent,
		"tail while unavailable":  TestTailEndsWhileUnavailable,
		"tail catches up, racing": TestTailCatchesUpWhileEventsAreDropped,
	} {
		t.Run(name, test)
	}
}

// TestEchoIsWhatIsStored: an event that was heard is the one that is read, whatever is in it.
func TestEchoIsWhatIsStored(t *testing.T) {
	log := openNew(t, func(config *Config) { config.SoleWriter = true })
	sink := &recorder{}
	follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	store(t, log, newEvent(1), "key")
	store(t, log, &bridge.Event{
		Topic: "a.b/@c:=~", Type: "päck.Type", ID: " %41\r\n ", Source: "/ ü", TraceParent: "00-aa\x00",
		Time: time.Now().In(time.FixedZone("", 3600)), Data: []byte(`{"a": "\n"}`),
	}, "")
	store(t, log, &bridge.Event{Topic: "a", Type: "t", Data: []byte(`{}`)}, "")
	require.True(t, store(t, log, newEvent(1), "key").Duplicate)
	last := store(t, log, newEvent(2), "")
	sink.awaitEvents(t, 4)
	page, err := log.Read(t.Context(), 0, last.Cursor.Seq)
	require.NoError(t, err)
	require.Equal(t, page.Events, sink.events)
}

// TestEchoTakesOver: whenever a tail begins, it misses nothing of what many publishers append, and receives nothing twice.
func TestEchoTakesOver(t *testing.T) {
	log := openNew(t, func(config *Config) { config.SoleWriter = true })
	const publishers, each = 4, 500
	var publishing sync.WaitGroup
	for range publishers {
		publishing.Go(func() { storeMany(t, log, 1, each) })
	}
	var sinks []*recorder
	for range 8 {
		sink := &recorder{}
		follow(t, log, publishers*each, sink)
		sink.awaitTold(t, "warm")
		sinks = append(sinks, sink)
	}
	publishing.Wait()
	last := store(t, log, newEvent(0), "").Cursor
	for _, sink := range sinks {
		sink.awaitEvents(t, int(last.Seq))
		places := sink.places()
		for i, place := range places {
			require.Equal(t, uint64(i+1), place.Seq)
		}
		require.Len(t, places, int(last.Seq))
		require.Equal(t, last, places[len(places)-1])
	}
}

// TestEchoOfWhatWasNotAcknowledged: an event that is stored without an acknowledgement reaches the tail all the same,
// also when nothing follows it.
func TestEchoOfWhatWasNotAcknowledged(t *testing.T) {
	gate := newGate(startEmbedded(t, t.TempDir()))
	log := open(t, gate.embedded, gate.connect("append"), func(config *Config) {
		config.SoleWriter, config.AckTimeout, config.CheckInterval = true, 200*time.Millisecond, time.Hour
	})
	sink := &recorder{}
	follow(t, log, 0, sink)
	sink.awaitTold(t, "warm")
	places := storeMany(t, log, 1, 10)
	sink.awaitEvents(t, 10)

	release := gate.hold()
	defer release()
	pending, err := log.Append(t.Context(), newEvent(11), "")
	require.NoError(t, err)
	_, err = pending.Wait()
	require.ErrorIs(t, err, errNoAnswer)
	sink.awaitEvents(t, 11)
	release()
	places = append(places, sink.places()[10])
	require.Equal(t, uint64(11), places[10].Seq)
	places = append(places, storeMany(t, log, 12, 10)...)
	sink.awaitEvents(t, 21)
	require.Equal(t, places, sink.places())
	require.Equal(t, []string{"begin", "warm"}, sink.all())
}

// TestEchoIsBounded: a sink that takes nothing does not make the echo grow for ever.
func TestEchoIsBounded(t *testing.T) {
	e := &echo{ready: make(chan struct{}, 1)}
	for range maxEcho + 10 {
		e.put(&bridge.Event{})
	}
	events, err := e.take()
	require.Len(t, events, maxEcho)
	require.ErrorIs(t, err, errEchoLost)

	e = &echo{ready: make(chan struct{}, 1)}
	large := make([]byte, maxEchoBytes/4)
	for range 4 {
		e.put(&bridge.Event{Data: large})
		events, err = e.take()
		require.Len(t, events, 1)
		require.NoError(t, err, "what was taken does not count")
	}
	for range 10 {
		e.put(&bridge.Event{Data: large})
	}
	events, err = e.take()
	require.Len(t, events, 5)
	require.ErrorIs(t, err, errEchoLost)
}

// TestPlainAcknowledgement: the short way reads what servers answer, and leaves everything else to the long one.
func TestPlainAcknowledgement(t *testing.T) {
	log := openNew(t)
	reply, err := log.reads.RequestWithContext(t.Context(), "ssebridge.a", []byte("{}"))
	require.NoError(t, err)
	seq, ok := log.appender.plainSeq(reply.Data)
	require.True(t, ok, "%s", reply.Data)
	require.Equal(t, uint64(1), seq)
	for _, answer := range []string{
		``, `{`, `{"stream":"SSEBRIDGE","seq":}`, `{"stream":"SSEBRIDGE","seq":0}`, `{"stream":"SSEBRIDGE","seq":-1}`, `{"stream":"OTHER","seq":1}`,
		`{"stream":"SSEBRIDGE","seq":1,"duplicate":true}`, `{"stream":"SSEBRIDGE","seq":99999999999999999999}`, `{"stream":"SSEBRIDGE","seq":1`,
		`{"error":{"code":503},"stream":"SSEBRIDGE","seq":1}`,
	} {
		_, ok := log.appender.plainSeq([]byte(answer))
		require.False(t, ok, answer)
	}
}
