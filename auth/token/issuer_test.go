package token_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/token"
)

func TestIssuersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	const firstURL = "https://first.example.com"
	missing := filepath.Join(t.TempDir(), "missing")
	const https, cleartext = "write one such as https://login.example.com", "is in cleartext"
	byURL := func(url string) func(i *token.Issuer) {
		return func(i *token.Issuer) { i.JWKSFile, i.JWKSURL = "", url }
	}
	for name, test := range map[string]struct {
		change func(i *token.Issuer)
		field  string
		says   string
	}{
		"no name":               {func(i *token.Issuer) { i.Name = "" }, "name", "is missing: name the issuer"},
		"name with a space":     {func(i *token.Issuer) { i.Name = "my login" }, "name", "up to 64 letters"},
		"name twice":            {func(i *token.Issuer) { i.Name = "first" }, "name", `"first" is the name of issuers[0] too`},
		"no URL":                {func(i *token.Issuer) { i.URL = "" }, "url", "have as iss"},
		"URL with a line break": {func(i *token.Issuer) { i.URL += "\n" }, "url", "is no URL"},
		"URL with an umlaut":    {func(i *token.Issuer) { i.URL += "ü" }, "url", "is no URL"},
		"discovery over http":   {func(i *token.Issuer) { i.JWKSFile, i.URL = "", "http://login.example.com" }, "url", cleartext},
		"discovery of a word":   {func(i *token.Issuer) { i.JWKSFile, i.URL = "", "kubernetes" }, "url", "say with jwks_url or jwks_file"},
		"keys over http":        {byURL("http://login.example.com/k"), "jwks_url", cleartext},
		"keys over ftp":         {byURL("ftp://localhost/k"), "jwks_url", https},
		"host like this one":    {byURL("http://localhost.example.com/k"), "jwks_url", cleartext},
		"password in the URL":   {byURL("https://u:hunter2@login.example.com/k"), "jwks_url", "with bearer_file"},
		"fragment":              {byURL("https://login.example.com/#k"), "jwks_url", "remove # and what follows"},
		"not a URL":             {byURL("https://%zz"), "jwks_url", https},
		"path alone":            {byURL("/keys"), "jwks_url", https},
		"no host":               {byURL("https://:443/keys"), "jwks_url", https},
		"opaque":                {byURL("https:login.example.com"), "jwks_url", https},
		"port too large":        {byURL("https://login.example.com:65536/k"), "jwks_url", "between 1 and 65535"},
		"port 0":                {byURL("https://login.example.com:0/k"), "jwks_url", "between 1 and 65535"},
		"no port":               {byURL("https://login.example.com:/k"), "jwks_url", "between 1 and 65535"},
		"two places of keys":    {func(i *token.Issuer) { i.JWKSURL = "https://login.example.com/k" }, "jwks_url", "remove one of them"},
		"CA for a file":         {func(i *token.Issuer) { i.CAFile = i.JWKSFile }, "ca_file", "remove it, or jwks_file"},
		"bearer for a file":     {func(i *token.Issuer) { i.BearerFile = i.JWKSFile }, "bearer_file", "remove it, or jwks_file"},
		"no audience":           {func(i *token.Issuer) { i.Audiences = nil }, "audiences", "is missing"},
		"empty audience":        {func(i *token.Issuer) { i.Audiences = []string{"a", ""} }, "audiences[1]", "is empty"},
		"audience twice":        {func(i *token.Issuer) { i.Audiences = []string{"a", "b", "a"} }, "audiences[2]", "in the list twice"},
		"no role":               {func(i *token.Issuer) { i.Roles = nil }, "roles", "is missing"},
		"unknown role":          {func(i *token.Issuer) { i.Roles = []token.Role{"read"} }, "roles[0]", `"read" is no role: choose one of publish`},
		"role twice":            {func(i *token.Issuer) { i.Roles = append(i.Roles, i.Roles[0]) }, "roles[1]", "in the list twice"},
		"role of another":       {func(i *token.Issuer) { i.URL = firstURL }, "roles[0]", "is the role of issuers[0], which has the same url, too"},
		"no alg":                {func(i *token.Issuer) { i.Algorithms = []string{} }, "algorithms", "is empty"},
		"alg none":              {func(i *token.Issuer) { i.Algorithms = []string{"RS256", "none"} }, "algorithms[1]", "does not prove who signed"},
		"alg HS256":             {func(i *token.Issuer) { i.Algorithms = []string{"HS256"} }, "algorithms[0]", "does not prove who signed"},
		"alg misspelt":          {func(i *token.Issuer) { i.Algorithms = []string{"rs256"} }, "algorithms[0]", "choose one of RS256"},
		"leeway too long":       {func(i *token.Issuer) { i.Leeway = time.Hour }, "leeway", "at most 5m0s"},
		"leeway negative":       {func(i *token.Issuer) { i.Leeway = -1 }, "leeway", "at least 0s"},
		"file missing":          {func(i *token.Issuer) { i.JWKSFile = missing }, "jwks_file", "no such file"},
		"CA missing":            {func(i *token.Issuer) { i.JWKSFile, i.CAFile = "", missing }, "ca_file", "no such file"},
		"CA is not PEM":         {func(i *token.Issuer) { i.CAFile, i.JWKSFile = i.JWKSFile, "" }, "ca_file", "no certificate in PEM"},
		"bearer missing":        {func(i *token.Issuer) { i.JWKSFile, i.BearerFile = "", missing }, "bearer_file", "no such file"},
		"bearer is no token":    {func(i *token.Issuer) { i.BearerFile, i.JWKSFile = i.JWKSFile, "" }, "bearer_file", "no bearer token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := fileIssuer(t, keys()), fileIssuer(t, keys())
			first.Name, first.URL = "first", firstURL
			test.change(&second)
			_, err := token.NewVerifier([]token.Issuer{first, second}, discarded)
			var all token.ConfigErrors
			require.ErrorAs(t, err, &all)
			require.Len(t, all, 1, err)
			assert.Equal(t, 1, all[0].Index)
			assert.Equal(t, test.field, all[0].Field)
			assert.Contains(t, all[0].Problem, test.says)
			assert.Contains(t, err.Error(), "issuers[1]."+test.field+": ")
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestAllMistakesAreTold(t *testing.T) {
	t.Parallel()
	_, err := token.NewVerifier([]token.Issuer{{}, {}, {JWKSURL: "https://a/"}}, discarded)
	var all token.ConfigErrors
	require.ErrorAs(t, err, &all)
	var fields []string
	for _, one := range all {
		fields = append(fields, strings.Repeat("+", one.Index)+one.Field)
	}
	assert.Equal(t, []string{
		"name", "url", "audiences", "roles", "algorithms",
		"+name", "+url", "+audiences", "+roles", "+algorithms",
		"++name", "++url", "++audiences", "++roles", "++algorithms",
	}, fields)
}

func TestKeySetsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	change := func(key any, changes ...any) string {
		var members claims
		public := public("k", key)
		require.NoError(t, json.Unmarshal(must(json.Marshal(&public)), &members))
		return `{"keys":[` + members.with(changes...).json() + `]}`
	}
	private := string(must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: ecKey(), KeyID: "k"}}})))
	secret := string(must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: []byte(strings.Repeat("k", 32))}}})))
	for name, test := range map[string]struct{ text, says string }{
		"empty":          {"", "is not JSON"},
		"null":           {"null", `has no "keys"`},
		"a list":         {"[]", "is not a JWK Set"},
		"one key":        {string(must(json.Marshal(public("k", ecKey())))), `has no "keys"`},
		"no key":         {`{"keys":[]}`, `has no "keys"`},
		"keys of no key": {`{"keys":[null,7,"x",{}]}`, "keys[1] is not a JWK"},
		"private":        {private, "keys[0] is a private key"},
		"secret":         {secret, "keys[0] is a shared secret"},
		"encryption":     {change(rsaKey(), "use", "enc"), "another use than sig"},
		"for signing":    {change(ecKey(), "key_ops", []string{"sign"}), "key_ops without verify"},
		"other alg":      {change(ecKey(), "alg", "ES384"), "alg that is not supported"},
		"HMAC alg":       {change(rsaKey(), "alg", "HS256"), "alg that is not supported"},
		"unknown curve":  {change(edKey(), "crv", "X25519"), "not supported"},
		"off the curve":  {change(ecKey(), "x", "AAAA"), "not supported"},
		"not on curve":   {change(ecKey(), "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "not supported"},
		"unknown type":   {change(ecKey(), "kty", "AKP"), "not supported"},
		"short RSA":      {change(rsaKey(), "n", strings.Repeat("_", 171)), "size, curve or alg"},
		"long RSA":       {change(rsaKey(), "n", strings.Repeat("_", 2000)), "not supported"},
		"too large":      {strings.Repeat(" ", 1<<20) + keys(), "larger than"},
		"many":           {`{"keys":[` + strings.Repeat(`{"kty":"NEW"},`, 1000) + `{}]}`, "keys[4]"},
		"deep":           {strings.Repeat("[", 1<<19), "is not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := token.NewVerifier([]token.Issuer{fileIssuer(t, test.text)}, discarded)
			assert.ErrorContains(t, err, test.says)
			assert.Less(t, len(err.Error()), 500)
		})
	}
}

// TestKeysThatMatterCount: others of a set are passed over, such as those of kinds that come later.
func TestKeysThatMatterCount(t *testing.T) {
	t.Parallel()
	text := `{"keys":[{"kty":"NEW","kid":"n"},{"kty":"oct","k":"c2VjcmV0","kid":"ec"},` + strings.TrimPrefix(keys(), `{"keys":[`)
	text = strings.Replace(text, `"kid":"ec"`, `"kid":"ec","x5c":["broken"],"key_ops":["verify"]`, 1)
	require.NoError(t, verify(newVerifier(t, fileIssuer(t, text)), es(good())))
}
