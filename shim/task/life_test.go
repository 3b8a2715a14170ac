package task

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cloister-cc/cloister/shim/spec"
)

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: got code %v (%v), want %v", what, got, err, want)
	}
}

func TestPodFromCreateToShutdown(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	boot := <-w.boots
	if boot.ID != podID || boot.Netns != "/run/netns/x" || boot.Dir != StateDir(w.service.config.Node.StateDir, "ns", podID) {
		t.Errorf("boot: got id %q, netns %q, dir %q", boot.ID, boot.Netns, boot.Dir)
	}
	w.create("c", "exit3", stdio{})
	w.start("c", "")
	if got := w.wait("c", ""); got != 3 {
		t.Errorf("status got %d, want 3", got)
	}
	if got := w.remove("c", ""); got.ExitStatus != 3 || got.ExitedAt == nil {
		t.Errorf("delete: got %v", got)
	}
	_, err := w.task.State(w.ctx, &taskv3.StateRequest{ID: "c"})
	wantCode(t, "state of a deleted container", err, codes.NotFound)
	_, err = w.task.Shutdown(w.ctx, &taskv3.ShutdownRequest{})
	w.ok(err)
	select {
	case <-w.exited:
		t.Error("shutdown: the shim ends, want it to serve the sandbox container")
	default:
	}
	_, err = w.task.Kill(w.ctx, &taskv3.KillRequest{ID: podID, Signal: 9})
	w.ok(err)
	if got := w.wait(podID, ""); got != 137 {
		t.Errorf("sandbox container: status got %d, want 137", got)
	}
	w.remove(podID, "")
	_, err = w.task.Shutdown(w.ctx, &taskv3.ShutdownRequest{})
	w.ok(err)
	<-w.exited
	want := []string{"create pod", "start pod", "create c", "start c", "exit c", "delete c", "exit pod", "delete pod"}
	if diff := cmp.Diff(want, w.events(len(want))); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if calls := w.pod.called(); calls[len(calls)-1] != "stop" {
		t.Errorf("calls got %q, want stop last", calls)
	}
}

func TestExitFollowsStart(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	w.create("c", "pause", stdio{})
	w.start("c", "")
	const n = 40
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			id := "e" + strconv.Itoa(i)
			w.exec("c", id, "true", stdio{})
			w.start("c", id)
			w.wait("c", id)
			w.remove("c", id)
		})
	}
	all.Wait()
	told := w.events(4 + 3*n)
	for i := range n {
		id := "e" + strconv.Itoa(i)
		added, begun, ended := slices.Index(told, "added "+id), slices.Index(told, "exec "+id), slices.Index(told, "exit "+id)
		if added < 0 || added >= begun || begun >= ended {
			t.Errorf("%s: added, started, ended at %d, %d, %d of the events", id, added, begun, ended)
		}
	}
}

// The first process's exit is the container's last: who sees it may delete the container.
func TestExecsEndBeforeTheirContainer(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	w.create("c", "pause", stdio{})
	w.start("c", "")
	w.exec("c", "e", "pause", stdio{})
	w.start("c", "e")
	init, err := w.pod.find(w.service.containers["c"].init.name)
	w.ok(err)
	_, err = w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", Signal: 9, All: true})
	w.ok(err)
	<-init.done
	_, err = w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", ExecID: "e", Signal: 9})
	w.ok(err)
	w.wait("c", "")
	if told := w.events(8); slices.Index(told, "exit e") > slices.Index(told, "exit c") {
		t.Errorf("events got %q, want the exec's exit first", told)
	}
}

func TestIllegalTransitions(t *testing.T) {
	w := newWorld(t)
	_, err := w.task.Create(w.ctx, &taskv3.CreateTaskRequest{ID: "early", Bundle: w.bundle("early", "true")})
	wantCode(t, "create before the pod", err, codes.FailedPrecondition)
	w.startPod()
	w.create("c", "pause", stdio{})
	_, err = w.task.Create(w.ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: w.bundle("c", "true")})
	wantCode(t, "second create", err, codes.AlreadyExists)
	_, err = w.task.Create(w.ctx, &taskv3.CreateTaskRequest{ID: "../c", Bundle: w.dir})
	wantCode(t, "create with a path as id", err, codes.InvalidArgument)
	_, err = w.task.Pause(w.ctx, &taskv3.PauseRequest{ID: "c"})
	wantCode(t, "pause before the start", err, codes.FailedPrecondition)
	w.exec("c", "e", "true", stdio{})
	_, err = w.task.Start(w.ctx, &taskv3.StartRequest{ID: "c", ExecID: "e"})
	wantCode(t, "exec before the start", err, codes.FailedPrecondition)
	_, err = w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", ExecID: "e", Signal: 15})
	wantCode(t, "kill of an exec that was never started", err, codes.FailedPrecondition)
	w.start("c", "")
	_, err = w.task.Start(w.ctx, &taskv3.StartRequest{ID: "c"})
	wantCode(t, "second start", err, codes.FailedPrecondition)
	_, err = w.task.Delete(w.ctx, &taskv3.DeleteRequest{ID: "c"})
	wantCode(t, "delete of a running container", err, codes.FailedPrecondition)
	_, err = w.task.Wait(w.ctx, &taskv3.WaitRequest{ID: "c", ExecID: "nobody"})
	wantCode(t, "wait for nobody", err, codes.NotFound)
	_, err = w.task.Checkpoint(w.ctx, &taskv3.CheckpointTaskRequest{ID: "c"})
	wantCode(t, "checkpoint", err, codes.Unimplemented)
	_, err = w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", Signal: 15})
	w.ok(err)
	if got := w.wait("c", ""); got != 143 {
		t.Errorf("status got %d, want 143", got)
	}
	_, err = w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "c", Signal: 9})
	wantCode(t, "kill of a stopped container", err, codes.NotFound)
	_, err = w.task.Exec(w.ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: "late", Spec: &anypb.Any{Value: []byte("{}")}})
	wantCode(t, "exec in a stopped container", err, codes.FailedPrecondition)
	w.remove("c", "")
	_, err = w.task.Delete(w.ctx, &taskv3.DeleteRequest{ID: "c"})
	wantCode(t, "second delete", err, codes.NotFound)
}

// containerd's delete with a kill first waits for the exit of what it killed.
func TestCreatedContainerIsKilledAndDeleted(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	w.create("killed", "pause", stdio{})
	w.create("left", "pause", stdio{})
	_, err := w.task.Kill(w.ctx, &taskv3.KillRequest{ID: "killed", Signal: 9, All: true})
	w.ok(err)
	if got := w.wait("killed", ""); got != 137 {
		t.Errorf("status got %d, want 137", got)
	}
	w.remove("killed", "")
	waited := make(chan error, 1)
	go func() {
		_, err := w.task.Wait(w.ctx, &taskv3.WaitRequest{ID: "left"})
		waited <- err
	}()
	defer func() { wantCode(t, "wait for a container that never ran", <-waited, codes.NotFound) }()
	if got := w.remove("left", ""); got.ExitStatus != 0 || got.ExitedAt != nil {
		t.Errorf("delete of a container that never ran: got %v", got)
	}
}

func TestSeveralWaiters(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got := w.wait(podID, ""); got != 143 {
				t.Errorf("status got %d, want 143", got)
			}
		})
	}
	_, err := w.task.Kill(w.ctx, &taskv3.KillRequest{ID: podID, Signal: 15})
	w.ok(err)
	all.Wait()
}

func TestDeadPod(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	w.create("c", "pause", stdio{})
	w.start("c", "")
	w.pod.die(errors.New("machine check"))
	if got := w.wait("c", ""); got != 255 {
		t.Errorf("status got %d, want 255", got)
	}
	state, err := w.task.State(w.ctx, &taskv3.StateRequest{ID: "c"})
	w.ok(err)
	if state.Status != tasktypes.Status_STOPPED {
		t.Errorf("state got %v, want stopped", state.Status)
	}
	_, err = w.task.Create(w.ctx, &taskv3.CreateTaskRequest{ID: "d", Bundle: w.bundle("d", "true")})
	wantCode(t, "create in a dead pod", err, codes.Unavailable)
	_, err = w.task.Stats(w.ctx, &taskv3.StatsRequest{ID: "c"})
	wantCode(t, "figures of a stopped container", err, codes.NotFound)
	w.remove("c", "")
	w.wait(podID, "")
	w.remove(podID, "")
	_, err = w.task.Shutdown(w.ctx, &taskv3.ShutdownRequest{})
	w.ok(err)
	<-w.exited
	if record, err := ReadRecord(w.bundle("c", "true")); err != nil || record.Exit == nil || record.Exit.Status != 255 {
		t.Errorf("record got %+v, %v, want status 255", record, err)
	}
}

func TestCloseStopsPod(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	w.ok(w.service.Close(w.ctx))
	want := []string{"create pod", "start pod", "exit pod"}
	if diff := cmp.Diff(want, w.events(3)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	state, err := w.task.State(w.ctx, &taskv3.StateRequest{ID: podID})
	w.ok(err)
	if state.ExitStatus != 137 {
		t.Errorf("status got %d, want 137: somebody wanted it", state.ExitStatus)
	}
}

func TestDeleteEndsCreate(t *testing.T) {
	w := newWorld(t)
	w.startPod()
	begun := make(chan struct{})
	w.pod.createIn = func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	failed := make(chan error, 1)
	go func() {
		_, err := w.task.Create(w.ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: w.bundle("c", "true")})
		failed <- err
	}()
	<-begun
	_, err := w.task.Delete(w.ctx, &taskv3.DeleteRequest{ID: "c"})
	wantCode(t, "delete of what is being created", err, codes.NotFound)
	if err := <-failed; err == nil {
		t.Error("create: got no error, want one")
	}
	w.pod.createIn = nil
	w.create("c", "true", stdio{})
}

func TestCalls(t *testing.T) {
	w := newWorld(t)
	w.pod.notes = []spec.Note{{Field: "Mounts[/x]", What: "left out", Why: "because"}}
	w.startPod()
	w.pod.oom <- podID
	_, err := w.task.Pause(w.ctx, &taskv3.PauseRequest{ID: podID})
	w.ok(err)
	_, err = w.task.Resume(w.ctx, &taskv3.ResumeRequest{ID: podID})
	w.ok(err)
	told := w.events(6)
	for _, want := range []string{NoteTopic, "oom pod", "paused pod", "resumed pod"} {
		if !slices.Contains(told, want) {
			t.Errorf("events got %q, want %q among them", told, want)
		}
	}
	figures, err := w.task.Stats(w.ctx, &taskv3.StatsRequest{ID: podID})
	w.ok(err)
	if figures.Stats.TypeUrl != "io.containerd.cgroups.v2.Metrics" {
		t.Errorf("figures: type got %q", figures.Stats.TypeUrl)
	}
	pids, err := w.task.Pids(w.ctx, &taskv3.PidsRequest{ID: podID})
	w.ok(err)
	if len(pids.Processes) != 1 || pids.Processes[0].Pid != 4711 {
		t.Errorf("pids got %v, want the machine's", pids)
	}
	_, err = w.task.Update(w.ctx, &taskv3.UpdateTaskRequest{ID: podID, Resources: &anypb.Any{Value: []byte(`{"cpu":{"shares":2}}`)}})
	w.ok(err)
	_, err = w.task.Update(w.ctx, &taskv3.UpdateTaskRequest{ID: podID, Resources: &anypb.Any{Value: []byte(`?`)}})
	wantCode(t, "update with no JSON", err, codes.InvalidArgument)
	_, err = w.task.ResizePty(w.ctx, &taskv3.ResizePtyRequest{ID: podID, Width: 80, Height: 24})
	w.ok(err)
	connected, err := w.task.Connect(w.ctx, &taskv3.ConnectRequest{ID: "nobody"})
	w.ok(err)
	if connected.ShimPid == 0 || connected.TaskPid != 0 {
		t.Errorf("connect got %v", connected)
	}
}

// Version 2 of the API is the same service.
func TestOlderTaskAPI(t *testing.T) {
	w := newWorld(t)
	_, err := w.older.Create(w.ctx, &taskv2.CreateTaskRequest{ID: podID, Bundle: w.bundle(podID, "pause")})
	w.ok(err)
	started, err := w.older.Start(w.ctx, &taskv2.StartRequest{ID: podID})
	w.ok(err)
	if started.Pid != 4711 {
		t.Errorf("pid got %d, want 4711", started.Pid)
	}
	_, err = w.older.Start(w.ctx, &taskv2.StartRequest{ID: podID})
	wantCode(t, "second start", err, codes.FailedPrecondition)
	_, err = w.older.Kill(w.ctx, &taskv2.KillRequest{ID: podID, Signal: 9})
	w.ok(err)
	ended, err := w.older.Wait(w.ctx, &taskv2.WaitRequest{ID: podID})
	w.ok(err)
	if ended.ExitStatus != 137 {
		t.Errorf("status got %d, want 137", ended.ExitStatus)
	}
	_, err = w.older.Delete(w.ctx, &taskv2.DeleteRequest{ID: podID})
	w.ok(err)
}

// Events keep their order while containerd is gone, and none is lost.
func TestEventsOutliveContainerd(t *testing.T) {
	w := newWorld(t)
	refused := 0
	w.refuse = func(Event) error {
		if refused++; refused <= 3 {
			return errors.New("gone")
		}
		return nil
	}
	w.startPod()
	w.create("c", "true", stdio{})
	w.start("c", "")
	w.wait("c", "")
	want := []string{"create pod", "start pod", "create c", "start c", "exit c"}
	if diff := cmp.Diff(want, w.events(5)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func podConfigBytes() []byte {
	str := func(to []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(to, n, protowire.BytesType), s)
	}
	dns := str(str(str(nil, 1, "10.0.0.10"), 2, "cluster.local"), 3, "ndots:5")
	resources := protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), 1<<30)
	linux := str(str(nil, 1, "/kubepods/podx"), 5, string(resources))
	message := str(nil, 1, string(str(str(nil, 1, "web"), 3, "prod")))
	message = str(str(message, 2, "web-0"), 4, string(dns))
	message = str(message, 7, string(str(str(nil, 1, "io.cloister.policy"), 2, "p")))
	return str(message, 8, string(linux))
}

func TestSandboxAPI(t *testing.T) {
	w := newWorld(t)
	options := &anypb.Any{TypeUrl: podConfigURL, Value: podConfigBytes()}
	_, err := w.sandbox.StartSandbox(w.ctx, &sandboxapi.StartSandboxRequest{SandboxID: podID})
	wantCode(t, "start before create", err, codes.NotFound)
	_, err = w.sandbox.CreateSandbox(w.ctx, &sandboxapi.CreateSandboxRequest{
		SandboxID: podID, BundlePath: w.bundle(podID, "pause"), Options: options, NetnsPath: "/run/netns/y",
	})
	w.ok(err)
	started, err := w.sandbox.StartSandbox(w.ctx, &sandboxapi.StartSandboxRequest{SandboxID: podID})
	w.ok(err)
	if started.Pid != 4711 {
		t.Errorf("pid got %d, want 4711", started.Pid)
	}
	boot := <-w.boots
	if boot.Netns != "/run/netns/y" || boot.Spec.Hostname != "web-0" || boot.Spec.Annotations["io.cloister.policy"] != "p" ||
		boot.Spec.Annotations["io.kubernetes.cri.sandbox-memory"] != "1073741824" || boot.Spec.Linux.CgroupsPath != "/kubepods/podx/pod" {
		t.Errorf("boot: got %+v of %+v", boot, boot.Spec)
	}
	state, err := w.sandbox.SandboxStatus(w.ctx, &sandboxapi.SandboxStatusRequest{SandboxID: podID})
	w.ok(err)
	if state.State != stateReady {
		t.Errorf("state got %q, want %q", state.State, stateReady)
	}
	w.create("c", "pause", stdio{})
	w.start("c", "")
	_, err = w.task.Shutdown(w.ctx, &taskv3.ShutdownRequest{})
	w.ok(err)
	waited := make(chan error, 1)
	go func() {
		_, err := w.sandbox.WaitSandbox(w.ctx, &sandboxapi.WaitSandboxRequest{SandboxID: podID})
		waited <- err
	}()
	_, err = w.sandbox.StopSandbox(w.ctx, &sandboxapi.StopSandboxRequest{SandboxID: podID})
	w.ok(err)
	w.ok(<-waited)
	if got := w.wait("c", ""); got != 137 {
		t.Errorf("status got %d, want 137", got)
	}
	_, err = w.sandbox.PingSandbox(w.ctx, &sandboxapi.PingRequest{SandboxID: podID})
	wantCode(t, "ping of a stopped sandbox", err, codes.Unavailable)
	_, err = w.sandbox.ShutdownSandbox(w.ctx, &sandboxapi.ShutdownSandboxRequest{SandboxID: podID})
	w.ok(err)
	<-w.exited
}

func FuzzParsePodConfig(f *testing.F) {
	f.Add(podConfigBytes())
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, message []byte) {
		c, err := parsePodConfig(message)
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v, want one of them", c, err)
		}
		if err == nil && c.spec("id", "", "/x").Annotations["io.kubernetes.cri.sandbox-id"] != "id" {
			t.Error("a pod names another sandbox")
		}
	})
}

// The shim ends after its last answer, not before.
func TestExitFollowsAnswer(t *testing.T) {
	w := newWorld(t)
	ctx, answered := context.WithCancel(w.ctx)
	defer answered()
	if _, err := w.service.Shutdown(ctx, &taskv3.ShutdownRequest{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.exited:
		t.Error("the shim ends before its answer is on its way")
	default:
	}
	answered()
	<-w.exited
}
