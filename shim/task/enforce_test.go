package task

import (
	"io"
	"strings"
	"testing"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
)

// wantLost checks that a pod was ended by the host, for a reason.
func (w *world) wantLost(reason string) {
	w.t.Helper()
	select {
	case <-w.pod.Done():
	case <-w.ctx.Done():
		w.t.Fatal("the pod lives, want it ended by the host")
	}
	if got := w.pod.Err().Error(); !strings.Contains(got, reason) {
		w.t.Errorf("end of the pod: got reason %q, want %q in it", got, reason)
	}
}

// A policy or a guest that refuses the signal does not keep the machine.
func TestRefusedKillEndsPod(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	w.create("c", "pause", stdio{})
	w.start("c", "")
	w.create("made", "pause", stdio{})
	w.pod.refuse = func(string) error { return errdefs.ErrPermissionDenied }
	_, err := w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", Signal: 15})
	wantCode(t, "refused SIGTERM", err, codes.PermissionDenied)
	if w.pod.life.Err() != nil {
		t.Fatal("the pod ended with a refused SIGTERM")
	}
	_, err = w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", Signal: 9, All: true})
	w.ok(err)
	w.wantLost("SIGKILL was refused")
	if got := w.wait("c", ""); got != 137 {
		t.Errorf("status of what was killed: got %d, want 137", got)
	}
	if got := w.wait(podID, ""); got != 255 {
		t.Errorf("status of what went with it: got %d, want 255", got)
	}
	w.remove("c", "")
}

// A guest that takes the signal and does nothing has a bounded time.
func TestIgnoredKillEndsPod(t *testing.T) {
	w := newWorld(t)
	w.service.killTimeout = 50 * time.Millisecond
	w.startPod()
	w.create("c", "deaf", stdio{})
	w.start("c", "")
	w.exec("c", "e", "deaf", stdio{})
	w.start("c", "e")
	for range 3 {
		_, err := w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", ExecID: "e", Signal: 9})
		w.ok(err)
	}
	if w.pod.life.Err() != nil {
		t.Fatal("the pod ended with a process of an exec")
	}
	_, err := w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", Signal: 9})
	w.ok(err)
	w.wantLost("has not ended within 50ms of SIGKILL")
	if got := w.wait("c", ""); got != 137 {
		t.Errorf("status got %d, want 137", got)
	}
}

// Who reads a killed process's output slowly does not end its pod, nor does a container that was never started.
func TestObeyedKillKeepsPod(t *testing.T) {
	w := newWorld(t)
	w.service.killTimeout = 50 * time.Millisecond
	w.startPod()
	fifo := w.makeFIFO("out")
	r := w.reader(fifo)
	w.create("c", "flood", stdio{stdout: fifo})
	w.start("c", "")
	w.create("made", "pause", stdio{})
	for _, id := range []string{"c", "made"} {
		_, err := w.task.Kill(w.ctx, &taskv3.KillRequest{ID: id, Signal: 9})
		w.ok(err)
	}
	late := time.NewTimer(10 * w.service.killTimeout)
	defer late.Stop()
	select {
	case <-w.pod.Done():
		t.Errorf("the pod ended: %v", w.pod.Err())
	case <-late.C:
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the streams
	w.wait("c", "")
	w.wait("made", "")
}

func TestRefusedRemoveEndsPod(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		calls int
	}{
		"refused":     {errdefs.ErrPermissionDenied, 1},
		"fails twice": {errdefs.ErrInternal, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startPod()
			w.create("c", "true", stdio{})
			w.start("c", "")
			w.wait("c", "")
			w.pod.refuse = func(string) error { return c.err }
			for range c.calls - 1 {
				_, err := w.task.Delete(w.ctx, &taskv3.DeleteRequest{ID: "c"})
				wantCode(t, "first delete", err, codes.Internal)
			}
			w.remove("c", "")
			w.wantLost("cannot be removed")
		})
	}
}
