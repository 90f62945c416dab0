package token_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/auth/token"
)

// issuers are three: one for readers, one for publishers, and one more for publishers with the first's URL.
func issuers(t testing.TB) []token.Issuer {
	t.Helper()
	login := fileIssuer(t, keys())
	cluster := fileIssuer(t, set(public("cluster", otherEC()), public("cluster-rsa", otherRSA())))
	cluster.Name, cluster.URL, cluster.Roles = "cluster", "kubernetes/serviceaccount", []token.Role{token.RolePublish}
	operators := login
	operators.Name, operators.Audiences, operators.Roles = "operators", []string{"operate"}, []token.Role{token.RolePublish}
	return []token.Issuer{login, cluster, operators}
}

func TestTokensThatCount(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, issuers(t)...)
	now := time.Now()
	exp := time.Unix(now.Add(time.Hour).Unix(), 0)
	base := good().with("exp", exp.Unix())
	for name, test := range map[string]struct {
		raw     string
		role    token.Role
		issuer  string
		expires time.Time
	}{
		"ES256":                         {raw: es(base)},
		"RS256":                         {raw: sign(jose.RS256, rsaKey(), header{"kid": "rsa"}, base.json())},
		"EdDSA":                         {raw: sign(jose.EdDSA, edKey(), header{"kid": "ed"}, base.json())},
		"no kid, one key fits":          {raw: sign(jose.ES256, ecKey(), nil, base.json())},
		"typ JWT":                       {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "typ": "JWT"}, base.json())},
		"typ of RFC 9068":               {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "typ": "application/AT+JWT"}, base.json())},
		"one audience of several":       {raw: es(base.with("aud", []string{"other", audience, "third"}))},
		"issued within the leeway":      {raw: es(base.with("iat", now.Add(20*time.Second).Unix(), "nbf", now.Add(20*time.Second).Unix()))},
		"exp with a fraction":           {raw: es(base.with("exp", float64(exp.Unix())+0.5)), expires: exp.Add(time.Second / 2)},
		"publish":                       {raw: sign(jose.ES256, otherEC(), header{"kid": "cluster"}, base.with("iss", "kubernetes/serviceaccount").json()), role: token.RolePublish, issuer: "cluster"},
		"same URL, entry by role":       {raw: es(base.with("aud", "operate")), role: token.RolePublish, issuer: "operators"},
		"ISS is another claim":          {raw: es(base.with("ISS", "x", "issuer", "y"))},
		"embedded key is not looked at": {raw: signEmbedded(t, ecKey(), base)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			role, issuer, expires := test.role, test.issuer, test.expires
			if role == "" {
				role, issuer = token.RoleSubscribe, "login"
			}
			if expires.IsZero() {
				expires = exp
			}
			principal, err := v.Verify(t.Context(), test.raw, role)
			require.NoError(t, err)
			assert.Equal(t, auth.KindToken, principal.Kind)
			assert.Equal(t, "user-7", principal.Subject)
			assert.Equal(t, issuer, principal.Issuer)
			assert.WithinDuration(t, expires, principal.Expires, time.Microsecond)
			assert.Equal(t, "user-7", principal.Claims["sub"])
		})
	}
}

// signEmbedded makes a token that carries the key that signed it (RFC 7515, section 4.1.3).
func signEmbedded(t testing.TB, key any, c claims) string {
	t.Helper()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "ec"}}, &jose.SignerOptions{EmbedJWK: true})
	require.NoError(t, err)
	signed, err := signer.Sign([]byte(c.json()))
	require.NoError(t, err)
	compact, err := signed.CompactSerialize()
	require.NoError(t, err)
	return compact
}

func TestClaimsArriveAsRulesExpectThem(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, fileIssuer(t, keys()))
	payload := strings.TrimSuffix(good().json(), "}") +
		`,"n":7,"big":9007199254740993,"huge":1e300,"endless":1e999,"half":0.5,"list":[1,{"deep":-2}],"null":null,"yes":true}`
	principal, err := v.Verify(t.Context(), sign(jose.ES256, ecKey(), header{"kid": "ec"}, payload), token.RoleSubscribe)
	require.NoError(t, err)
	for name, want := range map[string]any{
		"n": int64(7), "big": int64(9007199254740993), "huge": 1e300, "endless": math.Inf(1), "half": 0.5, "null": nil, "yes": true,
		"list": []any{int64(1), map[string]any{"deep": int64(-2)}},
	} {
		assert.Equal(t, want, principal.Claims[name], name)
	}
}

// hmacSecrets are the forms of a public RSA key that libraries have taken for a shared secret.
func hmacSecrets(t testing.TB) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
	require.NoError(t, err)
	key := public("rsa", rsaKey())
	jwk, err := json.Marshal(&key)
	require.NoError(t, err)
	return map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "JWK": jwk,
		"PKCS 1":  x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey),
		"modulus": rsaKey().N.Bytes(),
	}
}

type refusal struct {
	raw    string
	reason token.Reason
	detail string
	role   token.Role
}

// refusals are tokens that must not count, each with what it must be told.
func refusals(t testing.TB) map[string]refusal {
	t.Helper()
	now := time.Now()
	ec := header{"kid": "ec"}
	body := good().json()
	valid := es(good())
	parts := strings.Split(valid, ".")
	encrypted := must(must(jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.RSA_OAEP, Key: &rsaKey().PublicKey}, nil)).
		Encrypt([]byte(body)))
	all := map[string]refusal{
		"empty":                      {raw: "", reason: token.ReasonMalformed, detail: "three parts"},
		"words":                      {raw: "not-a-token", reason: token.ReasonMalformed, detail: "three parts"},
		"dots":                       {raw: "..", reason: token.ReasonMalformed, detail: "payload"},
		"two parts":                  {raw: parts[0] + "." + parts[1], reason: token.ReasonMalformed, detail: "three parts"},
		"four parts":                 {raw: valid + ".x", reason: token.ReasonMalformed, detail: "three parts"},
		"line break":                 {raw: parts[0] + ".\n" + parts[1] + "." + parts[2], reason: token.ReasonMalformed, detail: "character"},
		"space at the end":           {raw: valid + " ", reason: token.ReasonMalformed, detail: "character"},
		"padding":                    {raw: valid + "=", reason: token.ReasonMalformed, detail: "character"},
		"standard base64":            {raw: parts[0] + "." + parts[1] + "/." + parts[2], reason: token.ReasonMalformed, detail: "character"},
		"oversize":                   {raw: es(good().with("pad", strings.Repeat("x", token.MaxBytes))), reason: token.ReasonMalformed, detail: "16 KiB"},
		"long header":                {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "x": strings.Repeat("x", 4000)}, body), reason: token.ReasonMalformed, detail: "4 KiB"},
		"encrypted":                  {raw: must(encrypted.CompactSerialize()), reason: token.ReasonMalformed, detail: "encrypted"},
		"JSON form":                  {raw: `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, reason: token.ReasonMalformed, detail: "character"},
		"payload is no JSON":         {raw: raw(`{"alg":"ES256"}`, "iss", "s"), reason: token.ReasonMalformed, detail: "JSON object"},
		"payload is a list":          {raw: sign(jose.ES256, ecKey(), ec, "["+body+"]"), reason: token.ReasonMalformed, detail: "JSON object"},
		"payload is null":            {raw: sign(jose.ES256, ecKey(), ec, "null"), reason: token.ReasonIssuer, detail: "no iss"},
		"nested token":               {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "cty": "JWT"}, valid), reason: token.ReasonMalformed, detail: "JSON object"},
		"iss is a number":            {raw: es(good().with("iss", 7)), reason: token.ReasonMalformed, detail: "iss"},
		"header is no JSON":          {raw: raw(`{"alg":`, body, "s"), reason: token.ReasonMalformed, detail: "header"},
		"header names alg twice":     {raw: raw(`{"alg":"ES256","kid":"ec","alg":"none"}`, body, "s"), reason: token.ReasonMalformed, detail: "header"},
		"header in upper case":       {raw: raw(`{"ALG":"ES256","kid":"ec"}`, body, "s"), reason: token.ReasonAlgorithm, detail: "alg"},
		"b64 false":                  {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "b64": false}, body), reason: token.ReasonMalformed, detail: "b64"},
		"b64 false and critical":     {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "b64": false, "crit": []string{"b64"}}, body), reason: token.ReasonMalformed, detail: "crit"},
		"unknown critical extension": {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "crit": []string{"exp"}, "exp": 1}, body), reason: token.ReasonMalformed, detail: "crit"},
		"critical and empty":         {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "crit": []string{}}, body), reason: token.ReasonMalformed, detail: "crit"},
		"logout token":               {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "typ": "logout+jwt"}, body), reason: token.ReasonMalformed, detail: "typ"},
		"typ is a number":            {raw: sign(jose.ES256, ecKey(), header{"kid": "ec", "typ": 7}, body), reason: token.ReasonMalformed, detail: "typ"},

		"no iss":                       {raw: es(good().with("iss", nil)), reason: token.ReasonIssuer, detail: "no iss"},
		"unknown issuer":               {raw: es(good().with("iss", "https://evil.example.com")), reason: token.ReasonIssuer, detail: "not a configured"},
		"issuer with a slash":          {raw: es(good().with("iss", issuerURL+"/")), reason: token.ReasonIssuer, detail: "not a configured"},
		"issuer in upper case":         {raw: es(good().with("iss", strings.ToUpper(issuerURL))), reason: token.ReasonIssuer, detail: "not a configured"},
		"iss twice":                    {raw: sign(jose.ES256, ecKey(), ec, strings.Replace(body, "{", `{"iss":"https://other.example.com",`, 1)), reason: token.ReasonMalformed, detail: "each member once"},
		"iss of another, ISS of ours":  {raw: sign(jose.ES256, ecKey(), ec, strings.TrimSuffix(good().with("iss", "https://evil.example.com").json(), "}")+`,"ISS":"`+issuerURL+`"}`), reason: token.ReasonIssuer, detail: "not a configured"},
		"readers' token for publisher": {raw: valid, role: token.RolePublish, reason: token.ReasonAudience, detail: "aud"},
		"unknown role":                 {raw: valid, role: "superuser", reason: token.ReasonIssuer, detail: "do not count"},

		"alg none":               {raw: raw(`{"alg":"none"}`, body, ""), reason: token.ReasonAlgorithm, detail: "not signed"},
		"alg none with kid":      {raw: raw(`{"alg":"none","kid":"ec"}`, body, ""), reason: token.ReasonAlgorithm, detail: "not signed"},
		"alg nOnE":               {raw: raw(`{"alg":"nOnE","kid":"ec"}`, body, ""), reason: token.ReasonAlgorithm, detail: "not signed"},
		"alg empty":              {raw: raw(`{"alg":"","kid":"ec"}`, body, ""), reason: token.ReasonAlgorithm, detail: "alg"},
		"no alg":                 {raw: raw(`{"kid":"ec"}`, body, "x"), reason: token.ReasonAlgorithm, detail: "alg"},
		"alg is a list":          {raw: raw(`{"alg":["ES256"],"kid":"ec"}`, body, "x"), reason: token.ReasonAlgorithm, detail: "alg"},
		"alg not allowed":        {raw: sign(jose.PS256, rsaKey(), header{"kid": "rsa"}, body), reason: token.ReasonAlgorithm, detail: "RS256, ES256, EdDSA"},
		"signature cut off":      {raw: parts[0] + "." + parts[1] + ".", reason: token.ReasonSignature, detail: "signature"},
		"all zero signature":     {raw: parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), reason: token.ReasonSignature, detail: "signature"},
		"payload changed":        {raw: parts[0] + "." + strings.Split(es(good().with("sub", "root")), ".")[1] + "." + parts[2], reason: token.ReasonSignature, detail: "signature"},
		"signed by another":      {raw: sign(jose.ES256, otherEC(), ec, body), reason: token.ReasonSignature, detail: "signature"},
		"embedded key":           {raw: signEmbedded(t, otherEC(), good()), reason: token.ReasonSignature, detail: "signature"},
		"key elsewhere":          {raw: sign(jose.ES256, otherEC(), header{"kid": "ec", "jku": "https://evil.example.com/keys"}, body), reason: token.ReasonSignature, detail: "signature"},
		"unknown kid":            {raw: sign(jose.ES256, ecKey(), header{"kid": "older"}, body), reason: token.ReasonKey, detail: "kid"},
		"kid like a path":        {raw: sign(jose.ES256, ecKey(), header{"kid": "../../../../dev/null"}, body), reason: token.ReasonKey, detail: "kid"},
		"kid of another's key":   {raw: sign(jose.ES256, otherEC(), header{"kid": "cluster"}, body), reason: token.ReasonKey, detail: "kid"},
		"other issuer's RSA key": {raw: sign(jose.RS256, otherRSA(), header{"kid": "cluster-rsa"}, body), reason: token.ReasonKey, detail: "kid"},
		"kid of another kind":    {raw: sign(jose.ES256, ecKey(), header{"kid": "rsa"}, body), reason: token.ReasonKey, detail: "alg"},

		"payload twice":    {raw: sign(jose.ES256, ecKey(), ec, body+body), reason: token.ReasonMalformed, detail: "JSON object"},
		"duplicate member": {raw: sign(jose.ES256, ecKey(), ec, strings.Replace(body, "{", `{"sub":"root",`, 1)), reason: token.ReasonMalformed, detail: "each member once"},
		"duplicate deep":   {raw: sign(jose.ES256, ecKey(), ec, strings.Replace(body, "{", `{"x":[{"a":1,"a":2}],`, 1)), reason: token.ReasonClaims, detail: "each member once"},
		"not UTF-8":        {raw: sign(jose.ES256, ecKey(), ec, strings.Replace(body, "user-7", "user-\xff", 1)), reason: token.ReasonClaims, detail: "UTF-8"},
		"no sub":           {raw: es(good().with("sub", nil)), reason: token.ReasonClaims, detail: "sub"},
		"sub empty":        {raw: es(good().with("sub", "")), reason: token.ReasonClaims, detail: "sub"},
		"sub is a number":  {raw: es(good().with("sub", 7)), reason: token.ReasonClaims, detail: "sub"},
		"no aud":           {raw: es(good().with("aud", nil)), reason: token.ReasonClaims, detail: "aud"},
		"other aud":        {raw: es(good().with("aud", "shop")), reason: token.ReasonAudience, detail: "aud"},
		"aud as a prefix":  {raw: es(good().with("aud", audience+"-other")), reason: token.ReasonAudience, detail: "aud"},
		"aud empty list":   {raw: es(good().with("aud", []string{})), reason: token.ReasonAudience, detail: "aud"},
		"aud with numbers": {raw: es(good().with("aud", []any{audience, 7})), reason: token.ReasonClaims, detail: "aud"},
		"no exp":           {raw: es(good().with("exp", nil)), reason: token.ReasonClaims, detail: "exp"},
		"exp as text":      {raw: es(good().with("exp", strconv.FormatInt(now.Add(time.Hour).Unix(), 10))), reason: token.ReasonClaims, detail: "exp"},
		"exp in ms":        {raw: es(good().with("exp", now.Add(time.Hour).UnixMilli()*1000)), reason: token.ReasonClaims, detail: "exp"},
		"exp endless":      {raw: es(good().with("exp", 1e300)), reason: token.ReasonClaims, detail: "exp"},
		"exp negative":     {raw: es(good().with("exp", -1)), reason: token.ReasonClaims, detail: "exp"},
		"expired":          {raw: es(good().with("exp", now.Add(-time.Second).Unix())), reason: token.ReasonExpired, detail: "expired"},
		"expired long ago": {raw: es(good().with("exp", 0)), reason: token.ReasonExpired, detail: "expired"},
		"not yet valid":    {raw: es(good().with("nbf", now.Add(time.Minute).Unix())), reason: token.ReasonNotYet, detail: "nbf"},
		"issued in future": {raw: es(good().with("iat", now.Add(time.Minute).Unix())), reason: token.ReasonNotYet, detail: "iat"},
		"nbf as text":      {raw: es(good().with("nbf", "now")), reason: token.ReasonClaims, detail: "nbf"},
		"nbf null":         {raw: sign(jose.ES256, ecKey(), ec, strings.Replace(body, "{", `{"nbf":null,`, 1)), reason: token.ReasonClaims, detail: "nbf"},
	}
	for form, secret := range hmacSecrets(t) {
		all["HS256 with the RSA key, "+form] = refusal{raw: sign(jose.HS256, secret, header{"kid": "rsa"}, body), reason: token.ReasonAlgorithm, detail: "shared secret"}
	}
	return all
}

func TestTokensThatDoNotCount(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, issuers(t)...)
	for name, test := range refusals(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			role := test.role
			if role == "" {
				role = token.RoleSubscribe
			}
			principal, err := v.Verify(t.Context(), test.raw, role)
			assert.Nil(t, principal)
			assert.Contains(t, refused(t, err, test.reason).Detail, test.detail)
			assertSilent(t, err, test.raw)
		})
	}
}

// assertSilent asserts that an error's text holds no 8 characters in a row of a token, nor of what its parts encode,
// but what the bridge says by itself.
func assertSilent(t testing.TB, err error, raw string) {
	t.Helper()
	said := err.Error()
	for _, own := range []string{"ssebridge", "the token", "cookie session", "RS256, ES256, EdDSA"} {
		said = strings.ReplaceAll(said, own, "")
	}
	secrets := []string{raw}
	for part := range strings.SplitSeq(raw, ".") {
		if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil {
			secrets = append(secrets, string(decoded))
		}
	}
	for _, secret := range secrets {
		for i := 0; i+8 <= len(secret); i++ {
			if strings.Contains(said, secret[i:i+8]) {
				t.Fatalf("%q holds %q of the token", err.Error(), secret[i:i+8])
			}
		}
	}
}

func TestKeyThatATokenWithoutKidMayBeOf(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, fileIssuer(t, set(public("a", ecKey()), public("b", otherEC()), public("", rsaKey()))))
	_, err := v.Verify(t.Context(), sign(jose.ES256, ecKey(), nil, good().json()), token.RoleSubscribe)
	assert.Contains(t, refused(t, err, token.ReasonKey).Detail, "more than one key")
	_, err = v.Verify(t.Context(), sign(jose.RS256, rsaKey(), nil, good().json()), token.RoleSubscribe)
	assert.NoError(t, err)
}

func TestKeysOfOneKid(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, fileIssuer(t, set(public("k", otherEC()), public("k", rsaKey()), public("k", ecKey()))))
	for _, raw := range []string{
		sign(jose.ES256, ecKey(), header{"kid": "k"}, good().json()),
		sign(jose.RS256, rsaKey(), header{"kid": "k"}, good().json()),
	} {
		_, err := v.Verify(t.Context(), raw, token.RoleSubscribe)
		require.NoError(t, err)
	}
}

func TestAlgorithmOfTheKeyBinds(t *testing.T) {
	t.Parallel()
	key := public("k", rsaKey())
	key.Algorithm = string(jose.PS256)
	issuer := fileIssuer(t, set(key))
	issuer.Algorithms = []string{"RS256", "PS256"}
	v := newVerifier(t, issuer)
	_, err := v.Verify(t.Context(), sign(jose.PS256, rsaKey(), header{"kid": "k"}, good().json()), token.RoleSubscribe)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), sign(jose.RS256, rsaKey(), header{"kid": "k"}, good().json()), token.RoleSubscribe)
	assert.Contains(t, refused(t, err, token.ReasonKey).Detail, "alg")
}

func TestAllowedAlgorithmsReplaceTheDefault(t *testing.T) {
	t.Parallel()
	issuer := fileIssuer(t, set(public("ec", ecKey()), public("p384", largeEC()), public("rsa", rsaKey())))
	issuer.Algorithms = []string{"ES384", "PS512", "RS384"}
	v := newVerifier(t, issuer)
	body := good().json()
	for _, raw := range []string{
		sign(jose.ES384, largeEC(), header{"kid": "p384"}, body),
		sign(jose.PS512, rsaKey(), header{"kid": "rsa"}, body),
		sign(jose.RS384, rsaKey(), header{"kid": "rsa"}, body),
	} {
		require.NoError(t, verify(v, raw))
	}
	refused(t, verify(v, es(good())), token.ReasonAlgorithm)
	refused(t, verify(v, sign(jose.RS256, rsaKey(), header{"kid": "rsa"}, body)), token.ReasonAlgorithm)
	refused(t, verify(v, sign(jose.ES384, largeEC(), header{"kid": "ec"}, body)), token.ReasonKey)
}

// TestTimeOfAToken: it counts up to exp and not a moment longer, and from nbf less the leeway.
func TestTimeOfAToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := fileIssuer(t, keys())
		issuer.Leeway = 2 * time.Second
		v := newVerifier(t, issuer)
		raw := es(good().with("nbf", time.Now().Add(12*time.Second).Unix(), "exp", time.Now().Add(time.Minute).Unix()))
		end := time.Now().Add(time.Minute)

		time.Sleep(10*time.Second - 1) // virtual: in a bubble of synctest
		_, err := v.Verify(t.Context(), raw, token.RoleSubscribe)
		refused(t, err, token.ReasonNotYet)
		time.Sleep(time.Nanosecond) // virtual: in a bubble of synctest
		principal, err := v.Verify(t.Context(), raw, token.RoleSubscribe)
		require.NoError(t, err)
		assert.True(t, principal.Expires.Equal(end), principal.Expires)
		time.Sleep(50*time.Second - 1) // virtual: in a bubble of synctest
		_, err = v.Verify(t.Context(), raw, token.RoleSubscribe)
		require.NoError(t, err)
		time.Sleep(time.Nanosecond) // virtual: in a bubble of synctest
		_, err = v.Verify(t.Context(), raw, token.RoleSubscribe)
		refused(t, err, token.ReasonExpired)
	})
}
