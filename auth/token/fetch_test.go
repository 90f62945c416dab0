package token_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/token"
)

// provider is an OpenID provider on a real port with TLS.
type provider struct {
	*httptest.Server

	caFile   string
	issuer   string // what its document says; default: its URL
	jwksURI  string // likewise
	keys     string
	required string // what Authorization must be for keys
	seen     []string
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	p := &provider{keys: set(public("ec", ecKey()))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tenant/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		p.seen = append(p.seen, r.URL.Path+" "+r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(`{"issuer":"` + p.issuer + `","jwks_uri":"` + p.jwksURI + `"}`))
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		p.seen = append(p.seen, r.URL.Path+" "+r.Header.Get("Authorization"))
		if p.required != "" && r.Header.Get("Authorization") != p.required {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(p.keys))
	})
	mux.Handle("GET /moved", http.RedirectHandler("/keys", http.StatusFound))
	p.Server = httptest.NewUnstartedServer(mux)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(p.Close)
	p.issuer, p.jwksURI = p.URL+"/tenant/", p.URL+"/keys"
	p.caFile = write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})))
	return p
}

func (p *provider) config() token.Issuer {
	issuer := newIssuer("provider", p.URL+"/tenant/", token.RoleSubscribe)
	issuer.CAFile = p.caFile
	return issuer
}

func TestKeysAreDiscovered(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	config := p.config()
	config.BearerFile = write(t, "token", "pod-token\n")
	p.required = "Bearer pod-token"
	v := newVerifier(t, config)
	require.NoError(t, verify(v, es(good().with("iss", config.URL))))
	assert.Equal(t, []string{"/tenant/.well-known/openid-configuration Bearer pod-token", "/keys Bearer pod-token"}, p.seen)
}

func TestKeysThatCannotBeFetched(t *testing.T) {
	t.Parallel()
	other := newProvider(t)
	for name, test := range map[string]struct {
		change func(p *provider, config *token.Issuer)
		says   string
	}{
		"document of another issuer": {func(p *provider, _ *token.Issuer) { p.issuer = "https://other.example.com" }, "correct the URL"},
		"issuer without the slash":   {func(p *provider, _ *token.Issuer) { p.issuer = p.URL + "/tenant" }, "correct the URL"},
		"keys in cleartext":          {func(p *provider, _ *token.Issuer) { p.jwksURI = "http://keys.example.com/" }, "is in cleartext"},
		"no address of keys":         {func(p *provider, _ *token.Issuer) { p.jwksURI = "" }, "jwks_uri"},
		"document is not JSON":       {func(p *provider, _ *token.Issuer) { p.issuer = `"` }, "is not a JSON document"},
		"keys missing":               {func(p *provider, _ *token.Issuer) { p.jwksURI = p.URL + "/nothing" }, "answered 404 Not Found"},
		"keys moved":                 {func(p *provider, _ *token.Issuer) { p.jwksURI = p.URL + "/moved" }, "answered 302 Found"},
		"keys are not JSON":          {func(p *provider, _ *token.Issuer) { p.keys = "<html>" }, "is not JSON"},
		"no key":                     {func(p *provider, _ *token.Issuer) { p.keys = `{"keys":[]}` }, `has no "keys"`},
		"set too large":              {func(p *provider, _ *token.Issuer) { p.keys = strings.Repeat(" ", 1<<20) + p.keys }, "is larger than 1048576 bytes"},
		"wrong certificate":          {func(_ *provider, config *token.Issuer) { config.CAFile = "" }, "certificate"},
		"port closed":                {func(p *provider, _ *token.Issuer) { p.jwksURI = "https://127.0.0.1:1/keys" }, "connection refused"},
		"bearer stays at its origin": {func(p *provider, config *token.Issuer) {
			config.BearerFile = write(t, "token", "pod-token")
			other.required, p.jwksURI = "Bearer pod-token", other.URL+"/keys"
		}, "set JWKSURL"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			config := p.config()
			test.change(p, &config)
			v := newVerifier(t, config)
			err := verify(v, es(good().with("iss", config.URL)))
			assert.Contains(t, refused(t, err, token.ReasonUnavailable).Error(), test.says)
			assert.NotContains(t, err.Error(), "pod-token")
		})
	}
	assert.Equal(t, []string{"/keys "}, other.seen, "without the token")
}

// TestFilesOfAFetchAreReadEachTime: the pod's token is replaced while the program runs.
func TestFilesOfAFetchAreReadEachTime(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	config := p.config()
	config.JWKSURL, config.URL = p.URL+"/keys", issuerURL
	config.BearerFile = write(t, "token", "first")
	v := newVerifier(t, config)
	require.NoError(t, os.WriteFile(config.BearerFile, []byte("second"), 0o600))
	require.NoError(t, verify(v, es(good())))
	assert.Equal(t, []string{"/keys Bearer second"}, p.seen)
}
