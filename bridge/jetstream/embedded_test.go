package jetstream

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestEmbeddedDirectory(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "new", "data")
	embedded := startEmbedded(t, directory)
	info, err := os.Stat(directory)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.Nil(t, embedded.server.Addr(), "no port is open")

	_, err = StartEmbedded(EmbeddedConfig{DataDir: directory, Logger: quiet})
	require.ErrorContains(t, err, "is used by another ssebridge")
	require.ErrorContains(t, err, directory)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d", os.Getpid()))

	require.NoError(t, embedded.Close())
	require.NoError(t, embedded.Close())
	startEmbedded(t, directory)
}

func TestEmbeddedRefuses(t *testing.T) {
	_, err := StartEmbedded(EmbeddedConfig{Logger: quiet})
	require.ErrorContains(t, err, "no data directory")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("garbage"), 0o600))
	_, err = StartEmbedded(EmbeddedConfig{DataDir: file, Logger: quiet})
	require.ErrorContains(t, err, "not a directory")

	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "jetstream"), []byte("garbage"), 0o600))
	_, err = StartEmbedded(EmbeddedConfig{DataDir: directory, Logger: quiet})
	require.ErrorContains(t, err, directory)
	require.ErrorContains(t, err, "storage directory is not a directory")

	require.NoError(t, os.Remove(filepath.Join(directory, "jetstream")))
	startEmbedded(t, directory) // the lock was given back
}

// A kill while the stream's limits are written leaves its description torn. The events must not be lost with it.
func TestEmbeddedRecoversTornDescription(t *testing.T) {
	directory := t.TempDir()
	embedded := startEmbedded(t, directory)
	log := open(t, embedded)
	storeMany(t, log, 1, 100)
	require.NoError(t, log.Close())
	require.NoError(t, embedded.Close())

	meta := filepath.Join(directory, "jetstream", "$G", "streams", "SSEBRIDGE", "meta.inf")
	require.NoError(t, os.WriteFile(meta, []byte(`{"name":"SSE`), 0o600))
	log = open(t, startEmbedded(t, directory))
	page, err := log.Read(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, page.Events, 100)
}

func TestEmbeddedRecoversTornIndex(t *testing.T) {
	directory := t.TempDir()
	embedded := startEmbedded(t, directory)
	log := open(t, embedded)
	places := storeMany(t, log, 1, 100)
	require.NoError(t, log.Close())
	require.NoError(t, embedded.Close())

	index := filepath.Join(directory, "jetstream", "$G", "streams", "SSEBRIDGE", "msgs", "index.db")
	require.NoError(t, os.WriteFile(index, []byte("garbage"), 0o600))
	log = open(t, startEmbedded(t, directory))
	require.NoError(t, log.Check(t.Context(), places[99]))
	page, err := log.Read(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, page.Events, 100)
}

// A damaged disk may take the end of the log. Nobody is to take what comes after it for what was there.
func TestEmbeddedWithDamagedBlock(t *testing.T) {
	directory := t.TempDir()
	embedded := startEmbedded(t, directory)
	log := open(t, embedded)
	places := storeMany(t, log, 1, 100)
	require.NoError(t, log.Close())
	require.NoError(t, embedded.Close())

	block := filepath.Join(directory, "jetstream", "$G", "streams", "SSEBRIDGE", "msgs", "1.blk")
	content, err := os.ReadFile(block)
	require.NoError(t, err)
	copy(content[len(content)/2:], "garbagegarbagegarbagegarbage")
	require.NoError(t, os.WriteFile(block, content, 0o600))

	log = open(t, startEmbedded(t, directory))
	bounds, err := log.Bounds(t.Context())
	require.NoError(t, err)
	left := bounds.Newest.Seq
	require.Less(t, left, uint64(100))
	require.NoError(t, log.Check(t.Context(), places[left-1]))
	require.ErrorIs(t, log.Check(t.Context(), places[99]), bridge.ErrCursorAhead)
	storeMany(t, log, 101, 100)
	for _, place := range places[left:] {
		require.ErrorIs(t, log.Check(t.Context(), place), bridge.ErrCursorUnknown)
	}
}
