package bridge_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestCursor(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bridge.Cursor{
		"0-1":             {Seq: 0, Time: 1},
		"184-10":          {Seq: 184, Time: 36},
		"1-1y2p0ij32e8e7": {Seq: 1, Time: math.MaxInt64},
	} {
		got, err := bridge.ParseCursor(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
		assert.Equal(t, text, got.String())
	}
	for _, text := range []string{
		"", "-", "1", "1-", "-1", "1-0", "0-0", "01-1", "1-01", "+1-1", "1-+1", "1--1", "1-A", "1-1-1", " 1-1", "1-1\n",
		"18446744073709551616-1", "1-1y2p0ij32e8e8", "a-1", "1-1zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
	} {
		_, err := bridge.ParseCursor(text)
		assert.ErrorContains(t, err, "not a cursor", "%q", text)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("184-10")
	f.Add("0-1")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := bridge.ParseCursor(text); err == nil {
			assert.Equal(t, text, c.String(), "one spelling only")
		}
	})
}
