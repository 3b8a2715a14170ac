package sandbox

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// log are the entries since the policy was bound, as text; decisions are left out.
func (b *bench) log(t *testing.T) []string {
	t.Helper()
	x := b.cfg.Gate.Events().Excerpt()
	list, err := x.Replay()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		switch e.Kind {
		case eventlog.KindStart, eventlog.KindPolicy, eventlog.KindDecision:
			continue
		}
		parts := []string{e.Kind}
		for _, s := range []string{e.Point, e.Target, e.Rule} {
			if s != "" {
				parts = append(parts, s)
			}
		}
		if e.Code != 0 {
			parts = append(parts, fmt.Sprint(e.Code))
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

func wantLog(t *testing.T, b *bench, want ...string) {
	t.Helper()
	if got := b.log(t); !slices.Equal(got, want) {
		t.Errorf("got entries\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func check(t *testing.T, id string, args ...string) ExecRequest {
	return ExecRequest{ID: "w", ExecID: id, Process: &container.ProcessRequest{
		Args: args, Env: []string{"PATH=/bin"}, Cwd: "/", Capabilities: web(t, "w", nil).OCI.Process.Capabilities,
	}}
}

func TestLifeIsLogged(t *testing.T) {
	b := newBench(t, testPolicy(""))
	if err := b.CreateContainer(t.Context(), web(t, "pod", func(r *CreateRequest) { r.Layers, r.OCI.IsSandbox = nil, true })); err != nil {
		t.Fatal(err)
	}
	b.life(t, web(t, "w", nil))
	if err := b.Exec(t.Context(), check(t, "e", "/bin/check")); err != nil {
		t.Fatal(err)
	}
	head := b.cfg.Gate.Events().Head()
	if err := b.Exec(t.Context(), check(t, "f", "/bin/sh")); err == nil {
		t.Fatal("a shell was run")
	}
	if b.cfg.Gate.Events().Head() == head {
		t.Fatal("the head is the same after a refused exec")
	}
	b.runtime.fail["exec"] = &container.RuntimeError{Op: "exec", Reason: "failed", Err: container.ErrNotStarted}
	_ = b.Exec(t.Context(), check(t, "f", "/bin/check"))
	b.runtime.fail["exec"] = &container.RuntimeError{Op: "exec", Reason: "lost"}
	_ = b.Exec(t.Context(), check(t, "f", "/bin/check"))
	if err := b.Signal(t.Context(), "pod", "", uint32(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveContainer(t.Context(), "pod", 0); err != nil {
		t.Fatal(err)
	}
	wantLog(
		t, b, "pause-created", "container-created", "container-started", "exec-started", "exec-started", "exec-failed it did not start", "exec-started",
		"exec-failed it may have started", "signal-sent pause 15", "signal-sent all 9", "container-exited 137", "container-removed", "container-removed",
	)
	x := b.cfg.Gate.Events().Excerpt()
	list, err := x.Replay()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		want := identity.ArgsDigest(map[string][]string{
			eventlog.KindContainerCreated: {"/bin/web"}, eventlog.KindExecStarted: {"/bin/check"}, eventlog.KindExecFailed: {"/bin/check"},
		}[e.Kind])
		if e.Kind == eventlog.KindContainerCreated || strings.HasPrefix(e.Kind, "exec-") {
			if e.Container != Key("w") || string(e.Digest) != string(want[:]) || e.Decision == "" {
				t.Errorf("got %+v, want the container's key, the digest of its arguments and the decision", e)
			}
		}
	}
}

// TestExecIsLoggedBeforeItRuns: a process that asks for evidence at once finds its own start in the log.
func TestExecIsLoggedBeforeItRuns(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	ran := false
	b.runtime.onExec = func() {
		ran = true
		wantLog(t, b, "container-created", "container-started", "exec-started")
	}
	if err := b.Exec(t.Context(), check(t, "e", "/bin/check")); err != nil || !ran {
		t.Fatalf("got %v, and that it ran: %t", err, ran)
	}
	wantLog(t, b, "container-created", "container-started", "exec-started")
}

func TestFailuresAreLogged(t *testing.T) {
	for name, tc := range map[string]struct {
		op     string
		change func(*CreateRequest)
		want   []string
	}{
		"refused": {"", func(r *CreateRequest) { r.OCI.Process.Args = []string{"/bin/sh"} }, []string{
			"undone mount_overlay /run/gcs/c/K/rootfs", "undone scratch_mount /run/gcs/c/K/scratch/K", "undone mount_device /run/mounts/scsi/m1",
			"undone mount_device /run/mounts/scsi/m0", "container-failed the policy refused",
		}},
		"form": {"", func(r *CreateRequest) { r.OCI.Mounts[0].Type = "x" }, []string{
			"undone mount_overlay /run/gcs/c/K/rootfs", "undone scratch_mount /run/gcs/c/K/scratch/K", "undone mount_device /run/mounts/scsi/m1",
			"undone mount_device /run/mounts/scsi/m0", "container-failed the request's form",
		}},
		"step":         {"scratch", nil, []string{"undone mount_device /run/mounts/scsi/m1", "undone mount_device /run/mounts/scsi/m0", "container-failed a step failed"}},
		"not-begun":    {"", func(r *CreateRequest) { r.OCI.SandboxID = "other" }, nil},
		"agent-panics": {"panic layer", nil, []string{"poisoned the agent failed in a request"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, testPolicy(""))
			b.storage.fail = tc.op
			if err := b.CreateContainer(t.Context(), web(t, "w", tc.change)); err == nil {
				t.Fatal("create succeeded")
			}
			for i := range tc.want {
				tc.want[i] = strings.ReplaceAll(tc.want[i], "K", Key("w"))
			}
			wantLog(t, b, tc.want...)
		})
	}
}

// TestPoisonIsLogged: the log says that the state is not known, and nothing of what the host named.
func TestPoisonIsLogged(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.storage.unknown = true
	if err := b.CreateContainer(t.Context(), web(t, "w", func(r *CreateRequest) { r.OCI.Process.Cwd = "/hunter2" })); err == nil {
		t.Fatal("create succeeded")
	}
	got := b.log(t)
	if !slices.Contains(got, "poisoned an unmount may or may not have happened") || !slices.Contains(got, "poisoned a failed request could not be undone") {
		t.Errorf("got %q", got)
	}
}

// TestLogKeepsNoWordOfTheHost: what a host or a workload's owner may take for a secret, wherever it was in a request, allowed or refused.
func TestLogKeepsNoWordOfTheHost(t *testing.T) {
	const secret = "hunter2"
	policy := strings.ReplaceAll(testPolicy("allow_environment_variable_dropping := true\n"), `"/bin/web"`, `"/bin/web", "--password=`+secret+`"`)
	policy = strings.Replace(policy, "PATH=/bin", "TOKEN="+secret, 1)
	policy = strings.Replace(policy, `"/bin/check"`, `"/bin/check", "`+secret+`"`, 1)
	b := newBench(t, policy)
	allowed := func(r *CreateRequest) {
		r.OCI.Process.Args = []string{"/bin/web", "--password=" + secret}
		r.OCI.Process.Env = []string{"TOKEN=" + secret, "OTHER=" + secret}
	}
	for _, change := range []func(*CreateRequest){
		func(r *CreateRequest) { r.OCI.Process.Args = []string{secret} },
		func(r *CreateRequest) { r.OCI.Process.Cwd = "/" + secret },
		func(r *CreateRequest) { r.OCI.Mounts[0].Source = "sandbox:///" + secret },
		func(r *CreateRequest) { r.OCI.Mounts[0].Destination = "/" + secret },
		func(r *CreateRequest) { r.OCI.Mounts[0].Type = secret },
		func(r *CreateRequest) {
			r.OCI.Mounts = append(r.OCI.Mounts, specs.Mount{Destination: secret, Type: "bind", Source: secret})
		},
		func(r *CreateRequest) { r.ID = "w-" + secret; r.OCI.Process.Args = []string{"x"} },
		func(r *CreateRequest) { r.OCI.SandboxID = secret },
	} {
		if err := b.CreateContainer(t.Context(), web(t, "w", func(r *CreateRequest) { allowed(r); change(r) })); err == nil {
			t.Fatal("create succeeded")
		}
	}
	b.life(t, web(t, "w", allowed))
	with := check(t, "e", "/bin/check", secret)
	with.Process.Env = []string{"TOKEN=" + secret}
	if err := b.Exec(t.Context(), with); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{secret}, {"/bin/sh", "-c", secret}} {
		if err := b.Exec(t.Context(), check(t, "f-"+secret, args...)); err == nil {
			t.Fatal("exec succeeded")
		}
	}
	_ = b.Signal(t.Context(), "w", "e", 12)
	_ = b.LoadFragment(t.Context(), "LoadFragmentRequest", []byte(secret), secret)
	if _, err := b.Write("w", "", []byte(secret)); err != nil {
		t.Log(err)
	}
	x := b.cfg.Gate.Events().Excerpt()
	if len(x.Entries) < 30 {
		t.Fatalf("got %d entries, want those of all requests", len(x.Entries))
	}
	if text := string(x.Encode()); strings.Contains(text, secret) {
		for _, e := range x.Entries {
			if strings.Contains(string(e), secret) {
				t.Errorf("%q", e)
			}
		}
	}
}

func TestRefusedInputIsLogged(t *testing.T) {
	b := newBench(t, strings.Replace(testPolicy(""), `"allow_stdio_access": true`, `"allow_stdio_access": false`, 1))
	b.life(t, web(t, "w", nil))
	for range 3 {
		if _, err := b.Write("w", "", []byte("x")); err == nil {
			t.Fatal("input was taken")
		}
	}
	wantLog(t, b, "container-created", "container-started", "request-refused stdio was not allowed", "request-refused stdio was not allowed")
}

// TestExitIsWatchedByNobodyAfterwards: what waits for the end of a container ends with it, whatever its end.
func TestExitIsWatchedByNobodyAfterwards(t *testing.T) {
	b := newBench(t, testPolicy(""))
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	b.life(t, web(t, "w", nil))
	b.runtime.exits[Key("w")] <- unix.WaitStatus(3 << 8)
	c, err := b.container("w")
	if err != nil {
		t.Fatal(err)
	}
	<-c.exitLogged
	if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
		t.Fatal(err)
	}
	b.runtime.fail["start"] = os.ErrInvalid
	if err := b.CreateContainer(t.Context(), web(t, "v", nil)); err != nil {
		t.Fatal(err)
	}
	if err := b.StartContainer(t.Context(), "v"); err == nil {
		t.Fatal("start succeeded")
	}
	if err := b.RemoveContainer(t.Context(), "v", 0); err != nil {
		t.Fatal(err)
	}
	wantLog(
		t, b, "container-created", "container-started", "container-exited 3", "container-removed",
		"container-created", "container-started", "container-failed the start failed", "signal-sent all 9", "container-exited 137", "container-removed",
	)
}
