package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
	"github.com/ssebridge/ssebridge/bridge/sse"
)

// httpVersions are clients for both protocols of a listener.
func httpVersions() map[string]*http.Client {
	return map[string]*http.Client{"HTTP/1.1": streamClient, "h2c": http2Client}
}

// http2Client shares a connection among its requests to a listener, as a browser does.
var http2Client = newPublishClient(nil)

// percentEncoded spells every byte of a text in three.
func percentEncoded(text string) string {
	var encoded strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&encoded, "%%%02X", text[i])
	}
	return encoded.String()
}

// TestHeadersOfTheLargestRequest: 64 topics of 512 bytes in their longest spelling are served, 1 MiB of headers is not.
func TestHeadersOfTheLargestRequest(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	query := make([]string, 64)
	for i := range query {
		topic := strings.Repeat(strings.Repeat("x", 127)+"/", 3) + fmt.Sprintf("%0128d", i)
		require.Len(t, topic, 512)
		query[i] = "topic=" + percentEncoded(topic)
	}
	for name, client := range httpVersions() {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.publicURL+"/v1/events?"+strings.Join(query, "&"), nil)
			require.NoError(t, err)
			response, err := client.Do(request)
			require.NoError(t, err)
			defer response.Body.Close()
			assert.Equal(t, http.StatusOK, response.StatusCode)

			request, err = http.NewRequestWithContext(t.Context(), http.MethodGet, b.publicURL+"/v1/events?topic=a", nil)
			require.NoError(t, err)
			for i := range 64 {
				request.Header.Set(fmt.Sprintf("X-Large-%d", i), strings.Repeat("x", 16<<10))
			}
			response, err = client.Do(request)
			if err != nil { // the HTTP/2 client knows the limit and does not even send it
				assert.ErrorContains(t, err, "larger than")
				return
			}
			defer response.Body.Close()
			assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, response.StatusCode)
		})
	}
}

// TestStreamsOutliveTheWriteTimeout, which is for every other answer.
func TestStreamsOutliveTheWriteTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 200 * time.Millisecond
	b := startBridge(t, testOptions(t))
	assert.Equal(t, time.Minute, b.public.http.WriteTimeout)
	assert.Equal(t, 5*time.Minute, b.ops.http.WriteTimeout)

	short, base, err := listen(t.Context(), "127.0.0.1:0", nil)
	require.NoError(t, err)
	t.Cleanup(short.close)
	cut := make(chan error, 1)
	mux := http.NewServeMux()
	mux.Handle("/v1/events", sse.NewHandler(sse.Config{
		Hub: b.hub, Authorize: func(*http.Request, *bridge.Subscription) (sse.Grant, error) { return sse.Grant{}, nil },
	}))
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for piece := bytes.Repeat([]byte("x"), 64<<10); ; {
			if _, err := w.Write(piece); err != nil {
				cut <- err
				return
			}
		}
	})
	short.writeTimeout = timeout
	short.serve(mux, slog.New(slog.DiscardHandler), make(chan error, 1))
	for name, client := range httpVersions() {
		t.Run(name, func(t *testing.T) {
			get := func(path string) io.ReadCloser {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
				require.NoError(t, err)
				response, err := client.Do(request)
				require.NoError(t, err)
				t.Cleanup(func() { _ = response.Body.Close() })
				return response.Body
			}
			topic := "a/" + url.PathEscape(strings.ReplaceAll(name, "/", "-"))
			stream := newEventStream(get("/v1/events?" + topics(topic)))
			for n := range 3 {
				time.Sleep(2 * timeout) // real sockets have real deadlines
				cursor := publishNumbered(t, b.internalURL, topic, n, 1)[0]
				assert.Equal(t, cursor, stream.nextEvent(t).id)
			}
			get("/endless") // and nobody reads it
			select {
			case err := <-cut:
				assert.Error(t, err)
			case <-time.After(20 * time.Second):
				assert.Fail(t, "an answer that nobody takes is not cut")
			}
		})
	}
}

// TestHeadOfAStream asks for what proxies and browsers go by, over both protocols.
func TestHeadOfAStream(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	for name, client := range httpVersions() {
		t.Run(name, func(t *testing.T) {
			waits := map[string]bool{}
			for range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.publicURL+"/v1/events?topic=a", nil)
				require.NoError(t, err)
				response, err := client.Do(request)
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, response.StatusCode)
				assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
				assert.Equal(t, "no-store, no-transform", response.Header.Get("Cache-Control"))
				assert.Equal(t, "no", response.Header.Get("X-Accel-Buffering"))
				assert.Empty(t, response.Header.Get("Content-Encoding"))
				first, err := newEventStream(response.Body).lines.ReadString('\n')
				require.NoError(t, err)
				require.Regexp(t, `^retry: ([1-4]\d{3}|5000)\n$`, first)
				waits[first] = true
				cancel()
				_ = response.Body.Close()
			}
			assert.Greater(t, len(waits), 10, "a fleet does not come back at once")
		})
	}
}
