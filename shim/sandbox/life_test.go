package sandbox

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
)

func TestPodLife(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	ctx := testContext(t)
	pause := Container{ID: podID, Spec: b.config.Spec, Rootfs: rootfs.Rootfs{Layers: []rootfs.Layer{layer("9")}}}
	if _, err := p.Create(ctx, pause); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx, podID); err != nil {
		t.Fatal(err)
	}
	if b.machine.plugged() != 0 {
		t.Error("the built-in pause got layers")
	}
	running(t, p, webID)
	b.agent.end(t, webID, "", 3)
	exit, err := p.Wait(ctx, Process{Container: webID})
	if err != nil || exit.Status != 3 || exit.Err != nil || exit.At.IsZero() {
		t.Errorf("wait: got %+v, %v, want status 3", exit, err)
	}
	if err := p.Remove(ctx, webID); err != nil {
		t.Fatal(err)
	}
	if n := b.machine.plugged(); n != 0 {
		t.Errorf("disks: got %d after the removal, want none", n)
	}
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"SetPolicy", "UpdateInterface", "UpdateRoutes", "AddARPNeighbors", "CreateSandbox", "GetGuestDetails",
		"CreateContainer", "StartContainer", "CreateContainer", "StartContainer", "RemoveContainer",
		"RemoveContainer", "DestroySandbox",
	}
	if got := b.agent.recorded(); !slices.Equal(got, want) {
		t.Errorf("calls got %q, want %q", got, want)
	}
	if p.Err() != nil {
		t.Errorf("err after stop: got %v, want none", p.Err())
	}
	if _, more := <-p.OOM(); more {
		t.Error("the channel of out-of-memory events is open after stop")
	}
	b.checkGone(t, true)
	if b.links.closed != 1 {
		t.Errorf("network: closed %d times, want once", b.links.closed)
	}
	if err := p.Stop(ctx); err != nil {
		t.Errorf("second stop: got %v", err)
	}
	if _, err := p.Create(ctx, web("late")); !errdefs.IsUnavailable(err) {
		t.Errorf("create after stop: got %v, want Unavailable", err)
	}
}

func TestVMConfig(t *testing.T) {
	b := newBed(t)
	b.config.Spec.Annotations[annotationMemory] = "268435457"
	b.config.Spec.Annotations[annotationQuota] = "150000"
	b.config.Spec.Annotations[annotationPeriod] = "100000"
	b.config.Node.VMMUser = 1234
	b.start(t)
	c := b.machine.config
	if c.VCPUs != 2 || c.MemoryMiB != 512+257 {
		t.Errorf("size: got %d processors and %d MiB, want 2 and %d", c.VCPUs, c.MemoryMiB, 512+257)
	}
	if c.User != 1234 || len(c.Cgroups) != 1 || len(c.Taps) != 1 || c.Taps[0].MAC != "02:00:00:00:00:01" {
		t.Errorf("got user %d, control groups %q, taps %v", c.User, c.Cgroups, c.Taps)
	}
	carried, err := spec.PolicyOf(b.config.Spec.Annotations)
	if err != nil {
		t.Fatal(err)
	}
	if c.HostData != carried.HostData || c.HostData == [32]byte{} {
		t.Errorf("HOST_DATA: got %x, want %x", c.HostData, carried.HostData)
	}
	if got := request[*api.SetPolicyRequest](b.agent).Policy; got != string(carried.Policy) {
		t.Errorf("policy: got %q, want %q", got, carried.Policy)
	}
}

func TestNoPolicy(t *testing.T) {
	b := newBed(t)
	delete(b.config.Spec.Annotations, spec.AnnotationPolicy)
	_, err := start(testContext(t), b.config, b.host)
	if !errors.Is(err, errNoPolicy) || !strings.Contains(err.Error(), "policy generate -f POD --annotate policy") {
		t.Errorf("got %v, want an error that says how a policy gets into the pod", err)
	}
	b.checkGone(t, false)
	b.config.Node.DefaultPolicy = "/does/not/exist"
	if _, err := start(testContext(t), b.config, b.host); err == nil || !strings.Contains(err.Error(), "default policy") {
		t.Errorf("default policy that is not there: got %v", err)
	}
}

// TestSingleContainer is `ctr run`: the container is its own sandbox, and keeps its id.
func TestSingleContainer(t *testing.T) {
	b := newBed(t)
	c := web(podID)
	c.Spec.Annotations = map[string]string{spec.AnnotationPolicy: b.config.Spec.Annotations[spec.AnnotationPolicy]}
	limit := int64(64 << 20)
	c.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	b.config.Spec = c.Spec
	p := b.start(t)
	if _, err := p.Create(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	sandbox, container := request[*api.CreateSandboxRequest](b.agent).SandboxId, request[*api.CreateContainerRequest](b.agent).ContainerId
	if sandbox == container || container != podID {
		t.Errorf("got sandbox %q and container %q, want another sandbox and container %q", sandbox, container, podID)
	}
	if got := p.Size().MemoryMiB; got != 512+64 {
		t.Errorf("memory: got %d MiB, want %d", got, 512+64)
	}
}

func TestRefusalIsOneLine(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	b.agent.setBefore(func(_ context.Context, call string) error {
		if call == "CreateContainer" {
			return status.Error(codes.PermissionDenied,
				"CreateContainerRequest is blocked by policy: create_container: env: env_list, container web [decision 7]\npolicyDecision<secret>policyDecision")
		}
		return nil
	})
	_, err := p.Create(testContext(t), web(webID))
	if !errdefs.IsPermissionDenied(err) {
		t.Fatalf("got %v, want PermissionDenied", err)
	}
	text := err.Error()
	if strings.ContainsAny(text, "\n") || strings.Contains(text, "policyDecision") || !strings.Contains(text, "create_container") ||
		!strings.Contains(text, "cloister policy generate") {
		t.Errorf("got %q, want one line with the point and the next step", text)
	}
	if !slices.Contains(b.metrics.refusals, "create_container") {
		t.Errorf("refusals counted: got %q", b.metrics.refusals)
	}
	if b.machine.plugged() != 0 {
		t.Error("layers of a refused container stay plugged")
	}
	if slices.Contains(b.agent.recorded(), "RemoveContainer") {
		t.Error("a refused container was removed: the agent had undone it")
	}
	if _, err := p.Wait(testContext(t), Process{Container: webID}); !errdefs.IsNotFound(err) {
		t.Errorf("wait for it: got %v, want NotFound", err)
	}
}

func TestStatesOfAContainer(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	ctx := testContext(t)
	check := func(what string, err error, is func(error) bool) {
		t.Helper()
		if !is(err) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	none := func(err error) bool { return err == nil }
	check("start of none", p.Start(ctx, webID), errdefs.IsNotFound)
	_, err := p.Create(ctx, web(webID))
	check("create", err, none)
	_, err = p.Create(ctx, web(webID))
	check("create twice", err, errdefs.IsAlreadyExists)
	exec := Process{webID, "e1"}
	check("exec before start", p.Exec(ctx, exec, &specs.Process{Cwd: "/", Args: []string{"ls"}}, false), errdefs.IsFailedPrecondition)
	check("pause before start", p.Pause(ctx, webID), errdefs.IsFailedPrecondition)
	check("start", p.Start(ctx, webID), none)
	check("start twice", p.Start(ctx, webID), errdefs.IsFailedPrecondition)
	check("resume", p.Resume(ctx, webID), errdefs.IsFailedPrecondition)
	check("pause", p.Pause(ctx, webID), none)
	check("exec while paused", p.Exec(ctx, exec, &specs.Process{Cwd: "/", Args: []string{"ls"}}, false), errdefs.IsFailedPrecondition)
	check("resume", p.Resume(ctx, webID), none)
	check("remove while it runs", p.Remove(ctx, webID), errdefs.IsFailedPrecondition)
	check("kill", p.Signal(ctx, Process{Container: webID}, 9, true), none)
	exit, err := p.Wait(ctx, Process{Container: webID})
	if err != nil || exit.Status != 137 {
		t.Errorf("wait: got %+v, %v, want 137", exit, err)
	}
	check("kill when dead", p.Signal(ctx, Process{Container: webID}, 9, true), none)
	check("exec when dead", p.Exec(ctx, exec, &specs.Process{Cwd: "/", Args: []string{"ls"}}, false), errdefs.IsFailedPrecondition)
	check("update when dead", p.Update(ctx, webID, &specs.LinuxResources{}), errdefs.IsFailedPrecondition)
	check("remove", p.Remove(ctx, webID), none)
	check("remove twice", p.Remove(ctx, webID), errdefs.IsNotFound)
	_, err = p.Create(ctx, web(webID))
	check("create again", err, none)
}

// TestSignalRace: the process ends between our look and the agent's.
func TestSignalRace(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	running(t, p, webID)
	b.agent.setBefore(func(_ context.Context, call string) error {
		if call == "SignalProcess" {
			return status.Error(codes.Internal, "ESRCH: No such process")
		}
		return nil
	})
	if err := p.Signal(testContext(t), Process{Container: webID}, 15, false); err != nil {
		t.Errorf("got %v, want success", err)
	}
	if r := request[*api.SignalProcessRequest](b.agent); r.ExecId != webID || r.Signal != 15 {
		t.Errorf("got exec id %q and signal %d, want %q and 15", r.ExecId, r.Signal, webID)
	}
}

func TestExecAndStreams(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	running(t, p, webID)
	ctx := testContext(t)
	for range 2 { // an id may come again
		name := Process{webID, "e1"}
		if err := p.Exec(ctx, name, &specs.Process{Cwd: "/", Args: []string{"cat"}}, true); err != nil {
			t.Fatal(err)
		}
		if err := p.Exec(ctx, name, &specs.Process{Cwd: "/", Args: []string{"cat"}}, true); !errdefs.IsAlreadyExists(err) {
			t.Errorf("the same id while it runs: got %v", err)
		}
		wire := request[*api.ExecProcessRequest](b.agent).ExecId
		in, err := b.agent.process(webID, wire)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Stdin(ctx, name, strings.NewReader("hello, world")); err != nil {
			t.Fatal(err)
		}
		if got := in.input.String(); got != "hello, world" || !in.closed {
			t.Errorf("input: got %q, closed %t", got, in.closed)
		}
		in.output <- []byte("one\n")
		in.output <- []byte("two\n")
		b.agent.end(t, webID, wire, 7)
		var out bytes.Buffer
		if err := errors.Join(p.Stdout(ctx, name, &out), p.Stderr(ctx, name, &out)); err != nil || out.String() != "one\ntwo\n" {
			t.Errorf("output: got %q, %v", out.String(), err)
		}
		if exit, err := p.Wait(ctx, name); err != nil || exit.Status != 7 {
			t.Errorf("wait: got %+v, %v, want status 7", exit, err)
		}
	}
	name := Process{webID, "e1"}
	if err := p.Forget(ctx, name); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(ctx, name); !errdefs.IsNotFound(err) {
		t.Errorf("wait for a forgotten process: got %v, want NotFound", err)
	}
	if err := p.Forget(ctx, Process{Container: webID}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("forget the first process: got %v, want FailedPrecondition", err)
	}
}

// TestNoInput: a process without input reads an end.
func TestNoInput(t *testing.T) {
	b := newBed(t)
	closed := make(chan struct{}, 4)
	b.agent.setBefore(func(_ context.Context, call string) error {
		if call == "CloseStdin" {
			closed <- struct{}{}
		}
		return nil
	})
	p := b.start(t)
	running(t, p, webID)
	if err := p.Exec(testContext(t), Process{webID, "e"}, &specs.Process{Cwd: "/", Args: []string{"cat"}}, false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-testContext(t).Done():
		t.Fatal("the input was not closed")
	}
	if n := len(closed); n != 0 {
		t.Errorf("%d more inputs were closed: the container has one of its own", n)
	}
}

func TestOOM(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	running(t, p, webID)
	b.agent.ooms <- "nobody's"
	b.agent.ooms <- webID
	select {
	case id := <-p.OOM():
		if id != webID {
			t.Errorf("got %q, want %q", id, webID)
		}
	case <-testContext(t).Done():
		t.Fatal("no event")
	}
}

// A guest that tells of a container without end is heard once a second, and asked not much more often.
func TestOOMFlood(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	running(t, p, webID)
	id := webID
	b.agent.oomFlood.Store(&id)
	b.agent.ooms <- webID // ends the call that waits
	var at []time.Time
	for range 2 {
		select {
		case <-p.OOM():
			at = append(at, time.Now())
		case <-testContext(t).Done():
			t.Fatal("no event")
		}
	}
	if got, want := at[1].Sub(at[0]), oomPause-oomPause/10; got < want {
		t.Errorf("second event: got it after %v, want %v at least", got, want)
	}
	b.agent.mu.Lock()
	defer b.agent.mu.Unlock()
	asked := 0
	for _, call := range b.agent.calls {
		if call == "GetOOMEvent" {
			asked++
		}
	}
	if want := 2*int(oomPause/oomMoment) + 10; asked > want {
		t.Errorf("calls: got %d, want at most %d", asked, want)
	}
}

func TestGrowth(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	mem, quota, period := int64(256<<20), int64(200000), uint64(100000)
	c := web(webID)
	c.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &mem}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}
	if _, err := p.Create(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	if got, want := p.Size(), (vm.Size{VCPUs: 2, MemoryMiB: 512 + 256}); got != want {
		t.Errorf("size: got %+v, want %+v", got, want)
	}
	online := request[*api.OnlineCPUMemRequest](b.agent)
	if online == nil || online.NbCpus != 1 || online.CpuOnly {
		t.Errorf("online: got %v, want one processor and memory", online)
	}
	more := mem * 2
	if err := p.Update(testContext(t), webID, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &more}}); err != nil {
		t.Fatal(err)
	}
	if got := p.Size().MemoryMiB; got != 512+512 {
		t.Errorf("memory after the update: got %d, want %d", got, 512+512)
	}
	huge := int64(1) << 50
	if err := p.Update(testContext(t), webID, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &huge}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("more than the node gives: got %v, want InvalidArgument", err)
	}
	if got := p.sum().bytes; got != more {
		t.Errorf("limits after a refused update: got %d, want %d", got, more)
	}
}

func TestStaticDoesNotGrow(t *testing.T) {
	b := newBed(t)
	b.config.Node.Static = true
	p := b.start(t)
	mem := int64(256 << 20)
	c := web(webID)
	c.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &mem}}
	if _, err := p.Create(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	if b.machine.config.MaxMemoryMiB != 0 || p.Size().MemoryMiB != 512 || request[*api.OnlineCPUMemRequest](b.agent) != nil {
		t.Errorf("got maximum %d and size %+v, want a fixed size", b.machine.config.MaxMemoryMiB, p.Size())
	}
}

func TestStats(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	running(t, p, webID)
	m, err := p.Stats(testContext(t), webID)
	if err != nil || m.GetPids().GetCurrent() != 3 {
		t.Errorf("got %v, %v, want 3 processes", m, err)
	}
	if _, err := p.Stats(testContext(t), "other"); !errdefs.IsNotFound(err) {
		t.Errorf("of none: got %v, want NotFound", err)
	}
	pids, err := p.Pids(testContext(t), webID)
	if err != nil || len(pids) != 1 || int(pids[0]) != p.PID() {
		t.Errorf("pids: got %v, %v, want the VM's %d", pids, err, p.PID())
	}
}

// TestContainersAtOnce creates, starts and removes many containers at the same time; they share layers.
func TestContainersAtOnce(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	ctx := testContext(t)
	errs := make(chan error)
	ids := strings.Fields("a b c d e f g h")
	for _, id := range ids {
		go func() {
			errs <- func() error {
				if _, err := p.Create(ctx, web(id)); err != nil {
					return err
				}
				if err := p.Start(ctx, id); err != nil {
					return err
				}
				if err := p.Signal(ctx, Process{Container: id}, 9, false); err != nil {
					return err
				}
				if _, err := p.Wait(ctx, Process{Container: id}); err != nil {
					return err
				}
				return p.Remove(ctx, id)
			}()
		}()
	}
	for range ids {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := b.machine.plugged(); n != 0 {
		t.Errorf("disks: got %d, want none", n)
	}
}
