package compiled_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/enforcer/compiled"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

const (
	rootOne = "1111111111111111111111111111111111111111111111111111111111111111"
	scsi    = "/run/mounts/scsi/m[0-9]+"
)

// policy allows twins of one image, told apart by the exec entry; all are created by the same request.
func policy(n int) string {
	var b strings.Builder
	b.WriteString("package policy\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\ncontainers := [")
	for i := range n {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"name":"c%d","command":["/bin/web"],"env_rules":[{"pattern":"A=(1|2)","strategy":"re2","required":false}],"layers":[%q],"mounts":[],`+
			`"exec_processes":[{"command":["/bin/x%d"],"signals":[]},{"command":["/bin/all"],"signals":[]}],"signals":[%d],"allow_elevated":false,"working_dir":"/","allow_stdio_access":true,`+
			`"no_new_privileges":false,"user":{"user_idname":{"pattern":"","strategy":"any"},"group_idnames":[],"umask":"0022"},"capabilities":null,"seccomp_profile_sha256":""}`,
			i, rootOne, i, 10+i)
	}
	b.WriteString("]\n")
	for _, row := range point.Rows() {
		fmt.Fprintf(&b, "%s := data.framework.%[1]s\n", row.Point)
	}
	return b.String() + "reason := data.framework.reason\n"
}

func newJudge(t testing.TB, text string, timeout time.Duration) *compiled.Judge {
	t.Helper()
	var names []string
	for _, row := range point.Rows() {
		names = append(names, string(row.Point))
	}
	read, err := entry.Read([]byte(text), names)
	if err != nil {
		t.Fatal(err)
	}
	j, err := compiled.New(read, compiled.Options{EvalTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func decide(t testing.TB, j *compiled.Judge, in point.Input) *point.Verdict {
	t.Helper()
	v, err := j.Decide(t.Context(), point.RowOf(in), in)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func allowed(t testing.TB, j *compiled.Judge, in point.Input) *point.Verdict {
	t.Helper()
	v := decide(t, j, in)
	if !v.Allowed {
		t.Fatalf("%s: refused: %q", in.Point(), v.Refusal.Reasons)
	}
	return v
}

func commit(t testing.TB, j *compiled.Judge, in point.Input) (undo func() error) {
	t.Helper()
	undo, err := allowed(t, j, in).Pending.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return undo
}

func disk(n int) point.MountDeviceInput {
	return point.MountDeviceInput{Target: fmt.Sprintf("/run/mounts/scsi/m%d", n), DeviceHash: rootOne, MountPathRegex: scsi}
}

func overlay(id string, n int) point.MountOverlayInput {
	return point.MountOverlayInput{ContainerID: id, LayerPaths: []string{disk(n).Target}, Target: "/run/gcs/c/" + id + "/rootfs"}
}

func create(id string) point.CreateContainerInput {
	in := point.CreateContainerInput{ContainerID: id, ArgList: []string{"/bin/web"}, WorkingDir: "/", Umask: "0022"}
	caps := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP",
		"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
	in.Capabilities = point.Capabilities{Bounding: caps, Effective: caps, Permitted: caps}
	return in
}

func exec(id, command string) point.ExecInContainerInput {
	c := create(id)
	return point.ExecInContainerInput{ContainerID: id, ArgList: []string{command}, WorkingDir: "/", Umask: "0022", Capabilities: c.Capabilities}
}

func share(id string) point.Plan9MountInput {
	return point.Plan9MountInput{RootPrefix: "/run/gcs/c", MountPathPrefix: "/mounts/m[0-9]+", Target: "/run/gcs/c/" + id + "/mounts/m1"}
}

// TestStaleVerdicts: a verdict cannot be committed when anything it rests on has changed, and can when only other things have.
func TestStaleVerdicts(t *testing.T) {
	for _, c := range []struct {
		name     string
		before   []point.Input
		held     point.Input
		then     []point.Input
		defaults bool
		stale    bool
	}{
		{name: "same-target", held: disk(1), then: []point.Input{disk(1)}, stale: true},
		{name: "other-target", held: disk(1), then: []point.Input{disk(2)}},
		{name: "disk-of-the-overlay-is-gone", before: []point.Input{disk(1)}, held: overlay("a", 1), then: []point.Input{point.UnmountDeviceInput{UnmountTarget: disk(1).Target}}, stale: true},
		{name: "disk-of-another-overlay-is-gone", before: []point.Input{disk(1), disk(2)}, held: overlay("a", 1), then: []point.Input{point.UnmountDeviceInput{UnmountTarget: disk(2).Target}}},
		{name: "disk-is-another-since", before: []point.Input{disk(1)}, held: overlay("a", 1), then: []point.Input{point.UnmountDeviceInput{UnmountTarget: disk(1).Target}, disk(1)}},
		{name: "created-since", before: []point.Input{disk(1), overlay("a", 1)}, held: create("a"), then: []point.Input{create("a")}, stale: true},
		{name: "other-created-since", before: []point.Input{disk(1), overlay("a", 1), overlay("b", 1)}, held: create("a"), then: []point.Input{create("b")}},
		{name: "narrowed-since", before: []point.Input{disk(1), overlay("a", 1), create("a")}, held: exec("a", "/bin/x1"), then: []point.Input{exec("a", "/bin/x2")}, stale: true},
		{name: "other-narrowed-since", before: []point.Input{disk(1), overlay("a", 1), create("a"), overlay("b", 1), create("b")}, held: exec("a", "/bin/x1"), then: []point.Input{exec("b", "/bin/x2")}},
		{name: "shut-down-since", before: []point.Input{disk(1), overlay("a", 1), create("a")}, held: exec("a", "/bin/x1"), then: []point.Input{point.ShutdownContainerInput{ContainerID: "a"}}, stale: true},
		{name: "share-and-a-new-container", before: []point.Input{disk(1), overlay("a", 1)}, held: share("a"), then: []point.Input{overlay("b", 1)}, stale: true},
		{name: "share-and-a-disk", before: []point.Input{disk(1), overlay("a", 1)}, held: share("a"), then: []point.Input{disk(2)}},
		{name: "share-and-an-exec", before: []point.Input{disk(1), overlay("a", 1), overlay("b", 1), create("b")}, held: share("a"), then: []point.Input{exec("b", "/bin/x0")}},
		{name: "default-mounts-since", before: []point.Input{disk(1), overlay("a", 1)}, held: create("a"), defaults: true, stale: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJudge(t, policy(3), time.Minute)
			for _, in := range c.before {
				commit(t, j, in)
			}
			held := allowed(t, j, c.held)
			for _, in := range c.then {
				commit(t, j, in)
			}
			if c.defaults {
				j.SetDefaultMounts(nil)
			}
			if _, err := held.Pending.Commit(); (err != nil) != c.stale {
				t.Errorf("got %v, want stale: %t", err, c.stale)
			}
		})
	}
}

// TestUndo takes back exactly its own change, in any order, and refuses when what it touched is not as it was left.
func TestUndo(t *testing.T) {
	j := newJudge(t, policy(3), time.Minute)
	undoOne, undoTwo := commit(t, j, disk(1)), commit(t, j, disk(2))
	if err := undoOne(); err != nil {
		t.Fatal(err)
	}
	if err := undoOne(); err == nil {
		t.Error("a change was taken back twice")
	}
	commit(t, j, point.UnmountDeviceInput{UnmountTarget: disk(2).Target})
	if err := undoTwo(); err == nil {
		t.Error("the mount of what was unmounted since was taken back")
	}
	if got := j.Metadata(); len(got) != 0 {
		t.Errorf("got state %v, want none", got)
	}
	commit(t, j, disk(1))
	commit(t, j, overlay("a", 1))
	undo := commit(t, j, create("a"))
	narrow := commit(t, j, exec("a", "/bin/x1"))
	if err := undo(); err == nil {
		t.Error("a create was taken back beneath an exec")
	}
	if err := narrow(); err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	// The two writes of a create went together: neither the candidates nor the started entry is left.
	allowed(t, j, create("a"))
	if _, left := j.Metadata()["started"]; left {
		t.Error("the started entry is left")
	}
}

// TestManyTwins: from bigBucket on candidates are looked up, not walked; the answers are those of a short list.
func TestManyTwins(t *testing.T) {
	for _, n := range []int{1, 2, 7, 8, 9, 40} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			j := newJudge(t, policy(n), time.Minute)
			commit(t, j, disk(1))
			for i := range n {
				id := fmt.Sprint("a", i)
				commit(t, j, overlay(id, 1))
				if v := decide(t, j, exec(id, "/bin/all")); v.Allowed {
					t.Fatal("an exec before the create is allowed")
				}
				commit(t, j, create(id))
				allowed(t, j, exec(id, "/bin/all"))
				commit(t, j, exec(id, fmt.Sprintf("/bin/x%d", i)))
				for other := range n {
					v := decide(t, j, exec(id, fmt.Sprintf("/bin/x%d", other)))
					if v.Allowed != (other == i) {
						t.Errorf("twin %d runs what %d may: %t", i, other, v.Allowed)
					}
					in := point.SignalContainerProcessInput{ContainerID: id, Signal: 10 + other, IsInitProcess: true}
					if v := decide(t, j, in); v.Allowed != (other == i) {
						t.Errorf("twin %d gets the signal of %d: %t", i, other, v.Allowed)
					}
				}
			}
			bad := create("a0x")
			commit(t, j, overlay("a0x", 1))
			bad.ArgList = []string{"/bin/other"}
			if v := decide(t, j, bad); v.Allowed || fmt.Sprint(v.Refusal.Reasons) != "[invalid command]" {
				t.Errorf("got %+v", v.Refusal)
			}
		})
	}
}

// TestDeadlineAndContext: a verdict that takes too long is none, and neither is one whose caller went away.
func TestDeadlineAndContext(t *testing.T) {
	j := newJudge(t, policy(40), time.Nanosecond)
	commit(t, j, disk(1))
	commit(t, j, overlay("a", 1))
	in := create("a")
	for range 3000 {
		in.EnvList = append(in.EnvList, "A=1")
	}
	if v, err := j.Decide(t.Context(), point.RowOf(in), in); !errors.Is(err, compiled.ErrDeadline) || v != nil {
		t.Errorf("got %v, %v, want %v", v, err, compiled.ErrDeadline)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := j.Decide(ctx, point.RowOf(in), in); !errors.Is(err, context.Canceled) || v != nil {
		t.Errorf("got %v, %v, want that it was cancelled", v, err)
	}
	commit(t, j, create("a")) // the judge goes on
}

// TestNewRefuses: what only the engine can say of a policy.
func TestNewRefuses(t *testing.T) {
	for name, p := range map[string]entry.Policy{
		"no-framework":       {APIVersion: "0.12.0"},
		"framework-ahead":    {APIVersion: "0.12.0", FrameworkVersion: "0.5.1"},
		"framework-no-form":  {APIVersion: "0.12.0", FrameworkVersion: "0.5"},
		"api-no-form":        {APIVersion: "1", FrameworkVersion: "0.5.0"},
		"framework-negative": {APIVersion: "0.12.0", FrameworkVersion: "0.-5.0"},
	} {
		if _, err := compiled.New(&p, compiled.Options{}); err == nil {
			t.Errorf("%s: got a judge", name)
		}
	}
	if _, err := compiled.New(&entry.Policy{FrameworkVersion: "0.1.0"}, compiled.Options{}); err != nil {
		t.Errorf("without an API version: %v", err)
	}
}

// TestRefusalsHaveAllReasons of one request at once, sorted and without duplicates.
func TestRefusalsHaveAllReasons(t *testing.T) {
	j := newJudge(t, policy(9), time.Minute)
	commit(t, j, disk(1))
	commit(t, j, overlay("a", 1))
	in := create("a")
	in.ArgList, in.WorkingDir, in.Umask, in.Privileged, in.SeccompProfileSHA256 = nil, "/x", "0", true, "x"
	in.EnvList, in.Devices, in.Mounts = []string{"B", "A=3", "B"}, make([]point.Device, 1), []point.Mount{{Destination: "/m"}}
	want := []string{
		"devices not supported", "invalid command", "invalid env list: B,A,B", "invalid mount list: /m", "invalid seccomp", "invalid user",
		"invalid working directory", "privileged escalation not allowed",
	}
	if v := decide(t, j, in); fmt.Sprint(v.Refusal.Reasons) != fmt.Sprint(want) || v.Refusal.Container != "" {
		t.Errorf("got %q of %q, want %q", v.Refusal.Reasons, v.Refusal.Container, want)
	}
}
