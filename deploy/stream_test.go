package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tmaxmax/go-sse"
)

// stream is an open subscription.
type stream struct {
	header http.Header
	proto  string
	next   func() (sse.Event, error, bool)
	close  context.CancelFunc
}

// subscribe opens a stream; query is what follows the question mark.
func subscribe(t *testing.T, client *http.Client, base, query string, header http.Header) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/events?"+query, nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "text/event-stream")
	maps.Copy(request.Header, header)
	response, err := client.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	next, stop := iter.Pull2(sse.Read(response.Body, nil))
	t.Cleanup(stop)
	return &stream{header: response.Header, proto: response.Proto, next: next, close: cancel}
}

// named returns the next event of this name; published ones have none.
func (s *stream) named(t *testing.T, name string) sse.Event {
	t.Helper()
	for {
		event, err, ok := s.next()
		require.True(t, ok, "the stream has ended")
		require.NoError(t, err)
		if event.Type == name {
			return event
		}
	}
}

// event returns the next published event.
func (s *stream) event(t *testing.T) sse.Event {
	t.Helper()
	return s.named(t, "")
}

// ended reads until the stream ends.
func (s *stream) ended(t *testing.T) {
	t.Helper()
	for {
		if _, err, ok := s.next(); !ok || err != nil {
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			return
		}
	}
}

// publish stores one event, {"n": number}, and returns its cursor.
func publish(t *testing.T, b *bridgeProcess, topic string, number int) string {
	t.Helper()
	body := fmt.Sprintf(`{"events":[{"topic":%q,"data":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"n":%d}}}]}`, topic, number)
	response, err := http.Post("http://"+b.internal+"/ssebridge.v1.PublishService/PublishBatch", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer response.Body.Close()
	var answer struct {
		Results []struct{ Cursor string }
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.Len(t, answer.Results, 1)
	require.NotEmpty(t, answer.Results[0].Cursor)
	return answer.Results[0].Cursor
}
