package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ssebridge/ssebridge/auth/token"
)

var update = flag.Bool("update", false, "write the golden files anew")

// values returns a configuration without what it knows about its source.
func values(c Config) Config {
	c.origins, c.source = nil, nil
	return c
}

func TestNothingSetIsTheDefault(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "\ufeff", "{}", "public:\nlog:\n  # max_age: 1h\ntopics:\n", "%YAML 1.2\n---\n", "---\n{}\n...\n"} {
		c, err := Parse("empty.yaml", []byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, Default(), values(c), text)
	}
	c, err := Load("")
	require.NoError(t, err)
	assert.Equal(t, Default(), values(c))
}

func TestEveryKindOfValue(t *testing.T) {
	t.Parallel()
	c, err := Parse("c.yaml", []byte(`
public: {addr: "[::1]:443", origins: [https://a.example, 'http://localhost:3000'], cookie: __Host-token, stall: 1m30s}
log: {url: 'nats://a:4222, tls://b', replicas: 3, max_bytes: 2TiB, sync_always: true}
window: {events: 1_000, bytes: 1048576}
schemas:
- a.binpb
- 'b/*.binpb'
issuers:
  - {name: a, url: u, jwks_file: f, audiences: [x], roles: [publish, subscribe]}
  - {name: b, url: v, jwks_url: 'http://127.0.0.1:1/k', bearer_file: t, audiences: [x], roles: [publish], algorithms: [ES256], leeway: 1s}
topics:
  - pattern: shops/{shop}
    subscribe: >-
      topic.shop in
      auth.claims.shops
  - pattern: public/**
    subscribe: "true"
    state: true
`))
	require.NoError(t, err)
	want := Default()
	want.Public.Addr, want.Public.Cookie, want.Public.Stall = "[::1]:443", "__Host-token", 90*time.Second
	want.Public.Origins = []string{"https://a.example", "http://localhost:3000"}
	want.Log.URL, want.Log.Replicas, want.Log.MaxBytes, want.Log.SyncAlways = "nats://a:4222, tls://b", 3, 2<<40, true
	want.Window = Window{Events: 1000, Bytes: 1 << 20}
	want.Schemas = []string{"a.binpb", "b/*.binpb"}
	a := token.DefaultIssuer()
	a.Name, a.URL, a.JWKSFile, a.Audiences, a.Roles = "a", "u", "f", []string{"x"}, []token.Role{"publish", "subscribe"}
	want.Issuers = []token.Issuer{a, {
		Name: "b", URL: "v", JWKSURL: "http://127.0.0.1:1/k", BearerFile: "t", Audiences: []string{"x"}, Roles: []token.Role{"publish"},
		Algorithms: []string{"ES256"}, Leeway: time.Second,
	}}
	want.Topics = []Topic{
		{Pattern: "shops/{shop}", Subscribe: "topic.shop in auth.claims.shops"},
		{Pattern: "public/**", Subscribe: "true", State: true},
	}
	assert.Equal(t, want, values(c))
}

// TestWrongConfigurations compares every message with a golden file: go test ./cmd/ssebridge/config -update.
func TestWrongConfigurations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 30)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = Parse(filepath.Base(file), text)
		require.Error(t, err, file)
		assertPlaced(t, text, err)
		golden := strings.TrimSuffix(file, ".yaml") + ".txt"
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(err.Error()+"\n"), 0o600))
		}
		want, readErr := os.ReadFile(golden)
		require.NoError(t, readErr)
		assert.Equal(t, string(want), err.Error()+"\n", file)
		assert.NotContains(t, err.Error(), "secret", file)
	}
}

// assertPlaced: each mistake has a place in the file, they are in order, and say how to mend them.
func assertPlaced(t testing.TB, text []byte, err error) {
	t.Helper()
	single := (*Error)(nil)
	mistakes := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		mistakes = joined.Unwrap()
	}
	lines, before := strings.Split(string(text), "\n"), Position{}
	for _, mistake := range mistakes {
		require.ErrorAs(t, mistake, &single)
		at := single.Position
		require.True(t, 1 <= at.Line && at.Line <= len(lines), "%s of %d lines", at, len(lines))
		require.True(t, 1 <= at.Column && at.Column <= len(lines[at.Line-1])+1, "%s in %q", at, lines[at.Line-1])
		require.True(t, before.Line < at.Line || before.Line == at.Line && before.Column <= at.Column, "%s after %s", at, before)
		require.Regexp(t, `(?s)^.+: .+`, single.Err.Error(), "what is wrong, and how to mend it")
		before = at
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "nowhere.yaml"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(t.TempDir())
	assert.Error(t, err)
	large := filepath.Join(t.TempDir(), "large.yaml")
	require.NoError(t, os.WriteFile(large, []byte(strings.Repeat("#\n", maxFile)), 0o600))
	_, err = Load(large)
	assert.ErrorContains(t, err, "large.yaml:1:1: the file has more than 1MiB")
}

func TestOverridesWin(t *testing.T) {
	t.Parallel()
	text := []byte("public: {addr: ':1'}\nlog: {max_age: 2h, max_bytes: 2MiB, replicas: 3}\nschemas: [a, a]\n")
	c, err := Parse("c.yaml", text,
		Override{"public.addr", []string{":2"}, "--public-addr"},
		Override{"log.url", []string{"nats://nats:4222"}, "SSEBRIDGE_LOG_URL"}, // makes replicas right
		Override{"log.max_age", []string{"5m"}, "--log-max-age"},
		Override{"schemas", []string{"b", "c"}, "--schema"}) // replaces the list, and what was wrong with it
	require.NoError(t, err)
	want := Default()
	want.Public.Addr, want.Schemas = ":2", []string{"b", "c"}
	want.Log.URL, want.Log.MaxAge, want.Log.MaxBytes, want.Log.Replicas = "nats://nats:4222", 5*time.Minute, 2<<20, 3
	assert.Equal(t, want, values(c))
	assert.EqualError(t, c.At("schemas[1]", errors.New("lost")), "--schema: schemas[1]: lost")
	assert.EqualError(t, c.At("ops.addr", errors.New("in use")), "ops.addr: in use", "a default has no place")

	for _, test := range []struct{ key, value, want string }{
		{"public.addr", "2", `--flag: public.addr: "2" is no address: use host:port or :port`},
		{"log.max_age", "long", `--flag: log.max_age: "long" is no duration`},
		{"log.max_age", "0s", `--flag: log.max_age: 0s is too little`},
		{"log.max_bytes", "2", `--flag: log.max_bytes: 2 is too little: choose at least 1MiB`},
		{"schemas", "", `--flag: schemas[0]: is empty`},
		{"nonsense.key", "", `--flag: nonsense.key: sets nonsense.key, which is no key`},
		{"log.url", "nats://u:secret@nats", `--flag: log.url: has a user or a password`},
	} {
		_, err := Parse("c.yaml", nil, Override{test.key, []string{test.value}, "--flag"})
		assert.ErrorContains(t, err, test.want)
		assert.NotContains(t, err.Error(), "\n", "one mistake")
		assert.NotContains(t, err.Error(), "secret")
	}
}

func TestErrorsOfOthersPointIntoTheFile(t *testing.T) {
	t.Parallel()
	c, err := Parse("c.yaml", []byte("topics:\n  - pattern: a\n  - pattern: b\n    types:\n      - x.v1.*\n    subscribe: auth.nonsense\n"))
	require.NoError(t, err)
	cause := errors.New("undeclared field: declare it")
	err = c.At("topics[1].subscribe", cause)
	assert.EqualError(t, err, "c.yaml:6:16: topics[1].subscribe: undeclared field: declare it\n"+
		"    6 |     subscribe: auth.nonsense\n      |                ^")
	assert.ErrorIs(t, err, cause)
	for key, want := range map[string]Position{
		"topics[1].types[0]": {"c.yaml", 5, 9},
		"topics[1].types":    {"c.yaml", 5, 7},
		"topics[1].publish":  {"c.yaml", 3, 5}, // was not given: the entry
		"topics[0].types[3]": {"c.yaml", 2, 5},
		"topics":             {"c.yaml", 2, 3},
		"public.addr":        {},
	} {
		var placed *Error
		require.ErrorAs(t, c.At(key, cause), &placed)
		assert.Equal(t, want, placed.Position, key)
	}
	assert.NoError(t, c.At("topics", nil))
}

// TestEveryFieldHasAKey: keys are snake_case and belong to kinds that can be read.
func TestEveryFieldHasAKey(t *testing.T) {
	t.Parallel()
	everyKey("", reflect.TypeFor[Config](), func(key string, field reflect.Type) {
		assert.Regexp(t, `^[a-z_]+(\[\])?(\.[a-z_]+(\[\])?)*$`, key)
		if field.Kind() != reflect.Struct && field.Kind() != reflect.Slice {
			assert.NoError(t, set(reflect.New(field).Elem(), scalar{plain, "0"}), key)
		}
	})
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{"0": 0, "7": 7, "1KiB": 1024, "64MiB": 64 << 20, "1 GiB": 1 << 30, "3TiB": 3 << 40, "-1KiB": -1024} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
		again, err := parseSize(got.String())
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
	for _, text := range []string{"", "MiB", "1MB", "1.5GiB", "1kib", "0x10", "9999999TiB", "99999999999999999999", "1MiBMiB"} {
		_, err := parseSize(text)
		assert.Error(t, err, text)
	}
	assert.Equal(t, "1536KiB", Size(1536<<10).String())
	assert.Equal(t, "1000", Size(1000).String())
}
