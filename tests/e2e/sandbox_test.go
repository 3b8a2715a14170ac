package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/sandbox"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

// shimPod starts a pod as the containerd shim does, with a CRI pod's annotations.
func shimPod(t *testing.T, ctx context.Context, id string, policy []byte) (*sandbox.Pod, *specs.Spec) {
	t.Helper()
	image, err := guestImage()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := guest.VMLinux(filepath.Join(image, "vmlinuz"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, "shim-")
	if err != nil {
		t.Fatal(err)
	}
	n := node.Default()
	n.RequestTimeout, n.HealthInterval = node.Duration(20*time.Second), node.Duration(5*time.Second)
	n.Guest, n.Kernel, n.TEE, n.MemoryMiB, n.Emulator = image, kernel, vm.TEEEmulated, 640, filepath.Join(scratch, "authority")
	s := &specs.Spec{
		Version: "1.2.0", Hostname: "shim", Root: &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Cwd: "/", Args: []string{"/pause"}}, Linux: &specs.Linux{},
		Annotations: map[string]string{
			"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": id,
			spec.AnnotationPolicy: base64.StdEncoding.EncodeToString(policy),
		},
	}
	if os.Getuid() == 0 {
		s.Linux.CgroupsPath = "/cloister-e2e-" + id
	}
	p, err := sandbox.Start(ctx, sandbox.Config{ID: id, Namespace: "e2e", Spec: s, Dir: filepath.Join(dir, "state"), Node: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		limited, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := p.Stop(limited); err != nil {
			t.Errorf("stop: %v", err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in the state directory: %v, %v", left, err)
		}
	})
	return p, s
}

// containerdSpec is what containerd writes for a container of the pod.
func containerdSpec(c *pod.Container, id string) *specs.Spec {
	caps := &specs.LinuxCapabilities{Bounding: c.Capabilities.Bounding, Effective: c.Capabilities.Effective, Permitted: c.Capabilities.Permitted}
	return &specs.Spec{
		Version: "1.2.0", Root: &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Cwd: c.Cwd, Args: c.Args, Env: c.Env, NoNewPrivileges: true, Capabilities: caps,
			User: specs.User{UID: c.UID, GID: c.GID, AdditionalGids: c.AdditionalGIDs},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
			{Destination: "/dev/shm", Type: "bind", Source: "/run/containerd/shm", Options: []string{"rbind", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/k8s.io/" + id, Resources: &specs.LinuxResources{},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.IPCNamespace, Path: "/proc/1/ns/ipc"},
				{Type: specs.UTSNamespace, Path: "/proc/1/ns/uts"},
				{Type: specs.MountNamespace},
				{Type: specs.NetworkNamespace, Path: "/proc/1/ns/net"},
			},
			MaskedPaths:   []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// shimContainer is a container as the task service hands it on.
func shimContainer(t *testing.T, ctx context.Context, c *pod.Container, podID, id string) sandbox.Container {
	t.Helper()
	s := containerdSpec(c, id)
	s.Annotations = map[string]string{
		"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": podID, "io.kubernetes.cri.container-name": c.Name,
	}
	made := sandbox.Container{ID: id, Spec: s}
	for i, d := range convert(t, ctx, c)[0].Disks {
		made.Rootfs.Layers = append(made.Rootfs.Layers, rootfs.Layer{
			DiffID: c.Layers[i].DiffID, Ext4: &rootfs.Disk{Path: d.Path, Root: d.Root, Format: rootfs.Ext4},
		})
	}
	return made
}

// output runs what is started by start and returns what it wrote and how it ended.
func output(t *testing.T, ctx context.Context, p *sandbox.Pod, name sandbox.Process) (string, uint32) {
	t.Helper()
	var out bytes.Buffer
	if err := p.Stdout(ctx, name, &out); err != nil {
		t.Fatal(err)
	}
	exit, err := p.Wait(ctx, name)
	if err != nil || exit.Err != nil {
		t.Fatalf("wait: %+v, %v", exit, err)
	}
	return out.String(), exit.Status
}

// TestShimPod is the life of a pod as the shim drives it: the built-in pause, a container that ends by itself, one with execs, a refused one, counters, a kill.
func TestShimPod(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	echo, sleeper := fixture(t, "echo"), fixture(t, "sleep")
	policy := policyFor(t, ctx, policygen.Options{}, echo, sleeper)
	podID := fmt.Sprintf("%x", sha256.Sum256([]byte(t.Name())))
	p, own := shimPod(t, ctx, podID, policy)
	if own.Linux.CgroupsPath != "" {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID()))
		if err != nil || !strings.Contains(string(groups), own.Linux.CgroupsPath) {
			t.Errorf("the VM is in the control groups %q, %v, want %q", groups, err, own.Linux.CgroupsPath)
		}
	}
	create := func(c sandbox.Container) error {
		notes, err := p.Create(ctx, c)
		for _, n := range notes {
			t.Log(n)
		}
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(create(sandbox.Container{ID: podID, Spec: own}))
	must(p.Start(ctx, podID))

	must(create(shimContainer(t, ctx, echo, podID, "echo-1")))
	must(p.Start(ctx, "echo-1"))
	if text, status := output(t, ctx, p, sandbox.Process{Container: "echo-1"}); text != "hello world\n" || status != 0 {
		t.Errorf("echo: got %q and status %d", text, status)
	}
	must(p.Remove(ctx, "echo-1"))

	must(create(shimContainer(t, ctx, sleeper, podID, "sleep-1")))
	must(p.Start(ctx, "sleep-1"))
	exec := sandbox.Process{Container: "sleep-1", Exec: "e1"}
	process := containerdSpec(sleeper, "").Process
	process.Args = []string{"/bin/w", "exit", "9"}
	must(p.Exec(ctx, exec, process, false))
	if _, status := output(t, ctx, p, exec); status != 9 {
		t.Errorf("exec: got status %d, want 9", status)
	}
	process.Args = []string{"/bin/w", "cat"}
	exec.Exec = "e2"
	must(p.Exec(ctx, exec, process, true))
	go func() { _ = p.Stdin(ctx, exec, strings.NewReader("through and back")) }()
	if text, status := output(t, ctx, p, exec); text != "through and back" || status != 0 {
		t.Errorf("cat: got %q and status %d", text, status)
	}
	process.Args = []string{"/bin/w", "env"}
	exec.Exec = "e3"
	if err := p.Exec(ctx, exec, process, false); !errdefs.IsPermissionDenied(err) || strings.Contains(err.Error(), "\n") {
		t.Errorf("an exec that no policy lists: got %v", err)
	}
	if m, err := p.Stats(ctx, "sleep-1"); err != nil {
		t.Errorf("counters: %v", err)
	} else if m.GetMemory().GetUsage() == 0 || m.GetCPU().GetUsageUsec() == 0 {
		t.Errorf("counters: got %v, want memory and CPU", m)
	}
	must(p.Signal(ctx, sandbox.Process{Container: "sleep-1"}, 9, true))
	if exit, err := p.Wait(ctx, sandbox.Process{Container: "sleep-1"}); err != nil || exit.Status != 137 {
		t.Errorf("kill: got %+v, %v, want 137", exit, err)
	}
	must(p.Remove(ctx, "sleep-1"))

	other := shimContainer(t, ctx, fixture(t, "exit"), podID, "exit-1")
	if err := create(other); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), "create_container") {
		t.Errorf("a container that is in no policy: got %v", err)
	}
	must(p.Signal(ctx, sandbox.Process{Container: podID}, 9, true))
	if exit, err := p.Wait(ctx, sandbox.Process{Container: podID}); err != nil || exit.Status != 137 {
		t.Errorf("pause: got %+v, %v, want 137", exit, err)
	}
	must(p.Remove(ctx, podID))
}

// TestShimPodFaults: a VM that stands still is an agent that does not answer; it is given up, every wait ends, and Stop leaves nothing.
func TestShimPodFaults(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	sleeper := fixture(t, "sleep")
	podID := fmt.Sprintf("%x", sha256.Sum256([]byte(t.Name())))
	p, own := shimPod(t, ctx, podID, policyFor(t, ctx, policygen.Options{}, sleeper))
	for _, c := range []sandbox.Container{{ID: podID, Spec: own}, shimContainer(t, ctx, sleeper, podID, "sleep-1")} {
		if _, err := p.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
	}
	pid := p.PID()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if exit, err := p.Wait(ctx, sandbox.Process{Container: "sleep-1"}); err != nil || exit.Status != 255 || exit.Err == nil {
		t.Errorf("exit: got %+v, %v, want 255 and why", exit, err)
	}
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the pod's end: got %v", err)
	}
	if err := errors.Join(p.Signal(ctx, sandbox.Process{Container: "sleep-1"}, 9, true), p.Remove(ctx, "sleep-1"), p.Stop(ctx)); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the VM's process: got %v, want it gone", err)
	}
}

// TestShimPodGrows: a container with limits that the VM was not made for gets its processors and memory, online in the guest before it starts.
func TestShimPodGrows(t *testing.T) {
	alone(t)
	if runtime.NumCPU() < 2 {
		t.Skip("a pod gets at most the host's processors: needs two")
	}
	ctx := caseContext(t)
	img, err := testImage()
	if err != nil {
		t.Fatal(err)
	}
	see := newContainer(img, "see", "read", "/sys/devices/system/cpu/online", "/proc/meminfo")
	podID := fmt.Sprintf("%x", sha256.Sum256([]byte(t.Name())))
	p, _ := shimPod(t, ctx, podID, policyFor(t, ctx, policygen.Options{}, see))
	c := shimContainer(t, ctx, see, podID, "see-1")
	limit, quota, period := int64(512<<20), int64(200000), uint64(100000)
	c.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}
	before := p.Size()
	if _, err := p.Create(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	text, _ := output(t, ctx, p, sandbox.Process{Container: c.ID})
	_, rest, _ := strings.Cut(text, "MemTotal:")
	var kib int
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		t.Fatalf("memory of the guest: %v in %q", err, text)
	}
	now := p.Size()
	if before.VCPUs != 1 || now.VCPUs != 2 || !strings.Contains(text, "cpu/online: 0-1\n") {
		t.Errorf("processors: got %d, then %d; want 1, 2 and both online in %.64q", before.VCPUs, now.VCPUs, text)
	}
	if now.MemoryMiB < before.MemoryMiB+512 || kib>>10 < before.MemoryMiB+256 {
		t.Errorf("memory: got %d MiB, then %d, of which the guest has %d", before.MemoryMiB, now.MemoryMiB, kib>>10)
	}
}
