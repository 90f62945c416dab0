//go:build !linux

package sse

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/ssebridge/ssebridge/bridge"
)

// ConnContext lets a Handler take over the connections of a server whose field of that name it is, on Linux. Here each
// stream has a goroutine.
func ConnContext(ctx context.Context, _ net.Conn) context.Context { return ctx }

// loops take over connections on Linux only.
type loops struct{}

// conn is a connection that was taken over.
type conn struct{ bridge.Waker }

func newLoops(*Config, *admissions) *loops { return nil }

func (*loops) newConn(*http.Request, time.Time, admission) *conn { return nil }

func (*conn) abandon() {}

func (*loops) takeOver(*conn, http.ResponseWriter, *http.Request, *bridge.Reader) error {
	return http.ErrNotSupported
}

func (*loops) shutdown(context.Context) error { return nil }
