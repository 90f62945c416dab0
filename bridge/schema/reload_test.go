package schema

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/ssebridge/ssebridge/bridge"
)

// setOf serializes a set with one empty message.
func setOf(t *testing.T, pkg, name string) []byte {
	t.Helper()
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String(pkg + ".proto"), Package: proto.String(pkg),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String(name)}},
	}}})
	require.NoError(t, err)
	return data
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

func knows(t *testing.T, e bridge.Encoder, name string) bool {
	t.Helper()
	_, err := e.Encode(name, nil)
	return err == nil
}

func TestReload(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a.binpb")
	put(t, path, setOf(t, "a", "One"))
	var logged bytes.Buffer
	r, err := Open([]string{filepath.Join(folder, "*.binpb")}, slog.New(slog.NewTextHandler(&logged, nil)))
	require.NoError(t, err)
	e, err := r.Encoder(setOf(t, "mine", "Mine"))
	require.NoError(t, err)
	assert.True(t, knows(t, e, "a.One"))

	before := r.files.Load()
	r.reload()
	assert.Same(t, before, r.files.Load(), "nothing has changed")

	put(t, path, setOf(t, "a", "Second"))
	r.reload()
	assert.True(t, knows(t, e, "a.Second"), "an open stream sees the new version")
	assert.False(t, knows(t, e, "a.One"))
	assert.True(t, knows(t, e, "mine.Mine"))

	put(t, filepath.Join(folder, "b.binpb"), setOf(t, "b", "B"))
	r.reload()
	assert.True(t, knows(t, e, "b.B"), "a new file is picked up")
	assert.Equal(t, 2, strings.Count(logged.String(), "level=INFO"))

	logged.Reset()
	put(t, path, []byte("half a fi"))
	r.reload()
	r.reload()
	assert.True(t, knows(t, e, "a.Second"), "the types of before stay")
	assert.Equal(t, 1, strings.Count(logged.String(), "level=WARN"), "one warning for each change")
	assert.Contains(t, logged.String(), path)
	put(t, path, []byte("half a file"))
	r.reload()
	assert.Equal(t, 2, strings.Count(logged.String(), "level=WARN"))

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Remove(filepath.Join(folder, "b.binpb")))
	r.reload()
	r.reload()
	assert.True(t, knows(t, e, "b.B"))
	assert.Equal(t, 3, strings.Count(logged.String(), "level=WARN"))
	assert.Contains(t, logged.String(), "matches no file")
	put(t, path, setOf(t, "a", "Third"))
	r.reload()
	assert.True(t, knows(t, e, "a.Third"))
	assert.False(t, knows(t, e, "b.B"))
}

// The kubelet writes a new folder and renames a link to it over the link of before; sizes and times may be the same.
func TestReloadConfigMap(t *testing.T) {
	folder := t.TempDir()
	stamp := time.Unix(1_700_000_000, 0)
	version := func(folderName, message string) {
		path := filepath.Join(folder, folderName, "a.binpb")
		put(t, path, setOf(t, "a", message))
		require.NoError(t, os.Chtimes(path, stamp, stamp))
		require.NoError(t, os.Symlink(folderName, filepath.Join(folder, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	}
	version("..2026_01", "One")
	require.NoError(t, os.Symlink(filepath.Join("..data", "a.binpb"), filepath.Join(folder, "a.binpb")))
	r, err := Open([]string{filepath.Join(folder, "*.binpb")}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	e, err := r.Encoder(nil)
	require.NoError(t, err)
	assert.True(t, knows(t, e, "a.One"))
	version("..2026_02", "Two")
	r.reload()
	assert.True(t, knows(t, e, "a.Two"))
}

// What cannot be read for now is tried again without a change, with one warning.
func TestReloadPassingError(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a.binpb")
	put(t, path, setOf(t, "a", "One"))
	var logged bytes.Buffer
	r, err := Open([]string{path}, slog.New(slog.NewTextHandler(&logged, nil)))
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o700))
	for range 3 {
		r.reload()
	}
	assert.Equal(t, 1, strings.Count(logged.String(), "level=WARN"))
	assert.NotEqual(t, fingerprint(r.globs), r.seen)
}

func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.binpb")
	put(t, path, setOf(t, "a", "One"))
	synctest.Test(t, func(t *testing.T) {
		r, err := Open([]string{path}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		e, err := r.Encoder(nil)
		require.NoError(t, err)
		go r.Watch(t.Context(), time.Minute)
		go r.Watch(t.Context(), 0)
		put(t, path, setOf(t, "a", "Second"))
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		assert.True(t, knows(t, e, "a.One"))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.True(t, knows(t, e, "a.Second"))
	})
}

func TestCache(t *testing.T) {
	var c schemaCache
	data := setOf(t, "a", "A")
	first, err := c.get(data)
	require.NoError(t, err)
	again, err := c.get(bytes.Clone(data))
	require.NoError(t, err)
	assert.Same(t, first, again, "the same bytes share one")
	_, err = c.get([]byte("no set"))
	require.Error(t, err)
	assert.Len(t, c.entries, 1, "what is refused is not kept")

	// Schemas that are as large as allowed, then the first one is gone and the memory is bounded.
	cost := c.cost
	for i := range 5 {
		c.add(&cachedSchema{key: [32]byte{byte(i)}, known: &catalog{}, cost: schemaBudget})
		assert.LessOrEqual(t, c.cost, cacheBudget)
	}
	assert.Nil(t, c.lookup([32]byte{0}))
	assert.Len(t, c.entries, c.recent.Len())
	renewed, err := c.get(data)
	require.NoError(t, err)
	assert.NotSame(t, first, renewed)
	assert.Positive(t, cost)
	for i := range 1000 {
		_, err := c.get(setOf(t, "a", fmt.Sprint("A", i)))
		require.NoError(t, err)
	}
	assert.NotNil(t, c.lookup([32]byte{4}), "small ones fit beside it")
}
