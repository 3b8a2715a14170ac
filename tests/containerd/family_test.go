package containerd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// armTemplate is a container group of one container, as az confcom takes it.
func armTemplate(c corev1.Container) ([]byte, error) {
	type object = map[string]any
	return json.Marshal(object{
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"resources": []object{{
			"type": "Microsoft.ContainerInstance/containerGroups", "apiVersion": "2023-05-01", "name": "group", "location": "westeurope",
			"properties": object{
				"osType": "Linux", "sku": "Confidential", "restartPolicy": "Never",
				"containers": []object{{"name": c.Name, "properties": object{
					"image": c.Image, "command": c.Command,
					"livenessProbe": object{"exec": object{"command": alive}},
					"resources":     object{"requests": object{"cpu": 1, "memoryInGB": 1}},
				}}},
			},
		}},
	})
}

// TestFamilies starts one pod under an untouched policy of each age that az confcom has written, and of a virtual node.
func TestFamilies(t *testing.T) {
	for _, f := range []struct{ name, compat, api string }{
		{"0.10.0", "confcom-1.2.7", "0.10.0"},
		{"0.11.0", "confcom-2", "0.11.0"},
		{"0.12.0", "confcom-prerelease", "0.12.0"},
		{"virtual-node", "confcom-2", "0.11.0"},
	} {
		t.Run(f.name, func(t *testing.T) {
			n := shared(t)
			spec := newPod("family", container("main", "work", "/usr/bin/sleep", "100000"))
			policy := n.aci(spec, f.name == "virtual-node", f.compat)
			if want := `api_version := "` + f.api + `"`; !strings.Contains(string(policy), want) {
				t.Fatalf("the policy is of another API version than %s", f.api)
			}
			bed.SetPolicy(spec, policy)
			p := n.run(spec, bed.HandlerCloister)
			p.wantExec("main", alive, 0, "alive")
			p.wantRefusedExec("main", "/usr/bin/id")
		})
	}
}

// aci generates the policy of a container group or of a virtual node's document.
func (n *node) aci(spec *corev1.Pod, virtual bool, compat string, more ...string) []byte {
	n.t.Helper()
	document := spec.DeepCopy()
	document.Kind, document.APIVersion = "Pod", "v1"
	document.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: alive}}}
	text, err := yaml.Marshal(document)
	name, flag := "pod.yaml", "--virtual-node-yaml"
	if !virtual {
		text, err = armTemplate(document.Spec.Containers[0])
		name, flag = "template.json", "-a"
	}
	if err != nil {
		n.t.Fatal(err)
	}
	dir := n.t.TempDir()
	in, out := filepath.Join(dir, name), filepath.Join(dir, "policy.rego")
	if err := os.WriteFile(in, text, 0o600); err != nil {
		n.t.Fatal(err)
	}
	args := []string{
		"policy", "generate", flag, in, "--compat", compat, "--offline", "--approve-wildcards", "--images", n.Programs().Images, "--outraw", "-o", out,
	}
	if err := n.Programs().Cloister(n.ctx, append(args, more...)...); err != nil {
		n.t.Fatal(err)
	}
	policy, err := os.ReadFile(out)
	if err != nil {
		n.t.Fatal(err)
	}
	return policy
}

// TestEROFS starts the same pod under our own policy with the roots of EROFS layers: the node makes those disks once more.
func TestEROFS(t *testing.T) {
	n := shared(t)
	spec := newPod("erofs", container("main", "work", "/usr/bin/sleep", "100000"))
	bed.SetPolicy(spec, n.aci(spec, false, "latest", "--layer-format", "erofs"))
	p := n.run(spec, bed.HandlerCloister)
	p.wantExec("main", alive, 0, "alive")
}
