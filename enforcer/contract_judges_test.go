package enforcer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer/rego"
)

// judgedPolicy is a policy of one container; with replaces a part of it.
func judgedPolicy(with ...string) string {
	text := `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
containers := [{"name": "web", "command": ["/bin/web"], "env_rules": [{"pattern": "A=1", "strategy": "string", "required": false}], "layers": ["aa"], "mounts": [], "exec_processes": [], "signals": [],
  "allow_elevated": false, "working_dir": "/", "allow_stdio_access": true, "no_new_privileges": false, "user": {"user_idname": {"pattern": "", "strategy": "any"}, "group_idnames": [], "umask": "0022"},
  "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "inheritable": [], "permitted": [], "ambient": []}, "seccomp_profile_sha256": ""}]
allow_environment_variable_dropping := true
allow_capability_dropping := true
mount_device := data.framework.mount_device
mount_overlay := data.framework.mount_overlay
create_container := data.framework.create_container
scratch_mount := data.framework.scratch_mount
reason := data.framework.reason
`
	return strings.NewReplacer(with...).Replace(text)
}

// TestDisagreementIsARefusal gives the two judges different policies: whatever they differ in, the request is refused, and what was decided
// is not committed.
func TestDisagreementIsARefusal(t *testing.T) {
	disk := MountDeviceInput{Target: "/d", DeviceHash: "aa", MountPathRegex: "/d"}
	overlay := MountOverlayInput{ContainerID: "c", LayerPaths: []string{"/d"}, Target: "/o"}
	create := CreateContainerInput{
		ContainerID: "c", ArgList: []string{"/bin/web"}, EnvList: []string{"A=1", "B=2"}, WorkingDir: "/", Umask: "0022",
		Capabilities: Capabilities{Bounding: []string{"CAP_KILL", "CAP_BPF"}},
	}
	bad := create
	bad.WorkingDir = "/x"
	for _, c := range []struct {
		name   string
		with   []string // what the compiled rules read instead
		before []Input
		in     Input
		says   string
	}{
		{"allowed", []string{`"layers": ["aa"]`, `"layers": ["bb"]`}, nil, disk, "allowed"},
		{"refused", []string{`"layers": ["aa"]`, `"layers": ["bb"]`}, nil, MountDeviceInput{Target: "/d", DeviceHash: "bb", MountPathRegex: "/d"}, "allowed"},
		{"environment", []string{"A=1", "B=2"}, []Input{disk, overlay}, create, "environment"},
		{"capabilities", []string{"CAP_KILL", "CAP_BPF"}, []Input{disk, overlay}, create, "capabilities"},
		{"stdio", []string{`"allow_stdio_access": true`, `"allow_stdio_access": false`}, []Input{disk, overlay}, create, "stdio"},
		{"reasons", []string{`"seccomp_profile_sha256": ""`, `"seccomp_profile_sha256": "x"`}, []Input{disk, overlay}, bad, "reasons"},
		{"container", []string{`"name": "web"`, `"name": "other"`}, []Input{disk, overlay}, bad, "differ besides"},
		{"document", []string{"data.framework.reason", `{"errors": data.framework.errors}`}, []Input{disk, overlay}, bad, "document of reasons"},
		{"no-document", []string{"reason := data.framework.reason\n", ""}, nil, MountDeviceInput{Target: "/d", DeviceHash: "x", MountPathRegex: "/d"}, "reasons"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := judgesOf(t, judgedPolicy(), judgedPolicy(c.with...))
			for _, in := range c.before {
				decision, err := e.Decide(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				// The states may differ already: what matters here is the next question.
				b := decision.pending.(*bothPending)
				if _, err := b.compiled.Commit(); err != nil {
					t.Fatal(err)
				}
				if _, err := b.engine.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			d, err := e.Decide(t.Context(), c.in)
			if d != nil || !errors.Is(err, ErrJudgesDisagree) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("got %v, %v, want a disagreement about %q", d, err, c.says)
			}
		})
	}
}

// TestDisagreementOfStatesIsNotCommitted: the answers are the same and the states after them are not.
func TestDisagreementOfStatesIsNotCommitted(t *testing.T) {
	e := judgesOf(t, judgedPolicy(), judgedPolicy(`"name": "web"`, `"name": "other"`))
	decision, err := e.Decide(t.Context(), MountDeviceInput{Target: "/d", DeviceHash: "aa", MountPathRegex: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decision.Commit(); err != nil {
		t.Fatal(err)
	}
	in := MountOverlayInput{ContainerID: "c", LayerPaths: []string{"/d"}, Target: "/o"}
	decision, err = e.Decide(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decision.Commit(); !errors.Is(err, ErrJudgesDisagree) {
		t.Errorf("got %v, want %v", err, ErrJudgesDisagree)
	}
	if _, err := e.Decide(t.Context(), in); err != nil {
		t.Errorf("the overlay was left mounted: %v", err)
	}
}

func judgesOf(t *testing.T, engine, compiled string) *Enforcer {
	t.Helper()
	opts := Options{Judge: JudgeBoth}
	if err := opts.complete(); err != nil {
		t.Fatal(err)
	}
	plain, err := newPlainJudge([]byte(compiled), opts)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rego.New(t.Context(), engine, opts.rego())
	if err != nil {
		t.Fatal(err)
	}
	return &Enforcer{opts: opts, judge: &bothJudges{compiled: plain, engine: other}, judgeName: JudgeBoth}
}
