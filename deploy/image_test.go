package deploy

import (
	"debug/elf"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const imageUser = 65532

// TestDockerfile: the last stage is what the manifests rely on.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	stages, arguments, err := readDockerfile()
	require.NoError(t, err)
	require.Len(t, stages, 2)
	assert.Equal(t, "${GO_IMAGE}", stages[0].BaseName)
	require.Len(t, arguments, 1)
	require.Len(t, arguments[0].Args, 1)
	assert.Equal(t, "golang:"+goVersion(t), *arguments[0].Args[0].Value, "the Go of go.mod")
	assert.Equal(t, "scratch", stages[1].BaseName)
	found := map[string]string{}
	for _, command := range stages[1].Commands {
		switch command := command.(type) {
		case *instructions.UserCommand:
			found["user"] = command.User
		case *instructions.ExposeCommand:
			found["expose"] = strings.Join(command.Ports, " ")
		case *instructions.EntrypointCommand:
			found["entrypoint"] = strings.Join(command.CmdLine, " ")
		case *instructions.CmdCommand:
			found["cmd"] = strings.Join(command.CmdLine, " ")
		case *instructions.WorkdirCommand:
			found["workdir"] = command.Path
		}
	}
	assert.Equal(t, map[string]string{
		"user": fmt.Sprintf("%d:%[1]d", imageUser), "expose": "8080 8081 9090", "entrypoint": "/usr/bin/ssebridge", "cmd": "serve",
		"workdir": "/var/lib/ssebridge",
	}, found)
}

// goVersion is major and minor of the Go version in the product's go.mod.
func goVersion(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	for line := range strings.Lines(string(content)) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "go "); ok {
			parts := strings.Split(version, ".")
			return parts[0] + "." + parts[1]
		}
	}
	t.Fatal("../go.mod has no go line")
	return ""
}

// TestImageBinary is static and knows its version.
func TestImageBinary(t *testing.T) {
	t.Parallel()
	file, err := elf.Open(program(t))
	require.NoError(t, err)
	defer file.Close()
	for _, part := range file.Progs {
		assert.NotEqual(t, elf.PT_INTERP, part.Type, "the binary asks for a dynamic linker")
	}
	libraries, err := file.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries)
	out, err := exec.Command(program(t), "version").Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), "ssebridge "+testVersion+" ")
}

// TestImageRuns: with nothing around it but an empty working directory, as a user who may write nowhere else. Who is not
// root sees the part of this that needs no other root directory and no other user.
func TestImageRuns(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dataDir := filepath.Join(root, "var/lib/ssebridge")
	require.NoError(t, os.MkdirAll(dataDir, 0o755))
	inImage := func(command *exec.Cmd) { command.Dir = dataDir }
	if os.Getuid() == 0 {
		require.NoError(t, os.Mkdir(filepath.Join(root, "usr"), 0o755))
		require.NoError(t, os.Link(program(t), filepath.Join(root, "usr/ssebridge")))
		require.NoError(t, os.Chown(dataDir, imageUser, imageUser))
		inImage = func(command *exec.Cmd) {
			command.Path, command.Dir, command.Env = "/usr/ssebridge", "/var/lib/ssebridge", []string{}
			command.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: imageUser, Gid: imageUser}}
		}
	}
	b := startBridge(t, "ssebridge-data", nil, inImage)
	stored := publish(t, b, "a", 1)
	assert.NotEmpty(t, stored)
	assert.DirExists(t, filepath.Join(dataDir, "ssebridge-data"))
	stream := subscribe(t, http.DefaultClient, "http://"+b.public, "topic=a&since=earliest", nil)
	assert.Equal(t, stored, stream.event(t).LastEventID)
	require.NoError(t, b.stop(), "SIGTERM ends it in good order, with a reader connected")
	stream.ended(t)
}
