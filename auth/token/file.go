package token

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// filePause is how often a file of keys is read at most, and how often it is looked at. A key set is a few kilobytes:
// reading it finds every change, which its time and size would not.
const filePause = time.Second

// fileKeys are the keys of an issuer in a file.
type fileKeys struct {
	path string
	log  *slog.Logger // names the issuer
	set  atomic.Pointer[keySet]

	mu     sync.Mutex
	read   time.Time // when the file was read last
	text   []byte    // what it held then
	warned string    // what the last warning said, until the file can be used again
}

// openFile reads a file of keys for the first time.
func openFile(path string, log *slog.Logger) (*fileKeys, error) {
	f := &fileKeys{path: path, log: log, read: time.Now()}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	set, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	f.text = text
	f.set.Store(set)
	return f, nil
}

func (f *fileKeys) keys(context.Context) (*keySet, error) { return f.set.Load(), nil }

// renew reads the file again, unless that was done just now. Keys that were there stay where it cannot be used.
func (f *fileKeys) renew(context.Context) (*keySet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.read) < filePause {
		return f.set.Load(), nil
	}
	f.read = time.Now()
	text, err := os.ReadFile(f.path) //nolint:gosec // the operator names the file
	if err != nil {
		f.text = nil // what comes next is read, whatever it is
		f.warn(err)
		return f.set.Load(), nil
	}
	if bytes.Equal(text, f.text) {
		return f.set.Load(), nil
	}
	f.text = text
	set, err := parseKeys(text)
	if err != nil {
		f.warn(fmt.Errorf("%s %w", f.path, err))
		return f.set.Load(), nil
	}
	f.warned = ""
	f.set.Store(set)
	f.log.Info("keys of an issuer read again", "path", f.path, "keys", len(set.keys))
	return set, nil
}

func (f *fileKeys) warn(err error) {
	if err.Error() != f.warned {
		f.warned = err.Error()
		f.log.Warn("keys of an issuer not read again, those of before stay", "error", err)
	}
}

func (f *fileKeys) watch(ctx context.Context) {
	ticker := time.NewTicker(filePause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_, _ = f.renew(ctx) // logs what is wrong
		}
	}
}
