package rule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/auth/rule"
	"github.com/ssebridge/ssebridge/bridge"
)

// The oracle knows the contract and no cleverness: it tries all topics of a small world. Patterns have the segments a,
// b and wildcards, three of them at most; topics have up to four, and c as well, which stands for everything that no
// pattern names. Where a pattern of this form matches anything of a kind, it does so in this world.

func join(first, then []string) []string {
	all := slices.Clone(then)
	for _, a := range first {
		for _, b := range then {
			if !strings.HasPrefix(b, "$") {
				all = append(all, a+"/"+b)
			}
		}
	}
	return all
}

func world() (topics []string) {
	deeper := []string{"a", "b", "c"}
	for range 3 {
		deeper = join([]string{"a", "b", "c"}, deeper)
		slices.Sort(deeper)
		deeper = slices.Compact(deeper)
	}
	topics = append(topics, deeper...)
	for _, reserved := range []string{"$r", "$s"} {
		topics = append(topics, reserved)
		for _, topic := range deeper {
			if strings.Count(topic, "/") < 3 {
				topics = append(topics, reserved+"/"+topic)
			}
		}
	}
	return topics
}

func patterns(t testing.TB) (all []bridge.Pattern) {
	t.Helper()
	first, next := []string{"a", "b", "*", "$r"}, []string{"a", "b", "*"}
	texts := slices.Clone(first)
	for _, x := range first {
		for _, y := range next {
			texts = append(texts, x+"/"+y)
			for _, z := range next {
				texts = append(texts, x+"/"+y+"/"+z)
			}
		}
	}
	for _, text := range slices.Clone(texts) {
		texts = append(texts, text+"/**")
	}
	for _, text := range append(texts, "**") {
		all = append(all, parse(t, text))
	}
	return all
}

// named gives the wildcards of a pattern names, most of the time.
func named(r *rand.Rand, pattern string) string {
	segments := strings.Split(pattern, "/")
	names := []string{"x", "y", "z"}
	for i, segment := range segments {
		if r.IntN(5) == 0 {
			continue
		}
		switch segment {
		case "*":
			segments[i] = "{" + names[i%3] + "}"
		case "**":
			segments[i] = "{rest=**}"
		}
	}
	return strings.Join(segments, "/")
}

// bind returns the value of each name of a declared pattern in a topic or pattern. What a wildcard leaves open is not
// there.
func bind(declared, requested string) map[string]string {
	values := map[string]string{"name": requested}
	if strings.Contains(requested, "*") {
		delete(values, "name")
	}
	have := strings.Split(requested, "/")
	open := have[len(have)-1] == "**"
	for i, segment := range strings.Split(declared, "/") {
		name, isVariable := strings.CutPrefix(strings.TrimSuffix(segment, "}"), "{")
		if !isVariable {
			continue
		}
		if name == "rest=**" {
			rest := strings.Join(have[min(i, len(have)):], "/")
			if !open && !strings.Contains(rest, "*") {
				values["rest"] = rest
			}
		} else if i < len(have) && !strings.HasPrefix(have[i], "*") {
			values[name] = have[i]
		}
	}
	return values
}

var claims = map[string]any{
	"l": []any{"a", "c", 7.0}, "m": map[string]any{"a": "a", "b": map[string]any{"a": true}},
	"g": []any{"a/*", "b/**", "*/a/a", "//", 1.0}, "h": []any{"a/a", "b/*/**"},
}

// shape is a rule and what the contract says about it. The names known are those that have a value.
type shape struct {
	text  string
	needs []string // names that the pattern must have
	holds func(known map[string]string, requested bridge.Pattern) bool
}

func covered(topics []string, list any) func(map[string]string, bridge.Pattern) bool {
	return func(_ map[string]string, requested bridge.Pattern) bool {
		for _, entry := range list.([]any) {
			text, ok := entry.(string)
			grant, err := bridge.ParsePattern(text)
			if ok && err == nil && covers(topics, grant, requested) {
				return true
			}
		}
		return false
	}
}

func covers(topics []string, p, q bridge.Pattern) bool {
	return !slices.ContainsFunc(topics, func(topic string) bool { return q.Matches(topic) && !p.Matches(topic) })
}

func intersects(topics []string, p, q bridge.Pattern) bool {
	return slices.ContainsFunc(topics, func(topic string) bool { return q.Matches(topic) && p.Matches(topic) })
}

func shapes(t testing.TB, topics []string) []shape {
	t.Helper()
	type values = map[string]string
	always := func(answer bool) func(values, bridge.Pattern) bool {
		return func(values, bridge.Pattern) bool { return answer }
	}
	known := func(name string, want ...string) func(values, bridge.Pattern) bool {
		return func(v values, _ bridge.Pattern) bool {
			value, ok := v[name]
			return ok && slices.Contains(want, value)
		}
	}
	all := []shape{
		{"", nil, always(false)},
		{"true", nil, always(true)},
		{"false", nil, always(false)},
		{`auth.claims.missing == "a"`, nil, always(false)},
		{`topic.name.startsWith("a/")`, nil, func(v values, _ bridge.Pattern) bool { return strings.HasPrefix(v["name"], "a/") }},
		{`granted(auth.claims.g)`, nil, covered(topics, claims["g"])},
		{`granted(auth.claims.h)`, nil, covered(topics, claims["h"])},
		{`!granted(auth.claims.h)`, nil, func(_ values, requested bridge.Pattern) bool {
			return !slices.ContainsFunc(claims["h"].([]any), func(grant any) bool {
				return intersects(topics, parse(t, grant.(string)), requested)
			})
		}},
		{`topic.rest == ""`, []string{"rest"}, known("rest", "")},
		{`topic.rest == "a" || topic.rest == "a/b"`, []string{"rest"}, known("rest", "a", "a/b")},
	}
	for _, name := range []string{"x", "y", "z"} {
		all = append(all,
			shape{`topic.` + name + ` == "a"`, []string{name}, known(name, "a")},
			shape{`topic.` + name + ` != "a"`, []string{name}, known(name, "b", "c", "$r", "$s")},
			shape{`topic.` + name + ` in auth.claims.l`, []string{name}, known(name, "a", "c")},
			shape{`auth.claims.m[topic.` + name + `] == "a"`, []string{name}, known(name, "a")})
	}
	return all
}

// fits reports whether a declared pattern has the names.
func fits(declared string, needs []string) bool {
	return !slices.ContainsFunc(needs, func(name string) bool {
		return !strings.Contains(declared, "{"+name+"}") && !strings.Contains(declared, "{"+name+"=")
	})
}

// plain turns a declared pattern into one without names.
func plain(t testing.TB, declared string) bridge.Pattern {
	t.Helper()
	segments := strings.Split(declared, "/")
	for i, segment := range segments {
		if strings.HasSuffix(segment, "=**}") {
			segments[i] = "**"
		} else if strings.HasPrefix(segment, "{") {
			segments[i] = "*"
		}
	}
	return parse(t, strings.Join(segments, "/"))
}

// declared makes a few declarations, none below one that covers it, whose rules are made by rules.
func declared(t testing.TB, r *rand.Rand, topics []string, from []bridge.Pattern, rules func(pattern string) string) (list []rule.Declaration, plains []bridge.Pattern) {
	t.Helper()
	for range 1 + r.IntN(4) {
		pattern := from[r.IntN(len(from))]
		if slices.ContainsFunc(plains, func(p bridge.Pattern) bool { return covers(topics, p, pattern) }) {
			continue
		}
		text := named(r, pattern.String())
		list = append(list, rule.Declaration{Pattern: text, Subscribe: rules(text)})
		plains = append(plains, plain(t, text))
	}
	return list, plains
}

// TestOracle compares every answer for every pattern and topic of the world with the contract: both that what is
// allowed may be, and that what the contract allows is.
func TestOracle(t *testing.T) {
	t.Parallel()
	topics, all := world(), patterns(t)
	kinds := shapes(t, topics)
	p := &auth.Principal{Claims: claims}
	allowed := map[bool]int{}
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 0))
		chosen := map[string]shape{}
		list, plains := declared(t, r, topics, all, func(pattern string) string {
			s := kinds[r.IntN(len(kinds))]
			for !fits(pattern, s.needs) {
				s = kinds[r.IntN(len(kinds))]
			}
			chosen[pattern] = s
			return s.text
		})
		set := compile(t, list...)
		want := func(requested bridge.Pattern) bool {
			for i, d := range list {
				if !intersects(topics, plains[i], requested) {
					continue
				}
				if !chosen[d.Pattern].holds(bind(d.Pattern, requested.String()), requested) {
					return false
				}
				if covers(topics, plains[i], requested) {
					return true
				}
			}
			return false
		}
		answers := map[string]bool{}
		for _, topic := range topics {
			answers[topic] = set.Subscribe(p, parse(t, topic))
			require.Equal(t, want(parse(t, topic)), answers[topic], "%s of %+v", topic, list)
		}
		for _, requested := range all {
			got := set.Subscribe(p, requested)
			require.Equal(t, want(requested), got, "%s of %+v", requested, list)
			if requested.Exact() {
				continue
			}
			allowed[got]++
			sound(t, set, list, topics, answers, requested, got)
		}
		for _, topic := range topics {
			first := slices.IndexFunc(plains, func(p bridge.Pattern) bool { return p.Matches(topic) })
			if first < 0 {
				require.Empty(t, set.Declared(topic))
			} else {
				require.Equal(t, list[first].Pattern, set.Declared(topic))
			}
		}
	}
	require.Greater(t, allowed[true], 200, "patterns that were allowed")
	require.Greater(t, allowed[false], 500, "patterns that were not")
}

// sound: a pattern is allowed only if every topic that it matches is.
func sound(t testing.TB, set *rule.Set, list []rule.Declaration, topics []string, answers map[string]bool, requested bridge.Pattern, got bool) {
	t.Helper()
	if !got {
		return
	}
	for _, topic := range topics {
		if requested.Matches(topic) && !answers[topic] {
			require.Fail(t, "not sound", "%s is allowed and %s is not: %+v %p", requested, topic, list, set)
		}
	}
}

// TestSoundness is the same promise for rules that nobody would write: whatever an expression does with what a
// wildcard leaves open, it must not be true for the pattern and not for a topic.
func TestSoundness(t *testing.T) {
	t.Parallel()
	topics, all := world(), patterns(t)
	p := &auth.Principal{Kind: auth.KindToken, Subject: "a", Claims: claims}
	allowed := 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		list, _ := declared(t, r, topics, all, func(pattern string) string {
			names := []string{"topic.name", `"a"`, "auth.sub"}
			for name := range bind(pattern, strings.Repeat("a/", 3)+"a") {
				names = append(names, "topic."+name, "topic."+name)
			}
			slices.Sort(names) // the order of a map is not that of the seed
			return expression(r, names, 3)
		})
		set := compile(t, list...)
		answers := map[string]bool{}
		for _, topic := range topics {
			answers[topic] = set.Subscribe(p, parse(t, topic))
		}
		for _, requested := range all {
			got := set.Subscribe(p, requested)
			if got && !requested.Exact() {
				allowed++
			}
			sound(t, set, list, topics, answers, requested, got)
		}
	}
	require.Greater(t, allowed, 700, "patterns that were allowed")
}

// expression makes a rule of type bool about texts.
func expression(r *rand.Rand, texts []string, depth int) string {
	text := func() string { return texts[r.IntN(len(texts))] }
	inner := func() string { return expression(r, texts, depth-1) }
	within := func(name string) string { return expression(r, append(slices.Clone(texts), name), depth-1) }
	leaves := []func() string{
		func() string { return "true" },
		func() string { return "false" },
		func() string { return text() + " == " + text() },
		func() string { return text() + ` != "b"` },
		func() string { return text() + " in auth.claims.l" },
		func() string { return text() + " in auth.claims.m" },
		func() string { return fmt.Sprintf(`%q in [%s, %s]`, "a", text(), text()) },
		func() string { return "auth.claims.m[" + text() + `] == "a"` },
		func() string { return "auth.claims.m[" + text() + "].a" + " == true" },
		func() string { return "has(auth.claims.m[" + text() + "].a)" },
		func() string { return `has(auth.claims.m.b)` },
		func() string { return "{" + text() + `: true}["a"]` },
		func() string { return text() + `.startsWith("a")` },
		func() string { return text() + `.matches("^[ab]$")` },
		func() string { return text() + " < " + text() },
		func() string { return "size(" + text() + ") > 0" },
		func() string { return "type(" + text() + ") == string" },
		func() string { return "granted(auth.claims." + []string{"g", "h", "l", "m", "none"}[r.IntN(5)] + ")" },
		func() string { return `granted(["a/*", ` + text() + `])` },
		func() string { return "granted(auth.claims.l.filter(v, v == " + text() + "))" },
		func() string { return "auth.claims.l.map(v, v == " + text() + ").size() == 3" },
		func() string { return "[" + text() + "] == [" + text() + "]" },
		func() string { return "int(auth.claims.m[" + text() + "]) == 1" },
	}
	if depth == 0 {
		return leaves[r.IntN(len(leaves))]()
	}
	branches := []func() string{
		func() string { return "!(" + inner() + ")" },
		func() string { return "(" + inner() + ") && (" + inner() + ")" },
		func() string { return "(" + inner() + ") || (" + inner() + ")" },
		func() string { return "((" + inner() + ") ? (" + inner() + ") : (" + inner() + "))" },
		func() string { return "((" + inner() + ") == (" + inner() + "))" },
		func() string { return "((" + inner() + ") ? " + text() + " : " + text() + ") == " + text() },
		func() string { return "((" + inner() + `) ? auth.claims.m : {"a": "b"}).a == ` + text() },
		func() string { return `["a", ` + text() + "].exists(v, " + within("v") + ")" },
		func() string { return `["a", ` + text() + "].all(v, " + within("v") + ")" },
		func() string { return `["a", "b", ` + text() + "].exists_one(v, " + within("v") + ")" },
		func() string { return `auth.claims.m.exists(v, ` + within("v") + ")" },
		func() string { return "[" + text() + "].filter(v, " + within("v") + ") == []" },
	}
	if r.IntN(4) == 0 {
		return leaves[r.IntN(len(leaves))]()
	}
	return branches[r.IntN(len(branches))]()
}

// FuzzRule: no expression compiles to a rule that is true for a pattern and not for a topic of it, or that panics.
func FuzzRule(f *testing.F) {
	topics, all := world(), patterns(f)
	for _, s := range shapes(f, topics) {
		f.Add(s.text)
	}
	for seed := range uint64(20) {
		f.Add(expression(rand.New(rand.NewPCG(seed, 2)), []string{"topic.x", "topic.rest", "topic.name"}, 3))
	}
	p := &auth.Principal{Kind: auth.KindToken, Subject: "a", Claims: claims}
	f.Fuzz(func(t *testing.T, text string) {
		list := []rule.Declaration{{Pattern: "{x}/{rest=**}", Subscribe: text}, {Pattern: "$r/{x}/{rest=**}", Subscribe: text}}
		set, err := rule.Compile(list)
		if err != nil {
			for _, problem := range problems(t, err) {
				require.Equal(t, rule.FieldSubscribe, problem.Field)
				require.NotEmpty(t, problem.Message)
			}
			return
		}
		answers := map[string]bool{}
		for _, topic := range topics {
			answers[topic] = set.Subscribe(p, parse(t, topic))
		}
		for _, requested := range all {
			sound(t, set, list, topics, answers, requested, set.Subscribe(p, requested))
		}
	})
}
