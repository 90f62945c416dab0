package rule_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/auth/rule"
	"github.com/ssebridge/ssebridge/bridge"
)

// thousand is 1,000 declarations of the form that services have.
func thousand(tb testing.TB) *rule.Set {
	tb.Helper()
	var declarations []rule.Declaration
	for i := range 999 {
		declarations = append(declarations, rule.Declaration{
			Pattern: fmt.Sprintf("service%d/{shop}/orders/{order}", i), Types: []string{"shop.v1.*"},
			Publish:   `auth.sub == "system:serviceaccount:shop:orders" && auth.issuer == "cluster"`,
			Subscribe: `topic.shop in auth.claims.shops || granted(auth.claims.subscribe)`,
		})
	}
	declarations = append(declarations, rule.Declaration{Pattern: "public/**", Subscribe: "true"})
	set, err := rule.Compile(declarations)
	require.NoError(tb, err)
	return set
}

var (
	publisher = &auth.Principal{Kind: auth.KindToken, Subject: "system:serviceaccount:shop:orders", Issuer: "cluster"}
	shopper   = &auth.Principal{Kind: auth.KindToken, Subject: "u1", Issuer: "people", Claims: map[string]any{
		"shops": []any{"1", "2", "3", "4", "7"}, "subscribe": []any{"service1/*/orders/*", "public/**"},
	}}
)

func BenchmarkPublish(b *testing.B) {
	set := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		if set.Publish(publisher, "service500/7/orders/42", "shop.v1.OrderShipped").Verdict != rule.Allowed {
			b.Fatal("refused")
		}
	}
}

func BenchmarkDeclared(b *testing.B) {
	set := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		if set.Declared("service500/7/orders/42") == "" {
			b.Fatal("unknown")
		}
	}
}

// BenchmarkSubscribe64 is one request for as many topics as a request may name.
func BenchmarkSubscribe64(b *testing.B) {
	set := thousand(b)
	for _, bench := range []struct {
		name, pattern string
		want          bool
	}{
		{"topic", "service500/7/orders/42", true},
		{"pattern", "service500/7/orders/*", true},
		{"last", "public/a/*", true},
		{"unknown", "nowhere/*", false},
		{"everything", "**", false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p, err := bridge.ParsePattern(bench.pattern)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				for range 64 {
					if set.Subscribe(shopper, p) != bench.want {
						b.Fatal("not", bench.want)
					}
				}
			}
		})
	}
}

// BenchmarkEverythingAllowed is the worst that a request can cost: it intersects every declaration, and each says yes.
func BenchmarkEverythingAllowed(b *testing.B) {
	set := thousand(b)
	p, err := bridge.ParsePattern("**")
	require.NoError(b, err)
	all := &auth.Principal{Claims: map[string]any{"subscribe": []any{"**"}}}
	for b.Loop() {
		set.Subscribe(all, p)
	}
}

// BenchmarkCostLimit is the longest that a rule can keep a processor, in two ways to waste it.
func BenchmarkCostLimit(b *testing.B) {
	var many, grants []any
	for i := range 5_000 {
		many = append(many, fmt.Sprintf("entry%d", i))
		grants = append(grants, fmt.Sprintf("a/*/b%d/*/c/d/e/f/g/h", i))
	}
	p := &auth.Principal{Claims: map[string]any{"l": many, "g": grants}}
	for name, text := range map[string]string{
		"quadratic": `auth.claims.l.all(x, auth.claims.l.exists(y, y == x))`,
		"grants":    `[1,2,3,4].exists(x, granted(auth.claims.g))`,
		"regex":     `auth.claims.l.all(x, x.matches("^(e|n|t)*(a|b|c|d)*[a-z0-9]*$"))`,
	} {
		set, err := rule.Compile([]rule.Declaration{{Pattern: "a", Subscribe: text}})
		require.NoError(b, err)
		topic, err := bridge.ParsePattern("a")
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				set.Subscribe(p, topic)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		thousand(b)
	}
}
