package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const structJSON = `{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"n":%d}}`

func eventLines(count int) string {
	var lines strings.Builder
	for n := range count {
		fmt.Fprintf(&lines, `{"topic":"a","id":"e%d","data":`+structJSON+"}\n", n, n)
	}
	return lines.String()
}

// command runs a command line to its end.
func command(t *testing.T, stdin string, arguments ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), arguments, strings.NewReader(stdin), &out, &errs)
	return status, out.String(), errs.String()
}

func TestPublishAndSubscribeCommands(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	status, out, errs := command(t, "", "publish", "--addr", b.internalURL, "a", fmt.Sprintf(structJSON, 7))
	require.Zero(t, status, errs)
	assert.Regexp(t, `^{"cursor":"1-[0-9a-z]+"}\n$`, out)

	status, out, errs = command(t, eventLines(1000)+"\n\n", "publish", "--addr", b.internalURL)
	require.Zero(t, status, errs)
	assert.Equal(t, 1000, strings.Count(out, `{"cursor":"`))

	status, out, errs = command(t, eventLines(2)+`{"topic":"a//b","data":`+fmt.Sprintf(structJSON, 1)+"}\n"+eventLines(1), "publish", "--addr", b.internalURL)
	assert.Equal(t, 1, status)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4, "one result per line, in order")
	assert.Contains(t, lines[1], `"duplicate":true`)
	assert.Contains(t, lines[2], `{"error":{"code":"invalid_argument","message":"topic: segment 2`)
	assert.Contains(t, errs, "1 of 4 events were refused")

	status, out, errs = command(t, "", "subscribe", "--addr", b.publicURL, "--topic", "*", "--since", "earliest", "-n", "1001")
	require.Zero(t, status, errs)
	lines = strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 1001)
	for n, line := range lines[1:] {
		var event struct {
			ID   string
			Data struct{ N int }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &event))
		assert.Equal(t, n, event.Data.N)
		assert.Equal(t, fmt.Sprintf("e%d", n), event.ID)
	}
}

// TestPublishCommandRefusesLines: what the bridge would end the stream for is refused by the number of its line, in order
// among the bridge's own results.
func TestPublishCommandRefusesLines(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	good := func(n int) string { return fmt.Sprintf(`{"topic":"a","id":"l%d","data":`+structJSON+"}", n, n) }
	tests := []struct {
		line, field, message string
	}{
		{`nonsense`, "event", "not a JSON object"},
		{`[1]`, "event", "not a JSON object"},
		{good(1) + "," + good(2), "event", "not a JSON object"},
		{"{\"topic\":\"\xff\"}", "event", "not UTF-8"},
		{`{"topik":"a"}`, "topik", "unknown"},
		{`{"topic":7}`, "topic", ""},
		{`{"topic":"a","topic":"b"}`, "topic", "duplicate"},
		{`{"topic":"a","time":"yesterday"}`, "time", "yesterday"},
		{`{"topic":"a"}`, "data", "missing"},
		{`{"topic":"a","data":[]}`, "data", "@type"},
		{`{"topic":"a","data":{}}`, "data", "@type"},
		{`{"topic":"a","data":{"@type":7}}`, "data", "@type"},
		{`{"topic":"a","data":{"@type":"` + strings.Repeat("x", 4<<20) + `"}}`, "event", "has more than 3145728 bytes"},
		{`{"topic":"a","data":` + strings.Repeat("[", 9_998) + strings.Repeat("]", 9_998) + `}`, "data", "@type"},
		{`{"topic":"a","data":{"@type":"google.protobuf.Value","value":` + strings.Repeat("[", 9_996) + strings.Repeat("]", 9_996) + `}}`, "data", "depth"},
		{`{"topic":"a//b","data":` + fmt.Sprintf(structJSON, 1) + `}`, "topic", "segment 2"},
	}
	var input strings.Builder
	for n, test := range tests {
		fmt.Fprintf(&input, "%s\n\n%s\n", good(n), test.line)
	}
	input.WriteString(good(len(tests))) // without a line break
	status, out, errs := command(t, input.String(), "publish", "--addr", b.internalURL)
	assert.Equal(t, 1, status)
	assert.Equal(t, fmt.Sprintf("ssebridge: %d of %d events were refused\n", len(tests), 2*len(tests)+1), errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2*len(tests)+1)
	for n, test := range tests {
		assert.Contains(t, lines[2*n], `"cursor"`, "the event before %.80q is stored", test.line)
		var result struct {
			Error struct {
				Code, Message string
				Violations    []struct{ Field, Rule, Message string }
			}
		}
		require.NoError(t, json.Unmarshal([]byte(lines[2*n+1]), &result), test.line)
		assert.NotEmpty(t, result.Error.Code)
		require.Len(t, result.Error.Violations, 1, "%.80q", test.line)
		assert.Equal(t, test.field, result.Error.Violations[0].Field, "%.80q", test.line)
		assert.Contains(t, result.Error.Message, test.message, "%.80q", test.line)
		if test.message != "depth" && test.message != "segment 2" { // which only the bridge knows
			assert.Contains(t, result.Error.Message, fmt.Sprintf("line %d: ", 3*n+3), "%.80q", test.line)
		}
	}
	assert.Contains(t, lines[2*len(tests)], `"cursor"`)
	frames, err := collectEvents(subscribe(t, b.publicURL, topics("a")+"&since=earliest&format=json", ""), len(tests)+1)
	require.NoError(t, err)
	for n, f := range frames {
		require.Equal(t, data(n), f.data, "in order")
	}
}

// TestPublishCommandRefusesAlone: what is refused here needs no bridge.
func TestPublishCommandRefusesAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		stdin, want string
		arguments   []string
	}{
		{"nonsense\n\n{}", `"message":"line 3: data: missing`, nil},
		{"", `"message":"data: not JSON: \"{\""`, []string{"a", "{"}},
		{"", `"message":"data: not an object with an \"@type\"`, []string{"a", "{}"}},
		{"", `"message":"data: not an object with an \"@type\"`, []string{"a", "7"}},
	} {
		status, out, errs := command(t, test.stdin, append([]string{"publish", "--addr", "http://127.0.0.1:1"}, test.arguments...)...)
		assert.Equal(t, 1, status)
		assert.Contains(t, out, test.want)
		assert.Contains(t, errs, "events were refused")
	}
}

// TestPublishCommandWithoutOutput ends, and says why.
func TestPublishCommandWithoutOutput(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	for name, input := range map[string]string{"results": eventLines(3000), "refusals": strings.Repeat("nonsense\n", 3000)} {
		full := writerFunc(func([]byte) (int, error) { return 0, syscall.ENOSPC })
		var errs bytes.Buffer
		status := run(t.Context(), []string{"publish", "--addr", b.internalURL}, strings.NewReader(input), full, &errs)
		assert.Equal(t, 1, status, name)
		assert.Contains(t, errs.String(), "no space left", name)
	}
}

// TestPublishCommandGoesOnAfterLast: the bridge ends the stream again and again, and nothing is lost or repeated.
func TestPublishCommandGoesOnAfterLast(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.config.Publish.MaxAge = 20 * time.Millisecond
	b := startBridge(t, options)
	reader, writer := io.Pipe()
	go func() {
		for line := range strings.Lines(eventLines(3000)) {
			_, _ = io.WriteString(writer, line)
		}
		_ = writer.Close()
	}()
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"publish", "--addr", b.internalURL}, reader, &out, &errs)
	require.Zero(t, status, errs.String())
	assert.Equal(t, 3000, strings.Count(out.String(), "\n"))
	assert.NotContains(t, out.String(), "duplicate")
	frames, err := collectEvents(subscribe(t, b.publicURL, topics("a")+"&since=earliest&format=json", ""), 3000)
	require.NoError(t, err)
	for n, f := range frames {
		require.Equal(t, data(n), f.data)
	}
}

// TestSubscribeCommandResumes: the bridge goes and comes back, and the lines go on.
func TestSubscribeCommandResumes(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.config.Public.Addr = freeAddress(t)
	first := startBridge(t, options)
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		run(ctx, []string{"subscribe", "--addr", first.publicURL, "--topic", "a"}, nil, writer, io.Discard)
		_ = writer.Close()
	})
	lines := json.NewDecoder(reader)
	next := func() string {
		var event struct{ ID string }
		require.NoError(t, lines.Decode(&event))
		return event.ID
	}
	require.Eventually(t, func() bool { return first.hub.Readers() == 1 }, 10*time.Second, time.Millisecond)
	for _, cursor := range publishNumbered(t, first.internalURL, "a", 0, 3) {
		assert.Equal(t, cursor, next())
	}
	first.shutdown()
	second := startBridge(t, options)
	for _, cursor := range publishNumbered(t, second.internalURL, "a", 3, 3) {
		assert.Equal(t, cursor, next())
	}
	cancel()
}

func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	b := startBridge(t, testOptions(t))
	occupied := strings.TrimPrefix(b.publicURL, "http://")
	garbage := filepath.Join(t.TempDir(), "garbage.binpb")
	require.NoError(t, os.WriteFile(garbage, []byte("no descriptor set"), 0o600))
	for _, test := range []struct {
		stdin, line, want string
	}{
		{"", "publish a", "1 arguments: give TOPIC and JSON"},
		{"", "publish --addr localhost:8081 a {}", "use a URL such as http://localhost:8081"},
		{"", "publish --schema nowhere.binpb a {}", "nowhere.binpb"},
		{eventLines(1), "publish --addr http://127.0.0.1:1", "1 events have no result"},
		{"", "subscribe --addr " + b.publicURL, `"topic" not set`},
		{"", "subscribe --topic a//b --addr " + b.publicURL, "segment 2"},
		{"", "subscribe --topic a --addr nowhere", "use a URL"},
		{"", "serve --dev --public-addr 0.0.0.0:0", "loopback interface only"},
		{"", "serve --dev --public-addr 8080", "use host:port"},
		{"", "serve --public-addr 127.0.0.1:0 --internal-addr 127.0.0.1:0 --ops-addr " + occupied, "--ops-addr"},
		{"", "serve --dev --public-addr :0 --internal-addr :0 --ops-addr :0 --schema nowhere*.binpb --data-dir " + t.TempDir(), "nowhere*.binpb"},
		{"", "serve --dev --public-addr :0 --internal-addr :0 --ops-addr :0 --schema " + garbage + " --data-dir " + t.TempDir(), "garbage.binpb"},
		{"", "serve --dev --public-addr :0 --internal-addr :0 --ops-addr :0 --data-dir " + garbage, "garbage.binpb"},
		{"", "serve --nonsense", "nonsense"},
		{"", "nonsense", "nonsense"},
	} {
		status, _, errs := command(t, test.stdin, strings.Fields(test.line)...)
		assert.Equal(t, 1, status, test.line)
		assert.Contains(t, errs, test.want, test.line)
	}
}

func TestFlagsFromEnvironment(t *testing.T) {
	b := startBridge(t, testOptions(t))
	t.Setenv("SSEBRIDGE_ADDR", b.internalURL)
	status, out, errs := command(t, "", "publish", "a", fmt.Sprintf(structJSON, 1))
	assert.Zero(t, status, errs)
	assert.Contains(t, out, "cursor")
	t.Setenv("SSEBRIDGE_ADDR", "nonsense")
	status, _, _ = command(t, "", "publish", "--addr", b.internalURL, "a", fmt.Sprintf(structJSON, 1))
	assert.Zero(t, status, "the command line wins")
	t.Setenv("SSEBRIDGE_LOG_MAX_AGE", "long")
	_, _, errs = command(t, "", "serve")
	assert.Contains(t, errs, "SSEBRIDGE_LOG_MAX_AGE")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	status, out, _ := command(t, "", "version")
	assert.Zero(t, status)
	assert.Regexp(t, `^ssebridge \S+ go1\.`, out)
}

func TestEveryCommandHasAnExample(t *testing.T) {
	t.Parallel()
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		assert.NotEmpty(t, cmd.Example, cmd.CommandPath())
		assert.NotEmpty(t, cmd.Short, cmd.CommandPath())
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRootCommand())
}
