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

	status, out, errs = command(t, eventLines(2)+`{"topic":"a//b","data":{}}`+"\n"+eventLines(1), "publish", "--addr", b.internalURL)
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

// TestPublishCommandGoesOnAfterLast: the bridge ends the stream again and again, and nothing is lost or repeated.
func TestPublishCommandGoesOnAfterLast(t *testing.T) {
	t.Parallel()
	options := testOptions(t)
	options.publish.MaxAge = 20 * time.Millisecond
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
	options.publicAddr = freeAddress(t)
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
		{"", "publish a {", "not JSON"},
		{"", "publish --addr localhost:8081 a {}", "use a URL such as http://localhost:8081"},
		{"", "publish --schema nowhere.binpb a {}", "nowhere.binpb"},
		{eventLines(1) + "nonsense", "publish --addr " + b.internalURL, "line 2 is not a JSON object"},
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
