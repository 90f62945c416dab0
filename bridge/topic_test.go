package bridge_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func TestValidateTopic(t *testing.T) {
	t.Parallel()
	segment128 := strings.Repeat("a", 128)
	for _, topic := range []string{
		"a", "shops/7/orders/42", "A-Z_a.z~0:9@x=y", "$ssebridge/log", "...", "a/.../b",
		strings.Repeat("a/", 15) + "a", segment128,
		segment128 + "/" + segment128 + "/" + segment128 + "/" + strings.Repeat("a", 125),
	} {
		assert.NoError(t, bridge.ValidateTopic(topic), topic)
	}
	for topic, want := range map[string]string{
		"":                             "empty",
		"/":                            "segment 1 of the topic is empty",
		"/a":                           "segment 1 of the topic is empty",
		"a/":                           "segment 2 of the topic is empty",
		"a//b":                         "segment 2 of the topic is empty",
		".":                            `segment 1 of the topic is "."`,
		"a/..":                         `segment 2 of the topic is ".."`,
		"a/*":                          "wildcards",
		"**":                           "wildcards",
		"a/b*":                         `has the character '*'`,
		"a b":                          `has the character ' '`,
		"a/$b":                         `has the character '$'`,
		"a$":                           `has the character '$'`,
		"ä":                            `has the character 'ä'`,
		"a\nb":                         `has the character '\n'`,
		"a\x00b":                       `has the character '\x00'`,
		"a\xffb":                       `has the character`,
		"a%2Fb":                        `has the character '%'`,
		"{shop}":                       `has the character '{'`,
		strings.Repeat("a/", 16) + "a": "17 segments",
		segment128 + "a":               "129 characters",
		strings.Repeat("a", 513):       "513 bytes",
	} {
		assert.ErrorContains(t, bridge.ValidateTopic(topic), want, "%q", topic)
	}
}

func TestPatternMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern      string
		match, other []string
	}{
		{"a/b", []string{"a/b"}, []string{"a", "a/b/c", "A/b", "a/bb"}},
		{"*", []string{"a"}, []string{"a/b", "$a"}},
		{"$a/*", []string{"$a/b"}, []string{"$b/b", "a/b"}},
		{"*/b", []string{"a/b"}, []string{"$a/b"}},
		{"a/*", []string{"a/b"}, []string{"a", "a/b/c", "b/b"}},
		{"a/*/c", []string{"a/b/c"}, []string{"a/c", "a/b", "a/b/b/c"}},
		{"**", []string{"a", "a/b/c"}, []string{"$a", "$a/b"}},
		{"a/**", []string{"a", "a/b", "a/b/c"}, []string{"b", "ab", "aa/b"}},
		{"*/b/**", []string{"a/b", "a/b/c"}, []string{"a", "a/c", "b"}},
	} {
		p, err := bridge.ParsePattern(test.pattern)
		require.NoError(t, err)
		assert.Equal(t, test.pattern, p.String())
		for _, topic := range test.match {
			assert.True(t, p.Matches(topic), "%s matches %s", test.pattern, topic)
		}
		for _, topic := range test.other {
			assert.False(t, p.Matches(topic), "%s matches %s", test.pattern, topic)
		}
	}
	for _, text := range []string{"", "**/a", "a/**/b", "a*", "***", "a/", "/*", "*/..", "{shop}"} {
		_, err := bridge.ParsePattern(text)
		assert.Error(t, err, text)
	}
	assert.False(t, bridge.Pattern{}.Matches("a"), "the zero value matches nothing")
}

func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"a/b", "*", "a/**", "a/*/c", "$a", "a//b", "a/..", "ä"} {
		f.Add(seed, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, pattern, topic string) {
		p, err := bridge.ParsePattern(pattern)
		if err != nil {
			return
		}
		topicErr := bridge.ValidateTopic(pattern)
		assert.Equal(t, p.Exact(), topicErr == nil, "a pattern without wildcards is a topic")
		if topicErr == nil {
			assert.True(t, p.Matches(pattern))
		}
		if bridge.ValidateTopic(topic) == nil {
			p.Matches(topic)
			everything, err := bridge.ParsePattern("**")
			require.NoError(t, err)
			assert.Equal(t, !bridge.ReservedTopic(topic), everything.Matches(topic))
		}
	})
}
