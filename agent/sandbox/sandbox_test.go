package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/staging"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

func (b *bench) life(t *testing.T, r CreateRequest) {
	t.Helper()
	if err := b.CreateContainer(t.Context(), r); err != nil {
		t.Fatalf("create: %v", err)
	}
	if err := b.StartContainer(t.Context(), r.ID); err != nil {
		t.Fatalf("start: %v", err)
	}
}

func TestContainerLife(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	key := Key("w")
	spec := b.runtime.specs[key]
	if spec == nil || spec.Root.Path != b.fs(rootfsName(key)) {
		t.Fatalf("root: got %v, want the agent's own path", spec.Root)
	}
	if err := b.Exec(t.Context(), ExecRequest{ID: "w", ExecID: "e", Process: &container.ProcessRequest{
		Args: []string{"/bin/check"}, Env: []string{"PATH=/bin"}, Cwd: "/", Capabilities: web(t, "w", nil).OCI.Process.Capabilities,
	}}); err != nil {
		t.Fatalf("exec: %v", err)
	}
	if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
		t.Fatalf("remove: %v", err)
	}
	if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
		t.Fatalf("after remove: got %+v and %v mounted, want nothing", h, b.storage.mounted)
	}
	if !slices.Contains(b.runtime.deleted, key) {
		t.Fatal("the container stays in the runtime")
	}
}

// Each request differs from the allowed one in one thing, is refused with a reason that names the point, and leaves nothing.
func TestRefusedCreatesLeaveNothing(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*CreateRequest)
		code   codes.Code
		want   string
	}{
		{"foreign-layer", func(r *CreateRequest) { r.Layers = append(r.Layers, address(t, "0:3")) }, codes.PermissionDenied, "mount_device"},
		{"layer-order", func(r *CreateRequest) { slices.Reverse(r.Layers) }, codes.PermissionDenied, "mount_overlay"},
		{"layer-missing", func(r *CreateRequest) { r.Layers = r.Layers[:1] }, codes.PermissionDenied, "mount_overlay"},
		{"layer-twice", func(r *CreateRequest) { r.Layers = append(r.Layers, r.Layers[0]) }, codes.PermissionDenied, "mount_overlay"},
		{"no-layers", func(r *CreateRequest) { r.Layers = nil }, codes.InvalidArgument, "no storage"},
		{"no-disk", func(r *CreateRequest) { r.Layers[0] = address(t, "0:9") }, codes.InvalidArgument, "0:9"},
		{"args", func(r *CreateRequest) { r.OCI.Process.Args = []string{"/bin/sh"} }, codes.PermissionDenied, "create_container"},
		{"env", func(r *CreateRequest) { r.OCI.Process.Env = append(r.OCI.Process.Env, "LD_PRELOAD=/data/x.so") }, codes.PermissionDenied, "create_container"},
		{"cwd", func(r *CreateRequest) { r.OCI.Process.Cwd = "/data" }, codes.PermissionDenied, "create_container"},
		{"capability", func(r *CreateRequest) { r.OCI.Process.Capabilities.Ambient = []string{"CAP_SYS_ADMIN"} }, codes.PermissionDenied, "create_container"},
		{"privileged", func(r *CreateRequest) { r.OCI.Privileged = true }, codes.PermissionDenied, "create_container"},
		{"mount", func(r *CreateRequest) { r.OCI.Mounts[0].Destination = "/bin" }, codes.PermissionDenied, "create_container"},
		{"mount-option", func(r *CreateRequest) { r.OCI.Mounts[0].Options = []string{"rbind", "ro"} }, codes.PermissionDenied, "create_container"},
		{"mount-source-escape", func(r *CreateRequest) { r.OCI.Mounts[0].Source = "sandbox:///../../etc" }, codes.InvalidArgument, "sandbox directory"},
		{"mount-source-relative", func(r *CreateRequest) { r.OCI.Mounts[0].Source = "../../etc" }, codes.InvalidArgument, "none of the agent's names"},
		{"mount-source-guest", func(r *CreateRequest) { r.OCI.Mounts[0].Source = "/run/cloister" }, codes.InvalidArgument, "none of the agent's names"},
		{"mount-overlay-type", func(r *CreateRequest) { r.OCI.Mounts[0].Type = "overlay" }, codes.InvalidArgument, "type"},
		{"mount-option-list", func(r *CreateRequest) { r.OCI.Mounts[0].Options = []string{"rbind", "lowerdir=/"} }, codes.InvalidArgument, "option"},
		{"grant-unknown", func(r *CreateRequest) { r.OCI.Mounts[0].Source = "cloister://root" }, codes.InvalidArgument, "grant"},
		{"shared-file-not-copied", func(r *CreateRequest) { r.OCI.Mounts[0].Source = staging.SharedDir + "w-00-x" }, codes.InvalidArgument, "none of the agent's names"},
		{"other-sandbox", func(r *CreateRequest) { r.OCI.SandboxID = "pod2" }, codes.InvalidArgument, "sandbox id"},
		{"second-sandbox-container", func(r *CreateRequest) { r.OCI.IsSandbox = true }, codes.InvalidArgument, "sandbox container"},
		{"id-dotdot", func(r *CreateRequest) { r.ID = ".." }, codes.InvalidArgument, "id"},
		{"id-slash", func(r *CreateRequest) { r.ID = "a/../../b" }, codes.InvalidArgument, "id"},
		{"id-of-the-pod", func(r *CreateRequest) { r.ID = "pod" }, codes.InvalidArgument, "sandbox's"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, testPolicy(""))
			err := b.CreateContainer(t.Context(), web(t, "w", tc.change))
			if status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %v with %q", err, tc.code, tc.want)
			}
			if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
				t.Fatalf("left %+v and %v mounted", h, b.storage.mounted)
			}
			b.life(t, web(t, "w", nil)) // the policy's state is as if it had never been asked
		})
	}
}

func TestFailureAtEachStepIsUndone(t *testing.T) {
	for _, op := range []string{"layer", "layer m0", "layer m1", "scratch", "overlay", "bind", "create"} {
		t.Run(op, func(t *testing.T) {
			b := newBench(t, testPolicy(""))
			b.storage.fail = op
			if op == "create" {
				b.runtime.fail[op] = &container.RuntimeError{Op: op, Reason: "failed", Err: container.ErrNotStarted}
			}
			if err := b.CreateContainer(t.Context(), web(t, "w", nil)); err == nil {
				t.Fatal("create succeeded")
			}
			if h := b.Held(); h != (Counts{}) || len(b.storage.mounted) != 0 {
				t.Fatalf("left %+v and %v mounted", h, b.storage.mounted)
			}
			b.storage.fail = ""
			delete(b.runtime.fail, op)
			b.life(t, web(t, "w", nil))
		})
	}
}

func TestUnknownStatePoisons(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	b.storage.unknown = true
	if err := b.RemoveContainer(t.Context(), "w", 0); err == nil {
		t.Fatal("remove succeeded although the unmount's outcome is not known")
	}
	b.storage.unknown = false
	err := b.CreateContainer(t.Context(), web(t, "x", nil))
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "may or may not be unmounted") {
		t.Fatalf("create in a poisoned sandbox: got %v, want a refusal that says why", err)
	}
}

func TestDiskOfTwoContainersIsCounted(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w1", nil))
	b.life(t, web(t, "w2", nil))
	if h := b.Held(); h.Devices != 2 {
		t.Fatalf("got %d devices for two containers of one image, want 2", h.Devices)
	}
	if err := b.RemoveContainer(t.Context(), "w1", 0); err != nil {
		t.Fatal(err)
	}
	if h := b.Held(); h.Devices != 2 {
		t.Fatalf("got %d devices while one container uses them, want 2", h.Devices)
	}
	if err := b.RemoveContainer(t.Context(), "w2", 0); err != nil {
		t.Fatal(err)
	}
	if h := b.Held(); h != (Counts{}) {
		t.Fatalf("got %+v, want nothing", h)
	}
}

// Two ids can have one key: a hash and the id it is of. The second is refused.
func TestTwoIDsWithOneKey(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	err := b.CreateContainer(t.Context(), web(t, Key("w"), nil))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "exists already") {
		t.Fatalf("got %v, want a refusal", err)
	}
	if _, err := b.container(Key("w")); err == nil {
		t.Fatal("the container answers to an id it was not created with")
	}
}

func TestSignals(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	if err := b.Signal(t.Context(), "w", "w", 10); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "signal_container_process") {
		t.Fatalf("a signal the policy does not list: got %v, want a refusal", err)
	}
	if err := b.Signal(t.Context(), "w", "nobody", 15); status.Code(err) != codes.NotFound {
		t.Fatalf("a process that is not there: got %v, want NotFound", err)
	}
	if err := b.Signal(t.Context(), "w", "", 9); err != nil {
		t.Fatalf("shutdown: %v", err)
	}
	if code, err := b.Wait(t.Context(), "w", ""); err != nil || code != 137 {
		t.Fatalf("got %d, %v, want 137", code, err)
	}
	if err := b.Signal(t.Context(), "w", "", 9); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "ESRCH: No such process") {
		t.Fatalf("a dead target: got %v, want ESRCH after the decision", err)
	}
}

func TestExecNotStartedIsNotCommitted(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	req := func(args ...string) ExecRequest {
		return ExecRequest{ID: "w", ExecID: "e", Process: &container.ProcessRequest{
			Args: args, Env: []string{"PATH=/bin"}, Cwd: "/", Capabilities: web(t, "w", nil).OCI.Process.Capabilities,
		}}
	}
	if err := b.Exec(t.Context(), req("/bin/sh")); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "exec_in_container") {
		t.Fatalf("an exec the policy does not list: got %v, want a refusal", err)
	}
	b.runtime.fail["exec"] = &container.RuntimeError{Op: "exec", Reason: "failed", Err: container.ErrNotStarted}
	if err := b.Exec(t.Context(), req("/bin/check")); status.Code(err) != codes.Internal {
		t.Fatalf("got %v, want the runtime's failure", err)
	}
	delete(b.runtime.fail, "exec")
	if err := b.Exec(t.Context(), req("/bin/check")); err != nil {
		t.Fatalf("again: %v", err)
	}
	if err := b.Exec(t.Context(), req("/bin/check")); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("the same exec id twice: got %v, want a refusal", err)
	}
}

func TestBuiltInPause(t *testing.T) {
	b := newBench(t, testPolicy(""))
	r := web(t, "pod", func(r *CreateRequest) { r.Layers, r.OCI.IsSandbox = nil, true })
	b.life(t, r)
	if len(b.runtime.specs) != 0 {
		t.Fatal("the built-in pause container was given to the runtime")
	}
	if err := b.Exec(t.Context(), ExecRequest{ID: "pod", ExecID: "e", Process: &r.OCI.Process}); status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("exec into pause: got %v, want a refusal", err)
	}
	if err := b.Signal(t.Context(), "pod", "", 9); err != nil {
		t.Fatal(err)
	}
	if code, err := b.Wait(t.Context(), "pod", "pod"); err != nil || code != 137 {
		t.Fatalf("got %d, %v, want 137", code, err)
	}
	if err := b.RemoveContainer(t.Context(), "pod", 0); err != nil {
		t.Fatal(err)
	}
}

// TestPanicPoisons: also in the goroutines that read and mount disks, where the host's bytes are parsed.
func TestPanicPoisons(t *testing.T) {
	for name, arm := range map[string]func(*bench){
		"runtime": func(b *bench) { b.cfg.Runtime = nil },
		"open":    func(b *bench) { b.storage.fail = "panic open" },
		"layer":   func(b *bench) { b.storage.fail = "panic layer" },
		"overlay": func(b *bench) { b.storage.fail = "panic overlay" },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, testPolicy(""))
			arm(b)
			if err := b.CreateContainer(t.Context(), web(t, "w", nil)); status.Code(err) != codes.Internal {
				t.Fatalf("got %v, want Internal", err)
			}
			if err := b.CreateContainer(t.Context(), web(t, "w", nil)); status.Code(err) != codes.FailedPrecondition {
				t.Fatalf("got %v, want a refusal", err)
			}
		})
	}
}

// What the agent puts in place of the request's standard mounts is what the policy takes without mention.
func TestFixedMountsAreTheDefaults(t *testing.T) {
	all := append(aci.DefaultMounts(), aci.PrivilegedMounts()...)
	var asked []specs.Mount
	for _, m := range all {
		asked = append(asked, specs.Mount{Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options})
	}
	for _, privileged := range []bool{false, true} {
		fixed, own := container.SplitMounts(asked, privileged)
		if len(own) != 0 {
			t.Fatalf("not recognised: %v", own)
		}
		for _, f := range fixed {
			if !slices.ContainsFunc(all, func(m aci.Mount) bool {
				return m.Destination == f.Destination && m.Type == f.Type && m.Source == f.Source && slices.Equal(m.Options, f.Options)
			}) {
				t.Errorf("the agent's %s is not among the policy's default mounts", f.Destination)
			}
		}
	}
}

func TestKey(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	if got := Key(hex); got != hex {
		t.Fatalf("got %s, want the id itself", got)
	}
	for _, id := range []string{"w", strings.ToUpper(hex), hex[:63]} {
		if got := Key(id); got == id || !keyForm.MatchString(got) {
			t.Errorf("key of %q: got %s, want its hash", id, got)
		}
	}
	for _, id := range []string{"", ".", "..", "-a", "a/b", "a b", "a\n", strings.Repeat("a", 129)} {
		if CheckID("container", id) == nil {
			t.Errorf("id %q is accepted", id)
		}
	}
}

func TestSharedName(t *testing.T) {
	for source, want := range map[string]string{
		staging.SharedDir + "p1-0123456789abcdef-resolv.conf": "resolv.conf",
		staging.SharedDir + "p1-0123456789abcdef-..":          "",
		staging.SharedDir + "p1-0123456789abcdef-a/b":         "",
		staging.SharedDir + "p1-xyz-hosts":                    "",
		"/etc/p1-01-hosts":                                    "",
	} {
		if _, got, ok := sharedName(source); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
}

func TestLayerNamesAreNeverReused(t *testing.T) {
	b := newBench(t, testPolicy(""))
	seen := map[string]bool{}
	for i := range 3 {
		id := fmt.Sprintf("w%d", i)
		b.life(t, web(t, id, nil))
		for _, d := range b.devices {
			if seen[d.target] {
				t.Fatalf("%s is used again", d.target)
			}
			seen[d.target] = true
		}
		if err := b.RemoveContainer(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
}
