package auth_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ssebridge/ssebridge/auth"
)

func TestContext(t *testing.T) {
	t.Parallel()
	p := &auth.Principal{Kind: auth.KindToken, Subject: "a"}
	ctx := auth.NewContext(t.Context(), p)
	inner, cancel := context.WithCancel(ctx)
	cancel()
	assert.Same(t, p, auth.FromContext(inner))
	assert.Same(t, auth.Anonymous(), auth.FromContext(t.Context()), "nobody was named")
	assert.Same(t, auth.Anonymous(), auth.FromContext(auth.NewContext(ctx, nil)), "a nil principal is nobody")
	assert.Equal(t, auth.Principal{Kind: "anonymous"}, *auth.Anonymous())
}
