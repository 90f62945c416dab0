package jetstream

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// serverLogger passes the server's log lines on. The server calls Fatalf for errors that its own logger answers with
// os.Exit; here they become errors of the start.
type serverLogger struct {
	logger *slog.Logger

	mu   sync.Mutex
	last error // the last fatal one
}

func (l *serverLogger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *serverLogger) Fatalf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	l.logger.Error("log: " + line)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = errors.New(line)
}

func (l *serverLogger) Errorf(format string, args ...any) {
	l.logger.Error("log: " + fmt.Sprintf(format, args...))
}

func (l *serverLogger) Warnf(format string, args ...any) {
	l.logger.Warn("log: " + fmt.Sprintf(format, args...))
}

// The rest is of interest only to somebody who looks for an error.

func (l *serverLogger) Noticef(format string, args ...any) { l.debugf(format, args...) }
func (l *serverLogger) Debugf(format string, args ...any)  { l.debugf(format, args...) }
func (l *serverLogger) Tracef(format string, args ...any)  { l.debugf(format, args...) }

func (l *serverLogger) debugf(format string, args ...any) {
	l.logger.Debug("log: " + fmt.Sprintf(format, args...))
}
