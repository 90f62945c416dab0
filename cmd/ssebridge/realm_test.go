package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// realm is an issuer for each role, with the same keys.
type realm struct {
	rsa, ec, ed signingKey
	file        string // of the keys
}

func newRealm(t testing.TB) *realm {
	t.Helper()
	r := &realm{rsa: rsaKey(), ec: newECKey("ec"), ed: newEdKey("ed")}
	r.file = keyFile(t, r.rsa, r.ec, r.ed)
	return r
}

// issuers are the lines of a configuration.
func (r *realm) issuers() string {
	return fmt.Sprintf(`
issuers:
  - {name: users, url: %q, jwks_file: %q, audiences: [ssebridge], roles: [subscribe]}
  - {name: services, url: %q, jwks_file: %q, audiences: [ssebridge], roles: [publish]}
`, users, r.file, services, r.file)
}

// claims are those of a token that counts.
func (r *realm) claims(issuer, subject string) claims {
	return claims{"iss": issuer, "sub": subject, "aud": "ssebridge", "exp": in(time.Hour)}
}

// user makes a token for a reader.
func (r *realm) user(subject string, more ...any) string {
	return r.ec.token(r.claims(users, subject).with(more...))
}

// service makes a token for a publisher.
func (r *realm) service(subject string, more ...any) string {
	return r.ec.token(r.claims(services, subject).with(more...))
}

// tokenCase is a token and why it is refused; empty where it counts.
type tokenCase struct{ name, token, refusal string }

// tokenCases are tokens of an issuer; foreign is one that has the other role.
func (r *realm) tokenCases(issuer, foreign string) []tokenCase {
	good := r.claims(issuer, "alice")
	head := map[string]any{"alg": "ES256", "kid": "ec"}
	changed := func(changes ...any) map[string]any { return claims(head).with(changes...) }
	der, err := x509.MarshalPKIXPublicKey(r.rsa.private.Public())
	if err != nil {
		panic(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	parts := strings.Split(r.ec.token(good), ".")
	stranger := newECKey("ec")
	return []tokenCase{
		{"RSA", r.rsa.token(good), ""},
		{"EC", r.ec.token(good), ""},
		{"Ed25519", r.ed.token(good), ""},
		{"one of several audiences", r.ec.token(good.with("aud", []string{"other", "ssebridge"})), ""},
		{"slightly ahead", r.ec.token(good.with("nbf", in(20*time.Second), "iat", in(20*time.Second))), ""},

		{"no alg", unsigned(map[string]any{"kid": "ec"}, good), "alg is not allowed"},
		{"alg none", unsigned(map[string]any{"alg": "none"}, good), "not signed"},
		{"alg none in capitals", unsigned(map[string]any{"alg": "NONE"}, good), "not signed"},
		{"alg nOnE with a signature", r.ec.tokenOf(changed("alg", "nOnE"), marshal(good)), "not signed"},
		{"signature taken off", parts[0] + "." + parts[1] + ".", "signature is wrong"},
		{"shared secret: public key as PEM", hmacToken("rsa", public, good), "shared secret"},
		{"shared secret: public key as DER", hmacToken("rsa", der, good), "shared secret"},
		{"shared secret: JWKS", hmacToken("rsa", jwks(r.rsa, r.ec, r.ed), good), "shared secret"},
		{"shared secret: empty", hmacToken("", nil, good), "shared secret"},
		{"alg of another key", r.ec.tokenOf(changed("alg", "RS256"), marshal(good)), "not for the token's alg"},
		{"alg in lower case", r.ec.tokenOf(changed("alg", "es256"), marshal(good)), "alg is not allowed"},
		{"alg that is not listed", r.rsa.tokenOf(map[string]any{"alg": "PS256", "kid": "rsa"}, marshal(good)), "alg is not allowed"},
		{"key in the token", stranger.tokenOf(changed("jwk", stranger.jwk()), marshal(good)), "signature is wrong"},
		{"key of a URL in the token", stranger.tokenOf(changed("jku", "https://evil.example.com/jwks"), marshal(good)), "signature is wrong"},
		{"critical extension", r.ec.tokenOf(changed("crit", []string{"exp"}, "exp", 1), marshal(good)), "crit"},
		{"another key of the same kid", stranger.token(good), "signature is wrong"},
		{"another RSA key of the same kid", otherRSA().token(good), "signature is wrong"},
		{"payload exchanged", parts[0] + "." + base64URL(marshal(good.with("sub", "root"))) + "." + parts[2], "signature is wrong"},
		{"unknown kid", r.ec.tokenOf(changed("kid", "other"), marshal(good)), "no key of the token's kid"},
		{"kid in capitals", r.ec.tokenOf(changed("kid", "EC"), marshal(good)), "no key of the token's kid"},
		{"kid that is a path", r.ec.tokenOf(changed("kid", "../../../../dev/null"), marshal(good)), "no key of the token's kid"},
		{"for something else", r.ec.tokenOf(changed("typ", "logout+jwt"), marshal(good)), "typ"},

		{"unknown issuer", r.ec.token(good.with("iss", "https://evil.example.com")), "not a configured issuer"},
		{"issuer in capitals", r.ec.token(good.with("iss", strings.ToUpper(issuer))), "not a configured issuer"},
		{"issuer with a slash", r.ec.token(good.with("iss", issuer+"/")), "not a configured issuer"},
		{"name of the issuer", r.ec.token(good.with("iss", "users")), "not a configured issuer"},
		{"no issuer", r.ec.token(good.with("iss", nil)), "no iss"},
		{"two issuers", r.ec.tokenOf(head, []byte(`{"iss":"https://evil.example.com",`+string(marshal(good))[1:])), "each member once"},
		{"issuer of the other role", foreign, "do not count for"},
		{"another audience", r.ec.token(good.with("aud", "other")), "does not name this service"},
		{"audience in capitals", r.ec.token(good.with("aud", "SSEBRIDGE")), "does not name this service"},
		{"no audience", r.ec.token(good.with("aud", nil)), "aud"},
		{"no subject", r.ec.token(good.with("sub", nil)), "no sub"},
		{"subject in capitals", r.ec.token(good.with("sub", nil, "SUB", "alice")), "no sub"},
		{"expired", r.ec.token(good.with("exp", in(-time.Second))), "has expired"},
		{"expired, beyond any leeway", r.ec.token(good.with("exp", in(-time.Hour))), "has expired"},
		{"no expiry", r.ec.token(good.with("exp", nil)), "exp is missing"},
		{"expiry as text", r.ec.token(good.with("exp", strconv.FormatInt(in(time.Hour), 10))), "exp is missing"},
		{"expiry in milliseconds", r.ec.token(good.with("exp", time.Now().Add(time.Hour).UnixMilli())), "exp is missing"},
		{"expiry twice", r.ec.tokenOf(head, []byte(fmt.Sprintf(`{"exp":%d,`, in(time.Hour))+string(marshal(good.with("exp", in(-time.Hour))))[1:])), "each member once"},
		{"not yet valid", r.ec.token(good.with("nbf", in(10*time.Minute))), "in the future"},
		{"issued in the future", r.ec.token(good.with("iat", in(10*time.Minute))), "in the future"},

		{"no token", "nonsense", "three parts"},
		{"encrypted", "a.b.c.d.e", "encrypted"},
		{"too long", r.ec.token(good.with("more", strings.Repeat("x", 16<<10))), "longer than 16 KiB"},
		{"padded", r.ec.token(good) + "==", "character that no token has"},
	}
}
