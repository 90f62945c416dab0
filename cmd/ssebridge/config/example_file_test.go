package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// commentedOut is a key with its default in the example: a comment proper has a space behind the #.
var commentedOut = regexp.MustCompile(`(?m)^( *)#([a-z_]+:)`)

// TestExampleFile: the example loads; setting all that it shows as a default changes nothing, so that these are the
// defaults; and it has every key, each behind a comment.
func TestExampleFile(t *testing.T) {
	t.Parallel()
	const path = "../../../deploy/config.yaml"
	example, err := Load(path)
	require.NoError(t, err)
	assert.NotEmpty(t, example.Topics)

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	everything, err := Parse("everything.yaml", commentedOut.ReplaceAll(text, []byte("$1$2")))
	require.NoError(t, err)
	if len(everything.Schemas) == 0 {
		everything.Schemas = nil // the same as none
	}
	if len(everything.Public.TrustedProxies) == 0 {
		everything.Public.TrustedProxies = nil
	}
	assert.Equal(t, values(example), values(everything), "what is commented out is the default")

	lines := strings.Split(string(text), "\n")
	list := regexp.MustCompile(`\[[0-9]+\]`)
	places := map[string]int{} // line of the first mention of each key
	for key, at := range everything.origins {
		key = list.ReplaceAllString(key, "[]")
		if line, ok := places[key]; !ok || at.Line < line {
			places[key] = at.Line
		}
	}
	everyKey("", reflect.TypeFor[Config](), func(key string, field reflect.Type) {
		line, ok := places[key]
		if !assert.True(t, ok, "%s is missing", key) || field.Kind() == reflect.Struct || key == "issuers[].jwks_file" || key == "topics[].pattern" {
			return // a section begins in the line below its name; two stand below the comment of what is above them
		}
		name := key[strings.LastIndex(key, ".")+1:]
		for !strings.Contains(lines[line-1], name+":") {
			line-- // a list begins in the line below its name
		}
		assert.Regexp(t, `^( *- )? *# \S`, lines[line-2], "%s has a comment", key)
	})
}
