package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/ssebridge/ssebridge/bridge"
)

// Config says where the log is and what it keeps.
type Config struct {
	// Connect opens a connection to NATS, such as [Embedded.Connect]. The log opens three, named append, tail
	// and read, so that none waits for another. It closes them. A connection should reconnect for ever, and
	// refuse to publish while it is not connected instead of keeping messages for later.
	Connect func(name string) (*nats.Conn, error)
	// SoleWriter tells that nobody else writes to the stream, or deletes it, as in an embedded server: what the log has
	// appended is its tail as soon as it is acknowledged, and the server need not send it back.
	SoleWriter bool
	// Stream is the name of the stream. Defaults to "SSEBRIDGE".
	Stream string
	// Prefix begins the subjects. Defaults to "ssebridge".
	Prefix string
	// Replicas is the number of servers that store the stream. Defaults to what the stream has, or 1.
	Replicas int

	// MaxAge is how long an event is kept. Defaults to 24 h.
	MaxAge time.Duration
	// MaxBytes is how much is kept. Defaults to 1 GiB.
	MaxBytes int64
	// DuplicateWindow is how long the key of an event is remembered; never longer than MaxAge. Defaults to 2 min.
	DuplicateWindow time.Duration

	// MaxInFlightEvents and MaxInFlightBytes bound what is on its way to the log and not acknowledged yet.
	// They default to 4096 events and 64 MiB. A server may refuse more than 10,000 events or 128 MiB.
	MaxInFlightEvents int
	MaxInFlightBytes  int64
	// AckTimeout is how long an acknowledgement, or any other answer of the log, may take. Defaults to 5 s.
	AckTimeout time.Duration
	// CheckInterval is how often an idle tail makes sure that the stream is still the one it follows. Defaults
	// to 5 s.
	CheckInterval time.Duration

	// Logger receives what an operator should know. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.Stream, "SSEBRIDGE")
	setDefault(&c.Prefix, "ssebridge")
	setDefault(&c.MaxAge, 24*time.Hour)
	setDefault(&c.MaxBytes, 1<<30)
	setDefault(&c.DuplicateWindow, 2*time.Minute)
	c.DuplicateWindow = min(c.DuplicateWindow, c.MaxAge)
	setDefault(&c.MaxInFlightEvents, 4096)
	setDefault(&c.MaxInFlightBytes, 64<<20)
	setDefault(&c.AckTimeout, 5*time.Second)
	setDefault(&c.CheckInterval, 5*time.Second)
	setDefault(&c.Logger, slog.Default())
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validate() error {
	asTopic := strings.ReplaceAll(c.Prefix, ".", "/")
	switch {
	case c.Connect == nil:
		return errors.New("the configuration has no Connect")
	case bridge.ValidateTopic(asTopic) != nil || bridge.ReservedTopic(asTopic):
		return fmt.Errorf("the prefix %q is no subject: use letters, digits, - and _, split by dots", c.Prefix)
	case c.MaxAge < 0, c.DuplicateWindow < 0, c.AckTimeout < 0, c.CheckInterval < 0:
		return errors.New("a duration of the configuration is negative")
	case c.MaxBytes < 0, c.MaxInFlightBytes < 0, c.MaxInFlightEvents < 0, c.Replicas < 0:
		return errors.New("a limit of the configuration is negative")
	}
	return nil
}

// Log is a [bridge.Log] in a JetStream stream. All methods may be called concurrently.
type Log struct {
	config   Config
	appender *appender
	tails    *nats.Conn
	reads    *nats.Conn
	read     jetstream.JetStream

	// requests bounds how many questions are with the server at once. It drops what it has queued, everybody's,
	// when that is too much, as it would be when a fleet of readers returns.
	requests *semaphore.Weighted
	// skipped keeps messages that are no events from flooding the operator's log.
	skipped rate.Sometimes

	closing context.Context // ends when Close begins
	close   context.CancelFunc
	closed  sync.Once
}

var _ bridge.Log = (*Log)(nil)

const maxRequests = 32

// Open connects to the log and creates its stream, or gives an existing one the limits of the configuration. It
// returns an error when the log does not answer within ctx: whoever starts decides whether to try again.
func Open(ctx context.Context, config Config) (*Log, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &Log{
		config:   config,
		requests: semaphore.NewWeighted(maxRequests),
		skipped:  rate.Sometimes{First: 10, Interval: 10 * time.Second},
	}
	l.closing, l.close = context.WithCancel(context.Background())
	if err := l.open(ctx); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) (err error) {
	if l.tails, err = l.config.Connect("tail"); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if l.reads, err = l.config.Connect("read"); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if l.read, err = jetstream.New(l.reads); err != nil {
		return err
	}
	appends, err := l.config.Connect("append")
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if l.appender, err = newAppender(appends, l.config, l.cursorOf); err != nil {
		appends.Close()
		return err
	}
	info, err := l.ensureStream(ctx, l.read)
	if err != nil {
		return err
	}
	return l.passStamps(ctx, info)
}

// passStamps makes sure that the next event is stamped later than all that is in the stream and than the stream
// itself, whatever the clock says now.
func (l *Log) passStamps(ctx context.Context, info *jetstream.StreamInfo) error {
	end, err := l.end(ctx, info)
	if err != nil {
		return err
	}
	l.appender.passStamp(max(end.Time, nanoseconds(info.State.LastTime), info.Created.UnixNano()))
	return nil
}

// Ready reports whether the log answers: nil, or an error that wraps [bridge.ErrLogUnavailable].
func (l *Log) Ready(ctx context.Context) error {
	for _, conn := range []*nats.Conn{l.appender.conn, l.tails, l.reads} {
		if !conn.IsConnected() {
			return fmt.Errorf("connection %q is %s: %w", conn.Opts.Name, conn.Status(), bridge.ErrLogUnavailable)
		}
	}
	_, err := l.info(ctx)
	return err
}

// Close refuses new appends, waits until those in flight are acknowledged or have timed out, ends tails and closes
// the connections. The stream stays.
func (l *Log) Close() error {
	l.closed.Do(func() {
		if l.appender != nil {
			l.appender.close()
		}
		l.close()
		for _, conn := range []*nats.Conn{l.tails, l.reads} {
			if conn != nil {
				conn.Close()
			}
		}
	})
	return nil
}

// unavailable marks an error of NATS as one that may pass.
func unavailable(step string, err error) error {
	return fmt.Errorf("%s: %w: %w", step, bridge.ErrLogUnavailable, err)
}

// skip tells the operator about a message of the stream that readers will not receive.
func (l *Log) skip(message *stored, why error) {
	l.skipped.Do(func() {
		l.config.Logger.Warn("log: a message of the stream is no event and is skipped",
			"stream", l.config.Stream, "sequence", message.seq, "subject", message.subject, "reason", why)
	})
}
