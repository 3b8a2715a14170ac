package containerd_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// alive is what the pod beside a fault is asked.
var alive = shell("echo alive")

// victims starts a pod for a fault and one beside it, which must not notice.
func victims(t *testing.T, n *node, handler string) (victim, other *pod) {
	t.Helper()
	spec := n.policed(simplePod(t, "pod", alive))
	victimSpec, otherSpec := spec.DeepCopy(), spec.DeepCopy()
	otherSpec.Namespace = "beside"
	other = n.run(otherSpec, handler)
	victim = n.run(victimSpec, handler)
	return victim, other
}

// wantLost waits until containerd knows that a pod is gone, and checks that the other one works.
func wantLost(n *node, victim, other *pod) {
	n.t.Helper()
	err := await(n.ctx, "containerd to know that the pod is gone", func() (bool, error) {
		// With the sandbox API containerd's question fails until it has noticed that the shim is gone; kubelet asks again, too.
		status, err := n.Runtime.PodSandboxStatus(n.ctx, victim.ID, false)
		return err == nil && status.GetStatus().GetState() == cri.PodSandboxState_SANDBOX_NOTREADY, nil
	})
	if err != nil {
		n.t.Error(err)
	}
	err = await(n.ctx, "containerd to know that the container is gone", func() (bool, error) {
		status, err := n.Runtime.ContainerStatus(n.ctx, victim.Created["main"], false)
		if status.GetStatus().GetState() == cri.ContainerState_CONTAINER_EXITED && status.GetStatus().GetExitCode() == 0 {
			n.t.Error("a container that was lost ended with 0")
		}
		return status.GetStatus().GetState() == cri.ContainerState_CONTAINER_EXITED, err
	})
	if err != nil {
		n.t.Error(err)
	}
	other.wantExec("main", alive, 0, "alive")
	other.wantNoRestart()
}

func (p *pod) wantNoRestart() {
	p.n.t.Helper()
	status, err := p.n.Runtime.PodSandboxStatus(p.n.ctx, p.ID, false)
	if err != nil || status.GetStatus().GetState() != cri.PodSandboxState_SANDBOX_READY {
		p.n.t.Errorf("the pod beside: got %v, %v, want ready", status.GetStatus().GetState(), err)
	}
}

// TestFaultVMMKilled kills a pod's QEMU.
func TestFaultVMMKilled(t *testing.T) {
	for _, handler := range bothHandlers {
		t.Run(handler, func(t *testing.T) {
			n := shared(t)
			victim, other := victims(t, n, handler)
			_, vmm, err := victim.Processes()
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(vmm, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			wantLost(n, victim, other)
		})
	}
}

// TestFaultShimKilled kills a pod's shim: what it can no longer remove, its delete run or the next start does.
func TestFaultShimKilled(t *testing.T) {
	for _, handler := range bothHandlers {
		t.Run(handler, func(t *testing.T) {
			n := shared(t)
			victim, other := victims(t, n, handler)
			shim, vmm, err := victim.Processes()
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			wantLost(n, victim, other)
			err = await(n.ctx, "the end of its QEMU", func() (bool, error) { return syscall.Kill(vmm, 0) == syscall.ESRCH, nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFullFaultContainerdRestarted kills containerd while pods run: they run on, and are served again after it has come back.
func TestFullFaultContainerdRestarted(t *testing.T) {
	for _, handler := range bothHandlers {
		t.Run(handler, func(t *testing.T) {
			n := own(t, "")
			victim, other := victims(t, n, handler)
			if err := n.RestartContainerd(n.ctx); err != nil {
				t.Fatal(err)
			}
			for _, p := range []*pod{victim, other} {
				p.wantExec("main", alive, 0, "alive")
				p.wantNoRestart()
			}
			if err := n.RestartSnapshotter(n.ctx); err != nil {
				t.Fatal(err)
			}
			victim.wantExec("main", alive, 0, "alive")
		})
	}
}

// TestFullFaultHungAgent stops a pod's QEMU: health checks notice, and the pod is lost in time.
func TestFullFaultHungAgent(t *testing.T) {
	n := own(t, "health_interval = \"2s\"\nrequest_timeout = \"15s\"\n")
	victim, other := victims(t, n, bed.HandlerCloister)
	_, vmm, err := victim.Processes()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(vmm, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wantLost(n, victim, other)
}

// TestFullFaultDiskFull fills the file system of state and layers: starting fails with the reason, and goes well once there is room.
func TestFullFaultDiskFull(t *testing.T) {
	p := need(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=192m,mode=0711"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %q: %v", dir, err)
		}
	})
	ctx := caseContext(t)
	started, err := bed.Start(ctx, bed.Options{Programs: p, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Stop(context.Background()); err != nil {
			t.Errorf("stop the node: %v", err)
		}
	})
	n := watch(t, ctx, started)
	spec := n.policed(simplePod(t, "pod", alive))
	other := n.run(spec, bed.HandlerCloister)
	fill := filepath.Join(dir, "fill")
	if err := fillUp(fill); err != nil {
		t.Fatal(err)
	}
	late := spec.DeepCopy()
	late.Namespace = "late"
	if made, err := n.Run(n.ctx, late, bed.HandlerCloister); err == nil {
		t.Errorf("a pod started on a full disk: remove: %v", made.Remove(n.ctx))
	} else if !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("got %v, want it to name the full disk", err)
	}
	other.wantExec("main", alive, 0, "alive")
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	n.run(late, bed.HandlerCloister).wantExec("main", alive, 0, "alive")
}

func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			return nil // full
		}
	}
}

// TestFaultCancelledStart gives up a sandbox at several moments of its start: nothing of it is left, and the same pod starts afterwards.
func TestFaultCancelledStart(t *testing.T) {
	n := shared(t)
	spec := n.policed(simplePod(t, "pod", alive))
	for _, after := range []time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second} {
		ctx, cancel := context.WithTimeout(n.ctx, after)
		cancelled := spec.DeepCopy()
		cancelled.Namespace = "cancelled"
		p, err := n.RunPod(ctx, cancelled, bed.HandlerCloister)
		cancel()
		if err == nil { // the machine was faster
			if err := p.Remove(n.ctx); err != nil {
				t.Error(err)
			}
		}
	}
	if err := n.RemoveAll(n.ctx); err != nil {
		t.Error(err)
	}
	n.run(spec, bed.HandlerCloister).wantExec("main", alive, 0, "alive")
}
