package sandbox

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/container"
)

// Faults that are known of the reference (policy contract, sections 7.1 and 7.2) and that an agent could have; the list with the tests of
// all others is in package enforcer.

// recording keeps what the runtime was told to execute.
type recording struct {
	*fakeRuntime
	process *specs.Process
}

func (r *recording) Exec(ctx context.Context, key string, n uint64, spec *specs.Process, stdio bool) (*container.Process, error) {
	r.process = spec
	return r.fakeRuntime.Exec(ctx, key, n, spec, stdio)
}

// TestFault_ExecRunsAsTheUserThatWasJudged: the reference judges the request's user and then runs as the container's, with other limits.
func TestFault_ExecRunsAsTheUserThatWasJudged(t *testing.T) {
	policy := strings.Replace(testPolicy(""), `"user_idname": {"pattern": "", "strategy": "any"}`, `"user_idname": {"pattern": "1000", "strategy": "id"}`, 1)
	b := newBench(t, policy)
	r := &recording{fakeRuntime: b.runtime}
	b.cfg.Runtime = r
	as := func(uid uint32) func(*CreateRequest) {
		return func(r *CreateRequest) {
			r.OCI.Process.UID, r.OCI.Process.GID, r.OCI.Process.AdditionalGIDs = uid, 7, []uint32{8}
		}
	}
	refusedAt(t, b.CreateContainer(t.Context(), web(t, "w", as(0))), "create_container")
	b.life(t, web(t, "w", as(1000)))
	if u := b.runtime.specs[Key("w")].Process.User; u.UID != 1000 || u.GID != 7 || len(u.AdditionalGids) != 1 {
		t.Fatalf("the container runs as %+v", u)
	}
	limit := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 5, Hard: 6}}
	exec := func(uid uint32) error {
		return b.Exec(t.Context(), ExecRequest{ID: "w", ExecID: "e", Process: &container.ProcessRequest{
			Args: []string{"/bin/check"}, Env: []string{"PATH=/bin"}, Cwd: "/", UID: uid, GID: 9, Rlimits: limit,
			Capabilities: web(t, "w", nil).OCI.Process.Capabilities,
		}})
	}
	refusedAt(t, exec(0), "exec_in_container")
	if r.process != nil {
		t.Fatal("a refused exec came to the runtime")
	}
	if err := exec(1000); err != nil {
		t.Fatal(err)
	}
	if u := r.process.User; u.UID != 1000 || u.GID != 9 || len(u.AdditionalGids) != 0 {
		t.Errorf("the exec runs as %+v, want the user that was judged", u)
	}
	if len(r.process.Rlimits) != 1 || r.process.Rlimits[0] != limit[0] {
		t.Errorf("got limits %v, want those of the request", r.process.Rlimits)
	}
}

// TestFault_NothingIsMadeBeforeTheForm: the reference makes directories from the request's paths and cleans up behind itself before it
// checks them. Here no file comes to be, and no disk is read, for a request whose form is wrong.
func TestFault_NothingIsMadeBeforeTheForm(t *testing.T) {
	for name, change := range map[string]func(*CreateRequest){
		"id-up":         func(r *CreateRequest) { r.ID = "../../etc" },
		"id-empty":      func(r *CreateRequest) { r.ID = "" },
		"id-line-end":   func(r *CreateRequest) { r.ID = "w\n" },
		"id-of-the-pod": func(r *CreateRequest) { r.ID = "pod" },
		"other-sandbox": func(r *CreateRequest) { r.OCI.SandboxID = "../pod" },
		"no-layers":     func(r *CreateRequest) { r.Layers = nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, testPolicy(""))
			before := files(t, b)
			if err := b.CreateContainer(t.Context(), web(t, "w", change)); status.Code(err) != codes.InvalidArgument {
				t.Fatalf("got %v, want a refusal of the form", err)
			}
			if after := files(t, b); after != before {
				t.Errorf("files came to be:\n%s\nbefore:\n%s", after, before)
			}
			if len(b.storage.log) != 0 {
				t.Errorf("the storage was used: %v", b.storage.log)
			}
		})
	}
}

func files(t *testing.T, b *bench) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(b.cfg.Prefix, func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, "/run/mounts") {
			return fs.SkipDir // the fake storage leaves its mount points
		}
		list = append(list, path+" "+d.Type().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}

// TestFault_RefusedMountLeavesNoName: the host cannot probe the guest's paths by asking to unmount or to mount over them: what the agent
// does not know by name is refused by form.
func TestFault_RefusedMountLeavesNoName(t *testing.T) {
	b := newBench(t, testPolicy(""))
	for _, source := range []string{"/etc/passwd", "sandbox://../../etc/passwd", "sandbox://", "sandbox:////etc", "sandbox:///a/../b", "hugepages:///2M", "cloister://keys", "plan9://x", ""} {
		before := files(t, b)
		err := b.CreateContainer(t.Context(), web(t, "w", func(r *CreateRequest) { r.OCI.Mounts[0].Source = source }))
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("source %q: got %v, want a refusal of the form", source, err)
		}
		if after := files(t, b); after != before {
			t.Errorf("source %q left files:\n%s\nbefore:\n%s", source, after, before)
		}
	}
}

// TestFault_AfterShutdown: in the reference signals are refused once a shutdown was allowed. Here too, for the policy's state is the
// contract's; but the shutdown itself can be asked again, in both forms, and a dead container says that it is dead.
func TestFault_AfterShutdown(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	if err := b.Signal(t.Context(), "w", "", 9); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Wait(t.Context(), "w", ""); err != nil {
		t.Fatal(err)
	}
	for _, execID := range []string{"", "w"} {
		if err := b.Signal(t.Context(), "w", execID, 9); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "ESRCH") {
			t.Errorf("exec id %q: got %v, want that there is no such process", execID, err)
		}
	}
	refusedAt(t, b.Signal(t.Context(), "w", "w", 15), "signal_container_process")
	if err := b.RemoveContainer(t.Context(), "w", 0); err != nil {
		t.Fatal(err)
	}
}
