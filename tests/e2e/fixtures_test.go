package e2e

import (
	"context"
	"sync"
	"testing"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

const pathEnv = "PATH=/bin"

// capabilities are few, so that a request with more is seen.
var capabilities = []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"}

// newContainer is a container of the test image that runs one mode of the workload.
func newContainer(img image, name string, args ...string) *pod.Container {
	return &pod.Container{
		Name: name, ImageRef: "localhost/workload", Args: append([]string{"/bin/w"}, args...), Env: []string{pathEnv},
		Cwd: "/", AdditionalGIDs: []uint32{0}, NoNewPrivileges: true,
		Capabilities: pod.Capabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		Layers:       []pod.Layer{img.base, img.data, img.top},
	}
}

// fixtures are the containers of the shared VM's policy, by name.
var fixtures = sync.OnceValues(func() (map[string]*pod.Container, error) {
	img, err := testImage()
	if err != nil {
		return nil, err
	}
	list := []*pod.Container{
		newContainer(img, "echo", "echo", "hello", "world"),
		newContainer(img, "env", "env"),
		newContainer(img, "context", "context"),
		newContainer(img, "exit", "exit", "7"),
		newContainer(img, "sleep", "sleep"),
		newContainer(img, "hog", "hog", "256"),
		newContainer(img, "inspect", "inspect"),
		newContainer(img, "user", "inspect", "user"),
		newContainer(img, "hash", "hash", "/data/blob"),
		newContainer(img, "read", "read", "/data/replaced", "/data/hard"),
		newContainer(img, "gone", "read", "/data/gone"),
		newContainer(img, "spam", "spam", "3000000"),
		newContainer(img, "cat", "cat"),
		newContainer(img, "serve", "serve", "8080", "a page"),
		newContainer(img, "get", "get", "127.0.0.1:8080", "/"),
		newContainer(img, "try", append([]string{"try"}, attempts...)...),
		newContainer(img, "write", "write", "/tmp/new", "content"),
		newContainer(img, "two-layers", "echo", "two"),
	}
	byName := map[string]*pod.Container{}
	for _, c := range list {
		byName[c.Name] = c
	}
	byName["env"].Env = []string{pathEnv, "LISTED=yes"}
	byName["sleep"].Exec = [][]string{{"/bin/w", "echo", "from", "exec"}, {"/bin/w", "exit", "9"}, {"/bin/w", "cat"}, {"/bin/w", "sleep"}}
	byName["hog"].Resources.MemoryLimit = 48 << 20
	byName["user"].UID, byName["user"].GID, byName["user"].AdditionalGIDs = 1000, 1000, []uint32{1000, 2000}
	byName["user"].Cwd = "/data"
	byName["user"].ReadonlyRootfs = true
	byName["user"].Capabilities = pod.Capabilities{}
	byName["two-layers"].Layers = []pod.Layer{img.base, img.data}
	return byName, addTrees(img, byName)
})

// attempts are what a container tries of itself, and must not manage.
var attempts = []string{
	"mount", "mknod", "write-proc", "sysrq", "read-kcore", "open-port", "open-disk", "write-sys", "sethostname", "reboot",
}

// fixture returns a fresh copy of a container that the shared policy allows.
func fixture(t *testing.T, name string) *pod.Container {
	t.Helper()
	all, err := fixtures()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := all[name]
	if !ok {
		t.Fatalf("no fixture %q", name)
	}
	copied := *c
	return &copied
}

// sharedPolicy allows every fixture, logs and diagnostics.
var sharedPolicy = sync.OnceValues(func() ([]byte, error) {
	all, err := fixtures()
	if err != nil {
		return nil, err
	}
	var list []*pod.Container
	for _, name := range sortedNames(all) {
		list = append(list, all[name])
	}
	return policygen.Generate(context.Background(), list, rootOf, policygen.Options{AllowLogs: true, AllowStacks: true})
})

// policyFor makes a policy that allows exactly these containers.
func policyFor(t *testing.T, ctx context.Context, o policygen.Options, containers ...*pod.Container) []byte {
	t.Helper()
	text, err := policygen.Generate(ctx, containers, rootOf, o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
