// Package deploy_test reads the manifests as a cluster and our own tools would.
package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"sigs.k8s.io/yaml"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/shim/fit"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/tools/cloister/kube"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func strict(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(read(t, name), into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// kustomization has the fields that ours uses.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources"`
	Images     []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
	} `json:"images"`
}

func TestManifestsParseStrictly(t *testing.T) {
	var (
		namespace corev1.Namespace
		class     nodev1.RuntimeClass
		daemons   appsv1.DaemonSet
		pod       corev1.Pod
		list      kustomization
	)
	for name, into := range map[string]any{
		"namespace.yaml": &namespace, "runtimeclass.yaml": &class, "daemonset.yaml": &daemons, "kustomization.yaml": &list,
		"examples/pod.yaml": &pod, "examples/source/pod.yaml": new(corev1.Pod),
	} {
		strict(t, name, into)
	}
	manifests, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range manifests {
		if name != "kustomization.yaml" && !slices.Contains(list.Resources, name) {
			t.Errorf("kustomization.yaml leaves %s out", name)
		}
	}
	if daemons.Namespace != namespace.Name {
		t.Errorf("the DaemonSet is in namespace %q, which is not the one that is made: %q", daemons.Namespace, namespace.Name)
	}
	if *pod.Spec.RuntimeClassName != class.Name {
		t.Errorf("the example asks for class %q, got %q", *pod.Spec.RuntimeClassName, class.Name)
	}
	selector := daemons.Spec.Template.Spec.NodeSelector
	for key, value := range class.Scheduling.NodeSelector {
		if selector[key] != value {
			t.Errorf("pods of the class go to nodes with %s=%s, which the DaemonSet does not install on", key, value)
		}
	}
	for _, c := range slices.Concat(daemons.Spec.Template.Spec.InitContainers, daemons.Spec.Template.Spec.Containers) {
		if c.Image != list.Images[0].Name {
			t.Errorf("container %q has image %q, which kustomization.yaml does not name", c.Name, c.Image)
		}
	}
}

func TestInstallScriptIsShell(t *testing.T) {
	var d appsv1.DaemonSet
	strict(t, "daemonset.yaml", &d)
	script := d.Spec.Template.Spec.InitContainers[0].Args[0]
	cmd := exec.Command("sh", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A node that changed has its services restarted, one that is up to date is left alone.
func TestInstallScriptRestartsWhatChanged(t *testing.T) {
	var d appsv1.DaemonSet
	strict(t, "daemonset.yaml", &d)
	const (
		changed = `{"changes": [{"action": "create", "path": "/x"}], "restart": true}`
		same    = `{"changes": [{"action": "same", "path": "/x"}], "restart": false}`
	)
	for _, tc := range []struct{ name, plan, want string }{
		{"changed", changed, "daemon-reload\nenable cloister-snapshotter\nrestart cloister-snapshotter\nrestart containerd\n"},
		{"same", same, "daemon-reload\nenable cloister-snapshotter\nstart cloister-snapshotter\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			stubs := map[string]string{
				"containerd": "echo containerd github.com/containerd/containerd/v2 v2.4.2 abc",
				"nsenter":    "while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"",
				"systemctl":  "echo \"$@\" >> " + dir + "/systemctl",
				"cloister":   "echo \"$@\" > " + dir + "/cloister\ncat " + dir + "/plan",
			}
			for name, body := range stubs {
				put(t, filepath.Join(dir, "bin", name), "#!/bin/sh\n"+body+"\n", 0o755)
			}
			put(t, filepath.Join(dir, "guest", "vmlinuz"), "kernel", 0o644)
			// The stub prints what the command would: indented, as it does.
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(tc.plan), "", "  "); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "plan"), indented.String(), 0o644)
			script := strings.NewReplacer("/host", dir+"/host", "/tmp/plan.json", dir+"/out").Replace(d.Spec.Template.Spec.InitContainers[0].Args[0])
			cmd := exec.Command("sh", "-euc", script)
			cmd.Env = []string{"PATH=" + dir + "/bin:/usr/bin:/bin", "GUEST=" + dir + "/guest", "PROGRAMS=/p", "TEE=none"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := string(read(t, filepath.Join(dir, "systemctl"))); got != tc.want {
				t.Errorf("systemctl: got %q, want %q", got, tc.want)
			}
			if got := string(read(t, filepath.Join(dir, "cloister"))); !strings.Contains(got, "--containerd-version v2.4.2 --tee none") {
				t.Errorf("cloister: got %q", got)
			}
			if got := string(read(t, filepath.Join(dir, "host/opt/cloister/guest/vmlinuz"))); got != "kernel" {
				t.Errorf("guest image: got %q", got)
			}
		})
	}
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// The example is its source with the policy in it, and a policy that the agent and the shim take.
func TestExamplePod(t *testing.T) {
	for _, name := range []string{"examples/pod.yaml", "examples/source/pod.yaml"} {
		f, err := kube.Read(workload.Document{Name: name, Data: read(t, name)}, nil, kube.Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(f.Workloads) != 1 {
			t.Errorf("%s: got %d workloads, want the pod", name, len(f.Workloads))
		}
	}
	var pod corev1.Pod
	strict(t, "examples/pod.yaml", &pod)
	carried, err := spec.PolicyOf(pod.Annotations)
	if err != nil || carried.From == "" {
		t.Fatalf("got %v from %q, want a policy", err, carried.From)
	}
	if _, err := enforcer.Load(t.Context(), carried.Policy, enforcer.Options{}); err != nil {
		t.Errorf("the agent does not take the policy: %v", err)
	}
	if p, err := fit.Read(carried.Policy); err != nil || !p.Known() {
		t.Errorf("the shim does not understand the policy: %v", err)
	}
	for _, c := range pod.Spec.Containers {
		if name := "\"name\":\"" + c.Name + "\""; !bytes.Contains(carried.Policy, []byte(name)) && !bytes.Contains(carried.Policy, []byte("\""+c.Name+"\"")) {
			t.Errorf("the policy has no container %q", c.Name)
		}
	}
	if !bytes.Contains(carried.Policy, []byte("exec sleep 1000000")) || !bytes.Contains(carried.Policy, []byte("/usr/sbin/nginx")) {
		t.Error("the policy does not have the commands of the document")
	}
	var without []string
	for line := range strings.Lines(string(read(t, "examples/pod.yaml"))) {
		if !strings.Contains(line, spec.AnnotationKataPolicy) {
			without = append(without, line)
		}
	}
	if source := string(read(t, "examples/source/pod.yaml")); strings.Join(without, "") != source {
		t.Error("the example is not its source with a policy: write it anew (docs/kubernetes.md)")
	}
}
