package token_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/token"
)

func grant() token.Grant {
	return token.Grant{
		Issuer: "dev", Subject: "me", Audience: []string{audience}, Lifetime: time.Minute,
		Claims: map[string]any{"shops": []int{7}},
	}
}

func TestMintedTokensCount(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dev.jwk")
	made, err := token.GenerateKey(path)
	require.NoError(t, err)
	loaded, err := token.LoadKey(path)
	require.NoError(t, err)
	issuer := newIssuer("dev", "dev", token.RolePublish)
	issuer.JWKSFile = token.PublicPath(path)
	for _, key := range []*token.Key{made, loaded} {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier(t, issuer)
			// Each sleep is virtual, in a bubble of synctest: the clock is what is tested.
			time.Sleep(time.Second / 3) // virtual: in a bubble of synctest
			raw, err := key.Mint(grant())
			require.NoError(t, err)
			principal, err := v.Verify(t.Context(), raw, token.RolePublish)
			require.NoError(t, err)
			assert.Equal(t, "me", principal.Subject)
			assert.Equal(t, []any{int64(7)}, principal.Claims["shops"])
			time.Sleep(time.Minute) // virtual: in a bubble of synctest
			require.NoError(t, func() error { _, err := v.Verify(t.Context(), raw, token.RolePublish); return err }(), "exp is rounded up")
			time.Sleep(time.Second) // virtual: in a bubble of synctest
			_, err = v.Verify(t.Context(), raw, token.RolePublish)
			refused(t, err, token.ReasonExpired)
		})
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "dev.jwk")
	_, err := token.GenerateKey(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	public, err := os.ReadFile(token.PublicPath(path))
	require.NoError(t, err)
	var document struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal(public, &document))
	require.Len(t, document.Keys, 1)
	assert.NotContains(t, document.Keys[0], "d", "the private part")
	assert.Equal(t, "ES256", document.Keys[0]["alg"])

	private, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = token.GenerateKey(path)
	require.ErrorIs(t, err, fs.ErrExist)
	assert.ErrorContains(t, err, "name another file")
	require.NoError(t, os.Remove(token.PublicPath(path)))
	_, err = token.GenerateKey(path)
	require.ErrorIs(t, err, fs.ErrExist)
	assert.NoFileExists(t, token.PublicPath(path), "no public part of a key that nobody has")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, private, after)

	_, err = token.GenerateKey(filepath.Join(dir, "missing", "dev.jwk"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, content := range []string{"", "{}", string(public), `{"kty":"oct","k":"c2VjcmV0"}`, set(), string(must(json.Marshal(document.Keys[0])))} {
		_, err = token.LoadKey(write(t, "bad.jwk", content))
		assert.ErrorContains(t, err, "bad.jwk is not a")
	}
}

func TestGrantsThatCannotBeMinted(t *testing.T) {
	t.Parallel()
	key, err := token.GenerateKey(filepath.Join(t.TempDir(), "dev.jwk"))
	require.NoError(t, err)
	for says, change := range map[string]func(g *token.Grant){
		"an issuer, a subject and an audience": func(g *token.Grant) { g.Issuer = "" },
		"a subject and an audience":            func(g *token.Grant) { g.Subject = "" },
		"an audience":                          func(g *token.Grant) { g.Audience = nil },
		"a lifetime of 1 s":                    func(g *token.Grant) { g.Lifetime = 0 },
		"the claim exp cannot be set":          func(g *token.Grant) { g.Claims = map[string]any{"exp": 1} },
		"claims: json":                         func(g *token.Grant) { g.Claims = map[string]any{"x": func() {}} },
	} {
		g := grant()
		change(&g)
		_, err := key.Mint(g)
		assert.ErrorContains(t, err, says)
	}
}
