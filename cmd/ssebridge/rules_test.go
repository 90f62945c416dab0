package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// town is a configuration as one may find it.
const town = `
events: {source: /town}
topics:
  - pattern: public/staff/**
    publish: auth.issuer == "services"
    subscribe: '"staff" in auth.claims.roles'
  - pattern: public/**
    types: [google.protobuf.*]
    source: /town/hall
    publish: auth.issuer == "services"
    subscribe: "true"
  - pattern: shops/{shop}/orders/{order}
    types: [shop.v1.*, google.protobuf.Struct]
    source: /shop/orders
    publish: auth.sub == "system:serviceaccount:shop:orders" && auth.issuer == "services"
    subscribe: topic.shop in auth.claims.shops
  - pattern: shops/{shop}/till
    publish: auth.claims.shop == topic.shop && type == "google.protobuf.Struct"
    subscribe: topic.shop in auth.claims.shops && "staff" in auth.claims.roles
  - pattern: users/{user}/**
    publish: auth.issuer == "services"
    subscribe: topic.user == auth.sub && auth.issuer == "users"
  - pattern: devices/{device}/{path=**}
    publish: auth.sub == "device:" + topic.device && !topic.path.startsWith("commands")
    subscribe: granted(auth.claims.topics)
  - pattern: grants/{rest=**}
    subscribe: granted(auth.claims.topics)
  - pattern: adults
    subscribe: auth.claims.age >= 18
  - pattern: guests
    subscribe: auth.kind == "anonymous"
  - pattern: closed/**
`

// townsfolk are those who read there, and the claims of their tokens.
func townsfolk(r *realm) map[string]string {
	return map[string]string{
		"anonymous": "",
		"alice":     r.user("alice", "shops", []string{"7", "8"}, "age", 17.5, "topics", []string{"devices/d1/**", "grants/a/*", "grants/b"}),
		"bob":       r.user("bob", "shops", []string{"9"}, "roles", []string{"staff"}, "age", 18),
		"carol":     r.user("carol", "topics", []string{"**"}, "shops", []string{"*"}, "roles", []string{"STAFF"}),
		"mallory":   r.user("*", "shops", "7", "topics", "**", "roles", map[string]any{"staff": true}, "age", "18"),
	}
}

// TestTownReaders: who may read what, from outside.
func TestTownReaders(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, town+r.issuers())
	folk := townsfolk(r)
	for _, test := range []struct {
		topic string
		may   string // who
	}{
		{"public/news", "anonymous alice bob carol mallory"},
		{"public", "anonymous alice bob carol mallory"},
		{"public/a/b/c", "anonymous alice bob carol mallory"},
		{"public/news/**", "anonymous alice bob carol mallory"},
		{"public/news/*", "anonymous alice bob carol mallory"},
		{"public/staff", "bob mallory"}, // in looks at the keys of a map, too
		{"public/staff/rota", "bob mallory"},
		{"public/staff/**", "bob mallory"},
		{"public/staff/*/x", "bob mallory"},
		{"public/**", "bob mallory"}, // would open public/staff
		{"public/*", "bob mallory"},
		{"public/*/rota", "bob mallory"},
		{"public/Staff", "anonymous alice bob carol mallory"}, // is another topic
		{"public/staff.", "anonymous alice bob carol mallory"},
		{"PUBLIC/news", ""},
		{"Public/news", ""},

		{"shops/7/orders/42", "alice"},
		{"shops/7/orders/*", "alice"},
		{"shops/8/orders/*", "alice"},
		{"shops/9/orders/*", "bob"},
		{"shops/*/orders/42", ""}, // a wildcard where a variable is required
		{"shops/*/orders/*", ""},
		{"shops/7/orders", ""},
		{"shops/7/orders/**", ""}, // also matches shops/7/orders, which nobody has declared
		{"shops/7/orders/42/items", ""},
		{"shops/7/**", ""},
		{"shops/7/*/42", ""},
		{"shops/07/orders/42", ""},
		{"shops/7/ORDERS/42", ""},
		{"shops/9/till", "bob"},
		{"shops/7/till", ""}, // not staff
		{"shops/9/*", ""},    // also matches topics that nobody has declared

		{"users/alice", "alice"},
		{"users/alice/inbox", "alice"},
		{"users/alice/**", "alice"},
		{"users/alice/*/x", "alice"},
		{"users/Alice", ""},
		{"users/ALICE/inbox", ""},
		{"users/alic", ""},
		{"users/alice2", ""},
		{"users/bob/**", "bob"},
		{"users/*", ""},
		{"users/*/inbox", ""},
		{"users/**", ""},
		{"users", ""},

		{"devices/d1/x", "alice carol"},
		{"devices/d1", "alice carol"},
		{"devices/d1/**", "alice carol"},
		{"devices/d2/x", "carol"},
		{"devices/*/x", "carol"},
		{"devices/*/**", "carol"},
		{"devices/**", ""}, // also matches devices, which nobody has declared
		{"devices/D1/x", "carol"},
		{"grants/a/x", "alice carol"},
		{"grants/a/*", "alice carol"},
		{"grants/a", "carol"},
		{"grants/a/**", "carol"},
		{"grants/a/x/y", "carol"},
		{"grants/b", "alice carol"},
		{"grants/**", "carol"},

		{"adults", "bob"},
		{"guests", "anonymous"},
		{"closed/a", ""},
		{"closed/**", ""},
		{"unknown", ""},
		{"*", ""},
		{"**", ""},
		{"*/news", ""},
		{"$bridge/readers", ""},
		{"$bridge/**", ""},
		{"$public/news", ""},
	} {
		for name, token := range folk {
			t.Run(test.topic+" "+name, func(t *testing.T) {
				response := ask(t, streamClient, b.publicURL, topics(test.topic), func(r *http.Request) { bearer(r.Header, token) })
				want := http.StatusForbidden
				if strings.Contains(" "+test.may+" ", " "+name+" ") {
					want = http.StatusOK
				} else if token == "" {
					want = http.StatusUnauthorized
				}
				assert.Equal(t, want, response.StatusCode)
			})
		}
	}
}

// TestAllOfSeveralTopics must be allowed, wherever the one that is not stands.
func TestAllOfSeveralTopics(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, town+r.issuers())
	alice := r.user("alice", "shops", []string{"7"})
	var many []string
	for i := range 63 {
		many = append(many, fmt.Sprintf("public/%d", i))
	}
	for _, test := range []struct {
		topics  []string
		refused string
	}{
		{[]string{"public/a", "users/alice/**", "shops/7/orders/*"}, ""},
		{[]string{"users/bob", "public/a"}, "users/bob"},
		{[]string{"public/a", "users/bob"}, "users/bob"},
		{slices.Concat([]string{"closed/x"}, many), "closed/x"},
		{slices.Concat(many, []string{"closed/x"}), "closed/x"},
		{slices.Concat(many, []string{"public/x"}), ""},
	} {
		response := ask(t, streamClient, b.publicURL, topics(test.topics...), withBearer(alice))
		if test.refused == "" {
			assert.Equal(t, http.StatusOK, response.StatusCode, test.topics)
			continue
		}
		require.Equal(t, http.StatusForbidden, response.StatusCode, test.topics)
		assert.Equal(t, "you may not read "+test.refused, readProblem(t, response).Detail)
	}
}

// TestTownPublishers: who may publish what where, and what becomes of it.
func TestTownPublishers(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, town+r.issuers())
	schema, shipped := orderShipped(t, "order_id")
	const forbidden, wrongType = "you may not publish ", "may not be published to this topic: publish one of "
	orders := r.service("system:serviceaccount:shop:orders")
	reader := r.user("reader", "shops", []string{"7"}, "roles", []string{"staff"}, "topics", []string{"**"})
	for _, test := range []struct {
		name, token, topic string
		shop               bool   // shop.v1.OrderShipped, not a google.protobuf.Struct
		refusal            string // empty: stored
		source             string
	}{
		{"any service", r.service("news"), "public/news", false, "", "/town/hall"},
		{"any service", r.service("news"), "public/staff/rota", false, "", "/town"},
		{"any service, wrong type", r.service("news"), "public/news", true, wrongType + "[google.protobuf.*]", ""},
		{"any type", r.service("news"), "public/staff/rota", true, "", "/town"},
		{"orders", orders, "shops/7/orders/42", true, "", "/shop/orders"},
		{"orders, other type", orders, "shops/7/orders/42", false, "", "/shop/orders"},
		{"orders, elsewhere", orders, "shops/7/orders", true, forbidden, ""},
		{"another service", r.service("system:serviceaccount:shop:Orders"), "shops/7/orders/42", true, forbidden, ""},
		{"another service, wrong type too", r.service("system:serviceaccount:shop:other"), "shops/7/orders/42", false, forbidden, ""},
		{"till", r.service("till", "shop", "7"), "shops/7/till", false, "", "/town"},
		{"till of another shop", r.service("till", "shop", "7"), "shops/8/till", false, forbidden, ""},
		{"till, wrong type by its rule", r.service("till", "shop", "7"), "shops/7/till", true, forbidden, ""},
		{"till without claim", r.service("till"), "shops/7/till", false, forbidden, ""},
		{"device", r.service("device:d1"), "devices/d1/temperature", false, "", "/town"},
		{"device, no path", r.service("device:d1"), "devices/d1", false, "", "/town"},
		{"device, reserved path", r.service("device:d1"), "devices/d1/commands/stop", false, forbidden, ""},
		{"another device", r.service("device:d1"), "devices/d2/temperature", false, forbidden, ""},
		{"nobody may", orders, "grants/a", false, forbidden, ""},
		{"closed", orders, "closed/a", false, forbidden, ""},
		{"unknown", orders, "unknown", false, forbidden, ""},
		{"case", orders, "PUBLIC/news", false, forbidden, ""},
		{"anonymous", "", "public/news", false, forbidden, ""},
		{"reserved", orders, "$bridge/x", false, "belong to the bridge", ""},
	} {
		t.Run(test.name+" "+test.topic, func(t *testing.T) {
			event := numbered(t, test.topic, 1)
			if test.shop {
				event.Data = shipped("42")
			}
			request := connect.NewRequest(&ssebridgev1.PublishBatchRequest{Events: []*ssebridgev1.Event{event}, Schema: schema})
			bearer(request.Header(), test.token)
			response, err := publisher(b.internalURL).PublishBatch(t.Context(), request)
			require.NoError(t, err)
			result := response.Msg.GetResults()[0]
			if test.refusal != "" {
				assert.Empty(t, result.GetCursor())
				assert.Equal(t, "permission_denied", result.GetError().GetCode())
				assert.Contains(t, result.GetError().GetMessage(), test.refusal)
				require.Len(t, result.GetError().GetViolations(), 1)
				want := map[bool]string{true: "data", false: "topic"}[strings.HasPrefix(test.refusal, wrongType)]
				assert.Equal(t, want, result.GetError().GetViolations()[0].GetField())
				return
			}
			require.Nil(t, result.GetError(), "%v", result.GetError())
			stored := find(t, b.publicURL, test.topic, reader, result.GetCursor())
			assert.Equal(t, test.source, stored.Source)
			assert.Equal(t, test.topic, stored.Subject)
		})
	}
}

// storedEvent is what readers receive.
type storedEvent struct{ ID, Source, Type, Subject string }

// find returns a stored event as a reader receives it.
func find(t testing.TB, base, topic, token, cursor string) storedEvent {
	t.Helper()
	response := ask(t, streamClient, base, topics(topic)+"&since=earliest", withBearer(token))
	require.Equal(t, http.StatusOK, response.StatusCode)
	stream := newEventStream(response.Body)
	for {
		f, err := stream.next()
		require.NoError(t, err)
		if f.id == cursor && f.event == "" {
			var event storedEvent
			require.NoError(t, json.Unmarshal([]byte(f.data), &event))
			return event
		}
	}
}

// TestUnknownAndForbiddenAnswerTheSame, to readers and publishers: nobody finds out which topics there are.
func TestUnknownAndForbiddenAnswerTheSame(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	b := startSecured(t, town+r.issuers())
	_, err := publishAs(t.Context(), b.internalURL, r.service("news"), nil, numbered(t, "users/bob/inbox", 1))
	require.NoError(t, err)
	pairs := []struct{ forbidden, unknown string }{
		{"users/bob/inbox", "nobody/has/this"}, // one of them holds events
		{"users/bob", "x"},
		{"closed/a", "open/a"},
		{"shops/*/orders/*", "shops/*/nothing/*"},
		{"shops/1/till", "shops/1/safe"},
		{"public/staff/**", "private/**"},
		{"**", "*"},
	}
	type answer struct {
		status int
		header http.Header
		body   string
	}
	of := func(topic, token string, client *http.Client) answer {
		response := ask(t, client, b.publicURL, topics(topic), func(r *http.Request) { bearer(r.Header, token) })
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		header := response.Header.Clone()
		header.Del("Date")
		header.Del("Content-Length") // counts the topic's own text
		return answer{response.StatusCode, header, strings.ReplaceAll(string(body), topic, "TOPIC")}
	}
	compare := func(t *testing.T) {
		t.Helper()
		for _, pair := range pairs {
			for name, token := range map[string]string{"anonymous": "", "alice": r.user("alice")} {
				for version, client := range httpVersions() {
					forbidden, unknown := of(pair.forbidden, token, client), of(pair.unknown, token, client)
					assert.Equal(t, forbidden, unknown, "%s %s %s", pair.forbidden, name, version)
					assert.Contains(t, []int{401, 403}, unknown.status)
				}
			}
		}
	}
	t.Run("readers", compare)
	t.Run("publishers", func(t *testing.T) {
		for _, pair := range pairs[:3] {
			for protocol, options := range protocols {
				for _, token := range []string{"", r.service("alice")} {
					results, err := publishAs(t.Context(), b.internalURL, token, options,
						numbered(t, strings.ReplaceAll(pair.forbidden, "users", "grants"), 1), numbered(t, pair.unknown, 1))
					require.NoError(t, err, protocol)
					assert.Equal(t, "permission_denied", results[0].GetError().GetCode())
					assert.Equal(t, results[0].String(), results[1].String(), protocol)
				}
			}
		}
	})
	// Without the log and without readers nothing changes: neither is asked.
	b.hub.Drain()
	require.NoError(t, b.log.Close())
	t.Run("readers, no log", compare)
}

// TestIdsOfPublishersAreTheirOwn: the same id of another publisher is another event.
func TestIdsOfPublishersAreTheirOwn(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	second := fmt.Sprintf("  - {name: other, url: 'https://other.example.com', jwks_file: %q, audiences: [ssebridge], roles: [publish]}\n", r.file)
	b := startSecured(t, "topics: [{pattern: '{topic}', publish: 'true', subscribe: 'true'}]\n"+r.issuers()+second)
	once := func(topic string) *ssebridgev1.Event {
		event := numbered(t, topic, 1)
		event.Id = "1"
		return event
	}
	seen := map[string]string{}
	for _, test := range []struct {
		name, token, topic string
		duplicate          bool
	}{
		{"a", r.service("a"), "t", false},
		{"a again, with another token", r.service("a", "jti", "2"), "t", true},
		{"a, another topic", r.service("a"), "t2", false},
		{"b", r.service("b"), "t", false},
		{"A", r.service("A"), "t", false},
		{"a of another issuer", r.ec.token(r.claims("https://other.example.com", "a")), "t", false},
		{"anonymous", "", "t", false},
		{"anonymous again", "", "t", true},
		{"NUL and what follows", r.service("a\x00t"), "t", false},
		{"line break", r.service("a\r\nNats-Msg-Id: x"), "t", false},
		{"b again", r.service("b"), "t", true},
	} {
		results, err := publishAs(t.Context(), b.internalURL, test.token, nil, once(test.topic))
		require.NoError(t, err, test.name)
		require.Nil(t, results[0].GetError(), "%s: %v", test.name, results[0].GetError())
		assert.Equal(t, test.duplicate, results[0].GetDuplicate(), test.name)
		if before, stored := seen[results[0].GetCursor()]; stored {
			assert.True(t, test.duplicate, "%s has the event of %s", test.name, before)
		}
		seen[results[0].GetCursor()] = test.name
	}
	assert.Len(t, seen, 8)
}

// TestWrongRulesDoNotStart: the program and config check say where the mistake is.
func TestWrongRulesDoNotStart(t *testing.T) {
	t.Parallel()
	keys := keyFile(t, newECKey("a"))
	secret := filepath.Join(t.TempDir(), "secret.jwks")
	require.NoError(t, os.WriteFile(secret, []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`), 0o600))
	issuer := "issuers: [{name: i, url: u, audiences: [a], roles: [publish], jwks_file: %q}]\n"
	for _, test := range []struct {
		name, text string
		want       []string // after the name of the file
	}{
		{
			"misspelt variable", "topics:\n  - pattern: shops/{shop}\n    subscribe: topic.shp in auth.claims.shops\n",
			[]string{`:3:16: topics[0].subscribe: line 1, column 6 of the rule: undeclared reference to 'topic`, "topic.shop"},
		},
		{
			"misspelt claims", "topics:\n  - {pattern: a, subscribe: auth.claim.x == 1}\n",
			[]string{`:2:29: topics[0].subscribe: line 1, column 11 of the rule: undeclared reference`, "auth.claims"},
		},
		{
			"second line of a rule", "topics:\n  - pattern: a\n    publish: |\n      auth.kind == \"token\" &&\n      auth.user == \"x\"\n",
			[]string{`topics[0].publish: line 2, column 5 of the rule: undeclared reference`, "auth.sub"},
		},
		{
			"type in a subscribe rule", "topics: [{pattern: a, subscribe: 'type == \"x\"'}]\n",
			[]string{`:1:34: topics[0].subscribe: line 1, column 6 of the rule: found no matching overload`, "type is known to publish rules only"},
		},
		{
			"granted in a publish rule", "topics: [{pattern: a, publish: 'granted([])'}]\n",
			[]string{`:1:32: topics[0].publish: line 1, column 8 of the rule: undeclared reference to 'granted'`},
		},
		{
			"no bool", "topics: [{pattern: a, subscribe: auth.sub}]\n",
			[]string{`:1:34: topics[0].subscribe: the rule is of type string, not bool`},
		},
		{
			"no CEL", "topics: [{pattern: a, subscribe: 'auth.sub =='}]\n",
			[]string{`:1:34: topics[0].subscribe: line 1, column`, "Syntax error"},
		},
		{
			"out of reach", "topics:\n  - pattern: public/**\n    subscribe: 'true'\n  - pattern: public/staff/**\n",
			[]string{`:4:14: topics[1].pattern: declaration 0 (public/**) matches all of its topics`},
		},
		{
			"rule of a reserved topic", "topics: [{pattern: '$x', publish: 'true'}]\n",
			[]string{`topics[0].publish: topics that begin with $ belong to the bridge`},
		},
		{
			"wildcard in the middle", "topics: [{pattern: 'a/**/b'}]\n", []string{`:1:20: topics[0].pattern: `, "last segment"},
		},
		{
			"variable twice", "topics: [{pattern: '{a}/{a}'}]\n", []string{`:1:20: topics[0].pattern: `, "the name is taken"},
		},
		{
			"two mistakes", "topics: [{pattern: a, subscribe: x}, {pattern: b, publish: y}]\n",
			[]string{":1:34: topics[0].subscribe", ":1:60: topics[1].publish"},
		},
		{
			"no key file", fmt.Sprintf(issuer, filepath.Join(t.TempDir(), "nowhere.jwks")),
			[]string{`:1:74: issuers[0].jwks_file: open `, "no such file"},
		},
		{
			"shared secret", fmt.Sprintf(issuer, secret),
			[]string{`:1:74: issuers[0].jwks_file: `, "is a shared secret, which is never accepted"},
		},
		{
			"rule and issuer", fmt.Sprintf(issuer, secret) + "topics: [{pattern: a, subscribe: x}]\n",
			[]string{":1:74: issuers[0].jwks_file: ", ":2:34: topics[0].subscribe: "},
		},
		{
			"HS256", strings.Replace(fmt.Sprintf(issuer, keys), "roles", "algorithms: [HS256], roles", 1),
			[]string{":1:58: issuers[0].algorithms[0]: "},
		},
		{"origins of everybody", "public: {origins: ['*']}\n", []string{":1:20: public.origins[0]: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := writeConfig(t, test.text)
			status, out, checked := command(t, "", "config", "check", file)
			assert.Equal(t, 1, status)
			assert.Empty(t, out)
			status, _, served := command(t, "", "serve", "--config", file, "--data-dir", t.TempDir(),
				"--public-addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0")
			assert.Equal(t, 1, status)
			for _, want := range test.want {
				if strings.HasPrefix(want, ":") {
					want = file + want
				}
				assert.Contains(t, checked, want)
				assert.Contains(t, served, want)
			}
			assert.NotContains(t, checked, "c2VjcmV0")
		})
	}
}
