package token_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/auth/token"
)

func newOrigins(t testing.TB, origins ...string) *token.Origins {
	t.Helper()
	o, err := token.NewOrigins(origins)
	require.NoError(t, err)
	return o
}

// request makes a request with header lines such as "Origin: https://shop.example.com".
func request(lines ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://bridge.example.com/v1/events", nil)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header[http.CanonicalHeaderKey(name)] = append(r.Header[http.CanonicalHeaderKey(name)], value)
	}
	return r
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	valid, other := es(good()), es(good().with("sub", "user-8"))
	expired := es(good().with("exp", 1))
	bearer, cookie := "Authorization: Bearer "+valid, "Cookie: session="+valid
	const (
		listed, unlisted     = "Origin: https://shop.example.com", "Origin: https://evil.example.com"
		sameOrigin           = "Sec-Fetch-Site: same-origin"
		anonymous, user7     = "", "user-7"
		none, invalidRequest = `Bearer`, `Bearer error="invalid_request"`
		invalidToken         = `Bearer error="invalid_token"`
	)
	gate := &token.Gate{
		Verifier: newVerifier(t, fileIssuer(t, keys())), Role: token.RoleSubscribe,
		Cookie: "session", Origins: newOrigins(t, "https://shop.example.com", "http://localhost:3000"),
	}
	for name, test := range map[string]struct {
		lines     []string
		subject   string
		status    int // 0: identified
		challenge string
		says      string
	}{
		"nothing":                     {lines: nil, subject: anonymous},
		"nothing, from any page":      {lines: []string{unlisted}, subject: anonymous},
		"bearer":                      {lines: []string{bearer}, subject: user7},
		"scheme in lower case":        {lines: []string{"Authorization: bearer " + valid}, subject: user7},
		"several spaces":              {lines: []string{"Authorization: BEARER   " + valid + " "}, subject: user7},
		"bearer from any page":        {lines: []string{bearer, unlisted}, subject: user7},
		"two Authorization headers":   {lines: []string{bearer, bearer}, status: 400, challenge: invalidRequest, says: "more than one Authorization"},
		"first of two is good":        {lines: []string{bearer, "Authorization: Basic eDp5"}, status: 400, challenge: invalidRequest, says: "more than one Authorization"},
		"two in one header":           {lines: []string{bearer + ", Bearer " + other}, status: 400, challenge: invalidRequest, says: "one token"},
		"empty header":                {lines: []string{"Authorization: "}, status: 401, challenge: none, says: "scheme Bearer"},
		"no token":                    {lines: []string{"Authorization: Bearer"}, status: 400, challenge: invalidRequest, says: "one token"},
		"basic":                       {lines: []string{"Authorization: Basic eDp5"}, status: 401, challenge: none, says: "scheme Bearer"},
		"token without scheme":        {lines: []string{"Authorization: " + valid}, status: 401, challenge: none, says: "scheme Bearer"},
		"tab after the scheme":        {lines: []string{"Authorization: Bearer\t" + valid}, status: 401, challenge: none, says: "scheme Bearer"},
		"not a token":                 {lines: []string{"Authorization: Bearer {}"}, status: 400, challenge: invalidRequest, says: "one token"},
		"opaque token":                {lines: []string{"Authorization: Bearer c2VjcmV0LW9wYXF1ZQ=="}, status: 401, challenge: invalidToken, says: "character"},
		"expired":                     {lines: []string{"Authorization: Bearer " + expired}, status: 401, challenge: invalidToken, says: "expired"},
		"cookie, listed page":         {lines: []string{cookie, listed}, subject: user7},
		"cookie, other listed page":   {lines: []string{cookie, "Origin: http://localhost:3000"}, subject: user7},
		"cookie, listed, cross-site":  {lines: []string{cookie, listed, "Sec-Fetch-Site: cross-site"}, subject: user7},
		"cookie of the same origin":   {lines: []string{cookie, sameOrigin}, subject: user7},
		"cookie, quoted":              {lines: []string{`Cookie: session="` + valid + `"`, sameOrigin}, subject: user7},
		"cookie among others":         {lines: []string{"Cookie: a=b; session=" + valid + "; c=d", sameOrigin}, subject: user7},
		"cookie, other page":          {lines: []string{cookie, unlisted}, status: 403, says: "origin"},
		"own origin, not listed":      {lines: []string{cookie, "Origin: http://bridge.example.com", sameOrigin}, status: 403, says: "origin"},
		"cookie, null":                {lines: []string{cookie, "Origin: null", sameOrigin}, status: 403, says: "origin"},
		"cookie, empty Origin":        {lines: []string{cookie, "Origin: ", sameOrigin}, status: 403, says: "origin"},
		"cookie, two Origins":         {lines: []string{cookie, listed, listed}, status: 403, says: "origin"},
		"cookie, upper case":          {lines: []string{cookie, "Origin: https://SHOP.example.com"}, status: 403, says: "origin"},
		"cookie, listed with port":    {lines: []string{cookie, listed + ":8443"}, status: 403, says: "origin"},
		"cookie, listed as prefix":    {lines: []string{cookie, listed + ".evil.com"}, status: 403, says: "origin"},
		"cookie, other scheme":        {lines: []string{cookie, "Origin: http://shop.example.com"}, status: 403, says: "origin"},
		"cookie alone":                {lines: []string{cookie}, status: 403, says: "Sec-Fetch-Site"},
		"cookie, same site":           {lines: []string{cookie, "Sec-Fetch-Site: same-site"}, status: 403, says: "Sec-Fetch-Site"},
		"cookie, cross-site":          {lines: []string{cookie, "Sec-Fetch-Site: cross-site"}, status: 403, says: "Sec-Fetch-Site"},
		"cookie, from address bar":    {lines: []string{cookie, "Sec-Fetch-Site: none"}, status: 403, says: "Sec-Fetch-Site"},
		"cookie, site said twice":     {lines: []string{cookie, sameOrigin, "Sec-Fetch-Site: cross-site"}, status: 403, says: "Sec-Fetch-Site"},
		"bad cookie, other page":      {lines: []string{"Cookie: session=x", unlisted}, status: 403, says: "origin"},
		"bad cookie":                  {lines: []string{"Cookie: session=x", sameOrigin}, status: 401, challenge: invalidToken, says: "three parts"},
		"empty cookie":                {lines: []string{"Cookie: session=", unlisted}, subject: anonymous},
		"cookie of another name":      {lines: []string{"Cookie: Session=" + valid, unlisted}, subject: anonymous},
		"two cookies":                 {lines: []string{"Cookie: session=" + valid + "; session=" + valid, sameOrigin}, status: 400, challenge: invalidRequest, says: "more than one cookie session"},
		"two Cookie headers":          {lines: []string{cookie, "Cookie: session=" + other, sameOrigin}, status: 400, challenge: invalidRequest, says: "more than one cookie session"},
		"empty cookie planted":        {lines: []string{cookie, "Cookie: session=", sameOrigin}, status: 400, challenge: invalidRequest, says: "more than one cookie session"},
		"both, equal":                 {lines: []string{bearer, cookie}, subject: user7},
		"both, equal, from any page":  {lines: []string{bearer, cookie, unlisted}, subject: user7},
		"both, different":             {lines: []string{bearer, "Cookie: session=" + other, sameOrigin}, status: 400, challenge: invalidRequest, says: "different tokens"},
		"both, different, other page": {lines: []string{bearer, "Cookie: session=" + other, unlisted}, status: 400, challenge: invalidRequest, says: "different tokens"},
		"bad header, good cookie":     {lines: []string{"Authorization: Basic eDp5", cookie, sameOrigin}, status: 401, challenge: none, says: "scheme Bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			principal, err := gate.Identify(request(test.lines...))
			if test.status == 0 {
				require.NoError(t, err)
				assert.Equal(t, test.subject, principal.Subject)
				assert.Equal(t, test.subject == anonymous, principal.Kind == auth.KindAnonymous)
				return
			}
			assert.Nil(t, principal)
			refusal := refusalOf(t, err)
			assert.Equal(t, test.status, refusal.Status, refusal.Detail)
			assert.Equal(t, test.challenge, refusal.Challenge)
			assert.Contains(t, refusal.Detail, test.says)
			assert.NotEmpty(t, refusal.Reason)
			for _, line := range test.lines {
				_, value, _ := strings.Cut(line, ": ")
				_, value, _ = strings.Cut(value, "=")
				assertSilent(t, err, value)
			}
		})
	}
}

func refusalOf(t testing.TB, err error) *token.Refusal {
	t.Helper()
	var refusal *token.Refusal
	require.ErrorAs(t, err, &refusal)
	return refusal
}

func TestGateWithoutCookie(t *testing.T) {
	t.Parallel()
	gate := &token.Gate{Verifier: newVerifier(t, fileIssuer(t, keys())), Role: token.RoleSubscribe}
	principal, err := gate.Identify(request("Cookie: session="+es(good()), "Sec-Fetch-Site: same-origin"))
	require.NoError(t, err)
	assert.Equal(t, auth.KindAnonymous, principal.Kind)

	gate.Cookie = "session" // and no list of origins
	_, err = gate.Identify(request("Cookie: session="+es(good()), "Origin: https://shop.example.com"))
	assert.Equal(t, http.StatusForbidden, refusalOf(t, err).Status)
	gate.Origins = newOrigins(t, "*")
	_, err = gate.Identify(request("Cookie: session="+es(good()), "Origin: https://shop.example.com"))
	assert.Equal(t, http.StatusForbidden, refusalOf(t, err).Status, "any origin, but none with a cookie")
}

// TestRefusalOnTheWire: what a client reads, final and temporary.
func TestRefusalOnTheWire(t *testing.T) {
	t.Parallel()
	server := &keyServer{status: http.StatusInternalServerError}
	temporary := urlVerifier(t, server, discarded)
	final := newVerifier(t, fileIssuer(t, keys()))
	for status, verifier := range map[int]*token.Verifier{http.StatusServiceUnavailable: temporary, http.StatusUnauthorized: final} {
		gate := &token.Gate{Verifier: verifier, Role: token.RoleSubscribe}
		_, err := gate.Identify(request("Authorization: Bearer " + signedBy(otherEC(), "b")))
		refusal := refusalOf(t, err)
		recorder := httptest.NewRecorder()
		refusal.Write(recorder)
		response := recorder.Result()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, status, response.StatusCode)
		assert.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
		assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		assert.Equal(t, status == http.StatusUnauthorized, response.Header.Get("WWW-Authenticate") != "")
		var problem map[string]any
		require.NoError(t, json.Unmarshal(body, &problem))
		assert.Equal(t, map[string]any{
			"type": "about:blank", "title": http.StatusText(status), "status": float64(status), "detail": refusal.Detail,
		}, problem)
		assert.NotContains(t, string(body), "localhost", "addresses inside are for the log")
		assert.Equal(t, status == http.StatusServiceUnavailable, strings.Contains(refusal.Error(), "localhost"))
	}
}
