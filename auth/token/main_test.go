package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ssebridge/ssebridge/auth/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuerURL = "https://login.example.com"
	audience  = "ssebridge"
)

// Keys are expensive, so tests share them.
var (
	rsaKey    = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	otherEC   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	largeEC   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	edKey     = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
	discarded = slog.New(slog.DiscardHandler)
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

type claims map[string]any

// with returns the claims with some changed; nil takes one away.
func (c claims) with(changes ...any) claims {
	changed := maps.Clone(c)
	for i := 0; i < len(changes); i += 2 {
		if changed[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(changed, changes[i].(string))
		}
	}
	return changed
}

func (c claims) json() string { return string(must(json.Marshal(c))) }

// good are claims that count.
func good() claims {
	return claims{"iss": issuerURL, "sub": "user-7", "aud": audience, "exp": time.Now().Add(time.Hour).Unix()}
}

type header map[string]any

// sign makes a token with any header and any payload; its alg is that of the signature.
func sign(alg jose.SignatureAlgorithm, key any, h header, payload string) string {
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for name, value := range h {
		options.ExtraHeaders[jose.HeaderKey(name)] = value
	}
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options))
	signed := must(signer.Sign([]byte(payload)))
	return must(signed.CompactSerialize())
}

// es makes a token that the issuer's first key signs.
func es(c claims) string { return sign(jose.ES256, ecKey(), header{"kid": "ec"}, c.json()) }

// raw makes a token of three parts that nobody has signed.
func raw(head, payload, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(head)) + "." + encode([]byte(payload)) + "." + encode([]byte(signature))
}

// set writes public keys as a JWK Set.
func set(keys ...jose.JSONWebKey) string {
	return string(must(json.Marshal(jose.JSONWebKeySet{Keys: keys})))
}

func public(id string, key any) jose.JSONWebKey {
	private := jose.JSONWebKey{Key: key, KeyID: id}
	return private.Public()
}

// keys are those of the issuer of most tests.
func keys() string {
	return set(public("ec", ecKey()), public("rsa", rsaKey()), public("ed", edKey()))
}

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// fileIssuer returns an issuer whose keys are in a file.
func fileIssuer(t testing.TB, keySet string) token.Issuer {
	t.Helper()
	issuer := newIssuer("login", issuerURL, token.RoleSubscribe)
	issuer.JWKSFile = write(t, "keys.jwks", keySet)
	return issuer
}

func newIssuer(name, url string, role token.Role) token.Issuer {
	issuer := token.DefaultIssuer()
	issuer.Name, issuer.URL, issuer.Audiences, issuer.Roles = name, url, []string{audience}, []token.Role{role}
	return issuer
}

func newVerifier(t testing.TB, issuers ...token.Issuer) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier(issuers, discarded)
	require.NoError(t, err)
	return v
}

// refused asserts that an error is the refusal of a token.
func refused(t testing.TB, err error, reason token.Reason) *token.Error {
	t.Helper()
	var refusal *token.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, reason, refusal.Reason, refusal.Error())
	require.Equal(t, reason == token.ReasonUnavailable, refusal.Temporary())
	require.NotEmpty(t, refusal.Detail)
	return refusal
}
