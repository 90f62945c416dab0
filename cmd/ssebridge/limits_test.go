package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLimitsOfAConfiguration: who has how many streams goes by the token's issuer and subject, and by what a proxy says.
func TestLimitsOfAConfiguration(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, fmt.Sprintf(`
public: {trusted_proxies: [127.0.0.0/8]}
limits: {streams: 7, streams_per_principal: 2, streams_per_address: 4}
topics: [{pattern: '**', subscribe: 'true'}]
issuers:
  - {name: users, url: %q, jwks_file: %q, audiences: [ssebridge], roles: [subscribe]}
  - {name: staff, url: %q, jwks_file: %q, audiences: [ssebridge], roles: [subscribe]}
`, users, r.file, services, r.file))
	from := func(address string) func(*http.Request) {
		return withHeader("X-Forwarded-For", "198.51.100.1, "+address)
	}
	began := func(change ...func(*http.Request)) string {
		t.Helper()
		frame, err := newEventStream(ask(t, streamClient, b.publicURL, "topic=a", change...).Body).next()
		require.NoError(t, err)
		if frame.event == "ssebridge.open" {
			return frame.event
		}
		return frame.data
	}
	const open = "ssebridge.open"
	alice, otherAlice := r.user("alice"), r.service("alice")
	assert.Equal(t, open, began(withBearer(alice), from("192.0.2.1")))
	assert.Equal(t, open, began(withBearer(r.user("alice", "jti", "2")), from("192.0.2.2")), "another token, the same person")
	assert.JSONEq(t, `{"reason":"principal_limit"}`, began(withBearer(alice), from("192.0.2.3")))
	assert.Equal(t, open, began(withBearer(otherAlice), from("192.0.2.1")), "who has the same name elsewhere is somebody else")
	assert.Equal(t, open, began(from("192.0.2.1")))
	assert.Equal(t, open, began(from("192.0.2.1")), "without a token nobody is counted, but for the address")
	assert.JSONEq(t, `{"reason":"address_limit"}`, began(from("192.0.2.1")))
	assert.JSONEq(t, `{"reason":"address_limit"}`, began(withBearer("nonsense"), from("192.0.2.1")), "before a token is looked at")

	asJSON := withHeader("Accept", "application/json, text/event-stream")
	response := ask(t, streamClient, b.publicURL, "topic=a", asJSON, withBearer(alice), from("192.0.2.3"))
	assert.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	assert.Regexp(t, `^[2-5]$`, response.Header.Get("Retry-After"))
	p := readProblem(t, response)
	assert.Equal(t, "principal_limit", p.Reason)
	assert.Contains(t, p.Detail, "close one")

	assert.Equal(t, open, began())
	assert.Equal(t, open, began())
	assert.JSONEq(t, `{"reason":"overload"}`, began(from("192.0.2.9")))
	response = ask(t, streamClient, b.publicURL, "topic=a", asJSON)
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Equal(t, "overload", readProblem(t, response).Reason)
	assert.Equal(t, 7, b.hub.Readers(), "nobody was thrown out")

	metrics := get(t, b.opsURL+"/metrics", func(*http.Request) {})
	defer metrics.Body.Close()
	text, err := io.ReadAll(metrics.Body)
	require.NoError(t, err)
	for _, want := range []string{
		`reason="address_limit",status="200"} 2`, `reason="principal_limit",status="200"} 1`, `reason="principal_limit",status="429"} 1`,
		`reason="overload",status="200"} 1`, `reason="overload",status="503"} 1`,
	} {
		assert.Regexp(t, `ssebridge_refusals_total\{.*`+want+`\n`, string(text))
	}
}

// TestWarningOfOpenFiles: a process that may not have as many files open as it may have streams says so.
func TestWarningOfOpenFiles(t *testing.T) {
	t.Parallel()
	for streams, warns := range map[int]bool{100: false, 501: true} {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.yaml")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "limits: {streams: %d}\n", streams), 0o600))
		ops := freeAddress(t)
		var stderr bytes.Buffer
		command := exec.Command("sh", "-c", `ulimit -n 1500; exec "$0" "$@"`, os.Args[0], "serve", "--config", file, "--data-dir", dir,
			"--public-addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0", "--ops-addr", ops)
		command.Env = append(os.Environ(), asProgram+"=1")
		command.Stderr = &stderr
		require.NoError(t, command.Start())
		t.Cleanup(func() { _ = command.Process.Kill() })
		waitReady(t, "http://"+ops)
		require.NoError(t, command.Process.Signal(syscall.SIGTERM))
		require.NoError(t, command.Wait(), stderr.String())
		if !warns {
			assert.NotContains(t, stderr.String(), "open files")
			continue
		}
		assert.Equal(t, 1, strings.Count(stderr.String(), "the limit of open files is below limits.streams: raise it"))
		assert.Contains(t, stderr.String(), "open_files=1500 needed=1501 streams=501")
		assert.Contains(t, stderr.String(), "LimitNOFILE")
	}
}
