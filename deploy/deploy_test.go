// Package deploy holds what puts the bridge to work: an image, manifests for Kubernetes, reverse proxies. Its Go files
// prove that these fit the program. They are a module of their own, so that what they depend on stays out of the
// product's module graph.
package deploy

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
)

const testVersion = "v1.2.3-test"

// built is the program as the image has it, and how it was made.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// program returns the path of the binary that the Dockerfile builds.
func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() { built.err = buildImage() })
	require.NoError(t, built.err)
	return filepath.Join(built.dir, "out", "ssebridge")
}

// buildImage does what "docker build" does in the stage build: it takes what .dockerignore leaves of the repository and
// runs the stage's go build line there.
func buildImage() (err error) {
	if built.dir, err = os.MkdirTemp("", "ssebridge-image-"); err != nil {
		return err
	}
	source := filepath.Join(built.dir, "src")
	if err := copyContext(source); err != nil {
		return err
	}
	stages, _, err := readDockerfile()
	if err != nil {
		return err
	}
	line, environment := goBuild(stages[0])
	if line == "" {
		return fmt.Errorf("stage %q has no go build line", stages[0].Name)
	}
	command := exec.Command("sh", "-c", strings.ReplaceAll(line, "/out/", built.dir+"/out/"))
	command.Dir = source
	command.Env = append(os.Environ(), environment...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return nil
}

func readDockerfile() ([]instructions.Stage, []instructions.ArgCommand, error) {
	file, err := os.Open("Dockerfile")
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return nil, nil, err
	}
	return instructions.Parse(parsed.AST, nil)
}

// goBuild returns the go build line of a stage and the environment that docker build gives it on this platform.
func goBuild(stage instructions.Stage) (line string, environment []string) {
	arguments := map[string]string{"TARGETOS": runtime.GOOS, "TARGETARCH": runtime.GOARCH, "VERSION": testVersion}
	for name, value := range arguments {
		environment = append(environment, name+"="+value)
	}
	for _, command := range stage.Commands {
		switch command := command.(type) {
		case *instructions.EnvCommand:
			for _, pair := range command.Env {
				environment = append(environment, pair.Key+"="+os.Expand(pair.Value, func(name string) string { return arguments[name] }))
			}
		case *instructions.RunCommand:
			if run := strings.Join(command.CmdLine, " "); strings.Contains(run, "go build") {
				line = run
			}
		}
	}
	return line, environment
}

// copyContext copies what .dockerignore leaves of the repository.
func copyContext(to string) error {
	file, err := os.Open("../.dockerignore")
	if err != nil {
		return err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return err
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return err
	}
	return filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		switch {
		case err != nil:
			return err
		case skip && entry.IsDir():
			return fs.SkipDir
		case skip || !entry.IsDir() && !entry.Type().IsRegular():
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o600)
	})
}

// bridgeProcess is a running bridge with open rules.
type bridgeProcess struct {
	*process

	public, internal, ops string // host:port
}

// startBridge runs the program on given addresses, or free ones when they are empty.
func startBridge(t *testing.T, dataDir string, at *bridgeProcess, change func(*exec.Cmd)) *bridgeProcess {
	t.Helper()
	b := &bridgeProcess{public: freeAddress(t), internal: freeAddress(t), ops: freeAddress(t)}
	if at != nil {
		b.public, b.internal, b.ops = at.public, at.internal, at.ops
	}
	command := exec.Command(program(t), "serve", "--dev", "--data-dir", dataDir,
		"--public-addr", b.public, "--internal-addr", b.internal, "--ops-addr", b.ops)
	change(command)
	b.process = startProcess(t, command)
	require.Eventually(t, func() bool {
		status, _ := fetch("http://" + b.ops + "/readyz")
		return status == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond, "the bridge is ready")
	return b
}

func unchanged(*exec.Cmd) {}

// process is a child of the test, which ends with it.
type process struct {
	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	err     error         // how it ended; read after ended
}

func startProcess(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	command.Stdout, command.Stderr = t.Output(), t.Output()
	require.NoError(t, command.Start())
	p := &process{command: command, ended: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { _ = p.stop() })
	return p
}

// stop asks the process to end, kills it if it does not, and returns how it ended.
func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end after SIGTERM", p.command.Path)
	}
	return p.err
}

// freeAddress returns an address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func fetch(url string) (status int, body string) {
	response, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(content)
}
