package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/web"
)

func get(t *testing.T, handler http.Handler, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody))
	return recorder
}

func TestPageAndAssets(t *testing.T) {
	t.Parallel()
	handler := web.Handler("http://localhost:8081", "demo/ticks", "demo/orders/*")
	for target, mediaType := range map[string]string{
		"/":            "text/html; charset=utf-8",
		"/?topic=a/**": "text/html; charset=utf-8",
		"/app.js":      "text/javascript; charset=utf-8",
		"/style.css":   "text/css; charset=utf-8",
		"/icon.svg":    "image/svg+xml",
	} {
		response := get(t, handler, http.MethodGet, target)
		assert.Equal(t, http.StatusOK, response.Code, target)
		assert.NotZero(t, response.Body.Len(), target)
		header := response.Result().Header
		assert.Equal(t, mediaType, header.Get("Content-Type"), target)
		assert.Equal(t, "no-cache", header.Get("Cache-Control"), target)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), target)
		assert.Equal(t, "no-referrer", header.Get("Referrer-Policy"), target)
		policy := header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'self'", target)
		assert.NotContains(t, policy, "unsafe", target)

		head := get(t, handler, http.MethodHead, target)
		assert.Equal(t, http.StatusOK, head.Code, target)
		assert.Zero(t, head.Body.Len(), target)
	}
}

func TestNothingElse(t *testing.T) {
	t.Parallel()
	handler := web.Handler("")
	for _, target := range []string{"/index.html", "/demo/", "/demo/app.js", "/web.go", "/favicon.ico", "/v1/events"} {
		assert.Equal(t, http.StatusNotFound, get(t, handler, http.MethodGet, target).Code, target)
	}
	for _, target := range []string{"/", "/app.js"} {
		assert.Equal(t, http.StatusMethodNotAllowed, get(t, handler, http.MethodPost, target).Code, target)
	}
}

func TestTopicsOfThePage(t *testing.T) {
	t.Parallel()
	for want, topics := range map[string][]string{
		">**</textarea>":                         nil,
		">demo/ticks\ndemo/orders/*</textarea>":  {"demo/ticks", "demo/orders/*"},
		">&lt;/textarea&gt;&lt;b&gt;</textarea>": {"</textarea><b>"},
	} {
		assert.Contains(t, get(t, web.Handler("", topics...), http.MethodGet, "/").Body.String(), want)
	}
}

// The policy of the page lets no inline script or style run; so there must be none, or the page breaks.
func TestPageKeepsItsOwnPolicy(t *testing.T) {
	t.Parallel()
	page := get(t, web.Handler(""), http.MethodGet, "/").Body.String()
	require.Contains(t, page, `<script type="module" src="/app.js"></script>`)
	assert.Equal(t, 1, strings.Count(page, "<script"))
	for _, inline := range []string{"<style", "style=", "onclick=", "http://", "https://"} {
		assert.NotContains(t, page, inline)
	}
}

// The page is static but for what the bridge puts into it, which cannot break out of its place.
func TestPublishURLOfThePage(t *testing.T) {
	t.Parallel()
	for publish, want := range map[string]string{
		"http://localhost:8081": `data-url="http://localhost:8081"`,
		`"><script>`:            `data-url="%22%3e%3cscript%3e"`,
	} {
		assert.Contains(t, get(t, web.Handler(publish), http.MethodGet, "/").Body.String(), want)
	}
}
