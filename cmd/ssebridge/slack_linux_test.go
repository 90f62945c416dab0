package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTimersOnOneCore: every thread of a bridge with one core sleeps with a millisecond of slack; of a bridge with more
// cores, with what it was given.
func TestTimersOnOneCore(t *testing.T) {
	own, err := os.ReadFile("/proc/self/timerslack_ns")
	require.NoError(t, err)
	for cores, want := range map[string]string{"1": "1000000\n", "2": string(own)} {
		t.Setenv("GOMAXPROCS", cores)
		bridge := startProcess(t, t.TempDir(), nil)
		pid := bridge.command.Process.Pid
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		require.NoError(t, err)
		for _, thread := range threads {
			slack, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
			require.NoError(t, err)
			assert.Equal(t, want, string(slack), "GOMAXPROCS=%s, thread %s of %d", cores, thread.Name(), pid)
		}
	}
}
