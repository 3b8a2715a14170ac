package main

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// wholeTemplate has a value of each kind that a policy takes from a template.
const wholeTemplate = `{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "image": {"type": "string"},
    "tag": {"type": "string", "defaultValue": "1"},
    "zone": {"type": "string"}
  },
  "variables": {"mode": "[if(equals(parameters('tag'), '1'), 'production', 'test')]"},
  "resources": [
    {
      "type": "Microsoft.ContainerInstance/containerGroups", "apiVersion": "2023-05-01", "name": "web", "location": "[resourceGroup().location]",
      "properties": {
        "osType": "Linux", "sku": "Confidential", "confidentialComputeProperties": {"ccePolicy": ""},
        "volumes": [
          {"name": "files", "azureFile": {"shareName": "s", "storageAccountName": "a"}},
          {"name": "keys", "secret": {"key": "c2VjcmV0"}},
          {"name": "scratch", "emptyDir": {}}
        ],
        "containers": [
          {"name": "web", "properties": {
            "image": "[concat(parameters('image'), ':', parameters('tag'))]",
            "command": ["/entry", "serve"],
            "environmentVariables": [
              {"name": "MODE", "value": "[variables('mode')]"}, {"name": "ZONE", "value": "[parameters('zone')]"}, {"name": "TOKEN", "secureValue": "t0k3n"}
            ],
            "volumeMounts": [
              {"name": "files", "mountPath": "/data", "readOnly": true}, {"name": "keys", "mountPath": "/keys"}, {"name": "scratch", "mountPath": "/scratch"}
            ],
            "livenessProbe": {"exec": {"command": ["/bin/live"]}},
            "securityContext": {
              "runAsUser": 33, "runAsGroup": 34, "allowPrivilegeEscalation": false,
              "capabilities": {"add": ["CAP_SYS_TIME"], "drop": ["CAP_MKNOD"]}, "seccompProfile": "SECCOMP"
            },
            "resources": {"requests": {"cpu": 1, "memoryInGB": 1}}
          }}
        ],
        "initContainers": [{"name": "setup", "properties": {"image": "[parameters('image')]", "securityContext": {"privileged": true}}}]
      }
    }
  ]
}
`

const wholeSeccomp = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}`

// wholeImages writes an OCI layout with a real image of two layers, under two names.
func wholeImages(t *testing.T) string {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{
		Env: []string{"PATH=/usr/bin:/bin", "MODE=image", "LANG=C.UTF-8"}, Entrypoint: []string{"/entry"}, Cmd: []string{"help"}, User: "web:web",
		WorkingDir: "/srv", StopSignal: "SIGQUIT",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"entry", "srv/page"} {
		if img, err = mutate.AppendLayers(img, tarLayer(t, file)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"registry.example/web:1", "registry.example/web:latest"} {
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{"io.containerd.image.name": name})); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func tarLayer(t *testing.T, file string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for dir := filepath.Dir(file); dir != "."; dir = filepath.Dir(dir) {
		if err := w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(1700000000, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: file, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(file)), ModTime: time.Unix(1700000000, 0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, file); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wholeFlags are the flags that generate the policy of wholeTemplate.
func wholeFlags(t *testing.T) []string {
	t.Helper()
	seccomp := base64.StdEncoding.EncodeToString([]byte(wholeSeccomp))
	return []string{
		"generate", "-a", writeFile(t, "template.json", strings.Replace(wholeTemplate, "SECCOMP", seccomp, 1)),
		"-p", writeFile(t, "parameters.json", `{"contentVersion": "1.0.0.0", "parameters": {"image": {"value": "registry.example/web"}}}`),
		"--images", wholeImages(t), "--offline", "--cache", t.TempDir(), "-y", "--outraw-pretty-print",
	}
}

// TestWholePolicies compares whole policies, made of a real image and a template, with golden files.
func TestWholePolicies(t *testing.T) {
	flags := wholeFlags(t)
	for _, level := range defaults.Levels() {
		t.Run(level, func(t *testing.T) {
			got, _, err := policyCommand(t, "", append(slices.Clone(flags), "--compat", level)...)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "generate", level+".rego")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Split(got, "\n"), strings.Split(read(t, path), "\n")); diff != "" {
				t.Errorf("policy (-got +want):\n%s", diff)
			}
		})
	}
}

// TestWholePoliciesLint: what the platform adds is no finding of its own, in none of the levels; the template's own pattern is.
func TestWholePoliciesLint(t *testing.T) {
	flags := wholeFlags(t)
	for _, level := range defaults.Levels() {
		text, _, err := policyCommand(t, "", append(slices.Clone(flags), "--compat", level)...)
		if err != nil {
			t.Fatal(err)
		}
		findings, _, _ := policyCommand(t, "", "lint", writeFile(t, "policy.rego", text))
		if got := strings.Count(findings, "CLP404"); got != 1 || !strings.Contains(findings, "ZONE may have any value") {
			t.Errorf("%s: got %d patterns that allow any value, want the template's:\n%s", level, got, findings)
		}
	}
	pod := writeFile(t, "pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: demo\n  labels: {azure.workload.identity/use: \"true\"}\nspec:\n  containers:\n  - {name: app, image: \"registry.example/app:1\"}\n")
	text, _, err := policyCommand(t, "", "generate", "--virtual-node-yaml", pod, "--lock", writeFile(t, "lock.json", groupLock), "--locked", "--outraw")
	if err != nil {
		t.Fatal(err)
	}
	if findings, _, _ := policyCommand(t, "", "lint", writeFile(t, "policy.rego", text)); strings.Contains(findings, "CLP404") || !strings.Contains(findings, "CLP411") {
		t.Errorf("virtual node: got\n%s", findings)
	}
}

// TestWholePolicyIsEnforced: the container that the template describes starts, with the variables that ACI adds.
func TestWholePolicyIsEnforced(t *testing.T) {
	text, _, err := policyCommand(t, "", wholeFlags(t)...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policydoc.Read(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	e, err := enforcer.Load(t.Context(), []byte(text), enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()})
	if err != nil {
		t.Fatal(err)
	}
	decide := func(in enforcer.Input) *enforcer.Decision {
		t.Helper()
		d, err := e.Decide(t.Context(), in)
		if err != nil {
			t.Fatalf("%s: %v", in.Point(), err)
		}
		if _, err := d.Commit(); err != nil {
			t.Fatal(err)
		}
		return d
	}
	id, sandbox := strings.Repeat("a", 64), "/run/gcs/c/"+strings.Repeat("b", 64)+"/sandboxMounts"
	var topFirst []string
	for i, l := range p.Containers[0].Layers {
		target := fmt.Sprintf("/run/mounts/scsi/m%d", i)
		decide(enforcer.MountDeviceInput{Target: target, DeviceHash: l, MountPathRegex: "/run/mounts/scsi/m[0-9]+"})
		topFirst = append([]string{target}, topFirst...)
	}
	decide(enforcer.MountOverlayInput{ContainerID: id, LayerPaths: topFirst, Target: "/run/gcs/c/" + id + "/rootfs"})
	digest, err := acigen.SeccompSHA256([]byte(wholeSeccomp))
	if err != nil {
		t.Fatal(err)
	}
	caps := slices.DeleteFunc(append(aci.UnprivilegedCapabilities(), "CAP_SYS_TIME"), func(c string) bool { return c == "CAP_MKNOD" })
	bind := func(destination, source, mode string) enforcer.Mount {
		return enforcer.Mount{Destination: destination, Source: sandbox + "/tmp/atlas/" + source + "/1", Type: "bind", Options: []string{"rbind", "rshared", mode}}
	}
	env := []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "MODE=production", "ZONE=west", "TOKEN=t0k3n", "TERM=xterm", "Fabric_Id=1", "IDENTITY_ENDPOINT=http://x"}
	d := decide(enforcer.CreateContainerInput{
		ContainerID: id, ArgList: []string{"/entry", "serve"}, EnvList: append(slices.Clone(env), "LD_PRELOAD=/x", "MODE=image"), WorkingDir: "/srv",
		SandboxDir: sandbox, HugePagesDir: strings.Replace(sandbox, "sandboxMounts", "hugepages", 1), NoNewPrivileges: true, Umask: "0022",
		User: enforcer.User{ID: "33", Name: "web"}, Groups: []enforcer.User{{ID: "34", Name: "web"}}, SeccompProfileSHA256: digest,
		Capabilities: enforcer.Capabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: []string{}, Ambient: []string{}},
		Mounts: []enforcer.Mount{
			bind("/data", "azureFileVolume", "ro"), bind("/keys", "secretsVolume", "rw"), bind("/scratch", "emptydir", "rw"), bind("/etc/resolv.conf", "resolvconf", "rw"),
		},
	})
	if !slices.Equal(d.Env, env) {
		t.Errorf("environment: got %v, want %v", d.Env, env)
	}
}

// TestOtherSources: a configuration and a virtual-node document that say the same of a container.
func TestOtherSources(t *testing.T) {
	lock := writeFile(t, "lock.json", groupLock)
	config := writeFile(t, "config.json", `{"version": "1.0", "containers": [{"name": "app", "properties": {
		"image": "registry.example/app:1", "command": ["/bin/app"], "environmentVariables": [{"name": "MODE", "value": "a|b", "regex": true}],
		"volumeMounts": [{"name": "f", "mountPath": "/data", "mountType": "azureFile", "readOnly": true}]}}]}`)
	text, _, err := policyCommand(t, "", "generate", "-i", config, "--lock", lock, "--locked")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"command":["/bin/app"]`, `{"pattern":"MODE=(?:a|b)","required":false,"strategy":"re2"}`, `"source":"sandbox:///tmp/atlas/azureFileVolume/.+"`} {
		if !strings.Contains(text, want) {
			t.Errorf("-i: %s is not in\n%s", want, text)
		}
	}
	pod := writeFile(t, "pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: demo} # kept\nspec:\n  containers:\n  - {name: app, image: \"registry.example/app:1\", args: [serve]}\n")
	_, stderr, err := policyCommand(t, "", "generate", "--virtual-node-yaml", pod, "--lock", lock, "--locked")
	if err != nil || !strings.Contains(read(t, pod), "microsoft.containerinstance.virtualnode.ccepolicy") || !strings.Contains(read(t, pod), "# kept") {
		t.Fatalf("got %v, %q and\n%s", err, stderr, read(t, pod))
	}
	existing, _, err := policyCommand(t, "", "generate", "--virtual-node-yaml", pod, "--print-existing-policy")
	if err != nil || !strings.Contains(existing, `"command":["/entry","serve"]`) || !strings.Contains(existing, "_SERVICE_HOST=.+") {
		t.Errorf("got %v and\n%s", err, existing)
	}
	if out, _, err := policyCommand(t, "", "diff", "--virtual-node-yaml", pod, "--lock", lock, "--locked"); err != nil || out != "the same text\n" {
		t.Errorf("diff: got %v and %q", err, out)
	}
}
