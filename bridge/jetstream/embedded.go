package jetstream

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// EmbeddedConfig says where an embedded log is stored and how safely.
type EmbeddedConfig struct {
	// DataDir holds the log. It is created if it does not exist, for this user only. One process at a time may
	// use it.
	DataDir string
	// SyncInterval is how often stored events are forced to the disk. Defaults to 2 min. Acknowledged events
	// survive the end of the process in any case; this is about the machine losing power.
	SyncInterval time.Duration
	// SyncAlways forces every event to the disk before it is acknowledged, which costs milliseconds each.
	SyncAlways bool
	// Logger receives what the server says: notices at the level Debug. Defaults to slog.Default().
	Logger *slog.Logger
}

// Embedded is a NATS server inside this process, without any port. All methods may be called concurrently.
type Embedded struct {
	server *server.Server
	lock   *flock.Flock
	logger *slog.Logger
	closed sync.Once
}

const (
	// maxPayload bounds an event with its headers, far above what is let in.
	maxPayload = 8 << 20
	// startTimeout bounds the start after the log was recovered.
	startTimeout = 10 * time.Second
)

// StartEmbedded starts the server and returns when it has recovered the log. It returns an error if the directory is
// in use or cannot be used.
func StartEmbedded(config EmbeddedConfig) (*Embedded, error) {
	logger := cmp.Or(config.Logger, slog.Default())
	if config.DataDir == "" {
		return nil, errors.New("embedded log: no data directory is configured")
	}
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded log: %w", err)
	}
	lock, err := lockDirectory(config.DataDir)
	if err != nil {
		return nil, fmt.Errorf("embedded log: %w", err)
	}
	natsServer, err := startServer(config, logger)
	if err != nil {
		_ = lock.Unlock()
		return nil, fmt.Errorf("embedded log in %s: %w", config.DataDir, err)
	}
	return &Embedded{server: natsServer, lock: lock, logger: logger}, nil
}

func startServer(config EmbeddedConfig, logger *slog.Logger) (*server.Server, error) {
	natsServer, err := server.NewServer(&server.Options{
		ServerName:             "ssebridge",
		DontListen:             true,
		NoSigs:                 true,
		MaxPayload:             maxPayload,
		JetStream:              true,
		StoreDir:               config.DataDir,
		SyncInterval:           config.SyncInterval,
		SyncAlways:             config.SyncAlways,
		DisableJetStreamBanner: true,
		// The stream's own limit is the one that counts. By default the server would refuse a stream that
		// may grow beyond what is free on the disk now, its own old events not counted.
		JetStreamMaxStore:  math.MaxInt64 / 2,
		JetStreamMaxMemory: 64 << 20, // nothing is stored in memory
	})
	if err != nil {
		return nil, err
	}
	lines := &serverLogger{logger: logger}
	natsServer.SetLogger(lines, false, false)
	natsServer.Start()
	err = lines.fatal()
	if err == nil {
		if natsServer.ReadyForConnections(startTimeout) && natsServer.JetStreamEnabled() {
			return natsServer, nil
		}
		err = errors.New("the server does not start")
	}
	natsServer.Shutdown()
	natsServer.WaitForShutdown()
	return nil, err
}

// Connect opens a connection to the server. Its name appears in log lines.
func (e *Embedded) Connect(name string) (*nats.Conn, error) {
	conn, err := nats.Connect("", nats.Name(name), nats.InProcessServer(e.server), nats.Timeout(startTimeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.SkipSubjectValidation(), // topics are validated
		nats.ErrorHandler(func(conn *nats.Conn, _ *nats.Subscription, err error) {
			e.logger.Warn("log: connection", "connection", conn.Opts.Name, "error", err)
		}),
		nats.DisconnectErrHandler(func(conn *nats.Conn, err error) {
			if err != nil {
				e.logger.Warn("log: connection interrupted", "connection", conn.Opts.Name, "error", err)
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded log: %w", err)
	}
	return conn, nil
}

// Close stops the server, waits until the log is safely closed, and gives the directory free. Connections are to be
// closed before.
func (e *Embedded) Close() error {
	var err error
	e.closed.Do(func() {
		e.server.Shutdown()
		e.server.WaitForShutdown()
		err = e.lock.Unlock()
	})
	return err
}
