package sse

import (
	"log/slog"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLoopsThatDoNotStart leave nothing behind, and can be stopped. It is not parallel: it takes all descriptors away.
func TestLoopsThatDoNotStart(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	next := func() int {
		file, err := os.Open(os.DevNull)
		require.NoError(t, err)
		defer file.Close()
		return int(file.Fd())
	}
	free := next()
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	only := before
	only.Cur = uint64(free) + 1
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &only)) // one loop gets its descriptor, the other does not
	ls := newLoops(&Config{Logger: slog.New(slog.DiscardHandler)}, newAdmissions(Limits{}))
	started := ls.start()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))

	assert.False(t, started)
	assert.False(t, ls.start(), "it stays so: who has connected meanwhile has a goroutine")
	assert.Equal(t, free, next(), "no descriptor is left open")
	require.NoError(t, ls.shutdown(t.Context()))
}
