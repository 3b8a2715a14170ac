package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// When the policy's state is rolled back, and when it is not (docs/architecture.md).
//
// The policies here have twins: two definitions of one image that differ in one thing. Whoever runs one twin's thing has chosen that
// twin, and may not have the other's any more: an owner who lists a debug container beside the real one counts on that. A host that can
// make the agent forget the choice has both. So in each test there is the attack as it would work: the control takes the
// same decision back in the enforcer and is then allowed what the agent must refuse.

// twin is one definition; what is left empty is what both have.
type twin struct {
	command string
	exec    string
	env     string
	signal  int
	stdio   bool
}

func twinPolicy(t *testing.T, twins ...twin) string {
	t.Helper()
	var list []any
	for i, w := range twins {
		c := map[string]any{
			"name": fmt.Sprintf("twin%d", i), "command": []string{"/bin/web"}, "working_dir": "/", "layers": []string{rootBase, rootWeb},
			"env_rules": []any{map[string]any{"pattern": "PATH=/bin", "strategy": "string", "required": false}}, "mounts": []any{},
			"exec_processes": []any{}, "signals": []int{15}, "capabilities": nil, "seccomp_profile_sha256": "", "allow_elevated": false,
			"allow_stdio_access": w.stdio, "no_new_privileges": false,
			"user": map[string]any{
				"user_idname": map[string]any{"pattern": "", "strategy": "any"}, "umask": "0022",
				"group_idnames": []any{map[string]any{"pattern": "", "strategy": "any"}},
			},
		}
		if w.command != "" {
			c["command"] = []string{w.command}
		}
		if w.exec != "" {
			c["exec_processes"] = []any{map[string]any{"command": []string{w.exec}, "signals": []int{10}}}
		}
		if w.env != "" {
			c["env_rules"] = append(c["env_rules"].([]any), map[string]any{"pattern": w.env, "strategy": "string", "required": false})
		}
		if w.signal != 0 {
			c["signals"] = []int{15, w.signal}
		}
		list = append(list, c)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return "package policy\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\ncontainers := " + string(text) + "\n" + allPoints
}

// plain is a create without mounts of its own.
func plain(t *testing.T, id string, change func(*container.ProcessRequest)) CreateRequest {
	t.Helper()
	return web(t, id, func(r *CreateRequest) {
		r.OCI.Mounts = nil
		if change != nil {
			change(&r.OCI.Process)
		}
	})
}

// exec asks to run one command in w.
func (b *bench) exec(t *testing.T, execID, command string, env ...string) error {
	t.Helper()
	return b.Exec(t.Context(), ExecRequest{ID: "w", ExecID: execID, Process: &container.ProcessRequest{
		Args: []string{command}, Env: append([]string{"PATH=/bin"}, env...), Cwd: "/", Capabilities: web(t, "w", nil).OCI.Process.Capabilities,
	}})
}

// policy is the enforcer behind the bench.
func (b *bench) policy() *enforcer.Enforcer { return b.cfg.Gate.Policy().Enforcer }

func (b *bench) execInput(t *testing.T, command string, env ...string) enforcer.Input {
	t.Helper()
	c := web(t, "w", nil).OCI.Process.Capabilities
	return enforcer.ExecInContainerInput{
		ContainerID: Key("w"), ArgList: []string{command}, EnvList: append([]string{"PATH=/bin"}, env...), WorkingDir: "/", Umask: umaskText,
		User: enforcer.User{ID: "0"}, Groups: []enforcer.User{{ID: "0"}}, Capabilities: toCaps(c),
	}
}

func signalInput(n int) enforcer.Input {
	return enforcer.SignalContainerProcessInput{ContainerID: Key("w"), Signal: n, IsInitProcess: true, ArgList: []string{"/bin/web"}}
}

// control shows the attack: with did committed, wants is refused; with did taken back, it is allowed. It leaves the state with
// did taken back.
func control(t *testing.T, e *enforcer.Enforcer, did, wants enforcer.Input) {
	t.Helper()
	d, err := e.Decide(t.Context(), did)
	if err != nil {
		t.Fatalf("control: %v", err)
	}
	undo, err := d.Commit()
	if err != nil {
		t.Fatalf("control: %v", err)
	}
	if _, err := e.Decide(t.Context(), wants); err == nil {
		t.Fatal("control: the twins are no twins: both are allowed without a rollback")
	}
	undo()
	if _, err := e.Decide(t.Context(), wants); err != nil {
		t.Fatalf("control: the attack does not work, so the test shows nothing: %v", err)
	}
}

func refusedAt(t *testing.T, err error, point string) {
	t.Helper()
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), point) {
		t.Fatalf("got %v, want a refusal at %s: the other twin was let in", err, point)
	}
}

func execTwins(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, twinPolicy(t, twin{exec: "/bin/one"}, twin{exec: "/bin/two"}))
	b.life(t, plain(t, "w", nil))
	return b
}

var (
	notStarted = &container.RuntimeError{Op: "exec", Reason: "failed", Err: container.ErrNotStarted}
	lost       = &container.RuntimeError{Op: "exec", Reason: "lost", Err: container.ErrUnknownOutcome}
)

// TestExecFailedBeforeExecveIsRolledBack: the runtime said by its own exit code that nothing was executed.
func TestExecFailedBeforeExecveIsRolledBack(t *testing.T) {
	b := execTwins(t)
	b.runtime.fail["exec"] = notStarted
	if err := b.exec(t, "e1", "/bin/one"); status.Code(err) != codes.Internal {
		t.Fatalf("got %v, want the runtime's failure", err)
	}
	delete(b.runtime.fail, "exec")
	if err := b.exec(t, "e1", "/bin/two"); err != nil {
		t.Fatalf("neither twin was chosen: %v", err)
	}
	refusedAt(t, b.exec(t, "e2", "/bin/one"), "exec_in_container")
}

// TestExecWithUnknownOutcomeStays: a lost runtime, a time-out, or whatever else is not a report of its own: the first twin's command may
// have run.
func TestExecWithUnknownOutcomeStays(t *testing.T) {
	for name, failure := range map[string]error{
		"lost-connection": lost,
		"time-out":        context.DeadlineExceeded,
		"cancelled":       context.Canceled,
		"unexplained":     errors.New("x"),
		"runtime-error":   &container.RuntimeError{Op: "exec", Reason: "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := execTwins(t)
			control(t, b.policy(), b.execInput(t, "/bin/one"), b.execInput(t, "/bin/two"))
			b.runtime.fail["exec"] = failure
			if err := b.exec(t, "e1", "/bin/one"); err == nil {
				t.Fatal("the failure was not told")
			}
			delete(b.runtime.fail, "exec")
			refusedAt(t, b.exec(t, "e2", "/bin/two"), "exec_in_container")
			if err := b.exec(t, "e3", "/bin/one"); err != nil {
				t.Fatalf("the twin that was chosen: %v", err)
			}
		})
	}
}

// TestExecOfOneEnvironmentExcludesTheOther: twins in an environment rule, here with a command both may run.
func TestExecOfOneEnvironmentExcludesTheOther(t *testing.T) {
	b := newBench(t, twinPolicy(t, twin{exec: "/bin/sh", env: "MODE=real"}, twin{exec: "/bin/sh", env: "MODE=debug"}))
	b.life(t, plain(t, "w", nil))
	control(t, b.policy(), b.execInput(t, "/bin/sh", "MODE=real"), b.execInput(t, "/bin/sh", "MODE=debug"))
	if err := b.exec(t, "e0", "/bin/sh"); err != nil {
		t.Fatalf("a command of both: %v", err)
	}
	b.runtime.fail["exec"] = lost
	if err := b.exec(t, "e1", "/bin/sh", "MODE=real"); err == nil {
		t.Fatal("the failure was not told")
	}
	delete(b.runtime.fail, "exec")
	refusedAt(t, b.exec(t, "e2", "/bin/sh", "MODE=debug"), "exec_in_container")
}

// createInput is what the agent asks about w, with a command of its own.
func twinCreate(t *testing.T, command string) enforcer.CreateContainerInput {
	t.Helper()
	in := enforcer.CreateContainerInput{
		ContainerID: Key("w"), ArgList: []string{command}, EnvList: []string{"PATH=/bin"}, WorkingDir: "/", Umask: umaskText,
		User: enforcer.User{ID: "0"}, Groups: []enforcer.User{{ID: "0"}}, Capabilities: toCaps(web(t, "w", nil).OCI.Process.Capabilities),
	}
	return in
}

// admitted is an enforcer in which the image of w is mounted and nothing is created.
func admitted(t *testing.T, policy string) *enforcer.Enforcer {
	t.Helper()
	e, err := enforcer.Load(t.Context(), []byte(policy), enforcer.Options{DefaultMounts: aci.DefaultMounts()})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []enforcer.Input{
		enforcer.MountDeviceInput{Target: layerName(0), DeviceHash: rootBase, MountPathRegex: LayerPathRegex},
		enforcer.MountDeviceInput{Target: layerName(1), DeviceHash: rootWeb, MountPathRegex: LayerPathRegex},
		enforcer.MountOverlayInput{ContainerID: Key("w"), LayerPaths: []string{layerName(1), layerName(0)}, Target: rootfsName(Key("w"))},
	} {
		d, err := e.Decide(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

var commandTwins = []twin{{command: "/bin/one"}, {command: "/bin/two"}}

func createTwin(t *testing.T, command string) CreateRequest {
	t.Helper()
	return plain(t, "w", func(p *container.ProcessRequest) { p.Args = []string{command} })
}

// TestCreateFailedBeforeStartIsRolledBack: until the runtime's start no instruction of the workload can have run, whatever the runtime
// says about its create; the id is as good as new, for either twin.
func TestCreateFailedBeforeStartIsRolledBack(t *testing.T) {
	for name, failure := range map[string]error{
		"not-started": notStarted, "lost": lost, "time-out": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, twinPolicy(t, commandTwins...))
			b.runtime.fail["create"] = failure
			if err := b.CreateContainer(t.Context(), createTwin(t, "/bin/one")); err == nil {
				t.Fatal("the failure was not told")
			}
			if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
				t.Fatalf("left %+v and %v", h, b.storage.mounted)
			}
			delete(b.runtime.fail, "create")
			b.life(t, createTwin(t, "/bin/two"))
		})
	}
}

// TestCreateFailedBehindTheRuntimeIsRolledBack: the last step that can fail is behind the runtime's create.
func TestCreateFailedBehindTheRuntimeIsRolledBack(t *testing.T) {
	b := newBench(t, twinPolicy(t, commandTwins...))
	group := b.cfg.Group
	b.cfg.Group = func(string) (Group, error) { return nil, errors.New("no control group") }
	if err := b.CreateContainer(t.Context(), createTwin(t, "/bin/one")); err == nil {
		t.Fatal("the failure was not told")
	}
	if len(b.runtime.deleted) == 0 {
		t.Fatal("the container stays in the runtime")
	}
	b.cfg.Group = group
	b.life(t, createTwin(t, "/bin/two"))
}

// TestStartThatFailedIsNotRolledBack: the first twin's command may have run and left something in the writable layer. Neither the same
// container nor a new one of its id becomes the other twin.
func TestStartThatFailedIsNotRolledBack(t *testing.T) {
	control(t, admitted(t, twinPolicy(t, commandTwins...)), twinCreate(t, "/bin/one"), twinCreate(t, "/bin/two"))
	for name, failure := range map[string]error{"not-started": notStarted, "lost": lost} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, twinPolicy(t, commandTwins...))
			if err := b.CreateContainer(t.Context(), createTwin(t, "/bin/one")); err != nil {
				t.Fatal(err)
			}
			b.runtime.fail["start"] = failure
			if err := b.StartContainer(t.Context(), "w"); status.Code(err) != codes.Internal {
				t.Fatalf("got %v, want the runtime's failure", err)
			}
			delete(b.runtime.fail, "start")
			if err := b.StartContainer(t.Context(), "w"); status.Code(err) != codes.FailedPrecondition {
				t.Fatalf("a second start: got %v, want a refusal", err)
			}
			if err := b.CreateContainer(t.Context(), createTwin(t, "/bin/two")); status.Code(err) != codes.InvalidArgument {
				t.Fatalf("a second create: got %v, want a refusal", err)
			}
			if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
				t.Fatal(err)
			}
			refusedAt(t, b.CreateContainer(t.Context(), createTwin(t, "/bin/two")), "container already started")
			refusedAt(t, b.CreateContainer(t.Context(), createTwin(t, "/bin/one")), "container already started")
			if h := b.Held(); h != (Counts{}) {
				t.Fatalf("left %+v", h)
			}
		})
	}
}

// TestIDIsUsedUpByALife: the same without any failure: a removed container's id is not another's, whether it was stopped or ended by
// itself.
func TestIDIsUsedUpByALife(t *testing.T) {
	for _, ended := range []bool{false, true} {
		b := newBench(t, twinPolicy(t, commandTwins...))
		b.life(t, createTwin(t, "/bin/one"))
		point := "container already started"
		if ended {
			b.runtime.exits[Key("w")] <- 0
			if _, err := b.Wait(t.Context(), "w", ""); err != nil {
				t.Fatal(err)
			}
			point = "overlay has already been mounted" // nobody asked for a shutdown
		}
		if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
			t.Fatal(err)
		}
		refusedAt(t, b.CreateContainer(t.Context(), createTwin(t, "/bin/two")), point)
	}
}

// TestRefusedCreateChoosesNoTwin: a decision that was not followed by an act is as if it had not been asked.
func TestRefusedCreateChoosesNoTwin(t *testing.T) {
	b := newBench(t, twinPolicy(t, commandTwins...))
	r := createTwin(t, "/bin/one")
	r.OCI.Process.Terminal = true // refused after the decision: neither twin has stdio
	if err := b.CreateContainer(t.Context(), r); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("got %v, want a refusal of the terminal", err)
	}
	refusedAt(t, b.CreateContainer(t.Context(), createTwin(t, "/bin/three")), "create_container")
	b.life(t, createTwin(t, "/bin/two"))
}

// TestExecRefusedForItsTerminalChoosesNoTwin: likewise for exec.
func TestExecRefusedForItsTerminalChoosesNoTwin(t *testing.T) {
	b := execTwins(t)
	err := b.Exec(t.Context(), ExecRequest{ID: "w", ExecID: "e", Process: &container.ProcessRequest{
		Args: []string{"/bin/one"}, Env: []string{"PATH=/bin"}, Cwd: "/", Terminal: true, Capabilities: web(t, "w", nil).OCI.Process.Capabilities,
	}})
	if status.Code(err) != codes.InvalidArgument {
		t.Fatalf("got %v, want a refusal of the terminal", err)
	}
	if err := b.exec(t, "e", "/bin/two"); err != nil {
		t.Fatal(err)
	}
}

// TestSignalIsNeverRolledBack: the target is gone, so nothing was delivered; the choice stays.
func TestSignalIsNeverRolledBack(t *testing.T) {
	b := newBench(t, twinPolicy(t, twin{signal: 10, exec: "/bin/one"}, twin{signal: 12, exec: "/bin/two"}))
	b.life(t, plain(t, "w", nil))
	control(t, b.policy(), signalInput(10), signalInput(12))
	control(t, b.policy(), signalInput(10), b.execInput(t, "/bin/two"))
	// The fake's process is none of the kernel's: its delivery fails.
	if err := b.Signal(t.Context(), "w", "w", 10); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "ESRCH") {
		t.Fatalf("got %v, want that there is no such process", err)
	}
	refusedAt(t, b.Signal(t.Context(), "w", "w", 12), "signal_container_process")
	refusedAt(t, b.exec(t, "e", "/bin/two"), "exec_in_container")
	if err := b.exec(t, "e", "/bin/one"); err != nil {
		t.Fatalf("the twin that was chosen: %v", err)
	}
}

// stubborn is a control group whose processes cannot be killed.
type stubborn struct{ Group }

func (stubborn) Kill(context.Context) error { return errors.New("told to fail") }

// TestShutdownIsNeverRolledBack: the kill failed, the container still runs; from the policy's view it was stopped, and nothing more is
// run in it or sent to it. A shutdown can be asked again.
func TestShutdownIsNeverRolledBack(t *testing.T) {
	for name, shutdown := range map[string]func(*bench) error{
		"signal": func(b *bench) error { return b.Signal(t.Context(), "w", "", 9) },
		"remove": func(b *bench) error { return b.RemoveContainer(t.Context(), "w", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, twinPolicy(t, twin{exec: "/bin/one"}, twin{exec: "/bin/two"}))
			group := b.cfg.Group
			b.cfg.Group = func(path string) (Group, error) {
				g, err := group(path)
				return stubborn{g}, err
			}
			b.life(t, plain(t, "w", nil))
			control(t, b.policy(), enforcer.ShutdownContainerInput{ContainerID: Key("w")}, b.execInput(t, "/bin/one"))
			if err := shutdown(b); status.Code(err) != codes.Internal {
				t.Fatalf("got %v, want that the kill failed", err)
			}
			refusedAt(t, b.exec(t, "e1", "/bin/one"), "exec_in_container")
			refusedAt(t, b.exec(t, "e2", "/bin/two"), "exec_in_container")
			refusedAt(t, b.Signal(t.Context(), "w", "w", 15), "signal_container_process")
			c, err := b.container("w")
			if err != nil {
				t.Fatal(err)
			}
			c.group = fakeGroup{b.runtime, c.Key}
			if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
				t.Fatalf("once more: %v", err)
			}
		})
	}
}

// TestMountsAreAlwaysRolledBack: whatever mount of a create fails, and when the create itself is refused, no disk, overlay or id is left
// in the policy's state: the same id and either twin can be had. The control is that a state that were left would refuse it.
func TestMountsAreAlwaysRolledBack(t *testing.T) {
	e := admitted(t, twinPolicy(t, commandTwins...))
	if _, err := e.Decide(t.Context(), enforcer.MountOverlayInput{ContainerID: Key("w"), LayerPaths: []string{layerName(1), layerName(0)}, Target: "/x"}); err == nil {
		t.Fatal("control: an id with an overlay could be used again")
	}
	for _, op := range []string{"layer m0", "layer m1", "scratch", "overlay", "refused"} {
		t.Run(op, func(t *testing.T) {
			b := newBench(t, twinPolicy(t, commandTwins...))
			r := createTwin(t, "/bin/one")
			if op == "refused" {
				r.OCI.Process.Cwd = "/elsewhere"
			}
			b.storage.fail = op
			if err := b.CreateContainer(t.Context(), r); err == nil {
				t.Fatal("the failure was not told")
			}
			b.storage.fail = ""
			for i := range 4 { // no disk is on record at any name the agent gave
				if _, err := b.policy().Decide(t.Context(), enforcer.UnmountDeviceInput{UnmountTarget: layerName(uint64(i))}); err == nil {
					t.Errorf("%s is on record", layerName(uint64(i)))
				}
			}
			if _, err := b.policy().Decide(t.Context(), enforcer.UnmountOverlayInput{UnmountTarget: rootfsName(Key("w"))}); err == nil {
				t.Error("the overlay is on record")
			}
			b.life(t, createTwin(t, "/bin/two"))
		})
	}
}

// TestUnmountThatFailedIsNotRecorded: an unmount that did not happen is not in the policy's state, and can be tried again.
func TestUnmountThatFailedIsNotRecorded(t *testing.T) {
	b := newBench(t, twinPolicy(t, commandTwins...))
	b.life(t, createTwin(t, "/bin/one"))
	c, err := b.container("w")
	if err != nil {
		t.Fatal(err)
	}
	real := c.mounts[1]
	c.mounts[1] = failing{errors.New("busy")}
	if err := b.RemoveContainer(t.Context(), "w", 0); status.Code(err) != codes.Internal {
		t.Fatalf("got %v, want that the unmount failed", err)
	}
	if _, err := b.policy().Decide(t.Context(), enforcer.UnmountOverlayInput{UnmountTarget: rootfsName(Key("w"))}); err != nil {
		t.Fatalf("the overlay is still mounted, the policy says: %v", err)
	}
	c.mounts[1] = real
	if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
		t.Fatal(err)
	}
	if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
		t.Fatalf("left %+v and %v", h, b.storage.mounted)
	}
}

type failing struct{ err error }

func (f failing) Unmount(context.Context) error { return f.err }

// TestHalfDoneUnmountPoisons: nothing that changes state is taken any more, and each refusal says why.
func TestHalfDoneUnmountPoisons(t *testing.T) {
	half := fmt.Errorf("unmount: %w", storage.ErrStateUnknown)
	for name, breaks := range map[string]func(*testing.T, *bench, *Container) error{
		"overlay": func(t *testing.T, b *bench, c *Container) error {
			c.mounts[1] = failing{half}
			return b.RemoveContainer(t.Context(), "w", 0)
		},
		"scratch": func(t *testing.T, b *bench, c *Container) error {
			c.mounts[0] = failing{half}
			return b.RemoveContainer(t.Context(), "w", 0)
		},
		"layer": func(t *testing.T, b *bench, c *Container) error {
			b.devices[c.layers[0]].mount = failing{half}
			return b.RemoveContainer(t.Context(), "w", 0)
		},
		"undo-of-a-create": func(t *testing.T, b *bench, _ *Container) error {
			b.runtime.fail["create"] = notStarted
			b.storage.unknown = true
			defer func() { b.storage.unknown = false; delete(b.runtime.fail, "create") }()
			return b.CreateContainer(t.Context(), plain(t, "x", nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := execTwins(t)
			c, err := b.container("w")
			if err != nil {
				t.Fatal(err)
			}
			if err := breaks(t, b, c); err == nil {
				t.Fatal("the failure was not told")
			}
			for what, err := range map[string]error{
				"create": b.CreateContainer(t.Context(), plain(t, "y", nil)),
				"exec":   b.exec(t, "e", "/bin/one"),
				"signal": b.Signal(t.Context(), "w", "", 9),
				"remove": b.RemoveContainer(t.Context(), "w", 0),
				"start":  b.StartContainer(t.Context(), "w"),
				"pause":  b.Pause(t.Context(), "w"),
				"update": b.Update(t.Context(), "w", nil),
				"pod":    b.DestroyPod(t.Context()),
			} {
				if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the sandbox takes no further changes: ") {
					t.Errorf("%s: got %v, want a refusal that says why", what, err)
				}
			}
		})
	}
}

// vanishing is a runtime during whose work the client goes away.
type vanishing struct {
	*fakeRuntime
	leave  context.CancelFunc
	during func()
}

func (r *vanishing) gone(ctx context.Context) error {
	r.leave()
	if r.during != nil {
		r.during()
	}
	return ctx.Err()
}

func (r *vanishing) Create(ctx context.Context, key, bundle string, spec *specs.Spec, stdio bool) (*container.Process, error) {
	if err := r.gone(ctx); err != nil {
		return nil, err
	}
	return r.fakeRuntime.Create(ctx, key, bundle, spec, stdio)
}

func (r *vanishing) Exec(ctx context.Context, key string, n uint64, spec *specs.Process, stdio bool) (*container.Process, error) {
	if err := r.gone(ctx); err != nil {
		return nil, err
	}
	return r.fakeRuntime.Exec(ctx, key, n, spec, stdio)
}

func (r *vanishing) Delete(ctx context.Context, key string) error {
	if err := r.gone(ctx); err != nil {
		return err
	}
	return r.fakeRuntime.Delete(ctx, key)
}

// TestVanishedClientsRequestRunsToItsEnd: whoever asked is gone in the middle of it; the request is done as a whole, in the kernel and in
// the policy's state. Otherwise a host would choose with each disconnection what half of a request it wants.
func TestVanishedClientsRequestRunsToItsEnd(t *testing.T) {
	b := execTwins(t)
	leaving := func() (context.Context, *vanishing) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		r := &vanishing{fakeRuntime: b.runtime, leave: cancel}
		b.cfg.Runtime = r
		return ctx, r
	}
	ctx, _ := leaving()
	if err := b.CreateContainer(ctx, plain(t, "x", nil)); err != nil || ctx.Err() == nil {
		t.Fatalf("create: got %v", err)
	}
	if _, err := b.container("x"); err != nil {
		t.Fatalf("the container is not there: %v", err)
	}
	ctx, _ = leaving()
	if err := b.Exec(ctx, ExecRequest{ID: "w", ExecID: "e1", Process: &container.ProcessRequest{
		Args: []string{"/bin/one"}, Env: []string{"PATH=/bin"}, Cwd: "/", Capabilities: web(t, "w", nil).OCI.Process.Capabilities,
	}}); err != nil || ctx.Err() == nil {
		t.Fatalf("exec: got %v", err)
	}
	refusedAt(t, b.exec(t, "e2", "/bin/two"), "exec_in_container")
	ctx, _ = leaving()
	if err := b.RemoveContainer(ctx, "x", 0); err != nil || ctx.Err() == nil {
		t.Fatalf("remove: got %v", err)
	}
	ctx, _ = leaving()
	if err := b.RemoveContainer(ctx, "w", 0); err != nil || ctx.Err() == nil {
		t.Fatalf("remove: got %v", err)
	}
	if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
		t.Fatalf("left %+v and %v", h, b.storage.mounted)
	}
}

// TestVanishedClientsFailureIsUndoneAsAWhole: the client is gone and the request fails then: the undo is not cut short.
func TestVanishedClientsFailureIsUndoneAsAWhole(t *testing.T) {
	b := newBench(t, twinPolicy(t, commandTwins...))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.cfg.Runtime = &vanishing{fakeRuntime: b.runtime, leave: cancel}
	b.runtime.fail["create"] = notStarted
	if err := b.CreateContainer(ctx, createTwin(t, "/bin/one")); err == nil {
		t.Fatal("the failure was not told")
	}
	if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 || b.poisoned() != "" {
		t.Fatalf("left %+v and %v, poisoned: %q", h, b.storage.mounted, b.poisoned())
	}
	delete(b.runtime.fail, "create")
	b.life(t, createTwin(t, "/bin/two"))
}

// TestClientThatVanishedInTheQueueDidNothing: its turn had not come.
func TestClientThatVanishedInTheQueueDidNothing(t *testing.T) {
	b := execTwins(t)
	b.queue <- struct{}{} // somebody's turn
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		result <- b.Exec(ctx, ExecRequest{ID: "w", ExecID: "e", Process: &container.ProcessRequest{Args: []string{"/bin/one"}, Cwd: "/"}})
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want that it was cancelled", err)
	}
	<-b.queue
	if err := b.exec(t, "e", "/bin/two"); err != nil {
		t.Fatal(err)
	}
}
