package enforcer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// The engine's compiler makes garbage for most of its time, and keeps little: collecting it less often makes the tests a quarter faster.
func init() { debug.SetGCPercent(400) }

// The names an agent would make.
const (
	idA     = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB     = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	rootOne = "1111111111111111111111111111111111111111111111111111111111111111"
	rootTwo = "2222222222222222222222222222222222222222222222222222222222222222"
	scsi    = "/run/mounts/scsi/m[0-9]+"
)

// Shapes of a policy's lists, for tests only: what a tool would write.
type (
	testPattern struct {
		Pattern  string `json:"pattern"`
		Strategy string `json:"strategy"`
	}
	testUser struct {
		UserIDName   testPattern   `json:"user_idname"`
		GroupIDNames []testPattern `json:"group_idnames"`
		Umask        string        `json:"umask"`
	}
	testEnv struct {
		Pattern  string `json:"pattern"`
		Strategy string `json:"strategy"`
		Required bool   `json:"required"`
	}
	testProcess struct {
		Command []string `json:"command"`
		Signals []int    `json:"signals"`
	}
	testContainer struct {
		Name          string                 `json:"name"`
		Command       []string               `json:"command"`
		EnvRules      []testEnv              `json:"env_rules"`
		Layers        []string               `json:"layers"`
		Mounts        []aci.Mount            `json:"mounts"`
		ExecProcesses []testProcess          `json:"exec_processes"`
		Signals       []int                  `json:"signals"`
		AllowElevated bool                   `json:"allow_elevated"`
		WorkingDir    string                 `json:"working_dir"`
		AllowStdio    bool                   `json:"allow_stdio_access"`
		NoNewPrivs    bool                   `json:"no_new_privileges"`
		User          testUser               `json:"user"`
		Capabilities  *enforcer.Capabilities `json:"capabilities"`
		Seccomp       string                 `json:"seccomp_profile_sha256"`
	}
)

// allPoints are the rules of a policy of the newest family.
var allPoints = []enforcer.Point{
	enforcer.PointMountDevice, enforcer.PointUnmountDevice, enforcer.PointRWMountDevice, enforcer.PointRWUnmountDevice,
	enforcer.PointMountOverlay, enforcer.PointUnmountOverlay, enforcer.PointCreateContainer,
	enforcer.PointExecInContainer, enforcer.PointExecExternal, enforcer.PointShutdownContainer,
	enforcer.PointSignalContainerProcess, enforcer.PointPlan9Mount, enforcer.PointPlan9Unmount,
	enforcer.PointGetProperties, enforcer.PointDumpStacks, enforcer.PointRuntimeLogging, enforcer.PointLoadFragment,
	enforcer.PointScratchMount, enforcer.PointScratchUnmount, enforcer.PointLoadTransparencyTrustList,
	enforcer.PointHostNetwork, enforcer.PointMountBlockDev, enforcer.PointUnmountBlockDev, enforcer.PointMountCIMs,
	enforcer.PointRegistryChanges, enforcer.PointLogProvider,
}

func anyone() testUser {
	all := testPattern{Strategy: "any"}
	return testUser{UserIDName: all, GroupIDNames: []testPattern{all}, Umask: "0022"}
}

// web is a container definition that request matches; tests change one thing in one of the two.
func web() testContainer {
	return testContainer{
		Name:    "web",
		Command: []string{"/bin/web", "--serve"},
		EnvRules: []testEnv{
			{Pattern: "PATH=/bin", Strategy: "string", Required: true},
			{Pattern: "MODE=a|MODE=b", Strategy: "re2"},
		},
		Layers:        []string{rootOne, rootTwo},
		Mounts:        []aci.Mount{{Destination: "/data", Source: "sandbox:///tmp/data/.+", Type: "bind", Options: []string{"rbind", "rw"}}},
		ExecProcesses: []testProcess{{Command: []string{"/bin/ls"}, Signals: []int{15}}},
		Signals:       []int{9},
		WorkingDir:    "/srv",
		AllowStdio:    true,
		User:          anyone(),
		Capabilities:  &enforcer.Capabilities{Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}},
	}
}

// request is what web allows.
func request(id string) enforcer.CreateContainerInput {
	return enforcer.CreateContainerInput{
		ContainerID:  id,
		ArgList:      []string{"/bin/web", "--serve"},
		EnvList:      []string{"PATH=/bin", "MODE=a"},
		WorkingDir:   "/srv",
		SandboxDir:   "/run/gcs/c/S/sandboxMounts",
		HugePagesDir: "/run/gcs/c/S/hugepages",
		Mounts: []enforcer.Mount{{
			Destination: "/data", Source: "/run/gcs/c/S/sandboxMounts/tmp/data/x", Type: "bind", Options: []string{"rw", "rbind"},
		}},
		User:         enforcer.User{ID: "0", Name: "root"},
		Groups:       []enforcer.User{{ID: "0", Name: "root"}},
		Umask:        "0022",
		Capabilities: enforcer.Capabilities{Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}},
	}
}

func execRequest(id string) enforcer.ExecInContainerInput {
	c := request(id)
	return enforcer.ExecInContainerInput{
		ContainerID: id, ArgList: []string{"/bin/ls"}, EnvList: c.EnvList, WorkingDir: c.WorkingDir, User: c.User,
		Groups: c.Groups, Umask: c.Umask, Capabilities: c.Capabilities,
	}
}

// policyText writes a policy of the newest family; flags are names of flags to set.
func policyText(t testing.TB, containers []testContainer, flags ...string) string {
	t.Helper()
	list, err := json.Marshal(containers)
	if err != nil {
		t.Fatal(err)
	}
	// A nil list means an empty one: the tools never write null but for capabilities.
	text := strings.NewReplacer(`"inheritable":null`, `"inheritable":[]`, `"permitted":null`, `"permitted":[]`,
		`"ambient":null`, `"ambient":[]`, `"bounding":null`, `"bounding":[]`, `"effective":null`, `"effective":[]`,
		`"mounts":null`, `"mounts":[]`).Replace(string(list))
	var b strings.Builder
	b.WriteString("package policy\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\n")
	fmt.Fprintf(&b, "containers := %s\n", text)
	for _, flag := range flags {
		fmt.Fprintf(&b, "%s := true\n", flag)
	}
	for _, point := range allPoints {
		fmt.Fprintf(&b, "%s := data.framework.%s\n", point, point)
	}
	b.WriteString("reason := data.framework.reason\n")
	return b.String()
}

// inOneGoroutine leaves a test out under the race detector that has the engine compile dozens of policies, one after the other: there that is all of its
// time, seconds each, and nothing runs beside it.
func inOneGoroutine(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("has the engine compile policies one after the other: run without -race")
	}
}

func load(t testing.TB, text string, opts ...enforcer.Options) *enforcer.Enforcer {
	t.Helper()
	var o enforcer.Options
	if len(opts) > 0 {
		o = opts[0]
	}
	if o.Judge == "" && !raceEnabled {
		o.Judge = enforcer.JudgeBoth
	}
	e, err := enforcer.Load(context.Background(), []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// allow decides and commits; the undo is returned for tests of it.
func allow(t testing.TB, e *enforcer.Enforcer, in enforcer.Input) (*enforcer.Decision, func()) {
	t.Helper()
	d, err := e.Decide(context.Background(), in)
	if err != nil {
		var denial *enforcer.Denial
		if errors.As(err, &denial) {
			t.Fatalf("%v %q", err, denial.Reasons)
		}
		t.Fatal(err)
	}
	undo, err := d.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return d, undo
}

func refuse(t testing.TB, e *enforcer.Enforcer, in enforcer.Input, reasons ...string) *enforcer.Denial {
	t.Helper()
	_, err := e.Decide(context.Background(), in)
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		t.Fatalf("%s: got %v, want a denial", in.Point(), err)
	}
	slices.Sort(reasons)
	if !slices.Equal(denial.Reasons, reasons) {
		t.Errorf("%s: got reasons %q, want %q", in.Point(), denial.Reasons, reasons)
	}
	return denial
}

func target(n int) string { return fmt.Sprintf("/run/mounts/scsi/m%d", n) }

// mountImage mounts the layers of web at targets first and first+1 and joins them for id.
func mountImage(t testing.TB, e *enforcer.Enforcer, id string, first int) {
	t.Helper()
	allow(t, e, enforcer.MountDeviceInput{Target: target(first), DeviceHash: rootOne, MountPathRegex: scsi})
	allow(t, e, enforcer.MountDeviceInput{Target: target(first + 1), DeviceHash: rootTwo, MountPathRegex: scsi})
	allow(t, e, overlay(id, first))
}

func overlay(id string, first int) enforcer.MountOverlayInput {
	return enforcer.MountOverlayInput{
		ContainerID: id, LayerPaths: []string{target(first + 1), target(first)}, Target: "/run/gcs/c/" + id + "/rootfs",
	}
}

func cutEnv(env string) (name, value string, found bool) { return strings.Cut(env, "=") }

// replaceOnce changes a policy text and fails when there was nothing to change.
func replaceOnce(t testing.TB, text, old, with string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("policy text has no %q", old)
	}
	return strings.Replace(text, old, with, 1)
}

// openDoor allows everything, each point in the policy's own words.
func openDoor() string {
	var b strings.Builder
	b.WriteString("package policy\napi_version := \"0.12.0\"\n")
	for _, point := range allPoints {
		switch point {
		case enforcer.PointCreateContainer, enforcer.PointExecExternal:
			fmt.Fprintf(&b, "%s := {\"allowed\": true, \"env_list\": null, \"allow_stdio_access\": true}\n", point)
		case enforcer.PointExecInContainer:
			fmt.Fprintf(&b, "%s := {\"allowed\": true, \"env_list\": null}\n", point)
		default:
			fmt.Fprintf(&b, "%s := {\"allowed\": true}\n", point)
		}
	}
	return b.String()
}
