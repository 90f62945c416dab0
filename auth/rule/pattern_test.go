package rule

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/bridge"
)

func take(t testing.TB, text string) pattern {
	t.Helper()
	p, err := bridge.ParsePattern(text)
	require.NoError(t, err)
	return newPattern(p)
}

// TestLimitsOfTheGrammar is what the oracle's small world does not have: patterns so long that the limits of topics
// decide.
func TestLimitsOfTheGrammar(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 128)
	for _, test := range []struct {
		p, q               string
		covers, intersects bool
	}{
		{long + "/" + long + "/*/*", "*/*/" + long + "/" + strings.Repeat("b", 125), false, true},   // 512 bytes
		{long + "/" + long + "/*/*", "*/*/" + long + "/" + strings.Repeat("b", 126), false, false},  // 513 bytes
		{long + "/" + long + "/**", "*/*/" + long + "/" + strings.Repeat("b", 126), false, false},   // likewise
		{long + "/" + long + "/" + long + "/**", "*/*/*/" + strings.Repeat("b", 125), false, true},  // 512 bytes
		{long + "/" + long + "/" + long + "/**", "*/*/*/" + strings.Repeat("b", 126), false, false}, // 513 bytes
		{strings.Repeat("*/", 15) + "**", strings.Repeat("a/", 14) + "**", false, true},             // 15 or 16 against 14 to 16
		{strings.Repeat("a/", 14) + "**", strings.Repeat("a/", 15) + "**", true, true},              // 14 to 16 against 15 or 16
		{strings.Repeat("a/", 15) + "**", strings.Repeat("a/", 15) + "a", true, true},               // the longest
		{strings.Repeat("a/", 15) + "*", strings.Repeat("a/", 15) + "**", false, true},              // 16 against 15 or 16
		{"**", "*/**", true, true},
		{"*/**", "**", true, true}, // a topic has at least one segment
		{"*", "**", false, true},
		{"**", "$a", false, false},
		{"$a/**", "**", false, false},
		{"a/b", "A/b", false, false},
	} {
		p, q := take(t, test.p), take(t, test.q)
		assert.Equal(t, test.covers, p.covers(q), "%s covers %s", test.p, test.q)
		assert.Equal(t, test.intersects, p.intersects(q), "%s intersects %s", test.p, test.q)
		assert.Equal(t, test.intersects, q.intersects(p), "%s intersects %s", test.q, test.p)
	}
}

// FuzzCoverage holds covers and intersects to what bridge.Pattern matches. A pattern is covered exactly if the topics
// are that come from it with a segment that neither pattern names for each wildcard, and none or one for the rest.
func FuzzCoverage(f *testing.F) {
	for _, seed := range [][2]string{
		{"a/*", "a/**"}, {"**", "*"}, {"*/**", "**"}, {"$a/**", "$a/*/b"}, {"*/b/**", "a/*/c"}, {"a/b", "a/b"}, {"*", "$a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		bp, err := bridge.ParsePattern(first)
		if err != nil {
			return
		}
		bq, err := bridge.ParsePattern(second)
		if err != nil {
			return
		}
		p, q := newPattern(bp), newPattern(bq)
		covered := true
		for _, topic := range witnesses(p, q) {
			require.True(t, bq.Matches(topic), "%s matches %s", bq, topic)
			require.NoError(t, bridge.ValidateTopic(topic))
			covered = covered && bp.Matches(topic)
			if bp.Matches(topic) {
				assert.True(t, p.intersects(q), "%s and %s match %s", bp, bq, topic)
			}
		}
		assert.Equal(t, covered, p.covers(q), "%s covers %s", bp, bq)
		if meeting := meet(p, q); meeting != "" {
			both := bp.Matches(meeting) && bq.Matches(meeting) && bridge.ValidateTopic(meeting) == nil
			assert.Equal(t, both, p.intersects(q), "%s intersects %s at %s", bp, bq, meeting)
		} else {
			assert.False(t, p.intersects(q), "%s intersects %s", bp, bq)
		}
		assert.Equal(t, p.intersects(q), q.intersects(p))
		if p.covers(q) {
			assert.True(t, p.intersects(q))
		}
	})
}

// witnesses are topics of q, as far from p as they can be.
func witnesses(p, q pattern) (topics []string) {
	fresh := ""
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij" {
		if fresh = string(c); !slices.Contains(p.segments, fresh) && !slices.Contains(q.segments, fresh) {
			break
		}
	}
	segments := slices.Clone(q.segments)
	for i, segment := range segments {
		if segment == anySegment {
			segments[i] = fresh
		}
	}
	topics = append(topics, strings.Join(segments, "/"))
	if q.rest {
		topics = append(topics, strings.Join(append(segments, fresh), "/"))
	}
	return topics
}

// meet is the shortest that both could match, as text that need not be a topic; empty where their literals differ.
func meet(p, q pattern) string {
	n := max(len(p.segments), len(q.segments))
	segments := make([]string, n)
	for i := range segments {
		segments[i] = "x"
		for _, side := range []pattern{p, q} {
			if i < len(side.segments) && side.segments[i] != anySegment {
				if segments[i] != "x" && segments[i] != side.segments[i] {
					return ""
				}
				segments[i] = side.segments[i]
			}
		}
	}
	return strings.Join(segments, "/")
}

// FuzzParsePattern: a declared pattern is refused with a place and a fix, or is a pattern whose names have values in
// every topic that it matches.
func FuzzParsePattern(f *testing.F) {
	for _, seed := range []string{"a/{b}/{c=**}", "{a}", "{a=**}", "{name}", "{if}", "{a}/{a}", "{a=*}", "{", "}", "{}", "**", "$a/{b}", "a//b", "{ä}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, captures, err := parsePattern(text)
		if err != nil {
			assert.Contains(t, err.Error(), "the pattern ")
			return
		}
		_, err = Compile([]Declaration{{Pattern: text, Subscribe: "true"}})
		require.NoError(t, err)
		for _, topic := range witnesses(p, p) {
			require.NoError(t, bridge.ValidateTopic(topic))
			x := newIndex()
			x.add(p, 0)
			_, found := x.find(topic)
			require.True(t, found, topic)
			for _, c := range captures {
				value := c.value(topic)
				segments := strings.Split(topic, "/")
				if c.rest {
					assert.Equal(t, strings.Join(segments[min(c.segment, len(segments)):], "/"), value)
				} else {
					assert.Equal(t, segments[c.segment], value)
				}
				exact, known := c.requested(take(t, topic))
				assert.True(t, known)
				assert.Equal(t, value, exact, "a topic is a pattern that leaves nothing open")
			}
		}
	})
}
