package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

// signingKey signs tokens with the standard library alone, so that it shares no mistake with what checks them.
type signingKey struct {
	kid, alg string
	private  crypto.Signer
}

// RSA keys are expensive, so tests share them.
var (
	rsaKey   = sync.OnceValue(func() signingKey { return newRSAKey("rsa") })
	otherRSA = sync.OnceValue(func() signingKey { return newRSAKey("rsa") })
)

func newRSAKey(kid string) signingKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return signingKey{kid, "RS256", private}
}

func newECKey(kid string) signingKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return signingKey{kid, "ES256", private}
}

func newEdKey(kid string) signingKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return signingKey{kid, "EdDSA", private}
}

func base64URL(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// signature signs as RFC 7518, section 3, and RFC 8037 say.
func (k signingKey) signature(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	switch private := k.private.(type) {
	case *rsa.PrivateKey:
		signed, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return signed
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		return ed25519.Sign(private, []byte(text))
	}
	panic("no such key")
}

// jwk is the public key (RFC 7517, RFC 7518, section 6, RFC 8037, section 2).
func (k signingKey) jwk() map[string]any {
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		return map[string]any{
			"kty": "RSA", "kid": k.kid, "use": "sig",
			"n": base64URL(public.N.Bytes()), "e": base64URL(big.NewInt(int64(public.E)).Bytes()),
		}
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x, y
		if err != nil {
			panic(err)
		}
		return map[string]any{"kty": "EC", "crv": "P-256", "kid": k.kid, "x": base64URL(point[1:33]), "y": base64URL(point[33:])}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": k.kid, "x": base64URL(public)}
	}
	panic("no such key")
}

func jwks(keys ...signingKey) []byte {
	public := make([]any, len(keys))
	for i, k := range keys {
		public[i] = k.jwk()
	}
	return marshal(map[string]any{"keys": public})
}

func marshal(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

type claims map[string]any

// with returns the claims with some changed; nil takes one away.
func (c claims) with(changes ...any) claims {
	changed := maps.Clone(c)
	for i := 0; i < len(changes); i += 2 {
		name, _ := changes[i].(string)
		if changed[name] = changes[i+1]; changes[i+1] == nil {
			delete(changed, name)
		}
	}
	return changed
}

// in returns a NumericDate (RFC 7519, section 2) that far from now.
func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// token makes a token in compact form (RFC 7515, section 7.1).
func (k signingKey) token(c claims) string {
	return k.tokenOf(map[string]any{"alg": k.alg, "typ": "JWT", "kid": k.kid}, marshal(c))
}

func (k signingKey) tokenOf(header map[string]any, payload []byte) string {
	text := base64URL(marshal(header)) + "." + base64URL(payload)
	return text + "." + base64URL(k.signature(text))
}

// unsigned makes a token without a signature.
func unsigned(header map[string]any, c claims) string {
	return base64URL(marshal(header)) + "." + base64URL(marshal(c)) + "."
}

// hmacToken makes a token that is signed with a shared secret.
func hmacToken(kid string, secret []byte, c claims) string {
	text := base64URL(marshal(map[string]any{"alg": "HS256", "kid": kid})) + "." + base64URL(marshal(c))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + base64URL(mac.Sum(nil))
}

func writeKeys(t testing.TB, path string, keys ...signingKey) {
	t.Helper()
	next := path + ".next" // as a file is replaced that others read
	require.NoError(t, os.WriteFile(next, jwks(keys...), 0o600))
	require.NoError(t, os.Rename(next, path))
}

func keyFile(t testing.TB, keys ...signingKey) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.jwks")
	writeKeys(t, path, keys...)
	return path
}

// keyServer is an issuer's jwks_url.
type keyServer struct {
	*httptest.Server

	mu      sync.Mutex
	keys    []signingKey // none: it is out of order
	fetches int
}

func startKeyServer(t testing.TB, keys ...signingKey) *keyServer {
	t.Helper()
	s := &keyServer{keys: keys}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetches++
		if len(s.keys) == 0 {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(jwks(s.keys...))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) set(keys ...signingKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

func (s *keyServer) fetched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// securedOptions are those of a bridge without open rules, whose configuration file is text.
func securedOptions(t testing.TB, text string) options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	var overrides []config.Override
	for key, value := range map[string]string{
		"public.addr": "127.0.0.1:0", "internal.addr": "127.0.0.1:0", "ops.addr": "127.0.0.1:0", "log.data_dir": t.TempDir(),
	} {
		overrides = append(overrides, config.Override{Key: key, Values: []string{value}, Origin: "test"})
	}
	loaded, err := config.Load(path, overrides...)
	require.NoError(t, err)
	return options{config: loaded}
}

// startSecured runs a bridge without open rules until the test ends.
func startSecured(t testing.TB, text string) *program {
	t.Helper()
	return startLogged(t, securedOptions(t, text), slog.New(slog.DiscardHandler))
}

func startLogged(t testing.TB, options options, logger *slog.Logger) *program {
	t.Helper()
	p, err := start(t.Context(), options, logger)
	require.NoError(t, err)
	t.Cleanup(sync.OnceFunc(p.shutdown))
	waitReady(t, p.opsURL)
	return p
}
