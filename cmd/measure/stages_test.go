package main

import (
	"bytes"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	const module = "github.com/ssebridge/ssebridge/bridge/"
	take := []string{module + "publish.(*intake).accept", module + "publish.(*publishStream).take", "connectrpc.com/connect.(*Handler).ServeHTTP", "net/http.(*http2serverConn).runHandler"}
	for _, test := range []struct {
		stage string
		stack []string
	}{
		{"JSON of the event", append([]string{"runtime.mallocgc", "google.golang.org/protobuf/proto.Unmarshal", module + "schema.(*encoder).Encode"}, take...)},
		{"client of the log: append", append([]string{"github.com/nats-io/nats%2ego.(*Conn).PublishMsg", module + "jetstream.(*Log).Append"}, take...)},
		{"metrics and spans", append([]string{module + "telemetry.(*Send).End"}, take...)},
		{"intake of events", take},
		{"decode requests", append([]string{"google.golang.org/protobuf/proto.Unmarshal", module + "schema.BinaryCodec.Unmarshal", "connectrpc.com/connect.(*envelopeReader).Unmarshal"}, take[1:]...)},
		{"check and authorize", append([]string{"github.com/ssebridge/ssebridge/auth/rule.(*Rules).Publish", module + "publish.(*intake).authorize"}, take...)},
		{"results to the publisher", []string{"syscall.write", "net/http.(*http2serverConn).writeFrameAsync"}},
		{"results to the publisher", []string{module + "schema.BinaryCodec.MarshalAppend", "connectrpc.com/connect.(*envelopeWriter).Marshal", module + "publish.(*publishStream).run.func1"}},
		{"HTTP/2 and Connect", []string{"runtime.selectgo", "net/http.(*http2serverConn).serve"}},
		{"log server: store", []string{"encoding/binary.littleEndian.PutUint64", "github.com/nats-io/nats-server/v2/server.(*msgBlock).writeMsgRecordLocked", "github.com/nats-io/nats-server/v2/server.(*stream).internalLoop"}},
		{"log server: the rest", []string{"github.com/nats-io/nats-server/v2/server.(*consumer).loopAndGatherMsgs"}},
		{"client of the log: reading", []string{"github.com/nats-io/nats%2ego.(*Conn).readLoop"}},
		{"client of the log: acknowledgements", []string{module + "jetstream.(*appender).acknowledge", "github.com/nats-io/nats%2ego.(*Conn).waitForMsgs"}},
		{"tail of the log", []string{module + "jetstream.(*stored).event", module + "jetstream.(*tail).receive"}},
		{"window, and waking readers", []string{module[:len(module)-1] + ".(*window).append", module[:len(module)-1] + ".(*hubSink).Append", module + "jetstream.(*tail).flush"}},
		{"write to readers", []string{"syscall.RawSyscall6", module + "sse.(*conn).send", module + "sse.(*loop).run"}},
		{"garbage collection in the background", []string{"runtime.scanobject", "runtime.gcDrain", "runtime.gcBgMarkWorker"}},
		{"Go scheduler", []string{"runtime.futex", "runtime.findRunnable", "runtime.schedule", "runtime.park_m", "runtime.mcall"}},
		{"other", []string{"runtime.goexit"}},
		{"other", nil},
	} {
		assert.Equal(t, test.stage, classify(test.stack), test.stack)
	}
}

// handMade writes a profile of stacks, each with its nanoseconds.
func handMade(t *testing.T, kind string, stacks map[string]int64) []byte {
	t.Helper()
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: kind, Unit: "nanoseconds"}}}
	for name, nanoseconds := range stacks {
		id := uint64(len(p.Function))
		inlined := &profile.Function{ID: id + 1, Name: "runtime.memmove"}
		called := &profile.Function{ID: id + 2, Name: name}
		at := &profile.Location{ID: uint64(len(p.Location)) + 1, Line: []profile.Line{{Function: inlined}, {Function: called}}}
		p.Function, p.Location = append(p.Function, inlined, called), append(p.Location, at)
		p.Sample = append(p.Sample, &profile.Sample{Location: []*profile.Location{at}, Value: []int64{1, nanoseconds}})
	}
	var data bytes.Buffer
	require.NoError(t, p.Write(&data))
	return data.Bytes()
}

func TestProfile(t *testing.T) {
	t.Parallel()
	samples, err := readProfile(handMade(t, "cpu", map[string]int64{
		"github.com/ssebridge/ssebridge/bridge/schema.toJSON": 3_000_000_000,
		"github.com/ssebridge/ssebridge/bridge/sse.frame":     500_000_000,
		"github.com/ssebridge/ssebridge/bridge/sse.write":     500_000_000,
		"main.main": 1_000_000_000,
	}))
	require.NoError(t, err)
	assert.Contains(t, samples[0].stack, "runtime.memmove", "functions that were inlined are on the stack")
	made, seconds := shares(samples)
	assert.InDelta(t, 5, seconds, 1e-9)
	assert.Equal(t, []share{{"JSON of the event", 0.6}, {"other", 0.2}, {"write to readers", 0.2}}, made)
	assert.InDelta(t, 0.6, (&stagesResult{Shares: made}).of("JSON of the event"), 1e-9)
	assert.Zero(t, (&stagesResult{Shares: made}).of("tail of the log"))

	_, err = readProfile([]byte("no profile"))
	require.ErrorContains(t, err, "CPU profile: ")
	_, err = readProfile(handMade(t, "cpu", nil))
	require.ErrorContains(t, err, "CPU profile: it has no samples")
	_, err = readProfile(handMade(t, "delay", map[string]int64{"main.main": 1}))
	assert.ErrorContains(t, err, "CPU profile: it has no values of cpu in nanoseconds")
}
