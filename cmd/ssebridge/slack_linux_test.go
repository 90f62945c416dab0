package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// TestConfigurationFromAPipe: what can be read once only is read once, on one core too.
func TestConfigurationFromAPipe(t *testing.T) {
	t.Setenv("GOMAXPROCS", "1")
	pipe := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	go func() { assert.NoError(t, os.WriteFile(pipe, []byte("window: {events: 7}\n"), 0o600)) }()
	bridge := startProcess(t, t.TempDir(), nil, "--config", pipe)
	publishNumbered(t, "http://"+bridge.internal, "a", 0, 9)
	require.Eventually(t, func() bool {
		return sample(scrape(t, "http://"+bridge.ops), "ssebridge_window_events") == "7"
	}, 10*time.Second, 10*time.Millisecond)
}
