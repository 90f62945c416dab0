package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

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
