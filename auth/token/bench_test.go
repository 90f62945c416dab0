package token_test

import (
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/token"
)

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, fileIssuer(b, keys()))
	payload := good().json()
	for _, test := range []struct{ name, raw string }{
		{"RS256", sign(jose.RS256, rsaKey(), header{"kid": "rsa"}, payload)},
		{"ES256", sign(jose.ES256, ecKey(), header{"kid": "ec"}, payload)},
		{"EdDSA", sign(jose.EdDSA, edKey(), header{"kid": "ed"}, payload)},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := v.Verify(b.Context(), test.raw, token.RoleSubscribe)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkRefuse: what the worst tokens cost that anybody can send, at the largest size.
func BenchmarkRefuse(b *testing.B) {
	v := newVerifier(b, fileIssuer(b, keys()))
	body := good().json()
	deep := strings.Repeat("[", 5000)
	const inHeader = 1500
	for name, token68 := range map[string]string{
		"deep header":  raw(`{"alg":"ES256","kid":"ec","x":`+deep[:inHeader]+strings.Repeat("]", inHeader)+`}`, body, strings.Repeat("s", 64)),
		"deep payload": raw(`{"alg":"ES256","kid":"ec"}`, strings.TrimSuffix(body, "}")+`,"x":`+deep+strings.Repeat("]", 5000)+`}`, strings.Repeat("s", 64)),
		"wide header":  raw(`{"alg":"ES256","kid":"ec","x":[`+strings.Repeat("0,", inHeader)+`0]}`, body, strings.Repeat("s", 64)),
		"signature":    raw(`{"alg":"ES256","kid":"ec"}`, body, strings.Repeat("s", 64)),
		"random":       strings.Repeat("x", token.MaxBytes),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := v.Verify(b.Context(), token68, token.RoleSubscribe)
				require.Error(b, err)
			}
		})
	}
}
