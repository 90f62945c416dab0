package token_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/auth/token"
)

// FuzzVerify: whatever a token is, it is refused with a reason and without a word of it, unless it is one that was
// signed here.
func FuzzVerify(f *testing.F) {
	v := newVerifier(f, issuers(f)...)
	signed := map[string]bool{}
	for _, known := range []string{es(good()), es(good().with("aud", "operate")), signedBy(ecKey(), "ec")} {
		f.Add(known)
		signed[content(known)] = true
	}
	for _, test := range refusals(f) {
		f.Add(test.raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, role := range []token.Role{token.RoleSubscribe, token.RolePublish} {
			principal, err := v.Verify(t.Context(), raw, role)
			if err == nil {
				require.True(t, signed[content(raw)], "nobody has signed %q", raw)
				continue
			}
			assert.Nil(t, principal)
			var refusal *token.Error
			require.ErrorAs(t, err, &refusal)
			assert.NotEmpty(t, refusal.Detail)
			assert.False(t, refusal.Temporary(), "keys in files are always there")
			assertSilent(t, err, raw)
		}
	})
}

// content is what the signature of a token covers. The signature itself has several spellings: base64url leaves bits
// unused at its end.
func content(raw string) string {
	return raw[:max(0, strings.LastIndexByte(raw, '.'))]
}

// FuzzForge: any header and payload without a signature by a key of the issuer is refused.
func FuzzForge(f *testing.F) {
	v := newVerifier(f, issuers(f)...)
	for _, alg := range []string{"none", "HS256", "ES256", "RS256", "EdDSA", ""} {
		f.Add(`{"alg":"`+alg+`","kid":"ec"}`, good().json(), "")
	}
	f.Add(`{"alg":"ES256","kid":"ec","crit":["b64"],"b64":false}`, good().json(), string(make([]byte, 64)))
	f.Fuzz(func(t *testing.T, head, payload, signature string) {
		token68 := raw(head, payload, signature)
		if len(token68) > 2*token.MaxBytes {
			return // refused for that alone
		}
		_, err := v.Verify(t.Context(), token68, token.RoleSubscribe)
		require.Error(t, err)
		assertSilent(t, err, token68)
	})
}

// FuzzIdentify: no values of headers get anybody in, or break anything.
func FuzzIdentify(f *testing.F) {
	gate := &token.Gate{
		Verifier: newVerifier(f, fileIssuer(f, keys())), Role: token.RoleSubscribe,
		Cookie: "session", Origins: newOrigins(f, "https://shop.example.com"),
	}
	f.Add("Bearer x.y.z", "session=a.b.c", "https://shop.example.com", "same-origin")
	f.Add("Bearer "+raw(`{"alg":"none"}`, good().json(), ""), "", "", "")
	f.Add("Basic eDp5", "session=1; session=2", "null", "none")
	f.Add("bearer", `session=""; a=b`, "https://evil.example.com", "cross-site")
	f.Fuzz(func(t *testing.T, authorization, cookie, origin, site string) {
		r := request()
		for name, value := range map[string]string{"Authorization": authorization, "Cookie": cookie, "Origin": origin, "Sec-Fetch-Site": site} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		principal, err := gate.Identify(r)
		if err == nil {
			assert.Equal(t, auth.Anonymous(), principal)
			assert.Empty(t, authorization, "credentials that do not count are never passed over")
			return
		}
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}, refusalOf(t, err).Status)
		assertSilent(t, err, authorization)
	})
}
