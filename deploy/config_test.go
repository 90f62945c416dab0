package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// TestConfigurations: the program takes each configuration that is here, also with the lines that a comment offers.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	if out, _ := exec.Command(program(t), "config", "--help").CombinedOutput(); strings.Contains(string(out), "unknown command") {
		t.Skip("this ssebridge has no config command")
	}
	dir := t.TempDir()
	files := []string{"config.yaml"}
	for _, shape := range shapes {
		content := only[*corev1.ConfigMap](t, render(t, shape)).Data["config.yaml"]
		require.Contains(t, content, "  #- name: users\n")
		for name, content := range map[string]string{shape + ".yaml": content, shape + "-users.yaml": uncomment(content)} {
			files = append(files, filepath.Join(dir, name))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		}
	}
	require.Len(t, files, 5)
	for _, file := range files {
		out, err := exec.Command(program(t), "config", "check", file).CombinedOutput()
		assert.NoError(t, err, "%s: %s", file, out)
	}
}

// uncomment turns lines such as "  #- name: users" and "  #  url: …" into configuration.
func uncomment(content string) string {
	return regexp.MustCompile(`(?m)^  #(- |  )(\w)`).ReplaceAllString(content, "  $1$2")
}
