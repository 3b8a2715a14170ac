package sandbox

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
)

const (
	podID = "pod0123456789"
	webID = "web0123456789"
)

// bed is a pod's surroundings: a fake agent in a fake machine, a fake network, control groups that are plain directories.
type bed struct {
	agent   *fakeAgent
	machine *fakeVM
	links   *fakeLinks
	groups  string
	config  Config
	host    host
	metrics fakeMetrics

	// at is called before each thing that is made on the host; it may block or refuse.
	at func(ctx context.Context, what string) error
}

type fakeMetrics struct {
	mu         sync.Mutex
	booted     int
	containers int
	vms        []int
	refusals   []string
}

func (m *fakeMetrics) Boot(time.Duration) { m.mu.Lock(); defer m.mu.Unlock(); m.booted++ }
func (m *fakeMetrics) Containers(n int)   { m.mu.Lock(); defer m.mu.Unlock(); m.containers = n }
func (m *fakeMetrics) VM(pid, _, _ int)   { m.mu.Lock(); defer m.mu.Unlock(); m.vms = append(m.vms, pid) }

func (m *fakeMetrics) Refusal(p string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusals = append(m.refusals, p)
}

func newBed(t *testing.T) *bed {
	t.Helper()
	a := newFakeAgent()
	b := &bed{agent: a, links: &fakeLinks{}, groups: t.TempDir()}
	serve := a.serve(t)
	b.machine = &fakeVM{
		pid: os.Getpid(), connect: serve, disks: map[int]string{}, done: make(chan struct{}),
		hang: func(ctx context.Context, what string) error { return b.happens(ctx, what) },
	}
	guest := t.TempDir()
	for name, content := range map[string]string{"vmlinuz": "kernel", "initrd.img": "initrd", "cmdline": "quiet\n"} {
		if err := os.WriteFile(filepath.Join(guest, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := node.Default()
	n.Guest, n.TEE, n.HealthInterval, n.RequestTimeout = guest, vm.TEENone, 0, node.Duration(20*time.Second)
	b.config = Config{
		ID: podID, Namespace: "k8s.io", Netns: "/proc/self/ns/net", Dir: filepath.Join(t.TempDir(), "pods", podID), Node: n,
		Metrics: &b.metrics,
		Spec: &specs.Spec{
			Version: "1.2.0", Hostname: "web-0", Process: &specs.Process{Cwd: "/", Args: []string{"/pause"}}, Root: &specs.Root{Path: "rootfs"},
			Linux: &specs.Linux{CgroupsPath: "/kubepods/pod1/" + podID},
			Annotations: map[string]string{
				"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": podID,
				spec.AnnotationPolicy: base64.StdEncoding.EncodeToString([]byte("package policy\n\nmine := true\n")),
			},
		},
	}
	b.host = host{
		launch: func(ctx context.Context, c vm.Config) (vm.VM, error) {
			if err := b.happens(ctx, "launch"); err != nil {
				return nil, err
			}
			b.machine.config = c
			return b.machine, nil
		},
		prepareTEE: func(ctx context.Context, _ *boot.TEE, _ *vm.Config) error { return b.happens(ctx, "tee") },
		join: func(ctx context.Context, _ string, _ int) (joined, error) {
			if err := b.happens(ctx, "join"); err != nil {
				return nil, err
			}
			return b.links, nil
		},
		clean: func(ctx context.Context, _ string) error { return b.happens(ctx, "clean") },
		cgroupDirs: func(path string) ([]string, error) {
			return []string{filepath.Join(b.groups, filepath.Base(path))}, nil
		},
		scratchDir: filepath.Join(t.TempDir(), "scratch"),
		makeCgroup: func(path string) error {
			if err := b.happens(context.Background(), "cgroup"); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(b.groups, filepath.Base(path)), 0o700)
		},
	}
	return b
}

func (b *bed) happens(ctx context.Context, what string) error {
	if b.at != nil {
		return b.at(ctx, what)
	}
	return nil
}

// start starts the pod, and stops it with the test.
func (b *bed) start(t *testing.T) *Pod {
	t.Helper()
	p, err := start(testContext(t), b.config, b.host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return p
}

// web is a container of two layers.
func web(id string) Container {
	return Container{
		ID: id, Stdin: true,
		Spec: &specs.Spec{
			Version: "1.2.0", Root: &specs.Root{Path: "rootfs"}, Linux: &specs.Linux{},
			Process: &specs.Process{Cwd: "/", Args: []string{"/web"}, Env: []string{"A=b"}},
			Annotations: map[string]string{
				"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": podID,
			},
		},
		Rootfs: rootfs.Rootfs{Layers: []rootfs.Layer{layer("1"), layer("2")}},
	}
}

func layer(n string) rootfs.Layer {
	return rootfs.Layer{
		DiffID: "sha256:" + strings.Repeat(n, 64),
		Ext4:   &rootfs.Disk{Path: "/layers/" + n, Root: strings.Repeat("a", 63) + n, Format: rootfs.Ext4},
	}
}

// running creates and starts a container.
func running(t *testing.T, p *Pod, id string) {
	t.Helper()
	if _, err := p.Create(testContext(t), web(id)); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(testContext(t), id); err != nil {
		t.Fatal(err)
	}
}

// checkGone finds anything that a pod left.
func (b *bed) checkGone(t *testing.T, launched bool) {
	t.Helper()
	if _, err := os.Lstat(b.config.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("state directory: got %v, want it gone", err)
	}
	if left, err := os.ReadDir(b.groups); err != nil || len(left) > 0 {
		t.Errorf("control groups: got %v, %v, want none", left, err)
	}
	select {
	case <-b.machine.done:
	default:
		if launched {
			t.Error("the VM still runs")
		}
	}
	b.metrics.mu.Lock()
	defer b.metrics.mu.Unlock()
	if b.metrics.containers != 0 {
		t.Errorf("containers counted: got %d, want 0", b.metrics.containers)
	}
}
