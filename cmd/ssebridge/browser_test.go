package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const listedOrigin = "https://app.example.com"

// TestCookiesOfPages: a browser adds the cookie whatever page asks, so what it says about the page decides.
func TestCookiesOfPages(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, personal+r.issuers())
	alice := r.user("alice")
	for _, test := range []struct {
		name           string
		origins, sites []string
		allowed        bool
	}{
		{"listed origin", []string{listedOrigin}, nil, true},
		{"listed origin, cross-site", []string{listedOrigin}, []string{"cross-site"}, true},
		{"same origin, without Origin", nil, []string{"same-origin"}, true},

		{"says nothing", nil, nil, false},
		{"another origin", []string{"https://evil.example.com"}, []string{"cross-site"}, false},
		{"another origin that claims to be the same", []string{"https://evil.example.com"}, []string{"same-origin"}, false},
		{"the bridge's own origin, not listed", []string{b.publicURL}, []string{"same-origin"}, false},
		{"same site", nil, []string{"same-site"}, false},
		{"cross-site", nil, []string{"cross-site"}, false},
		{"typed into the address bar", nil, []string{"none"}, false},
		{"Sec-Fetch-Site in capitals", nil, []string{"Same-Origin"}, false},
		{"two Sec-Fetch-Site", nil, []string{"same-origin", "same-origin"}, false},
		{"empty Sec-Fetch-Site", nil, []string{""}, false},
		{"opaque origin", []string{"null"}, []string{"same-origin"}, false},
		{"empty Origin", []string{""}, []string{"same-origin"}, false},
		{"two Origins", []string{listedOrigin, "https://evil.example.com"}, nil, false},
		{"the same Origin twice", []string{listedOrigin, listedOrigin}, nil, false},
		{"listed origin in capitals", []string{"https://APP.example.com"}, nil, false},
		{"listed origin, other scheme", []string{"http://app.example.com"}, nil, false},
		{"listed origin, other port", []string{listedOrigin + ":8443"}, nil, false},
		{"listed origin with its port", []string{listedOrigin + ":443"}, nil, false},
		{"listed origin with a slash", []string{listedOrigin + "/"}, nil, false},
		{"listed origin with a dot", []string{listedOrigin + "."}, nil, false},
		{"below the listed origin", []string{"https://x.app.example.com"}, nil, false},
		{"begins like the listed origin", []string{listedOrigin + ".evil.example.com"}, nil, false},
		{"ends like the listed origin", []string{"https://evil-app.example.com"}, nil, false},
		{"two origins in one", []string{listedOrigin + " " + listedOrigin}, nil, false},
		{"wildcard", []string{"*"}, nil, false},
	} {
		for version, client := range httpVersions() {
			t.Run(test.name+", "+version, func(t *testing.T) {
				show := func(r *http.Request) {
					r.Header.Set("Cookie", "session="+alice)
					if test.origins != nil {
						r.Header["Origin"] = test.origins
					}
					if test.sites != nil {
						r.Header["Sec-Fetch-Site"] = test.sites
					}
				}
				response := ask(t, client, b.publicURL, topics("users/alice"), show)
				if test.allowed {
					require.Equal(t, http.StatusOK, response.StatusCode)
					return
				}
				require.Equal(t, http.StatusForbidden, response.StatusCode)
				assert.Empty(t, response.Header.Get("WWW-Authenticate"), "another token changes nothing")
				assert.Contains(t, readProblem(t, response).Detail, "cookie")
			})
		}
	}
}

// TestCrossOriginAnswers: pages of listed origins may read streams and refusals alike, others may not.
func TestCrossOriginAnswers(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, personal+r.issuers())
	alice := r.user("alice")
	for name, answer := range map[string]struct {
		query  string
		show   func(*http.Request)
		status int
	}{
		"stream":          {topics("users/alice"), withBearer(alice), 200},
		"bad request":     {"topic=", withBearer(alice), 400},
		"two headers":     {topics("users/alice"), withHeader("Authorization", "Bearer x", "Bearer x"), 400},
		"unauthenticated": {topics("users/alice"), withBearer("x"), 401},
		"forbidden":       {topics("users/bob"), withBearer(alice), 403},
		"not acceptable":  {topics("users/alice"), withHeader("Accept", "image/png"), 406},
	} {
		for _, origin := range []string{"", listedOrigin, "https://evil.example.com", "null"} {
			t.Run(name+" "+origin, func(t *testing.T) {
				response := ask(t, streamClient, b.publicURL, answer.query, answer.show, func(r *http.Request) {
					if origin != "" {
						r.Header.Set("Origin", origin)
					}
				})
				assert.Equal(t, answer.status, response.StatusCode)
				checkCORS(t, response, origin == listedOrigin)
				assertSecure(t, response)
			})
		}
	}
}

// checkCORS: a page of a listed origin may read the answer, a page of another may not.
func checkCORS(t testing.TB, response *http.Response, allowed bool) {
	t.Helper()
	assert.Equal(t, []string{"Origin"}, response.Header.Values("Vary"))
	if !allowed {
		for name := range response.Header {
			assert.False(t, strings.HasPrefix(name, "Access-Control-"), name)
		}
		return
	}
	assert.Equal(t, []string{listedOrigin}, response.Header.Values("Access-Control-Allow-Origin"))
	assert.Equal(t, []string{"true"}, response.Header.Values("Access-Control-Allow-Credentials"))
}

// TestPreflight: a browser asks before it sends a token in a header.
func TestPreflight(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, personal+r.issuers())
	for version, client := range httpVersions() {
		for _, origin := range []string{listedOrigin, "https://evil.example.com", "null", ""} {
			t.Run(origin+" "+version, func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, b.publicURL+"/v1/events?"+topics("users/alice"), nil)
				require.NoError(t, err)
				request.Header.Set("Access-Control-Request-Method", http.MethodGet)
				request.Header.Set("Access-Control-Request-Headers", "authorization,last-event-id")
				if origin != "" {
					request.Header.Set("Origin", origin)
				}
				response, err := client.Do(request)
				require.NoError(t, err)
				defer response.Body.Close()
				checkCORS(t, response, origin == listedOrigin)
				assertSecure(t, response)
				if origin != listedOrigin {
					assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
					return
				}
				assert.Equal(t, http.StatusNoContent, response.StatusCode)
				assert.Contains(t, response.Header.Get("Access-Control-Allow-Methods"), "GET")
				for _, name := range []string{"Authorization", "Last-Event-ID"} {
					assert.Contains(t, response.Header.Get("Access-Control-Allow-Headers"), name)
				}
				assert.NotContains(t, response.Header.Get("Access-Control-Allow-Headers"), "*")
			})
		}
	}
}

// assertSecure: browsers take the answer for what it says it is, and run nothing of it.
func assertSecure(t testing.TB, response *http.Response) {
	t.Helper()
	assert.Equal(t, []string{"nosniff"}, response.Header.Values("X-Content-Type-Options"))
	assert.Equal(t, []string{"no-referrer"}, response.Header.Values("Referrer-Policy"))
	policy := response.Header.Values("Content-Security-Policy")
	if assert.Len(t, policy, 1) {
		assert.Contains(t, policy[0], "frame-ancestors 'none'")
		assert.NotContains(t, policy[0], "unsafe")
	}
}

// TestSecurityHeaders: on every answer of the public listener.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	open := testOptions(t)
	open.page = func(string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	}
	for name, b := range map[string]*program{"rules": startSecured(t, ""), "open rules": startBridge(t, open)} {
		for _, request := range []struct{ method, path string }{
			{"GET", "/"}, {"GET", "/nowhere"}, {"GET", "/v1/events"}, {"GET", "/v1/events?topic=a"}, {"HEAD", "/v1/events?topic=a"},
			{"POST", "/v1/events?topic=a"}, {"OPTIONS", "/v1/events"}, {"DELETE", "/v1/events"}, {"GET", "//v1/events"}, {"GET", "/v1/../x"},
			{"POST", "/dev/drop"}, {"GET", "/v1/events/"}, {"OPTIONS", "*"},
		} {
			for version, client := range httpVersions() {
				t.Run(name+" "+request.method+" "+request.path+" "+version, func(t *testing.T) {
					r, err := http.NewRequestWithContext(t.Context(), request.method, b.publicURL+request.path, nil)
					if request.path == "*" {
						r, err = http.NewRequestWithContext(t.Context(), request.method, b.publicURL, nil)
						r.URL.Opaque = "*"
					}
					require.NoError(t, err)
					response, err := noRedirects(client).Do(r)
					require.NoError(t, err)
					defer response.Body.Close()
					assertSecure(t, response)
					assert.Equal(t, []string{"Origin"}, response.Header.Values("Vary"))
				})
			}
		}
	}
}

func noRedirects(client *http.Client) *http.Client {
	return &http.Client{
		Transport:     client.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// TestInternalListenerRefusesBrowsers, whatever they ask for and whoever they are.
func TestInternalListenerRefusesBrowsers(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	for name, b := range map[string]*program{
		"rules": startSecured(t, personal+r.issuers()), "open rules": startBridge(t, testOptions(t)),
	} {
		for version, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "h2c": http2Client} {
			for _, path := range []string{
				"/ssebridge.v1.PublishService/PublishBatch", "/ssebridge.v1.PublishService/Publish", "/grpc.health.v1.Health/Check", "/", "/nowhere",
			} {
				for header, value := range map[string]string{
					"Origin": listedOrigin, "Sec-Fetch-Site": "same-origin", "sec-fetch-site": "none", "origin": "null", "ORIGIN": b.internalURL,
				} {
					t.Run(name+" "+version+" "+path+" "+header, func(t *testing.T) {
						request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.internalURL+path, strings.NewReader(`{}`))
						require.NoError(t, err)
						request.Header.Set("Content-Type", "application/json")
						request.Header.Set("Authorization", "Bearer "+r.service("orders"))
						request.Header.Set(header, value)
						response, err := client.Do(request)
						require.NoError(t, err)
						defer response.Body.Close()
						assert.Equal(t, http.StatusForbidden, response.StatusCode)
						assert.Contains(t, readProblem(t, response).Detail, "not pages")
						checkNoCORS(t, response)
					})
				}
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, b.internalURL+"/ssebridge.v1.PublishService/PublishBatch", nil)
			require.NoError(t, err)
			request.Header.Set("Origin", listedOrigin)
			request.Header.Set("Access-Control-Request-Method", http.MethodPost)
			response, err := client.Do(request)
			require.NoError(t, err)
			response.Body.Close()
			assert.Equal(t, http.StatusForbidden, response.StatusCode, "preflight")
			checkNoCORS(t, response)
		}
	}
}

func checkNoCORS(t testing.TB, response *http.Response) {
	t.Helper()
	for name := range response.Header {
		assert.False(t, strings.HasPrefix(name, "Access-Control-"), name)
	}
}
