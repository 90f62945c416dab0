package rule_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/rule"
)

// problems takes the error of Compile apart.
func problems(t *testing.T, err error) []*rule.Error {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok, "%T %v", err, err)
	var found []*rule.Error
	for _, err := range joined.Unwrap() {
		var problem *rule.Error
		require.ErrorAs(t, err, &problem)
		found = append(found, problem)
	}
	return found
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	const pattern = "shops/{shop}/{rest=**}"
	for _, test := range []struct {
		name         string
		declaration  rule.Declaration
		field        string
		line, column int
		message      []string
	}{
		{"empty pattern", rule.Declaration{}, "pattern", 0, 0, []string{"the pattern is empty: name one"}},
		{"bad character", rule.Declaration{Pattern: "a/b c"}, "pattern", 0, 0, []string{"segment 2", "' '", "allowed are"}},
		{"rest first", rule.Declaration{Pattern: "**/a"}, "pattern", 0, 0, []string{"segment 1", "only be the last"}},
		{"named rest first", rule.Declaration{Pattern: "a/{r=**}/b"}, "pattern", 0, 0, []string{"segment 2", `"{r=**}"`, "only be the last"}},
		{"too many segments", rule.Declaration{Pattern: strings.Repeat("{a}/", 1) + strings.Repeat("*/", 15) + "a"}, "pattern", 0, 0, []string{"17 segments", "at most 16"}},
		{"part of a segment", rule.Declaration{Pattern: "a/x{b}"}, "pattern", 0, 0, []string{"segment 2", "whole segment"}},
		{"not closed", rule.Declaration{Pattern: "a/{b"}, "pattern", 0, 0, []string{"segment 2", "whole segment"}},
		{"two in one", rule.Declaration{Pattern: "a/{b}{c}"}, "pattern", 0, 0, []string{"segment 2", "whole segment"}},
		{"no name", rule.Declaration{Pattern: "{}"}, "pattern", 0, 0, []string{"segment 1", "a name has letters"}},
		{"no identifier", rule.Declaration{Pattern: "{shop-id}"}, "pattern", 0, 0, []string{"segment 1", "a name has letters"}},
		{"digit first", rule.Declaration{Pattern: "{7}"}, "pattern", 0, 0, []string{"does not begin with a digit"}},
		{"reserved word", rule.Declaration{Pattern: "a/{package}"}, "pattern", 0, 0, []string{"package is a reserved word of CEL"}},
		{"literal", rule.Declaration{Pattern: "a/{true}"}, "pattern", 0, 0, []string{"true is a reserved word of CEL"}},
		{"name", rule.Declaration{Pattern: "a/{name}"}, "pattern", 0, 0, []string{"topic.name is the whole topic"}},
		{"name taken", rule.Declaration{Pattern: "{a}/b/{a}"}, "pattern", 0, 0, []string{"segment 3", "the name is taken"}},
		{"other wildcard", rule.Declaration{Pattern: "{a=*}"}, "pattern", 0, 0, []string{"write {a} for one segment, {a=**} for the rest"}},
		{"long name", rule.Declaration{Pattern: "{" + strings.Repeat("a", 129) + "}"}, "pattern", 0, 0, []string{"at most 128"}},

		{"type", rule.Declaration{Pattern: "a", Types: []string{"shop.v1.*", "shop.*.v1"}}, "types", 0, 0, []string{`"shop.*.v1"`, "use the full name"}},
		{"any type", rule.Declaration{Pattern: "a", Types: []string{"*"}}, "types", 0, 0, []string{`"*"`, "use the full name"}},
		{"type URL", rule.Declaration{Pattern: "a", Types: []string{"type.googleapis.com/a.B"}}, "types", 0, 0, []string{"use the full name"}},
		{"source", rule.Declaration{Pattern: "a", Source: "/a b"}, "source", 0, 0, []string{"URI reference", "/shop/orders"}},
		{"source escape", rule.Declaration{Pattern: "a", Source: "/%zz"}, "source", 0, 0, []string{"URI reference"}},

		{"misspelt variable of the pattern", rule.Declaration{Pattern: pattern, Subscribe: `topic.shopp == "7"`}, "subscribe", 1, 6, []string{"undeclared reference to 'topic", "this rule knows auth.kind", "topic.shop", "topic.rest", "granted(list)"}},
		{"misspelt variable", rule.Declaration{Pattern: pattern, Publish: "true &&\n  auth.subject == \"a\""}, "publish", 2, 7, []string{"undeclared reference to 'auth.subject'", "did you mean 'auth.sub'?", "this rule knows", "type and the standard"}},
		{"misspelt in a branch that is never taken", rule.Declaration{Pattern: pattern, Publish: `true || auth.admin`}, "publish", 1, 9, []string{"undeclared reference"}},
		{"bare variable", rule.Declaration{Pattern: pattern, Publish: `shop == "7"`}, "publish", 1, 1, []string{"undeclared reference to 'shop'"}},
		{"type in a subscribe rule", rule.Declaration{Pattern: pattern, Subscribe: `type == "a"`}, "subscribe", 1, 6, []string{"no matching overload", "type is known to publish rules only"}},
		{"granted in a publish rule", rule.Declaration{Pattern: pattern, Publish: `granted(["a"])`}, "publish", 1, 8, []string{"undeclared reference to 'granted'"}},
		{"granted of no list", rule.Declaration{Pattern: pattern, Subscribe: `granted(topic.shop)`}, "subscribe", 1, 8, []string{"no matching overload for 'granted'"}},
		{"granted of numbers", rule.Declaration{Pattern: pattern, Subscribe: `granted([1])`}, "subscribe", 1, 8, []string{"no matching overload for 'granted'"}},
		{"syntax", rule.Declaration{Pattern: pattern, Subscribe: `topic.shop ==`}, "subscribe", 1, 14, []string{"Syntax error"}},
		{"not bool", rule.Declaration{Pattern: pattern, Subscribe: `topic.shop`}, "subscribe", 0, 0, []string{"of type string, not bool"}},
		{"perhaps bool", rule.Declaration{Pattern: pattern, Subscribe: `auth.claims.admin`}, "subscribe", 0, 0, []string{"of type dyn, not bool: compare it"}},
		{"compared with a number", rule.Declaration{Pattern: pattern, Subscribe: `topic.shop == 7`}, "subscribe", 1, 12, []string{"no matching overload for '_==_' applied to '(string, int)'"}},
		{"regular expression", rule.Declaration{Pattern: pattern, Subscribe: `topic.shop.matches("(")`}, "subscribe", 1, 20, []string{"regular expression of RE2"}},
		{"large regular expression", rule.Declaration{Pattern: pattern, Subscribe: `topic.shop.matches("((a{50}){50}){9}")`}, "subscribe", 1, 20, []string{"at most 1000 instructions"}},
		{"long rule", rule.Declaration{Pattern: pattern, Subscribe: strings.Repeat(" ", 10_001) + "true"}, "subscribe", 0, 0, []string{"size"}},
		{"deep rule", rule.Declaration{Pattern: pattern, Subscribe: strings.Repeat("(", 4_000) + "true" + strings.Repeat(")", 4_000)}, "subscribe", 0, 0, []string{"recursion"}},
		{"publish to a reserved topic", rule.Declaration{Pattern: "$bridge/**", Publish: "true"}, "publish", 0, 0, []string{"belong to the bridge", "remove the rule"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set, err := rule.Compile([]rule.Declaration{{Pattern: "zz"}, test.declaration})
			assert.Nil(t, set)
			found := problems(t, err)
			require.Len(t, found, 1, "%v", err)
			assert.Equal(t, 1, found[0].Index)
			assert.Equal(t, test.field, found[0].Field)
			if test.line > 0 || test.field != "subscribe" {
				assert.Equal(t, fmt.Sprint(test.line, ":", test.column), fmt.Sprint(found[0].Line, ":", found[0].Column), "%v", err)
			}
			for _, part := range test.message {
				assert.Contains(t, err.Error(), part)
			}
			assert.True(t, strings.HasPrefix(err.Error(), "declaration 1: "+test.field), "%v", err)
		})
	}
}

func TestCompileNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := rule.Compile([]rule.Declaration{
		{Pattern: "a//b", Types: []string{"!"}, Source: "\x00", Publish: "1"}, // the rules wait for a pattern
		{Pattern: "ok", Publish: "1", Subscribe: "auth.x || auth.y"},
		{Pattern: "fine", Subscribe: "true"},
		{Pattern: "fine"},
	})
	var got []string
	for _, problem := range problems(t, err) {
		got = append(got, fmt.Sprint(problem.Index, " ", problem.Field, " ", problem.Column))
	}
	assert.Equal(t, []string{"0 pattern 0", "0 types 0", "0 source 0", "1 publish 0", "1 subscribe 1", "1 subscribe 11", "3 pattern 0"}, got)
}

func TestCompileRefusesWhatGovernsNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		above, below string
		refused      bool
	}{
		{"public/**", "public/staff/**", true},
		{"a/{b}", "a/{c}", true},
		{"{a}/{b=**}", "**", true},
		{"**", "a", true},
		{"public/staff/**", "public/**", false},
		{"**", "$a", false},
		{"a/*", "a/**", false},
	} {
		_, err := rule.Compile([]rule.Declaration{{Pattern: "!"}, {Pattern: test.above}, {Pattern: test.below}})
		found := problems(t, err)
		if !test.refused {
			assert.Len(t, found, 1, "%s above %s", test.above, test.below)
			continue
		}
		require.Len(t, found, 2, "%s above %s", test.above, test.below)
		assert.Equal(t, 2, found[1].Index)
		assert.Contains(t, found[1].Message, "declaration 1 ("+test.above+") matches all of its topics")
	}
}

func TestCompileOfNothing(t *testing.T) {
	t.Parallel()
	set, err := rule.Compile(nil)
	require.NoError(t, err)
	assert.Equal(t, rule.Decision{}, set.Publish(nil, "a", "b.C"))
	assert.False(t, set.Subscribe(nil, parse(t, "**")))
	assert.False(t, set.Subscribe(nil, parse(t, "a")))
	assert.Empty(t, set.Declared("a"))
}
