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
	missing := filepath.Join(t.TempDir(), "missing")
	for name, test := range map[string]struct {
		change func(i *token.Issuer)
		field  string
		item   int
		says   string
	}{
		"no name":               {func(i *token.Issuer) { i.Name = "" }, "Name", -1, "1 to 64 letters"},
		"name with a space":     {func(i *token.Issuer) { i.Name = "my login" }, "Name", -1, "1 to 64 letters"},
		"no URL":                {func(i *token.Issuer) { i.URL = "" }, "URL", -1, "iss claim"},
		"URL with a line break": {func(i *token.Issuer) { i.URL += "\n" }, "URL", -1, "control character"},
		"discovery over http":   {func(i *token.Issuer) { i.JWKSFile, i.URL = "", "http://login.example.com" }, "URL", -1, "is not https"},
		"discovery of a word":   {func(i *token.Issuer) { i.JWKSFile, i.URL = "", "kubernetes" }, "URL", -1, "set JWKSURL or JWKSFile"},
		"keys over http":        {func(i *token.Issuer) { i.JWKSFile, i.JWKSURL = "", "http://login.example.com/k" }, "JWKSURL", -1, "is not https"},
		"keys over ftp":         {func(i *token.Issuer) { i.JWKSFile, i.JWKSURL = "", "ftp://localhost/k" }, "JWKSURL", -1, "is not https"},
		"host like this one":    {func(i *token.Issuer) { i.JWKSFile, i.JWKSURL = "", "http://localhost.example.com/k" }, "JWKSURL", -1, "is not https"},
		"password in the URL":   {func(i *token.Issuer) { i.JWKSFile, i.JWKSURL = "", "https://u:hunter2@login.example.com/k" }, "JWKSURL", -1, "use BearerFile"},
		"fragment":              {func(i *token.Issuer) { i.JWKSFile, i.JWKSURL = "", "https://login.example.com/#k" }, "JWKSURL", -1, "fragment"},
		"not a URL":             {func(i *token.Issuer) { i.JWKSFile, i.JWKSURL = "", "https://%zz" }, "JWKSURL", -1, "not a URL"},
		"two places of keys":    {func(i *token.Issuer) { i.JWKSURL = "https://login.example.com/k" }, "JWKSFile", -1, "one place"},
		"CA for a file":         {func(i *token.Issuer) { i.CAFile = i.JWKSFile }, "CAFile", -1, "leave it out"},
		"bearer for a file":     {func(i *token.Issuer) { i.BearerFile = i.JWKSFile }, "BearerFile", -1, "leave it out"},
		"no audience":           {func(i *token.Issuer) { i.Audiences = nil }, "Audiences", -1, "is missing"},
		"empty audience":        {func(i *token.Issuer) { i.Audiences = []string{"a", ""} }, "Audiences", 1, "is empty"},
		"no role":               {func(i *token.Issuer) { i.Roles = nil }, "Roles", -1, "is missing"},
		"unknown role":          {func(i *token.Issuer) { i.Roles = []token.Role{"read"} }, "Roles", 0, `"read" is not a role`},
		"role twice":            {func(i *token.Issuer) { i.Roles = append(i.Roles, i.Roles[0]) }, "Roles", 1, "same URL and role"},
		"alg none":              {func(i *token.Issuer) { i.Algorithms = []string{"RS256", "none"} }, "Algorithms", 1, "not a signature"},
		"alg HS256":             {func(i *token.Issuer) { i.Algorithms = []string{"HS256"} }, "Algorithms", 0, "can make one"},
		"alg misspelt":          {func(i *token.Issuer) { i.Algorithms = []string{"rs256"} }, "Algorithms", 0, "is not one of RS256"},
		"leeway too long":       {func(i *token.Issuer) { i.Leeway = time.Hour }, "Leeway", -1, "between 0 and 5m0s"},
		"leeway negative":       {func(i *token.Issuer) { i.Leeway = -1 }, "Leeway", -1, "between 0 and 5m0s"},
		"file missing":          {func(i *token.Issuer) { i.JWKSFile = missing }, "JWKSFile", -1, "no such file"},
		"CA missing":            {func(i *token.Issuer) { i.JWKSFile, i.CAFile = "", missing }, "CAFile", -1, "no such file"},
		"CA is not PEM":         {func(i *token.Issuer) { i.CAFile, i.JWKSFile = i.JWKSFile, "" }, "CAFile", -1, "no certificate in PEM"},
		"bearer missing":        {func(i *token.Issuer) { i.JWKSFile, i.BearerFile = "", missing }, "BearerFile", -1, "no such file"},
		"bearer is no token":    {func(i *token.Issuer) { i.BearerFile, i.JWKSFile = i.JWKSFile, "" }, "BearerFile", -1, "no bearer token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := fileIssuer(t, keys()), fileIssuer(t, keys())
			first.Name, first.URL = "first", "https://first.example.com"
			test.change(&second)
			_, err := token.NewVerifier([]token.Issuer{first, second}, discarded)
			var all token.ConfigErrors
			require.ErrorAs(t, err, &all)
			require.Len(t, all, 1, err)
			assert.Equal(t, 1, all[0].Index)
			assert.Equal(t, test.field, all[0].Field)
			assert.Equal(t, test.item, all[0].Item)
			assert.Contains(t, all[0].Problem, test.says)
			assert.Contains(t, err.Error(), "issuer 1: "+test.field)
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
		"Name", "URL", "Audiences", "Roles",
		"+Name", "+Name", "+URL", "+Audiences", "+Roles",
		"++Name", "++Name", "++URL", "++Audiences", "++Roles",
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
