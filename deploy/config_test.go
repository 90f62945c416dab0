package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestConfigurations: the program takes each configuration that is here, also with the lines that a comment offers.
func TestConfigurations(t *testing.T) {
	t.Parallel()
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
		out, err := exec.Command(program(t), "config", "check", "--no-files", file).CombinedOutput()
		assert.NoError(t, err, "%s: %s", file, out)
	}
}

// uncomment turns lines such as "  #- name: users" and "  #  url: …" into configuration.
func uncomment(content string) string {
	return regexp.MustCompile(`(?m)^  #(- |  )(\w)`).ReplaceAllString(content, "  $1$2")
}

// configuration is what the manifests must fit in a shape's config.yaml.
type configuration struct {
	Log struct {
		URL             string `yaml:"url"`
		CredentialsFile string `yaml:"credentials_file"`
		CAFile          string `yaml:"ca_file"`
		DataDir         string `yaml:"data_dir"`
		MaxBytes        string `yaml:"max_bytes"`
		Replicas        int    `yaml:"replicas"`
	} `yaml:"log"`
	Drain struct {
		Grace time.Duration `yaml:"grace"`
	} `yaml:"drain"`
	Issuers []struct {
		CAFile     string `yaml:"ca_file"`
		BearerFile string `yaml:"bearer_file"`
	} `yaml:"issuers"`
}

// TestConfigurationFitsThePod: each path that config.yaml names is mounted, the log fits its volume, and the pod waits for
// the drain.
func TestConfigurationFitsThePod(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			objects := render(t, shape)
			w := objects.workload(t)
			container := w.container(t)
			source := only[*corev1.ConfigMap](t, objects)
			var config configuration
			require.NoError(t, yaml.Unmarshal([]byte(source.Data["config.yaml"]), &config))

			mounted := func(path string) *corev1.Volume {
				t.Helper()
				for _, mount := range container.VolumeMounts {
					if strings.HasPrefix(path, mount.MountPath+"/") {
						for i, volume := range w.pod.Spec.Volumes {
							if volume.Name == mount.Name {
								return &w.pod.Spec.Volumes[i]
							}
						}
						require.Equal(t, "data", mount.Name)
						return nil
					}
				}
				require.Fail(t, "not mounted", path)
				return nil
			}
			require.Equal(t, []string{"serve", "--config", "/etc/ssebridge/config.yaml"}, container.Args)
			assert.Equal(t, source.Name, mounted(container.Args[2]).ConfigMap.Name)
			require.Len(t, config.Issuers, 1)
			for _, file := range []string{config.Issuers[0].CAFile, config.Issuers[0].BearerFile} {
				assert.NotNil(t, mounted(file).Projected, file)
			}
			if shape == "embedded" {
				assert.Empty(t, config.Log.URL)
				mounted(config.Log.DataDir)
				require.Len(t, w.claims, 1)
				volume := w.claims[0].Spec.Resources.Requests[corev1.ResourceStorage]
				limit := resource.MustParse(strings.TrimSuffix(config.Log.MaxBytes, "B")) // 8GiB is 8Gi there
				assert.LessOrEqual(t, limit.Value(), volume.Value()*8/10, "the log needs room beyond its events")
			} else {
				assert.True(t, strings.HasPrefix(config.Log.URL, "tls://"))
				assert.Equal(t, 3, config.Log.Replicas)
				for _, file := range []string{config.Log.CredentialsFile, config.Log.CAFile} {
					assert.Equal(t, "ssebridge-nats", mounted(file).Secret.SecretName)
				}
			}
			wait := config.Drain.Grace + 10*time.Second // to close the log
			if container.Lifecycle != nil {
				wait += time.Duration(container.Lifecycle.PreStop.Sleep.Seconds) * time.Second
			}
			assert.Positive(t, config.Drain.Grace)
			assert.GreaterOrEqual(t, time.Duration(*w.pod.Spec.TerminationGracePeriodSeconds)*time.Second, wait)
		})
	}
}
