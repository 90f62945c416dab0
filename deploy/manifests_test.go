package deploy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

var shapes = []string{"embedded", "clustered"}

// decoder decodes manifests strictly: a field that the API does not know, or one that stands twice, is an error.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, gatewayv1.Install,
	} {
		require.NoError(t, add(scheme))
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}

// decode decodes each document of a manifest.
func decode(t *testing.T, manifest []byte) []runtime.Object {
	t.Helper()
	var objects []runtime.Object
	documents := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(manifest)))
	defer documents.Close()
	buffer := make([]byte, 1<<20)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		object, _, err := decoder(t).Decode(buffer[:n], nil, nil)
		require.NoError(t, err, "%s", buffer[:n])
		objects = append(objects, object)
	}
}

// objects are a shape's manifests as kubectl apply -k sends them.
type objects []runtime.Object

// kustomize is one at a time: its schemas are global, and not guarded.
var kustomize sync.Mutex

func render(t *testing.T, shape string) objects {
	t.Helper()
	kustomize.Lock()
	defer kustomize.Unlock()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("kubernetes", shape))
	require.NoError(t, err)
	manifest, err := rendered.AsYaml()
	require.NoError(t, err)
	return decode(t, manifest)
}

// all returns the objects of one kind.
func all[T runtime.Object](objects objects) []T {
	var found []T
	for _, object := range objects {
		if object, ok := object.(T); ok {
			found = append(found, object)
		}
	}
	return found
}

// only returns the only object of its kind.
func only[T runtime.Object](t *testing.T, objects objects) T {
	t.Helper()
	found := all[T](objects)
	require.Len(t, found, 1)
	return found[0]
}

// workload is what a StatefulSet and a Deployment have in common.
type workload struct {
	name     string
	replicas int32
	selector *metav1.LabelSelector
	pod      corev1.PodTemplateSpec
	claims   []corev1.PersistentVolumeClaim
}

func (o objects) workload(t *testing.T) workload {
	t.Helper()
	if sets := all[*appsv1.StatefulSet](o); len(sets) > 0 {
		spec := only[*appsv1.StatefulSet](t, o).Spec
		require.Empty(t, all[*appsv1.Deployment](o))
		return workload{sets[0].Name, *spec.Replicas, spec.Selector, spec.Template, spec.VolumeClaimTemplates}
	}
	deployment := only[*appsv1.Deployment](t, o)
	return workload{deployment.Name, *deployment.Spec.Replicas, deployment.Spec.Selector, deployment.Spec.Template, nil}
}

// container returns the bridge's.
func (w *workload) container(t *testing.T) corev1.Container {
	t.Helper()
	require.Empty(t, w.pod.Spec.InitContainers)
	require.Len(t, w.pod.Spec.Containers, 1)
	return w.pod.Spec.Containers[0]
}

func (w *workload) hasPort(t *testing.T, port intstr.IntOrString) bool {
	t.Helper()
	return slices.ContainsFunc(w.container(t).Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal })
}

// selects fails the test unless a selector matches the pods.
func (w *workload) selects(t *testing.T, selector *metav1.LabelSelector) {
	t.Helper()
	matches, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	assert.False(t, matches.Empty(), "would select every pod")
	assert.True(t, matches.Matches(labels.Set(w.pod.Labels)), "%s does not match the pods", matches)
}

// TestEachFileDecodes: as it is in the repository, before kustomize, which would take unknown fields over.
func TestEachFileDecodes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("kubernetes/*/*.yaml")
	require.NoError(t, err)
	decoded := 0
	for _, file := range files {
		if name := filepath.Base(file); name == "kustomization.yaml" || name == "config.yaml" {
			continue
		}
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		decoded += len(decode(t, content))
	}
	assert.Equal(t, 10, decoded)
	for name, wrong := range map[string]string{"unknown": "\nspek: {}\n", "twice": "\nkind: Service\n"} {
		_, _, err := decoder(t).Decode([]byte("apiVersion: v1\nkind: Service"+wrong), nil, nil)
		assert.Error(t, err, "%s field", name)
	}
}

// TestExamplesInREADME decode as strictly.
func TestExamplesInREADME(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("README.md")
	require.NoError(t, err)
	examples := strings.Split(string(content), "```yaml\n")[1:]
	require.NotEmpty(t, examples)
	for _, example := range examples {
		example, _, _ = strings.Cut(example, "```")
		for _, pod := range all[*corev1.Pod](decode(t, []byte(example))) {
			assertRestricted(t, &pod.ObjectMeta, &pod.Spec)
		}
	}
}

// assertRestricted lets the code of the admission controller itself judge.
func assertRestricted(t *testing.T, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(
		api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, meta, spec))
	assert.True(t, result.Allowed, "%s: %s", result.ForbiddenReason(), result.ForbiddenDetail())
}

func TestPods(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			objects := render(t, shape)
			w := objects.workload(t)
			assert.Equal(t, map[string]int32{"embedded": 1, "clustered": 3}[shape], w.replicas)
			w.selects(t, w.selector)
			assertRestricted(t, &w.pod.ObjectMeta, &w.pod.Spec)
			for _, mode := range []string{"enforce", "audit", "warn"} {
				assert.Equal(t, "restricted", only[*corev1.Namespace](t, objects).Labels["pod-security.kubernetes.io/"+mode])
			}
			container, security := w.container(t), w.pod.Spec.SecurityContext
			assert.True(t, *container.SecurityContext.ReadOnlyRootFilesystem)
			assert.Equal(t, []int64{imageUser, imageUser, imageUser}, []int64{*security.RunAsUser, *security.RunAsGroup, *security.FSGroup})
			assert.Contains(t, container.Image, ":", "has a tag")
			assert.False(t, strings.HasSuffix(container.Image, ":latest"))

			account := only[*corev1.ServiceAccount](t, objects)
			assert.Equal(t, account.Name, w.pod.Spec.ServiceAccountName)
			assert.False(t, *account.AutomountServiceAccountToken)
			assert.False(t, *w.pod.Spec.AutomountServiceAccountToken)

			memory := container.Resources.Limits.Memory()
			assert.Positive(t, memory.Value())
			assert.Less(t, container.Resources.Requests.Memory().Value(), memory.Value()*4/5, "GOMEMLIMIT leaves room for what is not heap")
			assert.Positive(t, container.Resources.Requests.Cpu().MilliValue())
			require.Len(t, container.Env, 1)
			assert.Equal(t, "GOMEMLIMIT", container.Env[0].Name)
			assert.Equal(t, "requests.memory", container.Env[0].ValueFrom.ResourceFieldRef.Resource)
			assertMounts(t, w)
		})
	}
}

// assertMounts: each mount has its volume, and each volume its mount.
func assertMounts(t *testing.T, w workload) {
	t.Helper()
	var volumes, mounts []string
	for _, volume := range w.pod.Spec.Volumes {
		volumes = append(volumes, volume.Name)
	}
	for _, claim := range w.claims {
		volumes = append(volumes, claim.Name)
	}
	for _, mount := range w.container(t).VolumeMounts {
		mounts = append(mounts, mount.Name)
		assert.Equal(t, mount.Name != "data", mount.ReadOnly, "the bridge writes to %s", mount.Name)
	}
	assert.ElementsMatch(t, volumes, mounts)
}

func TestProbes(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes {
		objects := render(t, shape)
		w := objects.workload(t)
		container := w.container(t)
		for path, probes := range map[string][]*corev1.Probe{
			"/livez": {container.StartupProbe, container.LivenessProbe}, "/readyz": {container.ReadinessProbe},
		} {
			for _, probe := range probes {
				require.NotNil(t, probe)
				assert.Equal(t, path, probe.HTTPGet.Path)
				assert.Equal(t, "ops", probe.HTTPGet.Port.StrVal)
				assert.True(t, w.hasPort(t, probe.HTTPGet.Port))
			}
		}
	}
}

// TestPorts: what the image opens is what the pods name.
func TestPorts(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes {
		objects := render(t, shape)
		w := objects.workload(t)
		ports := map[string]int32{}
		for _, port := range w.container(t).Ports {
			ports[port.Name] = port.ContainerPort
		}
		assert.Equal(t, map[string]int32{"public": 8080, "internal": 8081, "ops": 9090}, ports)
		for _, service := range all[*corev1.Service](objects) {
			w.selects(t, &metav1.LabelSelector{MatchLabels: service.Spec.Selector})
			require.Len(t, service.Spec.Ports, 1)
			port := service.Spec.Ports[0]
			assert.Equal(t, "ssebridge-"+port.Name, service.Name)
			assert.Equal(t, port.Name, port.TargetPort.StrVal)
			assert.Contains(t, ports, port.Name)
			if service.Spec.ClusterIP == corev1.ClusterIPNone {
				assert.Equal(t, ports[port.Name], port.Port, "a headless service does not translate ports")
			}
		}
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes {
		objects := render(t, shape)
		services := map[string]int32{}
		for _, service := range all[*corev1.Service](objects) {
			services[service.Name] = service.Spec.Ports[0].Port
		}
		require.Len(t, services, 2)
		rules := only[*gatewayv1.HTTPRoute](t, objects).Spec.Rules
		require.Len(t, rules, 1)
		assert.Equal(t, gatewayv1.Duration("0s"), *rules[0].Timeouts.Request)
		assert.Equal(t, gatewayv1.Duration("0s"), *rules[0].Timeouts.BackendRequest)
		require.Len(t, rules[0].BackendRefs, 1)
		backend := rules[0].BackendRefs[0]
		assert.Equal(t, "ssebridge-public", string(backend.Name), "browsers do not reach the internal listener")
		assert.Equal(t, services["ssebridge-public"], *backend.Port)
	}
}

// TestNetworkPolicy: each port has one kind of peer, by a label of its own.
func TestNetworkPolicy(t *testing.T) {
	t.Parallel()
	for _, shape := range shapes {
		objects := render(t, shape)
		w := objects.workload(t)
		spec := only[*networkingv1.NetworkPolicy](t, objects).Spec
		w.selects(t, &spec.PodSelector)
		assert.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, spec.PolicyTypes)
		peers := map[string]string{}
		for _, rule := range spec.Ingress {
			require.Len(t, rule.Ports, 1)
			require.Len(t, rule.From, 1, "no peer is everybody")
			assert.True(t, w.hasPort(t, *rule.Ports[0].Port))
			peers[rule.Ports[0].Port.StrVal] = metav1.FormatLabelSelector(rule.From[0].NamespaceSelector)
		}
		assert.Equal(t, map[string]string{
			"public": "ssebridge/gateway=allow", "internal": "ssebridge/publisher=allow", "ops": "ssebridge/monitoring=allow",
		}, peers)
	}
}

func TestDisruption(t *testing.T) {
	t.Parallel()
	assert.Empty(t, all[*policyv1.PodDisruptionBudget](render(t, "embedded")), "it would do nothing, or stop the draining of nodes")
	objects := render(t, "clustered")
	w := objects.workload(t)
	budget := only[*policyv1.PodDisruptionBudget](t, objects).Spec
	w.selects(t, budget.Selector)
	assert.Equal(t, w.replicas-1, budget.MinAvailable.IntVal, "one at a time")
	rolling := only[*appsv1.Deployment](t, objects).Spec.Strategy.RollingUpdate
	assert.Equal(t, int32(0), rolling.MaxUnavailable.IntVal)
	assert.Equal(t, int32(1), rolling.MaxSurge.IntVal)
	require.NotEmpty(t, w.pod.Spec.TopologySpreadConstraints)
	for _, constraint := range w.pod.Spec.TopologySpreadConstraints {
		w.selects(t, constraint.LabelSelector)
	}
}
