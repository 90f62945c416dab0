package token_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/token"
)

func TestOriginsThatCannotBeListed(t *testing.T) {
	t.Parallel()
	for origin, says := range map[string]string{
		"":                               "not an origin",
		"null":                           "cannot be trusted",
		"shop.example.com":               "not an origin",
		"//shop.example.com":             "neither https nor http",
		"https://":                       "not an origin",
		"https:shop.example.com":         "not an origin",
		"https://%zz":                    "not an origin",
		"ftp://shop.example.com":         "neither https nor http",
		"file:///etc":                    "not an origin",
		"https://shop.example.com/":      "browsers write it: https://shop.example.com",
		"https://shop.example.com/a?b#c": "browsers write it: https://shop.example.com",
		"https://u:p@shop.example.com":   "browsers write it: https://shop.example.com",
		"HTTPS://shop.example.com":       "browsers write it: https://shop.example.com",
		"https://Shop.Example.com":       "browsers write it: https://shop.example.com",
		"https://shop.example.com:443":   "browsers write it: https://shop.example.com",
		"http://shop.example.com:80":     "browsers write it: http://shop.example.com",
		"http://[0:0::1]:3000":           "browsers write it: http://[::1]:3000",
		"https://*.example.com":          "wildcard",
		"https://münchen.example.com":    "ASCII",
	} {
		_, err := token.NewOrigins([]string{"https://first.example.com", origin})
		var wrong *token.OriginError
		require.ErrorAs(t, err, &wrong, origin)
		assert.Equal(t, 1, wrong.Index)
		assert.Contains(t, err.Error(), says)
	}
	_, err := token.NewOrigins([]string{"*", "https://shop.example.com"})
	assert.ErrorContains(t, err, "stand alone")
	for _, origin := range []string{"https://shop.example.com", "http://localhost:3000", "https://shop.example.com:80", "http://[::1]:3000", "http://192.0.2.1"} {
		_, err := token.NewOrigins([]string{origin})
		assert.NoError(t, err, origin)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const listed, unlisted = "Origin: https://shop.example.com", "Origin: https://evil.example.com"
	own := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Vary", "Accept")
		w.WriteHeader(http.StatusTeapot)
	}
	for name, test := range map[string]struct {
		origins     []string
		method      string
		lines       []string
		status      int
		allowed     string
		credentials bool
	}{
		"no Origin":               {origins: []string{"https://shop.example.com"}, status: http.StatusTeapot},
		"listed":                  {origins: []string{"https://shop.example.com"}, lines: []string{listed}, status: http.StatusTeapot, allowed: "https://shop.example.com", credentials: true},
		"unlisted":                {origins: []string{"https://shop.example.com"}, lines: []string{unlisted}, status: http.StatusTeapot},
		"null":                    {origins: []string{"https://shop.example.com"}, lines: []string{"Origin: null"}, status: http.StatusTeapot},
		"two Origins":             {origins: []string{"https://shop.example.com"}, lines: []string{listed, unlisted}, status: http.StatusTeapot},
		"none listed":             {lines: []string{listed}, status: http.StatusTeapot},
		"any":                     {origins: []string{"*"}, lines: []string{unlisted}, status: http.StatusTeapot, allowed: "*"},
		"preflight":               {origins: []string{"https://shop.example.com"}, method: http.MethodOptions, lines: []string{listed, "Access-Control-Request-Method: POST"}, status: http.StatusNoContent, allowed: "https://shop.example.com", credentials: true},
		"preflight of any":        {origins: []string{"*"}, method: http.MethodOptions, lines: []string{unlisted, "Access-Control-Request-Method: GET"}, status: http.StatusNoContent, allowed: "*"},
		"preflight of unlisted":   {origins: []string{"https://shop.example.com"}, method: http.MethodOptions, lines: []string{unlisted, "Access-Control-Request-Method: POST"}, status: http.StatusTeapot},
		"OPTIONS, not preflight":  {origins: []string{"https://shop.example.com"}, method: http.MethodOptions, lines: []string{listed}, status: http.StatusTeapot, allowed: "https://shop.example.com", credentials: true},
		"preflight without page":  {origins: []string{"*"}, method: http.MethodOptions, lines: []string{"Access-Control-Request-Method: GET"}, status: http.StatusTeapot},
		"preflight, any of these": {origins: []string{"https://a.example.com", "https://shop.example.com"}, method: http.MethodOptions, lines: []string{listed, "Access-Control-Request-Method: DELETE"}, status: http.StatusNoContent, allowed: "https://shop.example.com", credentials: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(test.lines...)
			if test.method != "" {
				r.Method = test.method
			}
			recorder := httptest.NewRecorder()
			newOrigins(t, test.origins...).CORS(http.HandlerFunc(own)).ServeHTTP(recorder, r)
			header := recorder.Header()
			assert.Equal(t, test.status, recorder.Code)
			assert.Contains(t, header.Values("Vary"), "Origin")
			assert.Equal(t, test.allowed, header.Get("Access-Control-Allow-Origin"))
			assert.Equal(t, test.credentials, header.Get("Access-Control-Allow-Credentials") == "true")
			if test.status == http.StatusNoContent {
				assert.Equal(t, "GET, POST", header.Get("Access-Control-Allow-Methods"))
				assert.Equal(t, "Authorization, Cache-Control, Content-Type, Last-Event-ID, Traceparent, Tracestate", header.Get("Access-Control-Allow-Headers"))
				assert.Equal(t, "7200", header.Get("Access-Control-Max-Age"))
			} else {
				assert.Empty(t, header.Get("Access-Control-Allow-Methods"))
				assert.Contains(t, header.Values("Vary"), "Accept")
			}
		})
	}
}

func TestInternalListenerServesNoPages(t *testing.T) {
	t.Parallel()
	handler := token.RefuseBrowsers(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for line, status := range map[string]int{
		"Accept: */*":                     http.StatusTeapot,
		"Origin: https://shop.test":       http.StatusForbidden,
		"Origin: null":                    http.StatusForbidden,
		"Origin: ":                        http.StatusForbidden,
		"Sec-Fetch-Site: cross-site":      http.StatusForbidden,
		"Sec-Fetch-Site: same-origin":     http.StatusForbidden,
		"Sec-Fetch-Site: none":            http.StatusForbidden,
		"origin: http://localhost:8081":   http.StatusForbidden,
		"Referer: https://shop.test/cart": http.StatusTeapot,
	} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request(line))
		assert.Equal(t, status, recorder.Code, line)
		if status == http.StatusForbidden {
			assert.Equal(t, "application/problem+json", recorder.Header().Get("Content-Type"))
			assert.Contains(t, recorder.Body.String(), "the internal listener serves services, not pages")
		}
	}
}
