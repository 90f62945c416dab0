package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse: any text is a valid configuration or refused with places in the file, and what is valid stays valid and
// the same when it is read again.
func FuzzParse(f *testing.F) {
	for _, glob := range []string{"testdata/wrong/*.yaml", "../../../deploy/config.yaml"} {
		files, err := filepath.Glob(glob)
		require.NoError(f, err)
		require.NotEmpty(f, files, glob)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(f, err)
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f.yaml", text)
		if err != nil {
			assertPlaced(t, text, err)
			return
		}
		require.Empty(t, c.check())
		everyKey("", reflect.TypeFor[Config](), func(key string, _ reflect.Type) {
			require.Error(t, c.At(key, errors.New("x")))
		})
		again, err := Parse("f.yaml", text)
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}
