package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// block is a shell block of the README and what the comment above it says: "server" runs until the next server,
// "reader" runs beside what follows, anything else runs to its end; "expects TEXT" and "expects TEXT N times" is what
// it prints.
type block struct {
	kind, expects string
	times         int
	script        string
}

var (
	blockPattern   = regexp.MustCompile("(?ms)^<!-- test(:? ?[^\n]*?) -->\n```sh\n(.*?)^```$")
	expectsPattern = regexp.MustCompile(`expects (\S+)(?: (\d+) times)?$`)
)

func readmeBlocks(t *testing.T) []block {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	var blocks []block
	for _, match := range blockPattern.FindAllSubmatch(readme, -1) {
		note := strings.TrimPrefix(string(match[1]), ": ")
		b := block{script: string(match[2]), times: 1}
		if expects := expectsPattern.FindStringSubmatch(note); expects != nil {
			b.expects = expects[1]
			if expects[2] != "" {
				b.times, err = strconv.Atoi(expects[2])
				require.NoError(t, err)
			}
		}
		b.kind, _, _ = strings.Cut(note, ",")
		blocks = append(blocks, b)
	}
	require.Len(t, blocks, strings.Count(string(readme), "```sh\n"), "every shell block has a comment for the test")
	return blocks
}

// output collects what a script prints, to both of its streams.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// shell runs a script in the repository's root as a user would.
func shell(ctx context.Context, script string) (*exec.Cmd, *output) {
	var out output
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = "../.."
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd, &out
}

// TestReadme runs each shell block of the README, in order, as it is written.
func TestReadme(t *testing.T) {
	for _, tool := range []string{"curl", "buf", "grpcurl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			skipf(t, "the README's commands are not tried: %s is not installed: run make test-go", tool)
		}
	}
	stopServer := func() {}
	defer func() { stopServer() }()
	readers := 0
	for _, b := range readmeBlocks(t) {
		t.Log(b.script)
		switch b.kind {
		case "server":
			stopServer()
			stopServer, readers = background(t, b), 0
			waitReady(t, "http://localhost:9090")
		case "reader":
			stop := background(t, b)
			defer stop()
			readers++
			require.Eventually(t, func() bool { return openReaders(t) == readers }, 10*time.Second, 10*time.Millisecond)
		default:
			cmd, out := shell(t.Context(), b.script)
			require.NoError(t, cmd.Run(), "%s\n%s", b.script, out)
			b.check(t, out)
		}
	}
}

// background runs a block until the function it returns is called, which also checks its output.
func background(t *testing.T, b block) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd, out := shell(ctx, b.script)
	require.NoError(t, cmd.Start())
	return func() {
		if b.expects != "" {
			assert.Eventually(t, func() bool { return strings.Count(out.String(), b.expects) >= b.times },
				10*time.Second, 10*time.Millisecond)
		}
		cancel()
		_ = cmd.Wait() // killed
		b.check(t, out)
	}
}

func (b block) check(t *testing.T, out *output) {
	t.Helper()
	if b.expects != "" {
		assert.Equal(t, b.times, strings.Count(out.String(), b.expects), "%s\n%s", b.script, out)
	}
}

func openReaders(t *testing.T) int {
	t.Helper()
	cmd, out := shell(t.Context(), "curl -s 'http://localhost:9090/readyz?verbose'")
	if cmd.Run() != nil {
		return 0
	}
	_, rest, _ := strings.Cut(out.String(), `"readers":`)
	n, _ := strconv.Atoi(strings.Trim(rest, "}\n"))
	return n
}
