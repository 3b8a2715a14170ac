package reference

import (
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/tests/reference/peer"
)

const (
	hash    = "1111111111111111111111111111111111111111111111111111111111111111"
	idA     = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB     = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	sandbox = "/run/gcs/c/" + idA + "/sandboxMounts"
)

const text = `package policy
api_version := "0.10.0"
framework_version := "0.3.0"
containers := [{"command": ["/bin/web"], "env_rules": [
    {"pattern": "MODE=a|MODE=b", "strategy": "re2", "required": false}, {"pattern": "K[0-9]+=.*", "strategy": "re2", "required": false}],
  "layers": ["` + hash + `"], "mounts": [{"destination": "/data", "source": "sandbox:///tmp/[0-9]+", "type": "bind", "options": ["ro"]}],
  "exec_processes": [{"command": ["/bin/ls"], "signals": []}], "signals": [1], "allow_elevated": true, "working_dir": "/",
  "allow_stdio_access": true, "no_new_privileges": false, "seccomp_profile_sha256": "", "capabilities": CAPABILITIES,
  "user": {"user_idname": {"pattern": "", "strategy": "any"}, "group_idnames": [{"pattern": "", "strategy": "any"}], "umask": "0022"}}]
mount_device := data.framework.mount_device
mount_overlay := data.framework.mount_overlay
create_container := data.framework.create_container
exec_in_container := data.framework.exec_in_container
signal_container_process := data.framework.signal_container_process
plan9_mount := data.framework.plan9_mount
reason := {"errors": data.framework.errors}
`

func policyWith(capabilities string) string {
	return strings.Replace(text, "CAPABILITIES", capabilities, 1)
}

const killOnly = `{"bounding": ["CAP_KILL"], "effective": [], "inheritable": [], "permitted": [], "ambient": []}`

func device() enforcer.MountDeviceInput {
	return enforcer.MountDeviceInput{Target: "/run/mounts/scsi/m0", DeviceHash: hash, MountPathRegex: "/run/mounts/scsi/m[0-9]+"}
}

func overlay(id, root string) enforcer.MountOverlayInput {
	return enforcer.MountOverlayInput{ContainerID: id, LayerPaths: []string{"/run/mounts/scsi/m0"}, Target: "/run/gcs/c/" + root + "/rootfs"}
}

func create(change func(*enforcer.CreateContainerInput)) enforcer.CreateContainerInput {
	in := enforcer.CreateContainerInput{
		ContainerID: idA, ArgList: []string{"/bin/web"}, EnvList: []string{"MODE=a"}, WorkingDir: "/", SandboxDir: sandbox,
		HugePagesDir: "/run/gcs/c/" + idA + "/hugepages", Umask: "0022", Capabilities: enforcer.Capabilities{Bounding: []string{"CAP_KILL"}},
	}
	if change != nil {
		change(&in)
	}
	return in
}

func exec(argv string) enforcer.ExecInContainerInput {
	in := create(nil)
	return enforcer.ExecInContainerInput{
		ContainerID: idA, ArgList: []string{argv}, EnvList: in.EnvList, WorkingDir: "/", Umask: in.Umask, Capabilities: in.Capabilities,
	}
}

// started are the requests up to a running container.
func started() []enforcer.Input {
	return []enforcer.Input{device(), overlay(idA, idA), create(nil)}
}

// TestDocumentedDifferences shows each difference in one case, so that a difference that is no longer one is noticed.
func TestDocumentedDifferences(t *testing.T) {
	for _, c := range []struct {
		name         string
		before       []enforcer.Input // allowed by both
		in           enforcer.Input
		ours, theirs bool
	}{
		{"alternatives-are-anchored-as-a-group", started()[:2], create(func(in *enforcer.CreateContainerInput) { in.EnvList = []string{"xMODE=b"} }), false, true},
		{"sources-of-mounts-are-anchored", started()[:2], create(func(in *enforcer.CreateContainerInput) {
			in.Mounts = []enforcer.Mount{{Destination: "/data", Source: sandbox + "/tmp/7/../../../../etc", Type: "bind", Options: []string{"ro"}}}
		}), false, true},
		{"mount-targets-have-patterns", nil, enforcer.MountDeviceInput{Target: "/etc", DeviceHash: hash, MountPathRegex: device().MountPathRegex}, false, true},
		{"shares-have-patterns", started()[:2], enforcer.Plan9MountInput{
			RootPrefix: "/run/gcs/c", MountPathPrefix: "/mounts/m[0-9]+", Target: "/run/gcs/c/" + idA + "/mounts/m1/x",
		}, false, true},
		{"an-empty-environment-is-one", started()[:2], create(func(in *enforcer.CreateContainerInput) { in.EnvList = []string{} }), true, false},
		{"old-policies-allow-sigkill", started(), enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 9, IsInitProcess: true, ArgList: []string{"/bin/web"}}, true, false},
		{"capabilities-are-sets", started()[:2], create(func(in *enforcer.CreateContainerInput) { in.Capabilities.Bounding = []string{"CAP_KILL", "CAP_KILL"} }), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := loadBoth(t, policyWith(killOnly))
			for _, in := range c.before {
				both(t, ours, theirs, in, true, true)
			}
			both(t, ours, theirs, c.in, c.ours, c.theirs)
		})
	}
}

func TestStateChangesAreAllOrNone(t *testing.T) {
	ours, theirs := loadBoth(t, policyWith(killOnly))
	both(t, ours, theirs, device(), true, true)
	both(t, ours, theirs, overlay(idA, idA), true, true)
	if x := both(t, ours, theirs, overlay(idB, idA), false, false); !halfApplied(x.theirs) {
		t.Errorf("the reference refuses a taken target for %q, want a failed change of state", x.theirs.Reasons)
	}
	both(t, ours, theirs, overlay(idB, idB), true, false)
}

func TestRefusedExecHasNoFalseReasons(t *testing.T) {
	ours, theirs := loadBoth(t, policyWith(killOnly))
	for _, in := range started() {
		both(t, ours, theirs, in, true, true)
	}
	x := both(t, ours, theirs, exec("/bin/none"), false, false)
	if want := []string{"invalid command"}; !slices.Equal(x.denial.Reasons, want) {
		t.Errorf("got reasons %q, want %q", x.denial.Reasons, want)
	}
	if !slices.Contains(x.theirs.Reasons, "invalid user") {
		t.Errorf("the reference has no false reason any more: %q", x.theirs.Reasons)
	}
}

func TestEnvironmentKeepsOrderAndDuplicates(t *testing.T) {
	ours, theirs := loadBoth(t, policyWith(killOnly))
	env := []string{"K9=1", "K3=1", "K7=1", "K9=1", "MODE=b", "K1=1", "K2="}
	both(t, ours, theirs, device(), true, true)
	both(t, ours, theirs, overlay(idA, idA), true, true)
	x := both(t, ours, theirs, create(func(in *enforcer.CreateContainerInput) { in.EnvList = env }), true, true)
	if !slices.Equal(x.ours.Env, env) {
		t.Errorf("got %q, want %q", x.ours.Env, env)
	}
	if !slices.Equal(asSet(x.theirs.Env), asSet(env)) {
		t.Errorf("the reference keeps other variables: %q", x.theirs.Env)
	}
}

// TestPrivilegedDefaultCapabilities asks what `capabilities: null` gives a privileged container.
func TestPrivilegedDefaultCapabilities(t *testing.T) {
	all := aci.PrivilegedCapabilities()
	for name, inheritable := range map[string][]string{"inheritable": all, "not-inheritable": {}} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := loadBoth(t, policyWith("null"))
			both(t, ours, theirs, device(), true, true)
			both(t, ours, theirs, overlay(idA, idA), true, true)
			x, err := ask(t.Context(), ours, theirs, create(func(in *enforcer.CreateContainerInput) {
				in.Privileged = true
				in.Capabilities = enforcer.Capabilities{Bounding: all, Effective: all, Inheritable: inheritable, Permitted: all}
			}))
			if err != nil {
				t.Fatal(err)
			}
			if _, diff := compare(x); diff != "" {
				t.Errorf("(-reference +ours)\n%s", diff)
			}
		})
	}
}

func loadBoth(t *testing.T, policy string) (*enforcer.Enforcer, *peer.Peer) {
	t.Helper()
	ours, err := enforcer.Load(t.Context(), []byte(policy), enforcer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := peer.Load(policy, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// both asks both and checks who allows.
func both(t *testing.T, ours *enforcer.Enforcer, theirs *peer.Peer, in enforcer.Input, wantOurs, wantTheirs bool) exchange {
	t.Helper()
	x, err := ask(t.Context(), ours, theirs, in)
	if err != nil {
		t.Fatal(err)
	}
	if (x.ours != nil) != wantOurs || x.theirs.Allowed != wantTheirs {
		t.Fatalf("%s: got allowed %t here, %t by the reference, want %t and %t\nours %v\nreference %q %s",
			in.Point(), x.ours != nil, x.theirs.Allowed, wantOurs, wantTheirs, x.denial, x.theirs.Reasons, x.theirs.Broken)
	}
	if x.ours != nil {
		if _, err := x.ours.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return x
}
