package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	benchv1 "github.com/ssebridge/ssebridge/gen/bench/v1"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	p := &plan{prefix: "bench/a", run: "00c0ffee", topics: 3, publishers: 5}
	for _, size := range []int{minSize, fullSize - 1, fullSize, 64 << 10} {
		template, err := p.newPublishTemplate(size)
		require.NoError(t, err)
		first, second := mark{lane: 4, number: 1, time: 1}, mark{lane: 2, number: 0xfffffffe, time: time.Now().UnixNano()}
		text := template.append(template.append(nil, 1, first), 2, second)
		var request ssebridgev1.PublishRequest
		require.NoError(t, proto.Unmarshal(text, &request))
		require.Len(t, request.GetEvents(), 2)
		for i, expected := range []struct {
			topic string
			mark  mark
		}{{"bench/a/000001", first}, {"bench/a/000002", second}} {
			event := request.GetEvents()[i]
			assert.Equal(t, expected.topic, event.GetTopic())
			var data benchv1.Sample
			require.NoError(t, event.GetData().UnmarshalTo(&data))
			text := []byte(sampleJSON(data.GetMark(), size))
			spaced, err := protojson.Marshal(&data)
			require.NoError(t, err)
			require.JSONEq(t, string(text), string(spaced))
			assert.Len(t, text, size)
			finder := newMarkFinder(p.run)
			for _, around := range []string{"%s", `{"subject":"x","data":%s}`, "%s "} {
				found, ok := finder.find(fmt.Appendf(nil, around, text))
				assert.True(t, ok)
				assert.Equal(t, expected.mark, found)
			}
		}
	}
}

// TestLanesHaveOnePublisherAndTopic: every topic and every publisher has one at least.
func TestLanes(t *testing.T) {
	t.Parallel()
	for _, p := range []plan{{topics: 1, publishers: 1}, {topics: 1, publishers: 4}, {topics: 3, publishers: 4}, {topics: 7, publishers: 2}} {
		total := 0
		for topic := range p.topics {
			r := newReader(&p, topic)
			total += len(r.last)
			for place := range r.last {
				assert.Equal(t, topic, p.topicOf(r.laneOf(place)))
				back, mine := r.placeOf(uint32(r.laneOf(place)))
				assert.True(t, mine)
				assert.Equal(t, place, back)
			}
		}
		assert.Equal(t, p.lanes(), total)
		_, mine := newReader(&p, -1).placeOf(uint32(p.lanes()))
		assert.False(t, mine)
	}
}

// TestReaderFindsFaults: what was lost, repeated, out of order and foreign, and what has not come yet.
func TestReaderFindsFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name              string
		numbers           []uint32
		sent              uint32
		unsure            []uint32
		expected          counts
		lost, outstanding int64
	}{
		{name: "in order", numbers: []uint32{1, 2, 3}, sent: 3, expected: counts{Delivered: 3}},
		{name: "lost", numbers: []uint32{1, 4, 5, 7}, sent: 7, expected: counts{Delivered: 4}, lost: 3},
		{name: "the first is lost", numbers: []uint32{2}, sent: 2, expected: counts{Delivered: 1}, lost: 1},
		{name: "refused is not lost", numbers: []uint32{1, 4}, sent: 6, unsure: []uint32{2, 3, 6}, expected: counts{Delivered: 2}, outstanding: 1},
		{name: "repeated", numbers: []uint32{1, 2, 1, 2, 2}, sent: 2, expected: counts{Delivered: 2, Repeated: 3}},
		{name: "out of order", numbers: []uint32{1, 5, 3, 2, 4, 3}, sent: 5, expected: counts{Delivered: 5, Reordered: 3, Repeated: 1}},
		{name: "nothing has come", sent: 9, outstanding: 9},
		{name: "another lane's", numbers: []uint32{0}, expected: counts{Foreign: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &plan{prefix: "a", run: "00c0ffee", topics: 2, publishers: 1}
			r, seen := newReader(p, 0), &tally{timing: true, marks: newMarkFinder(p.run)}
			frames := p.newTemplate([]byte("id: 1\ndata: {\"mark\":\"" + p.newMark() + "\"}\n\n"))
			for _, number := range test.numbers {
				m := mark{number: number, time: time.Now().UnixNano()}
				if number == 0 {
					m = mark{lane: 1, number: 1}
				}
				_, err := r.read(frames.append(nil, 0, m), time.Now(), seen)
				require.NoError(t, err)
			}
			lost, outstanding := r.missing([]lane{{sent: test.sent, unsure: test.unsure}, {}})
			assert.Equal(t, test.expected, seen.counts)
			assert.Equal(t, test.lost, lost)
			assert.Equal(t, test.outstanding, outstanding)
			assert.Equal(t, seen.counts.Delivered, int64(seen.latency.count))
		})
	}
}

func TestReadersDoNotAllocate(t *testing.T) { // alone: others would be counted
	p := &plan{prefix: "a", run: "00c0ffee", topics: 1, publishers: 1}
	r, seen := newReader(p, 0), &tally{timing: true, marks: newMarkFinder(p.run)}
	frames := p.newTemplate([]byte("id: 123456-1763739183000000000\ndata: {\"subject\":\"a/000000\",\"data\":{\"mark\":\"" + p.newMark() + "\"}}\n\n"))
	var stream []byte
	number := uint32(0)
	read := func() {
		stream = stream[:0]
		for range 10 {
			number++
			stream = frames.append(stream, 0, mark{number: number})
		}
		cut := len(stream) / 2
		_, _ = r.read(stream[:cut], time.Time{}, seen)
		_, _ = r.read(stream[cut:], time.Time{}, seen)
	}
	read()
	assert.Zero(t, testing.AllocsPerRun(100, read))
	assert.Equal(t, counts{Delivered: int64(number)}, seen.counts)
}

func BenchmarkReader(b *testing.B) {
	p := &plan{prefix: "a", run: "00c0ffee", topics: 1, publishers: 1}
	r, seen := newReader(p, 0), &tally{timing: true, marks: newMarkFinder(p.run)}
	template := p.newTemplate([]byte(`id: 123456-1763739183000000000
data: {"specversion":"1.0","id":"123456-1763739183000000000","source":"/ssebridge","type":"google.protobuf.Struct",` +
		`"subject":"bench/00c0ffee/000000","time":"2026-01-01T00:00:00.000000001Z","data":{"mark":"` + p.newMark() + `"}}` + "\n\n"))
	var frame []byte
	for number := range b.N {
		frame = template.append(frame[:0], 0, mark{number: uint32(number) + 1})
		_, _ = r.read(frame, time.Time{}, seen)
	}
	require.Equal(b, counts{Delivered: int64(b.N)}, seen.counts)
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var all, other histogram
	var times []time.Duration
	for i := range 10_000 {
		d := time.Duration(random.ExpFloat64() * float64(10*time.Millisecond))
		times = append(times, d)
		if i%2 == 0 {
			all.add(d)
		} else {
			other.add(d)
		}
	}
	all.merge(&other)
	slices.Sort(times)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := times[max(int(q*10_000), 1)-1]
		assert.GreaterOrEqual(t, all.quantile(q), exact)
		assert.LessOrEqual(t, float64(all.quantile(q)), float64(exact)*1.016+1)
	}
	assert.Equal(t, times[len(times)-1], all.max)
	var edges histogram
	assert.Zero(t, edges.quantile(0.5))
	for _, d := range []time.Duration{-1, 0, 1, 63, 64, 127, 128, 1<<histogramTop - 1, 1 << histogramTop, 1<<63 - 1} {
		edges.add(d)
		assert.LessOrEqual(t, min(max(d, 0), 1<<histogramTop-1), upper(bucketOf(d)))
	}
	assert.Equal(t, uint64(10), edges.count)
}
