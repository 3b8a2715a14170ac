package sandbox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/shim/node"
)

// startSteps are all that Start does to the host and asks of the agent, in their order.
var startSteps = []string{
	"join", "cgroup", "tee", "launch", "dial", "Check",
	"SetPolicy", "UpdateInterface", "UpdateRoutes", "AddARPNeighbors", "CreateSandbox", "GetGuestDetails",
}

var errTest = status.Error(codes.Internal, "this step fails")

// on makes f happen at one step, of the host or of the agent.
func (b *bed) on(step string, f func(ctx context.Context) error) {
	at := func(ctx context.Context, what string) error {
		if what == step {
			return f(ctx)
		}
		return nil
	}
	b.at = at
	b.agent.setBefore(at)
}

// hang blocks until ctx ends: a handler's when its connection does, a step's of the host when it is given up.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestStartFailsAtEachStep(t *testing.T) {
	for i, step := range startSteps {
		t.Run(step, func(t *testing.T) {
			b := newBed(t)
			b.on(step, func(context.Context) error { return errTest })
			p, err := start(testContext(t), b.config, b.host)
			if err == nil || p != nil {
				t.Fatalf("got pod %v, %v, want an error", p != nil, err)
			}
			if !strings.Contains(err.Error(), podID) || !strings.Contains(err.Error(), "this step fails") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with the pod and the reason", err)
			}
			b.checkGone(t, i > slices.Index(startSteps, "launch"))
			if want := min(1, max(0, i-slices.Index(startSteps, "join"))); b.links.closed != want {
				t.Errorf("network: closed %d times, want %d", b.links.closed, want)
			}
		})
	}
}

func TestStartCancelledAtEachStep(t *testing.T) {
	for i, step := range startSteps {
		t.Run(step, func(t *testing.T) {
			b := newBed(t)
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			b.on(step, func(at context.Context) error {
				cancel()
				if step == "cgroup" { // makes directories: it does not wait for anything
					return nil
				}
				return hang(at)
			})
			_, err := start(ctx, b.config, b.host)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want canceled", err)
			}
			b.checkGone(t, i > slices.Index(startSteps, "launch"))
		})
	}
}

// TestVMDiesAtEachStep: the machine crashes while the agent is asked.
func TestVMDiesAtEachStep(t *testing.T) {
	for _, step := range startSteps[slices.Index(startSteps, "Check"):] {
		t.Run(step, func(t *testing.T) {
			b := newBed(t)
			b.on(step, func(ctx context.Context) error {
				b.machine.die(errors.New("qemu crashed"))
				return hang(ctx)
			})
			_, err := start(testContext(t), b.config, b.host)
			if err == nil || !strings.Contains(err.Error(), "qemu crashed") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with the VM's reason", err)
			}
			b.checkGone(t, true)
		})
	}
}

// TestStartHangs: an agent that answers nothing more is given up.
func TestStartHangs(t *testing.T) {
	for _, step := range startSteps[slices.Index(startSteps, "dial"):] {
		t.Run(step, func(t *testing.T) {
			b := newBed(t)
			b.config.Node.RequestTimeout = node.Duration(50 * time.Millisecond)
			b.config.Node.BootTimeout = node.Duration(50 * time.Millisecond)
			b.on(step, hang)
			_, err := start(testContext(t), b.config, b.host)
			if err == nil || !strings.Contains(err.Error(), "no answer") && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want a word about the time", err)
			}
			b.checkGone(t, true)
		})
	}
}

// createSteps are all that Create does for the container of web().
var createSteps = []string{"plug 1", "plug 2", "CreateContainer"}

func TestCreateFailsAtEachStep(t *testing.T) {
	for _, step := range createSteps {
		t.Run(step, func(t *testing.T) {
			b := newBed(t)
			p := b.start(t)
			b.on(step, func(context.Context) error { return errTest })
			if _, err := p.Create(testContext(t), web(webID)); err == nil || !strings.Contains(err.Error(), "this step fails") {
				t.Errorf("got %v", err)
			}
			if n := b.machine.plugged(); n != 0 {
				t.Errorf("disks: got %d, want none", n)
			}
			b.on("", nil)
			running(t, p, webID) // the id is free, and all is as before
		})
	}
}

// TestCreateCancelledAtEachStep: where the agent may have created the container it is removed before its layers go.
func TestCreateCancelledAtEachStep(t *testing.T) {
	for _, step := range createSteps {
		t.Run(step, func(t *testing.T) {
			b := newBed(t)
			p := b.start(t)
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			release := make(chan struct{})
			var order []string
			var mu sync.Mutex
			b.at = func(at context.Context, what string) error {
				mu.Lock()
				order = append(order, what)
				mu.Unlock()
				if what == step {
					cancel()
					return hang(at)
				}
				return nil
			}
			b.agent.setBefore(func(_ context.Context, call string) error {
				if call == step {
					cancel()
					<-release // the agent goes on, whoever has gone
				}
				if call == "RemoveContainer" {
					mu.Lock()
					order = append(order, call)
					mu.Unlock()
					close(release)
					b.awaitContainer(t, webID)
				}
				return nil
			})
			if _, err := p.Create(ctx, web(webID)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want canceled", err)
			}
			if n := b.machine.plugged(); n != 0 {
				t.Errorf("disks: got %d, want none", n)
			}
			if step == "CreateContainer" {
				if removed, unplugged := slices.Index(order, "RemoveContainer"), slices.Index(order, "unplug"); removed < 0 || removed > unplugged {
					t.Errorf("order got %q, want the removal before the disks", order)
				}
				if _, err := b.agent.process(webID, ""); err == nil {
					t.Error("the container is still in the guest")
				}
			}
			b.at = nil
			b.agent.setBefore(nil)
			running(t, p, webID)
		})
	}
}

// awaitContainer waits until the fake agent has created a container.
func (b *bed) awaitContainer(t *testing.T, id string) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := b.agent.process(id, ""); err == nil || t.Context().Err() != nil {
			return
		}
	}
}

// waits are all that can wait for the guest, begun before a fault. Each must end.
func waits(t *testing.T, p *Pod) (ended func() Exit) {
	t.Helper()
	exec := Process{webID, "e1"}
	if err := p.Exec(testContext(t), exec, &specs.Process{Cwd: "/", Args: []string{"sleep"}}, true); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	exits := make(chan Exit, 2)
	errs := make(chan error, 3)
	for _, name := range []Process{{Container: webID}, exec} {
		go func() {
			e, err := p.Wait(ctx, name)
			errs <- err
			exits <- e
		}()
	}
	go func() {
		var out bytes.Buffer
		if err := p.Stdout(ctx, exec, &out); err != nil && !errdefs.IsUnavailable(err) {
			errs <- err
			return
		}
		errs <- nil
	}()
	return func() Exit {
		for range 3 {
			if err := <-errs; err != nil {
				t.Errorf("a wait ended with %v", err)
			}
		}
		first, second := <-exits, <-exits
		if first.Status != second.Status {
			t.Errorf("exits differ: %+v and %+v", first, second)
		}
		return first
	}
}

func TestFaultsEndAllWaits(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(b *bed, p *Pod)
		want  string
	}{
		{"vm-crashes", func(b *bed, _ *Pod) { b.machine.die(errors.New("qemu crashed")) }, "qemu crashed"},
		{"guest-powers-off", func(b *bed, _ *Pod) { b.machine.die(nil) }, "powered off"},
		{"host-ends-it", func(_ *bed, p *Pod) { p.Lose(errors.New("a SIGKILL was refused")) }, "SIGKILL was refused"},
		{"channel-cut", func(b *bed, _ *Pod) { b.machine.cut() }, errCut.Error()},
		{"agent-hangs", func(b *bed, _ *Pod) {
			b.agent.setBefore(func(ctx context.Context, _ string) error { return hang(ctx) })
		}, errHung.Error()},
		{"call-hangs", func(b *bed, p *Pod) {
			b.agent.setBefore(func(ctx context.Context, _ string) error { return hang(ctx) })
			if err := p.Pause(context.Background(), webID); !errors.Is(err, context.DeadlineExceeded) && !errdefs.IsUnavailable(err) {
				panic(err)
			}
		}, errHung.Error()},
		{"agent-does-not-serve", func(b *bed, _ *Pod) {
			b.agent.setBefore(func(_ context.Context, call string) error {
				if call == "Check" {
					return status.Error(codes.Unavailable, "the agent ends")
				}
				return nil
			})
		}, "the agent ends"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t)
			b.config.Node.HealthInterval = node.Duration(20 * time.Millisecond)
			if strings.HasSuffix(tc.name, "hangs") {
				b.config.Node.RequestTimeout = node.Duration(time.Second)
			}
			if tc.name == "call-hangs" {
				b.config.Node.HealthInterval = 0 // the call alone has the agent looked at
			}
			p := b.start(t)
			running(t, p, webID)
			ended := waits(t, p)
			tc.fault(b, p)
			exit := ended()
			if exit.Status != 255 || exit.Err == nil || !strings.Contains(exit.Err.Error(), tc.want) {
				t.Errorf("exit got %+v, want 255 and a word about %q", exit, tc.want)
			}
			<-p.Done()
			if err := p.Err(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err got %v, want a word about %q", err, tc.want)
			}
			select {
			case <-b.machine.done:
			case <-testContext(t).Done():
				t.Error("the VM was not stopped")
			}
			ctx := testContext(t)
			if err := p.Signal(ctx, Process{Container: webID}, 9, true); err != nil {
				t.Errorf("kill: got %v, want success", err)
			}
			if err := p.Start(ctx, webID); !errdefs.IsFailedPrecondition(err) && !errdefs.IsUnavailable(err) {
				t.Errorf("start: got %v", err)
			}
			if _, err := p.Create(ctx, web("other")); !errdefs.IsUnavailable(err) {
				t.Errorf("create: got %v, want Unavailable", err)
			}
			if _, err := os.Lstat(b.config.Dir); err != nil {
				t.Errorf("state directory before stop: %v", err)
			}
			if err := p.Remove(ctx, webID); err != nil {
				t.Errorf("remove: got %v, want success", err)
			}
			if err := p.Stop(ctx); err != nil {
				t.Error(err)
			}
			b.checkGone(t, true)
		})
	}
}

// TestOneLateCall: an agent that is only slow at one thing stays.
func TestOneLateCall(t *testing.T) {
	b := newBed(t)
	b.config.Node.RequestTimeout = node.Duration(time.Second)
	p := b.start(t)
	running(t, p, webID)
	looked := make(chan struct{}, 8)
	b.agent.setBefore(func(ctx context.Context, call string) error {
		switch call {
		case "PauseContainer":
			return hang(ctx)
		case "Check":
			looked <- struct{}{}
		}
		return nil
	})
	if err := p.Pause(testContext(t), webID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
	select {
	case <-looked:
	case <-testContext(t).Done():
		t.Fatal("the agent was not looked at")
	}
	if err := p.Signal(testContext(t), Process{Container: webID}, 15, false); err != nil {
		t.Errorf("the pod is lost: %v", err)
	}
}

// TestStopOfHungAgent ends in bounded time and leaves nothing.
func TestStopOfHungAgent(t *testing.T) {
	b := newBed(t)
	b.config.Node.RequestTimeout = node.Duration(time.Second)
	p := b.start(t)
	running(t, p, webID)
	b.agent.setBefore(func(ctx context.Context, _ string) error { return hang(ctx) })
	if err := p.Stop(testContext(t)); err != nil {
		t.Error(err)
	}
	exit, err := p.Wait(testContext(t), Process{Container: webID})
	if err != nil || exit.Status != 255 || exit.Err == nil {
		t.Errorf("exit got %+v, %v, want 255 and why", exit, err)
	}
	b.checkGone(t, true)
}

// TestStopWhileCreating: what is under way is ended and undone first.
func TestStopWhileCreating(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	asked := make(chan struct{})
	b.on("plug 2", func(ctx context.Context) error {
		close(asked)
		return hang(ctx)
	})
	created := make(chan error)
	go func() {
		_, err := p.Create(context.Background(), web(webID))
		created <- err
	}()
	<-asked
	if err := p.Stop(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := <-created; !errors.Is(err, context.Canceled) {
		t.Errorf("create: got %v, want canceled", err)
	}
	b.checkGone(t, true)
}

// TestStopTriesAgain: what could not be taken away stays known.
func TestStopTriesAgain(t *testing.T) {
	b := newBed(t)
	p := b.start(t)
	inside := b.groups + "/" + podID + "/busy"
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 30*time.Second)
	defer cancel()
	if err := p.Stop(ctx); err == nil {
		t.Error("a control group that is not empty was no error")
	}
	if s, err := ReadState(b.config.Dir); err != nil || len(s.Cgroups) != 1 {
		t.Errorf("state after a stop that failed: got %+v, %v, want the control group in it", s, err)
	}
	if err := os.Remove(inside); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	b.checkGone(t, true)
}
