package acigen

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fakeImages answers from memory; its errors name the image, as those of every source.
type fakeImages map[string]*images.Image

func (f fakeImages) Image(_ context.Context, reference string) (*images.Image, error) {
	if i := f[reference]; i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("image %q: no such image", reference)
}

func root(n int) string { return fmt.Sprintf("%064x", n) }

// testImages are an application with everything an image can say, and a base that says nothing but its command.
func testImages() fakeImages {
	return fakeImages{
		"registry.example/app:1": {
			Reference: "registry.example/app:1", Digest: "sha256:aa", Platform: "linux/amd64",
			Config: v1.Config{
				Env: []string{"PATH=/usr/local/bin:/bin", "LANG=C.UTF-8", "MODE=image"}, Entrypoint: []string{"/entry"}, Cmd: []string{"serve", "-g", "a <b> & \"c\""},
				User: "app:70", WorkingDir: "/srv", StopSignal: "SIGQUIT",
			},
			Layers: []images.Layer{{Ext4: root(1), EROFS: root(101)}, {Ext4: root(2), EROFS: root(102)}},
		},
		"registry.example/base": {
			Reference: "registry.example/base", Platform: "linux/amd64",
			Config: v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"/bin/base"}},
			Layers: []images.Layer{{Ext4: root(1), EROFS: root(101)}},
		},
	}
}

func at(path string, line int) workload.Origin {
	return workload.Origin{File: "template.json", Path: path, Line: line}
}

func text(s, path string, line int) workload.Text {
	return workload.Text{Value: s, Origin: at(path, line)}
}

func ptr[T any](v T) *T { return &v }

// testGroup is a group with all that a document can say, a container that says nothing, and one of the platform's own.
func testGroup() *workload.Group {
	return &workload.Group{
		Name: "web", Platform: workload.ACI, Origin: at("resources[0]", 3),
		Fragments: []workload.Fragment{{
			Feed: "registry.example/fragment", Includes: []string{"containers"}, Issuer: "did:x509:0:sha256:AAAA::subject:CN:Ünit 𝄞", MinimumSVN: "2",
		}},
		Containers: []workload.Container{
			{
				ID: "registry.example/app:1", Name: "app", Image: text("registry.example/app:1", "image", 5), Origin: at("containers[0]", 4),
				Command: []workload.Text{text("/entry", "command[0]", 6), text("naïve", "command[1]", 6)},
				Env: []workload.Env{
					{Name: "MODE", Value: text("production", "env[0].value", 8), Origin: at("env[0]", 8)},
					{Name: "TOKEN", Value: text("hunter2", "env[1].secureValue", 9), Secret: true, Required: true, Origin: at("env[1]", 9)},
					{Name: "ZONE", Value: workload.Text{Value: ".*", Wildcard: true, Origin: at("env[2].value", 10)}, Origin: at("env[2]", 10)},
					{Name: "LEVEL", Value: text("low|high", "env[3].value", 11), Strategy: "re2", Origin: at("env[3]", 11)},
					{Name: "HOSTNAME", Value: text("web", "env[4].value", 12), Origin: at("env[4]", 12)},
				},
				Mounts: []workload.Mount{{
					Destination: "/data", Source: "sandbox:///tmp/atlas/azureFileVolume/.+", Type: "bind", Options: []string{"rbind", "rshared", "ro"}, Origin: at("volumeMounts[0]", 14),
				}},
				Exec: []workload.Exec{{Command: []string{"/bin/live"}, Origin: at("livenessProbe", 16)}, {Command: []string{"/bin/live"}, Origin: at("readinessProbe", 17)}},
				Security: workload.Security{
					AllowPrivilegeEscalation: ptr(false), AddCapabilities: []string{"CAP_SYS_TIME", "CAP_KILL"}, DropCapabilities: []string{"CAP_MKNOD"},
					RunAsUser: ptr(int64(33)), SeccompProfile: []byte(testSeccomp), Origin: at("securityContext", 20),
				},
			},
			{ID: "registry.example/base", Name: "base", Image: text("registry.example/base", "image", 30), Init: true, Origin: at("initContainers[0]", 29)},
			{ID: "registry.example/base", Name: "proxy", Image: text("registry.example/base", "image", 40), NoDefaults: true, AllowStdio: ptr(false), Security: workload.Security{Privileged: ptr(true)}, Origin: at("containers[1]", 39)},
		},
	}
}

const testSeccomp = `{
  "defaultAction": "SCMP_ACT_ERRNO",
  "architectures": ["SCMP_ARCH_X86_64"],
  "syscalls": [
    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
    {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
  ]
}`

func mustGenerate(t *testing.T, g *workload.Group, o Options) *Policy {
	t.Helper()
	p, err := Generate(t.Context(), g, testImages(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// only is a group of one container, changed by each function.
func only(c workload.Container) *workload.Group {
	return &workload.Group{Platform: workload.ACI, Containers: []workload.Container{c}}
}

// app is the application without a word of its document's.
func app() workload.Container {
	return workload.Container{ID: "registry.example/app:1", Name: "app", Image: workload.Text{Value: "registry.example/app:1"}}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(got), "\n"), strings.Split(string(want), "\n")); diff != "" {
		t.Errorf("%s (-got +want):\n%s", name, diff)
	}
}
