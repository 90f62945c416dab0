package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(text []byte) (int, error) { return w(text) }

// TestDemoComesUpWithEvents: whoever sees its output or its page finds events in the log already.
func TestDemoComesUpWithEvents(t *testing.T) {
	t.Parallel()
	c := testOptions(t).config
	c.Public.Addr, c.Internal.Addr = freeAddress(t), freeAddress(t)
	base := "http://" + c.Public.Addr
	atOutput := make(chan frame, 1)
	var text bytes.Buffer
	out := writerFunc(func(part []byte) (int, error) {
		if text.Len() == 0 {
			open, err := subscribe(t, base, topics("**"), "").next()
			assert.NoError(t, err)
			atOutput <- open
		}
		return text.Write(part)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { assert.NoError(t, demo(ctx, c, out, slog.New(slog.DiscardHandler))) })
	defer group.Wait()
	defer cancel()

	var page *http.Response
	require.Eventually(t, func() (ok bool) {
		var err error
		page, err = http.Get(base + "/") // it waits, once the bridge listens
		return err == nil
	}, 20*time.Second, time.Millisecond)
	atPage, err := subscribe(t, base, topics("**"), "").next()
	require.NoError(t, err)
	body, err := io.ReadAll(page.Body)
	require.NoError(t, err)
	_ = page.Body.Close()
	assert.Contains(t, string(body), strings.Replace(c.Internal.Addr, "127.0.0.1", "http://localhost", 1))
	for name, open := range map[string]frame{"page": atPage, "output": <-atOutput} {
		assert.Equal(t, "ssebridge.open", open.event)
		assert.False(t, strings.HasPrefix(open.id, "0-"), "%s: the log is empty", name)
	}
	frames, err := collectEvents(subscribe(t, base, topics("demo/**")+"&since=earliest", ""), 3)
	require.NoError(t, err)
	assert.Contains(t, frames[0].data, `"type":"demo.v1.Tick"`)
	cancel()
	group.Wait()
	assert.Contains(t, text.String(), "Open this page")
}

// TestPageWaits until there is something to show, and no longer than its reader.
func TestPageWaits(t *testing.T) {
	t.Parallel()
	happened := make(chan struct{})
	page := after(happened, http.RedirectHandler("/there", http.StatusFound))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	recorder := httptest.NewRecorder()
	page.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
	assert.Equal(t, http.StatusOK, recorder.Code, "nothing was written")
	close(happened)
	recorder = httptest.NewRecorder()
	page.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	assert.Equal(t, http.StatusFound, recorder.Code)
}
