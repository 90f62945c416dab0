package jetstream

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// External says which NATS servers keep the log. Its methods may be called concurrently.
type External struct {
	// URL of the servers, split by commas, such as nats://nats-0:4222,nats://nats-1:4222. Others of their cluster
	// are found by themselves.
	URL string
	// CredentialsFile holds NATS credentials (.creds). None if empty. It is read again for each connection.
	CredentialsFile string
	// CAFile holds the PEM roots with which the servers are verified, and makes TLS a must. Defaults to the roots
	// of the system, where the servers ask for TLS.
	CAFile string
	// Logger receives what becomes of connections. Defaults to slog.Default().
	Logger *slog.Logger
}

// connectTimeout bounds the start of one connection to one server.
const connectTimeout = 5 * time.Second

// Connect opens a connection that reconnects for ever once it stands. Its name, with ssebridge before it, appears in the
// server's list of connections. The error does not name the URL.
func (e External) Connect(name string) (*nats.Conn, error) {
	logger := cmp.Or(e.Logger, slog.Default())
	options := []nats.Option{
		nats.Name("ssebridge " + name), nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.SkipSubjectValidation(), // topics are validated
		nats.ErrorHandler(func(conn *nats.Conn, _ *nats.Subscription, err error) {
			logger.Warn("log: connection", "connection", conn.Opts.Name, "error", err)
		}),
		nats.DisconnectErrHandler(func(conn *nats.Conn, err error) {
			if err != nil {
				logger.Warn("log: connection interrupted", "connection", conn.Opts.Name, "error", err)
			}
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			logger.Info("log: connected again", "connection", conn.Opts.Name, "server", conn.ConnectedServerName())
		}),
	}
	if e.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(e.CredentialsFile))
	}
	if e.CAFile != "" {
		options = append(options, nats.RootCAs(e.CAFile))
	}
	conn, err := nats.Connect(e.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("NATS servers: %w", err)
	}
	return conn, nil
}
