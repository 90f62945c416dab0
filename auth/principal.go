package auth

import (
	"context"
	"time"
)

// Kinds of principals.
const (
	KindAnonymous = "anonymous" // showed nothing
	KindToken     = "token"     // showed a token that an issuer signed
)

// Principal is who asks. It is shared between goroutines, so nobody changes it once it is made.
type Principal struct {
	Kind    string         // one of the kinds above
	Subject string         // who, in the words of the issuer; empty for anonymous
	Issuer  string         // the configured name of the issuer, not its URL; empty for anonymous
	Claims  map[string]any // as decoded from JSON; nil where there are none
	Expires time.Time      // when it stops being valid; zero: never
}

var anonymous = Principal{Kind: KindAnonymous}

// Anonymous returns the principal of a caller who showed nothing.
func Anonymous() *Principal { return &anonymous }

type contextKey struct{}

// NewContext returns a context that carries who asks.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// FromContext returns who asks, [Anonymous] where the context does not say.
func FromContext(ctx context.Context) *Principal {
	if p, ok := ctx.Value(contextKey{}).(*Principal); ok && p != nil {
		return p
	}
	return Anonymous()
}
