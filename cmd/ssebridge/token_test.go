package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// payloadOf returns what a token says.
func payloadOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(strings.TrimSuffix(token, "\n"), ".")
	require.Len(t, parts, 3)
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(payload)))
	decoder.UseNumber()
	var claims map[string]any
	require.NoError(t, decoder.Decode(&claims))
	return claims
}

// TestTokenCommand: its tokens open a bridge that is configured as the command says.
func TestTokenCommand(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "dev.jwk")
	jwks := strings.TrimSuffix(key, ".jwk") + ".jwks"
	status, first, notes := command(t, "", "token", "--key", key, "--sub", "alice", "--claims", `{"shops":["7"],"big":9007199254740993,"small":1.50}`)
	require.Zero(t, status, notes)
	assert.Equal(t, "ssebridge: made the key "+key+"; its public part, for jwks_file, is "+jwks+"\n", notes)
	assert.Regexp(t, `^[\w-]+\.[\w-]+\.[\w-]+\n$`, first, "alone, for $( )")
	said := payloadOf(t, first)
	assert.Equal(t, "https://dev.ssebridge.example", said["iss"])
	assert.Equal(t, "alice", said["sub"])
	assert.Equal(t, []any{"ssebridge"}, said["aud"])
	assert.Equal(t, json.Number("9007199254740993"), said["big"], "as it was written")
	assert.Equal(t, json.Number("1.50"), said["small"])
	exp, err := said["exp"].(json.Number).Int64() //nolint:forcetypeassert // panics in a test
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Hour), time.Unix(exp, 0), 10*time.Second)

	private, err := os.Stat(key)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), private.Mode().Perm())
	public, err := os.ReadFile(jwks)
	require.NoError(t, err)
	assert.NotContains(t, string(public), `"d"`)

	status, second, notes := command(t, "", "token", "--key", key, "--sub", "bob", "--iss", "https://dev.ssebridge.example",
		"--aud", "other", "--aud", "ssebridge", "--lifetime", "1m")
	require.Zero(t, status)
	assert.Empty(t, notes, "the key is there")
	assert.Equal(t, []any{"other", "ssebridge"}, payloadOf(t, second)["aud"])

	b := startSecured(t, fmt.Sprintf(`
issuers: [{name: dev, url: https://dev.ssebridge.example, jwks_file: %q, audiences: [ssebridge], roles: [publish, subscribe]}]
topics: [{pattern: 'shops/{shop}', publish: 'auth.sub == "alice"', subscribe: 'topic.shop in auth.claims.shops'}]
`, jwks))
	for token, want := range map[string]int{first: http.StatusOK, second: http.StatusForbidden, "": http.StatusUnauthorized} {
		response := ask(t, streamClient, b.publicURL, topics("shops/7"), func(r *http.Request) { bearer(r.Header, strings.TrimSpace(token)) })
		assert.Equal(t, want, response.StatusCode)
	}
	status, out, errs := command(t, "", "publish", "--addr", b.internalURL, "--token", strings.TrimSpace(first), "shops/7", fmt.Sprintf(structJSON, 1))
	require.Zero(t, status, errs)
	assert.Contains(t, out, "cursor")
	status, out, errs = command(t, "", "subscribe", "--addr", b.publicURL, "--token", strings.TrimSpace(first), "--topic", "shops/7", "--since", "earliest", "-n", "1")
	require.Zero(t, status, errs)
	assert.Contains(t, out, `"data":{"n":1}`)
	status, _, errs = command(t, "", "publish", "--addr", b.internalURL, "--token", strings.TrimSpace(second), "shops/7", fmt.Sprintf(structJSON, 1))
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "1 of 1 events were refused")
	status, _, errs = command(t, "", "subscribe", "--addr", b.publicURL, "--token", strings.TrimSpace(second), "--topic", "shops/7")
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "403 Forbidden")
}

// TestTokenCommandRefuses what would make no token.
func TestTokenCommandRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.jwk")
	require.NoError(t, os.WriteFile(garbage, []byte("secret"), 0o600))
	public := filepath.Join(dir, "public.jwk")
	require.NoError(t, os.WriteFile(public, marshal(newECKey("a").jwk()), 0o600))
	half := filepath.Join(dir, "half.jwk")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "half.jwks"), jwks(newECKey("a")), 0o600))
	fresh := filepath.Join(dir, "fresh.jwk")
	for _, test := range []struct {
		arguments []string
		want      string
	}{
		{[]string{"--key", fresh}, `"sub" not set`},
		{[]string{"--key", fresh, "--sub", ""}, "needs an issuer, a subject and an audience"},
		{[]string{"--key", fresh, "--sub", "a", "--iss", ""}, "needs an issuer, a subject and an audience"},
		{[]string{"--key", fresh, "--sub", "a", "--aud", ""}, "needs an issuer, a subject and an audience"},
		{[]string{"--key", fresh, "--sub", "a", "--lifetime", "0s"}, "lifetime of 1 s or more"},
		{[]string{"--key", fresh, "--sub", "a", "--lifetime", "-1h"}, "lifetime of 1 s or more"},
		{[]string{"--key", fresh, "--sub", "a", "--claims", "{"}, "--claims: "},
		{[]string{"--key", fresh, "--sub", "a", "--claims", "[]"}, "use a JSON object"},
		{[]string{"--key", fresh, "--sub", "a", "--claims", "{} {}"}, "use a JSON object"},
		{[]string{"--key", fresh, "--sub", "a", "--claims", `{"exp":1}`}, "the claim exp cannot be set"},
		{[]string{"--key", fresh, "--sub", "a", "--claims", `{"sub":"b"}`}, "the claim sub cannot be set"},
		{[]string{"--key", fresh, "--sub", "a", "b"}, "unknown command"},
		{[]string{"--key", garbage, "--sub", "a"}, "--key: " + garbage + " is not a JWK"},
		{[]string{"--key", public, "--sub", "a"}, "--key: " + public + " is not a private key for ES256"},
		{[]string{"--key", half, "--sub", "a"}, "half.jwks"},
		{[]string{"--key", filepath.Join(dir, "nowhere", "x.jwk"), "--sub", "a"}, "no such file"},
		{[]string{"--key", dir, "--sub", "a"}, "--key: "},
	} {
		status, out, errs := command(t, "", append([]string{"token"}, test.arguments...)...)
		assert.Equal(t, 1, status, test.arguments)
		assert.Empty(t, out, test.arguments)
		assert.Contains(t, errs, test.want, test.arguments)
		assert.NotContains(t, errs, "secret")
		assert.NoFileExists(t, half)
	}
}

// TestTokenCommandsAtOnce make one key.
func TestTokenCommandsAtOnce(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "dev.jwk")
	var group sync.WaitGroup
	var mu sync.Mutex
	var tokens []string
	for range 8 {
		group.Go(func() {
			if status, token, _ := command(t, "", "token", "--key", key, "--sub", "a"); status == 0 {
				mu.Lock()
				defer mu.Unlock()
				tokens = append(tokens, strings.TrimSpace(token))
			}
		})
	}
	group.Wait()
	require.NotEmpty(t, tokens)
	b := startSecured(t, fmt.Sprintf(`
issuers: [{name: dev, url: https://dev.ssebridge.example, jwks_file: %q, audiences: [ssebridge], roles: [subscribe]}]
topics: [{pattern: a, subscribe: 'auth.kind == "token"'}]
`, strings.TrimSuffix(key, ".jwk")+".jwks"))
	for _, token := range tokens {
		assert.Equal(t, http.StatusOK, ask(t, streamClient, b.publicURL, topics("a"), withBearer(token)).StatusCode)
	}
}
