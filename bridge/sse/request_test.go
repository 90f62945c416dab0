package sse

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestParseAccept(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]acceptance{
		"":                                    {stream: true},
		"text/event-stream":                   {stream: true},
		"TEXT/Event-Stream; charset=utf-8":    {stream: true},
		"text/*":                              {stream: true},
		"*/*":                                 {stream: true},
		"text/html, */*;q=0.1":                {stream: true},
		"*/*;q=0":                             {},
		"text/event-stream;q=0.0":             {},
		"application/json":                    {json: true},
		"application/json, text/event-stream": {json: true, stream: true},
		"text/html":                           {},
		";;;,":                                {},
	} {
		assert.Equal(t, want, parseAccept(&http.Request{Header: http.Header{"Accept": {accept}}}), accept)
	}
	assert.Equal(t, acceptance{stream: true}, parseAccept(&http.Request{}), "none is any")
}

func TestLastEventIDComesBeforeSince(t *testing.T) {
	t.Parallel()
	request := &http.Request{
		URL:    &url.URL{RawQuery: "topic=a&since=garbage"},
		Header: http.Header{"Last-Event-Id": {"184-10"}},
	}
	parsed, err := parseRequest(request, time.Now())
	require.NoError(t, err, "since is ignored")
	assert.Equal(t, bridge.StartAfter(bridge.Cursor{Seq: 184, Time: 36}), parsed.start)
}

// FuzzParseRequest: any query is refused with a parameter and a text, or asks for at least one pattern.
func FuzzParseRequest(f *testing.F) {
	f.Add("topic=a/*&topic=b&since=5m&type=shop.v1.*&format=json", "184-10")
	f.Add("topic=%ff&since=-1s", "\x00")
	f.Add("a;b&%zz", "")
	f.Fuzz(func(t *testing.T, query, id string) {
		parsed, err := parseRequest(&http.Request{
			URL: &url.URL{RawQuery: query}, Header: http.Header{"Last-Event-Id": {id}},
		}, time.Now())
		if err != nil {
			param := (*paramError)(nil)
			require.ErrorAs(t, err, &param)
			assert.NotEmpty(t, param.text)
			return
		}
		assert.NotEmpty(t, parsed.sub.Patterns)
		assert.LessOrEqual(t, len(parsed.sub.Patterns), maxTopics)
	})
}
