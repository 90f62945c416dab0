package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestOpenRulesAnswerToThisMachineOnly: a page that reaches the loopback interface by a name of its own reads nothing.
func TestOpenRulesAnswerToThisMachineOnly(t *testing.T) {
	t.Parallel()
	open := startBridge(t, testOptions(t))
	options := testOptions(t)
	options.dev = false
	closed := startBridge(t, options)
	for host, status := range map[string]int{
		"localhost": 200, "LOCALHOST:8080": 200, "127.0.0.1": 200, "127.8.8.8:80": 200, "[::1]": 200, "[::1]:8080": 200,
		"evil.example": 421, "localhost.evil.example:8080": 421, "10.0.0.1": 421, "[::2]:80": 421,
	} {
		for url, want := range map[string]int{
			open.publicURL + "/v1/events?topic=a": status, open.opsURL + "/debug/pprof/": status,
			closed.publicURL + "/v1/events?topic=a": http.StatusForbidden,
		} {
			response := get(t, url, func(r *http.Request) { r.Host = host })
			assert.Equal(t, want, response.StatusCode, "%s %s", host, url)
			_ = response.Body.Close()
		}
	}
}
