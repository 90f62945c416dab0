package rule_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth"
	"github.com/ssebridge/ssebridge/auth/rule"
	"github.com/ssebridge/ssebridge/bridge"
)

func parse(t testing.TB, text string) bridge.Pattern {
	t.Helper()
	p, err := bridge.ParsePattern(text)
	require.NoError(t, err)
	return p
}

func compile(t testing.TB, declarations ...rule.Declaration) *rule.Set {
	t.Helper()
	set, err := rule.Compile(declarations)
	require.NoError(t, err)
	return set
}

// subscriber has the claims of a JSON object, as a token has.
func subscriber(t testing.TB, claims string) *auth.Principal {
	t.Helper()
	p := &auth.Principal{Kind: auth.KindToken, Subject: "u1", Issuer: "people"}
	require.NoError(t, json.Unmarshal([]byte(claims), &p.Claims))
	return p
}

func TestPublish(t *testing.T) {
	t.Parallel()
	set := compile(t,
		rule.Declaration{
			Pattern: "shops/{shop}/orders/{order}", Types: []string{"shop.v1.*", "audit.v1.Seen"}, Source: "/shop/orders",
			Publish:   `auth.sub == "orders" && auth.issuer == "cluster" && type != "shop.v1.Secret"`,
			Subscribe: "true",
		},
		rule.Declaration{Pattern: "shops/{shop}/{rest=**}", Publish: `topic.rest == "" || topic.shop == "7" && topic.rest.endsWith("/x")`},
		rule.Declaration{Pattern: "read/only", Subscribe: "true"},
		rule.Declaration{Pattern: "{first}", Publish: `topic.name == topic.first && auth.kind == "anonymous"`},
		rule.Declaration{Pattern: "$bridge/{x}", Subscribe: "true"},
	)
	orders := &auth.Principal{Kind: auth.KindToken, Subject: "orders", Issuer: "cluster"}
	const order, other = "shops/{shop}/orders/{order}", "shops/{shop}/{rest=**}"
	filters := []bridge.TypeFilter{"shop.v1.*", "audit.v1.Seen"}
	for _, test := range []struct {
		who         *auth.Principal
		topic, typ  string
		want        rule.Decision
		explanation string
	}{
		{orders, "shops/7/orders/42", "shop.v1.OrderShipped", rule.Decision{Verdict: rule.Allowed, Declared: order, Source: "/shop/orders"}, "as declared"},
		{orders, "shops/7/orders/42", "shop.v1.sub.Deep", rule.Decision{Verdict: rule.Allowed, Declared: order, Source: "/shop/orders"}, "a package has packages"},
		{orders, "shops/7/orders/42", "audit.v1.Seen", rule.Decision{Verdict: rule.Allowed, Declared: order, Source: "/shop/orders"}, "second type"},
		{orders, "shops/7/orders/42", "shop.v11.OrderShipped", rule.Decision{Verdict: rule.WrongType, Declared: order, Types: filters}, "a package ends at its dot"},
		{orders, "shops/7/orders/42", "audit.v1.SeenToo", rule.Decision{Verdict: rule.WrongType, Declared: order, Types: filters}, "a name is whole"},
		{orders, "shops/7/orders/42", "shop.v1.Secret", rule.Decision{Declared: order}, "the rule knows the type"},
		{nil, "shops/7/orders/42", "shop.v1.OrderShipped", rule.Decision{Declared: order}, "nobody"},
		{nil, "shops/7/orders/42", "other.Type", rule.Decision{Declared: order}, "who may not publish learns nothing about types"},
		{&auth.Principal{Subject: "orders", Issuer: "people"}, "shops/7/orders/42", "shop.v1.OrderShipped", rule.Decision{Declared: order}, "another issuer's subject"},
		{&auth.Principal{Subject: "Orders", Issuer: "cluster"}, "shops/7/orders/42", "shop.v1.OrderShipped", rule.Decision{Declared: order}, "case"},
		{orders, "Shops/7/orders/42", "shop.v1.OrderShipped", rule.Decision{}, "case"},
		{orders, "shops/7/Orders/42", "shop.v1.OrderShipped", rule.Decision{Declared: other}, "case"},
		{nil, "shops/7", "a.B", rule.Decision{Verdict: rule.Allowed, Declared: other}, "an empty rest"},
		{nil, "shops/7/a/x", "a.B", rule.Decision{Verdict: rule.Allowed, Declared: other}, "a rest of two"},
		{nil, "shops/8/a/x", "a.B", rule.Decision{Declared: other}, "another shop"},
		{orders, "read/only", "a.B", rule.Decision{Declared: "read/only"}, "an empty rule is nobody"},
		{orders, "unknown/topic", "a.B", rule.Decision{}, "not declared"},
		{auth.Anonymous(), "free", "a.B", rule.Decision{Verdict: rule.Allowed, Declared: "{first}"}, "whole topic"},
		{orders, "free", "a.B", rule.Decision{Declared: "{first}"}, "not anonymous"},
		{auth.Anonymous(), "$free", "a.B", rule.Decision{}, "a wildcard that comes first matches no reserved topic"},
		{orders, "$bridge/a", "a.B", rule.Decision{Declared: "$bridge/{x}"}, "reserved"},
	} {
		assert.Equal(t, test.want, set.Publish(test.who, test.topic, test.typ), "%s: %s %s", test.explanation, test.topic, test.typ)
		assert.Equal(t, test.want.Declared, set.Declared(test.topic), test.topic)
	}
}

// TestSubscribe is what the design promises about patterns, by name; the oracle looks at the rest.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	set := compile(t,
		rule.Declaration{Pattern: "public/staff/**", Subscribe: `auth.claims.staff == true`},
		rule.Declaration{Pattern: "public/**", Subscribe: "true"},
		rule.Declaration{Pattern: "shops/{shop}/orders/{order}", Subscribe: `topic.shop in auth.claims.shops`},
		rule.Declaration{Pattern: "shops/{shop}/{rest=**}", Subscribe: `topic.shop in auth.claims.shops && topic.rest != "secret"`},
		rule.Declaration{Pattern: "own/{user}/**", Subscribe: `topic.user == auth.sub && topic.name.startsWith("own/")`},
		rule.Declaration{Pattern: "granted/**", Subscribe: `granted(auth.claims.subscribe)`},
		rule.Declaration{Pattern: "denied/**", Subscribe: `!granted(auth.claims.denied)`},
		rule.Declaration{Pattern: "closed/**"},
		rule.Declaration{Pattern: "any/{x}", Subscribe: `topic.x == "a" || topic.x != "a"`},
		rule.Declaration{Pattern: "$bridge/{x}", Subscribe: `topic.x != "secret"`},
	)
	user := subscriber(t, `{"shops":["7"],"subscribe":["granted/a/*","granted/b","no//pattern",7],"denied":["denied/x/*"]}`)
	staff := subscriber(t, `{"staff":true,"denied":["denied/x","//"]}`)
	for _, test := range []struct {
		who     *auth.Principal
		pattern string
		want    bool
	}{
		{nil, "public/a", true}, {nil, "public/staff", false}, {nil, "public/staff/a", false},
		{nil, "public/*", false}, {nil, "public/**", false}, {nil, "public/a/**", true}, {nil, "public/*/a", false},
		{staff, "public/**", true}, {staff, "public/*", true}, {staff, "**", false}, {user, "public/**", false},

		{user, "shops/7/orders/42", true}, {user, "shops/7/orders/*", true}, {user, "shops/8/orders/*", false},
		{user, "shops/*/orders/42", false}, {user, "shops/**", false}, {user, "shops/*", false}, {user, "*/7/orders/42", false},
		{user, "shops/7", true}, {user, "shops/7/x", true}, {user, "shops/7/secret", false}, {user, "shops/7/x/y", true},
		{user, "shops/7/**", false}, {user, "shops/7/*", false}, {user, "shops/7/orders/42/*", false}, {user, "shops/7/x/*", false},
		{user, "Shops/7", false}, {user, "shops/7/Orders/42", true}, {user, "SHOPS/7/orders/42", false},

		{user, "own/u1", true}, {user, "own/u1/a", true}, {user, "own/u2", false}, {user, "own/U1", false},
		{user, "own/u1/*", false}, // topic.name is not known for any pattern

		{user, "granted/b", true}, {user, "granted/a/x", true}, {user, "granted/a/*", true}, {user, "granted/a", false},
		{user, "granted/a/**", false}, {user, "granted/**", false}, {user, "granted/c", false}, {nil, "granted/b", false},

		{user, "denied/y", true}, {user, "denied/x/1", false}, {user, "denied/x/*", false},
		{user, "denied/*/1", false}, // one of its topics is denied
		{user, "denied/y/*", true}, {user, "denied/**", false}, {nil, "denied/y", false}, {staff, "denied/y", false},

		{user, "closed", false}, {user, "closed/a", false}, {user, "closed/**", false},
		{user, "any/a", true}, {user, "any/*", false}, // true for every x, but CEL does not see it
		{user, "unknown", false}, {user, "unknown/*", false}, {user, "**", false}, {user, "*", false},
		{nil, "$bridge/a", true}, {nil, "$bridge/secret", false}, {nil, "$bridge/*", false}, {nil, "$bridge", false},
		{nil, "$bridge/a/b", false}, {nil, "$other", false}, {nil, "*/a", false},
	} {
		assert.Equal(t, test.want, set.Subscribe(test.who, parse(t, test.pattern)), "%s", test.pattern)
	}
	assert.False(t, set.Subscribe(user, bridge.Pattern{}), "the zero value matches nothing")
}

func TestWildcardsBeforeReservedTopics(t *testing.T) {
	t.Parallel()
	set := compile(t, rule.Declaration{Pattern: "{x=**}", Publish: "true", Subscribe: "true"})
	for _, pattern := range []string{"$a", "$a/b", "$a/*", "$a/**"} {
		assert.False(t, set.Subscribe(nil, parse(t, pattern)), pattern)
		assert.Equal(t, rule.Forbidden, set.Publish(nil, "$a", "b.C").Verdict)
		assert.Empty(t, set.Declared("$a"))
	}
	assert.True(t, set.Subscribe(nil, parse(t, "**")))
	assert.True(t, set.Subscribe(nil, parse(t, "*/a")))
	assert.Equal(t, "{x=**}", set.Declared("a/b/c"))
}

// TestUnknownAndForbiddenLookTheSame: what callers are told does not say whether a topic exists.
func TestUnknownAndForbiddenLookTheSame(t *testing.T) {
	t.Parallel()
	set := compile(t, rule.Declaration{Pattern: "secret", Types: []string{"a.B"}, Source: "/s", Publish: `auth.sub == "x"`, Subscribe: "false"})
	for _, typ := range []string{"a.B", "c.D"} {
		unknown, forbidden := set.Publish(nil, "unknown", typ), set.Publish(nil, "secret", typ)
		forbidden.Declared = "" // for labels, not for callers
		assert.Equal(t, unknown, forbidden)
	}
	assert.Equal(t, set.Subscribe(nil, parse(t, "unknown")), set.Subscribe(nil, parse(t, "secret")))
}

// TestClaims: tokens hold what their issuers like. Whatever it is, the answer is yes or no.
func TestClaims(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, 5_000) + `1` + strings.Repeat(`}`, 5_000)
	for _, test := range []struct {
		subscribe, claims string
		want              bool
	}{
		{`topic.x in auth.claims.l`, `{"l":["a"]}`, true},
		{`topic.x in auth.claims.l`, `{"l":[1,null,{},[],true,"a"]}`, true},
		{`topic.x in auth.claims.l`, `{"l":[1,null,{},[],true]}`, false},
		{`topic.x in auth.claims.l`, `{"l":"a"}`, false},
		{`topic.x in auth.claims.l`, `{"l":null}`, false},
		{`topic.x in auth.claims.l`, `{"l":7}`, false},
		{`topic.x in auth.claims.l`, `{"l":true}`, false},
		{`topic.x in auth.claims.l`, `{"l":{"a":false}}`, true}, // CEL: a key of the map
		{`topic.x in auth.claims.l`, `{}`, false},
		{`topic.x in auth.claims.l`, `null`, false},
		{`topic.x in auth.claims["urn:shops/list"]`, `{"urn:shops/list":["a"]}`, true},
		{`!(topic.x in auth.claims.l)`, `{}`, false}, // an error, negated, is an error
		{`!(topic.x in auth.claims.l)`, `{"l":"a"}`, false},
		{`!(topic.x in auth.claims.l)`, `{"l":["b"]}`, true},
		{`topic.x in auth.claims.l || true`, `{}`, true},
		{`has(auth.claims.l) && topic.x in auth.claims.l`, `{}`, false},
		{`!has(auth.claims.l) || topic.x in auth.claims.l`, `{}`, true},
		{`auth.claims.roles[topic.x] == "admin"`, `{"roles":{"a":"admin"}}`, true},
		{`auth.claims.roles[topic.x] == "admin"`, `{"roles":{"b":"admin"}}`, false},
		{`auth.claims.roles[topic.x] == "admin"`, `{"roles":["admin"]}`, false},
		{`auth.claims.level >= 3`, `{"level":3}`, true},
		{`auth.claims.level >= 3`, `{"level":2.5}`, false},
		{`auth.claims.level >= 3`, `{"level":"3"}`, false},
		{`auth.claims.admin == true`, `{"admin":true}`, true},
		{`auth.claims.admin == true`, `{"admin":"true"}`, false},
		{`auth.claims.admin == true`, `{"admin":1}`, false},
		{`auth.claims.a.a.a.a != null`, deep, true},
		{`auth.claims == auth.claims`, deep, true},
		{`granted(auth.claims.g)`, `{"g":["a"]}`, true},
		{`granted(auth.claims.g)`, `{"g":[1,"//","**/a",{},"*"]}`, true},
		{`granted(auth.claims.g)`, `{"g":[1,"//","**/a",{}]}`, false},
		{`granted(auth.claims.g)`, `{"g":"a"}`, false},
		{`granted(auth.claims.g)`, `{"g":{"a":1}}`, false},
		{`granted(auth.claims.g)`, `{"g":7}`, false},
		{`granted(auth.claims.g)`, `{"g":null}`, false},
		{`granted(auth.claims.g)`, `{"g":[]}`, false},
		{`granted(auth.claims.g)`, `{"g":["A"," a","a ","a/","/a","{x}","a*",""]}`, false},
		{`granted(auth.claims.g)`, `{}`, false},
		{`!granted(auth.claims.g)`, `{"g":["b"]}`, true},
		{`!granted(auth.claims.g)`, `{"g":["a"]}`, false},
		{`!granted(auth.claims.g)`, `{"g":["b","//"]}`, false}, // what the entry was meant to deny is not known
		{`!granted(auth.claims.g)`, `{"g":"b"}`, false},
		{`granted([topic.x])`, `{}`, true},
		{`granted(auth.claims.g.map(p, p + topic.x))`, `{"g":["b","",7]}`, false},
		{`granted(auth.claims.g.map(p, p + topic.x))`, `{"g":["b",""]}`, true},
		{`auth.claims.l.all(x, auth.claims.l.exists(y, y == x))`, `{"l":["a","b"]}`, true},
	} {
		set := compile(t, rule.Declaration{Pattern: "{x}", Subscribe: test.subscribe})
		name := fmt.Sprintf("%s with %.60s", test.subscribe, test.claims)
		assert.Equal(t, test.want, set.Subscribe(subscriber(t, test.claims), parse(t, "a")), name)
	}
}

// TestClaimsOfGo: a library that reads tokens may decode claims into more than JSON has.
func TestClaimsOfGo(t *testing.T) {
	t.Parallel()
	type own struct{ Shop string }
	for name, test := range map[string]struct {
		claim any
		want  bool
	}{
		"strings":     {[]string{"a"}, true},
		"json.Number": {json.Number("1"), false},
		"time":        {time.Now(), false},
		"struct":      {own{"a"}, false},
		"pointer":     {&own{"a"}, false},
		"channel":     {make(chan int), false},
		"function":    {func() {}, false},
		"nil map":     {map[string]any(nil), false},
		"bytes":       {[]byte("a"), false},
		"odd keys":    {map[float64]string{1: "a"}, false},
	} {
		set := compile(t, rule.Declaration{Pattern: "{x}", Subscribe: `topic.x in auth.claims.l`})
		p := &auth.Principal{Claims: map[string]any{"l": test.claim}}
		assert.Equal(t, test.want, set.Subscribe(p, parse(t, "a")), name)
	}
}

// TestCostLimit: the same rule is answered where it is cheap, and is no where it is not.
func TestCostLimit(t *testing.T) {
	t.Parallel()
	claim := func(n int) *auth.Principal {
		var list, nested []any
		for i := range n {
			list = append(list, fmt.Sprint("entry/", i))
			nested = append(nested, []any{map[string]any{"k": list[:min(i, 50)]}})
		}
		return &auth.Principal{Claims: map[string]any{"l": list, "n": nested, "long": strings.Repeat("a", n)}}
	}
	const (
		everyOneIsThere = `auth.claims.l.all(x, x in auth.claims.l)`
		doubled         = `[auth.claims.long].map(a, a+a+a+a).map(a, a+a+a+a).map(a, a+a+a+a).map(a, a+a+a+a).map(a, a+a+a+a).map(a, a+a+a+a).all(a, a != "")`
	)
	for _, test := range []struct {
		subscribe string
		entries   int
		want      bool
	}{
		{everyOneIsThere, 100, true},
		{everyOneIsThere, 3_000, false},
		{everyOneIsThere + " || true", 3_000, false}, // the limit ends the rule, not a part of it
		{"true || " + everyOneIsThere, 3_000, true},
		{`auth.claims.l.all(x, auth.claims.l.exists(y, y == x))`, 50, true},
		{`auth.claims.l.all(x, auth.claims.l.exists(y, y == x))`, 1_000, false},
		{`!(topic.x in auth.claims.l)`, 10_000, true},
		{`auth.claims.n == auth.claims.n`, 100, true},
		{`auth.claims.n == auth.claims.n`, 3_000, false},
		{`auth.claims.n.all(x, x in auth.claims.n)`, 10, true},
		{`auth.claims.n.all(x, x in auth.claims.n)`, 300, false},
		{doubled, 10, true},
		{doubled, 1_000, false},
		{`granted(auth.claims.l + ["a"])`, 5_000, true},
		{`granted(auth.claims.l + ["a"])`, 50_000, false},
	} {
		set := compile(t, rule.Declaration{Pattern: "{x}", Subscribe: test.subscribe})
		assert.Equal(t, test.want, set.Subscribe(claim(test.entries), parse(t, "a")), "%s with %d", test.subscribe, test.entries)
	}
}

// TestLargestRegexOfAClaim: an expression that comes with a token is bounded as one in a rule.
func TestLargestRegexOfAClaim(t *testing.T) {
	t.Parallel()
	set := compile(t, rule.Declaration{Pattern: "{x}", Subscribe: `topic.x.matches(auth.claims.r)`})
	assert.True(t, set.Subscribe(subscriber(t, `{"r":"^a$"}`), parse(t, "a")))
	assert.False(t, set.Subscribe(subscriber(t, `{"r":"a|((a{50}){50}){9}"}`), parse(t, "a")))
	assert.False(t, set.Subscribe(subscriber(t, `{"r":"("}`), parse(t, "a")))
}

func TestOpen(t *testing.T) {
	t.Parallel()
	set := rule.Open()
	assert.Equal(t, rule.Decision{Verdict: rule.Allowed, Declared: "**"}, set.Publish(nil, "a/b", "c.D"))
	assert.Equal(t, rule.Forbidden, set.Publish(nil, "$a", "c.D").Verdict)
	for _, pattern := range []string{"a", "**", "*", "$a", "$a/**"} {
		assert.True(t, set.Subscribe(nil, parse(t, pattern)), pattern)
	}
	assert.False(t, set.Subscribe(nil, bridge.Pattern{}))
	assert.Equal(t, "**", set.Declared("a"))
	assert.False(t, set.State("a"))
}

// TestState: the first declaration that matches says, whether anybody may do anything or not.
// It is asked for each topic that comes into the window, so it costs little: AllocsPerRun bears no parallel test.
func TestState(t *testing.T) {
	set := compile(t,
		rule.Declaration{Pattern: "prices/{shop}/history"},
		rule.Declaration{Pattern: "prices/{shop}/{rest=**}", State: true},
		rule.Declaration{Pattern: "$bridge/{x}", State: true},
		rule.Declaration{Pattern: "*/now", State: true},
		rule.Declaration{Pattern: "orders/**", Publish: "true", Subscribe: "true"},
	)
	for topic, want := range map[string]bool{
		"prices/7": true, "prices/7/eur": true, "prices/7/eur/net": true, "prices/7/history": false, "prices/7/history/1": true,
		"prices": false, "Prices/7": false, "$bridge/x": true, "$bridge/x/y": false, "$x/now": false, "x/now": true,
		"orders/now": true, "orders/1": false, "orders": false, "unknown": false,
	} {
		assert.Equal(t, want, set.State(topic), topic)
	}
	topic := "prices/7/eur"
	assert.Zero(t, testing.AllocsPerRun(100, func() { set.State(topic) }))
}

// TestConcurrentUse: answers do not mix. Run it with -race.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	set := compile(t, rule.Declaration{
		Pattern:   "shops/{shop}/**",
		Publish:   `topic.shop == auth.sub && type == auth.sub`,
		Subscribe: `topic.shop == auth.sub && granted(auth.claims.g)`,
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			me, other := fmt.Sprint("s", i), fmt.Sprint("s", i+1)
			p := &auth.Principal{Subject: me, Claims: map[string]any{"g": []any{"shops/" + me + "/*"}}}
			for range 500 {
				assert.Equal(t, rule.Allowed, set.Publish(p, "shops/"+me+"/x", me).Verdict)
				assert.Equal(t, rule.Forbidden, set.Publish(p, "shops/"+other+"/x", me).Verdict)
				assert.Equal(t, rule.Forbidden, set.Publish(p, "shops/"+me+"/x", other).Verdict)
				assert.True(t, set.Subscribe(p, parse(t, "shops/"+me+"/*")))
				assert.False(t, set.Subscribe(p, parse(t, "shops/"+other+"/*")))
				assert.False(t, set.Subscribe(p, parse(t, "shops/"+me+"/**")))
			}
		})
	}
	wg.Wait()
}
