package jetstream

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

const lockFile = "ssebridge.lock"

// lockDirectory makes sure that this is the only process that uses a data directory: two servers on one log would
// destroy it. The system gives the lock free when the process ends, however it ends. The file stays.
func lockDirectory(directory string) (*flock.Flock, error) {
	path := filepath.Join(directory, lockFile)
	lock := flock.New(path, flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !locked {
		return nil, fmt.Errorf("data directory %s is used by another ssebridge (%s): stop it, or name another directory",
			directory, lockOwner(path))
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		_ = lock.Unlock()
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return lock, nil
}

// lockOwner tells an operator which process to look at.
func lockOwner(path string) string {
	content, err := os.ReadFile(path) //nolint:gosec // the lock file in the configured directory
	pid := strings.TrimSpace(string(content))
	if _, notNumber := strconv.Atoi(pid); err != nil || notNumber != nil {
		return "its pid is unknown"
	}
	return "pid " + pid
}
