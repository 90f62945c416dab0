package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/ssebridge/ssebridge/bridge"
	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// stateTopics has prices, of which only the newest counts, and trades.
const stateTopics = `topics:
  - {pattern: "prices/{share}", publish: "true", subscribe: "true", state: true}
  - {pattern: "trades/{share}", publish: "true", subscribe: "true"}
`

// change is an event with a number and so much text that no buffer on the way holds many.
func change(t testing.TB, topic string, number int) *ssebridgev1.Event {
	t.Helper()
	data, err := structpb.NewStruct(map[string]any{"n": number, "text": strings.Repeat("x", 8<<10)})
	require.NoError(t, err)
	return &ssebridgev1.Event{Topic: topic, Data: packed(t, data)}
}

// publishChanges publishes rounds of a trade and ten prices of each of two shares, numbered from first on.
func publishChanges(t testing.TB, base string, first, rounds int) {
	t.Helper()
	for n := first; n < first+rounds; n++ {
		batch := &ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{change(t, "trades/a", n)}}
		for i := range 10 {
			batch.Events = append(batch.Events, change(t, "prices/a", n*10+i), change(t, "prices/b", n*10+i))
		}
		response, err := publisher(base).PublishBatch(t.Context(), connect.NewRequest(batch))
		require.NoError(t, err)
		for _, result := range response.Msg.GetResults() {
			require.Nil(t, result.GetError(), "%v", result.GetError())
		}
	}
}

// readChanges reads until the newest trade and both newest prices have come, and returns the numbers by topic.
func readChanges(t testing.TB, s *eventStream, lastTrade int) map[string][]int {
	t.Helper()
	numbers, before := map[string][]int{}, uint64(0)
	last := func(topic string) int {
		if list := numbers[topic]; len(list) > 0 {
			return list[len(list)-1]
		}
		return -1
	}
	for last("trades/a") < lastTrade || last("prices/a") < lastTrade*10+9 || last("prices/b") < lastTrade*10+9 {
		f, err := s.next()
		require.NoError(t, err)
		if strings.HasPrefix(f.event, "ssebridge.") {
			require.Contains(t, []string{"ssebridge.open", "ssebridge.heartbeat"}, f.event)
			continue
		}
		cursor, err := bridge.ParseCursor(f.id)
		require.NoError(t, err)
		require.Greater(t, cursor.Seq, before, "the order is that of the log")
		before = cursor.Seq
		var event struct {
			Subject string
			Data    struct{ N int }
		}
		require.NoError(t, json.Unmarshal([]byte(f.data), &event))
		numbers[event.Subject] = append(numbers[event.Subject], event.Data.N)
	}
	return numbers
}

func upTo(last int) []int {
	numbers := make([]int, last+1)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// TestStateTopicsOfSlowReaders: a reader that stops reading, and then goes on, receives every trade, and of each price what
// the buffers held and the newest; then each change again, as it comes.
func TestStateTopicsOfSlowReaders(t *testing.T) {
	t.Parallel()
	const rounds = 60                                                              // 10 MiB
	slow := func(ctx context.Context, network, address string) (net.Conn, error) { // its kernel takes little for it
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(16 << 10)
		}
		return conn, err
	}
	var http2 http.Protocols
	http2.SetUnencryptedHTTP2(true)
	for version, transport := range map[string]*http.Transport{
		"HTTP/1.1": {DialContext: slow}, "h2c": {DialContext: slow, Protocols: &http2},
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			b := startSecured(t, stateTopics)
			response := ask(t, &http.Client{Transport: transport}, b.publicURL, topics("prices/*", "trades/*"))
			require.Equal(t, http.StatusOK, response.StatusCode)
			s := newEventStream(response.Body)
			t.Cleanup(s.close)
			open, err := s.next()
			require.NoError(t, err)
			require.Equal(t, "ssebridge.open", open.event)

			publishChanges(t, b.internalURL, 0, rounds)
			numbers := readChanges(t, s, rounds-1)
			assert.Equal(t, upTo(rounds-1), numbers["trades/a"])
			for _, topic := range []string{"prices/a", "prices/b"} {
				assert.NotEmpty(t, numbers[topic])
				assert.Less(t, len(numbers[topic]), rounds*10/2, topic)
			}
			for n := range 20 {
				number := rounds*10 + n
				_, err := publisher(b.internalURL).PublishBatch(t.Context(), connect.NewRequest(
					&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{numbered(t, "prices/a", number)}}))
				require.NoError(t, err)
				assert.Contains(t, s.nextEvent(t).data, fmt.Sprintf(`"data":{"n":%d}`, number))
			}
		})
	}
}

// TestStateTopicsOfResumingReaders: from the window and from the log.
func TestStateTopicsOfResumingReaders(t *testing.T) {
	t.Parallel()
	const rounds = 60
	for window, most := range map[int]int{10_000: 1, 100: 1, 2: 7} { // there are 1,260 events, in 5 pages
		t.Run(fmt.Sprintf("window of %d", window), func(t *testing.T) {
			t.Parallel()
			options := securedOptions(t, stateTopics)
			options.config.Window.Events = window
			b := startBridge(t, options)
			live := subscribe(t, b.publicURL, topics("prices/*", "trades/*"), "")
			publishChanges(t, b.internalURL, 0, rounds)
			readChanges(t, live, rounds-1) // the window has come to the end, too
			numbers := readChanges(t, subscribe(t, b.publicURL, topics("prices/*", "trades/*")+"&since=earliest", ""), rounds-1)
			assert.Equal(t, upTo(rounds-1), numbers["trades/a"])
			assert.LessOrEqual(t, len(numbers["prices/a"]), most)
			assert.LessOrEqual(t, len(numbers["prices/b"]), most)
		})
	}
}
