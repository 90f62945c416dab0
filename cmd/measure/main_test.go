package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParsePlan(t *testing.T) {
	t.Parallel()
	p, err := parsePlan(nil, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, plan{parts: []string{"rows", "stages", "growth"}, count: 5}, p)
	assert.Equal(t, "go run ./cmd/measure", p.command())
	p, err = parsePlan([]string{"-only", "growth,rows", "-count", "3"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, plan{parts: []string{"growth", "rows"}, count: 3}, p)
	assert.Equal(t, "go run ./cmd/measure -count 3", p.command())
	p, err = parsePlan([]string{"-quick"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, 1, p.count)
	assert.Equal(t, "go run ./cmd/measure -quick", p.command())
	for argument, message := range map[string]string{
		"-only=rows,topics": `-only "rows,topics": use rows, stages and growth`,
		"-count=0":          "-count 0: use 1 to 100",
		"fast":              `"fast": there are no arguments`,
		"-slow":             "flag provided but not defined",
	} {
		_, err := parsePlan([]string{argument}, io.Discard)
		assert.ErrorContains(t, err, message)
	}
}

// TestReadmeHasMarkers: what is measured has a place in the README of this repository.
func TestReadmeHasMarkers(t *testing.T) {
	t.Parallel()
	root, err := findRoot(t.Context())
	require.NoError(t, err)
	text, err := placeOf(root, false).readme()
	require.NoError(t, err)
	_, err = replaceSection(text, "")
	assert.NoError(t, err)
}

// TestPlace: what is written is read again; a part that was not measured stays, and so does the rest of the README.
func TestPlace(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "cmd", "measure"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "README.md"), []byte("above\n<!-- measured:begin -->\nold\n<!-- measured:end -->\nbelow\n"), 0o600))
	place := placeOf(root, false)
	kept, err := place.load()
	require.NoError(t, err)
	assert.Equal(t, &results{}, kept)
	made := sampleResults()
	require.NoError(t, place.write(made))
	kept, err = place.load()
	require.NoError(t, err)
	assert.Equal(t, made, kept)
	readme, err := os.ReadFile(place.document)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(readme), "above\n<!-- measured:begin -->\n`ssebridge serve --dev` with an empty log"))
	assert.True(t, strings.HasSuffix(string(readme), "\n<!-- measured:end -->\nbelow\n"))
	assert.NotContains(t, string(readme), "old")
	assert.Contains(t, string(readme), "](cmd/measure/growth.svg)")
	assert.FileExists(t, place.picture)
	require.NoError(t, place.write(kept))
	again, err := os.ReadFile(place.document)
	require.NoError(t, err)
	assert.Equal(t, string(readme), string(again))

	quick := placeOf(root, true)
	require.NoError(t, quick.write(&results{}))
	after, err := os.ReadFile(place.document)
	require.NoError(t, err)
	assert.Equal(t, string(readme), string(after), "-quick leaves the README alone")
	assert.FileExists(t, filepath.Join(root, "dist", "measure-quick", "README.md"))

	require.NoError(t, os.WriteFile(place.data, []byte("{"), 0o600))
	_, err = place.load()
	assert.ErrorContains(t, err, "results.json: unexpected end of JSON input: mend it, or delete it")
}
