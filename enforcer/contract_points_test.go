package enforcer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
)

const (
	rootfsA  = "/run/gcs/c/" + idA + "/rootfs"
	scratchA = "/run/gcs/c/" + idA + "/scratch/" + idA
	diskA    = "/run/gcs/c/" + idA
	shareA   = "/run/gcs/c/" + idA + "/mounts/m1"
)

// pointRow is one row of the contract's table (section 2.2), written down from it.
type pointRow struct {
	point enforcer.Point
	since string
	// old is what a policy without the rule gets when it is older: allow, deny, framework.
	old string
	// fields of the input.
	fields string
	// before is what has to be allowed first, in is then allowed by a policy that delegates; nil where the framework never allows.
	before []enforcer.Input
	in     enforcer.Input
	// state is what the framework's metadata operations leave after before and in.
	state string
	// env, caps, stdio: the outputs there are.
	env, caps, stdio bool
}

func layerOne() enforcer.MountDeviceInput {
	return enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}
}

func layerTwo() enforcer.MountDeviceInput {
	return enforcer.MountDeviceInput{Target: target(2), DeviceHash: rootTwo, MountPathRegex: scsi}
}

func disk() enforcer.RWMountDeviceInput {
	return enforcer.RWMountDeviceInput{
		Target: diskA, Encrypted: true, EnsureFilesystem: true, Filesystem: "ext4", MountPathRegex: "/run/gcs/c/[0-9a-fA-F]{64}",
	}
}

func share() enforcer.Plan9MountInput {
	return enforcer.Plan9MountInput{RootPrefix: "/run/gcs/c", MountPathPrefix: "/mounts/m[0-9]+", Target: shareA}
}

const (
	stateDisks   = `"devices": {"/run/mounts/scsi/m1": "` + rootOne + `", "/run/mounts/scsi/m2": "` + rootTwo + `"}`
	stateOverlay = stateDisks + `, "overlayTargets": {"` + rootfsA + `": true}`
	stateMatches = stateOverlay + `, "matches": {"` + idA + `": ["web"]}`
	stateRunning = stateMatches + `, "started": {"` + idA + `": {"privileged": false}}`
)

func contractPoints() []pointRow {
	image := []enforcer.Input{layerOne(), layerTwo(), overlay(idA, 1)}
	container := append(slices.Clone(image), request(idA))
	external := enforcer.ExecExternalInput{ArgList: []string{"/bin/df"}, EnvList: []string{"A=1"}, WorkingDir: "/"}
	return []pointRow{
		{point: "mount_device", since: "0.1.0", old: "deny", fields: "deviceHash,mountPathRegex,target", in: layerOne(), state: `"devices": {"/run/mounts/scsi/m1": "` + rootOne + `"}`},
		{point: "rw_mount_device", since: "0.11.0", old: "framework", fields: "encrypted,ensureFilesystem,filesystem,mountPathRegex,target", in: disk(), state: `"rw_devices": {"` + diskA + `": true}`},
		{point: "mount_blockdev", since: "0.11.1", old: "deny", fields: "target"},
		{point: "mount_overlay", since: "0.1.0", old: "deny", fields: "containerID,layerPaths,target", before: image[:2], in: image[2], state: stateMatches},
		{point: "mount_cims", since: "0.11.0", old: "deny", fields: "containerID,layerHashes,mountedCim"},
		{point: "registry_changes", since: "0.10.0", old: "deny", fields: "containerID,registryChanges"},
		{
			point: "create_container", since: "0.1.0", old: "deny", before: image, in: request(idA), state: stateRunning, env: true, caps: true, stdio: true,
			fields: "argList,capabilities,containerID,devices,envList,groups,hugePagesDir,isSandboxContainer,mounts,noNewPrivileges,privileged,sandboxDir,seccompProfileSHA256,umask,user,workingDir",
		},
		{point: "unmount_device", since: "0.2.0", old: "allow", fields: "unmountTarget", before: []enforcer.Input{layerOne()}, in: enforcer.UnmountDeviceInput{UnmountTarget: target(1)}},
		{point: "rw_unmount_device", since: "0.11.0", old: "framework", fields: "unmountTarget", before: []enforcer.Input{disk()}, in: enforcer.RWUnmountDeviceInput{UnmountTarget: diskA}},
		{point: "unmount_blockdev", since: "0.11.1", old: "deny", fields: "unmountTarget"},
		// The matches entry stays: the id is not good for a second container.
		{point: "unmount_overlay", since: "0.6.0", old: "allow", fields: "unmountTarget", before: image, in: enforcer.UnmountOverlayInput{UnmountTarget: rootfsA}, state: stateDisks + `, "matches": {"` + idA + `": ["web"]}`},
		{
			point: "exec_in_container", since: "0.2.0", old: "allow", before: container, in: execRequest(idA), state: stateRunning, env: true, caps: true,
			fields: "argList,capabilities,containerID,envList,groups,noNewPrivileges,umask,user,workingDir",
		},
		{point: "exec_external", since: "0.3.0", old: "allow", fields: "argList,envList,workingDir", in: external, env: true, stdio: true},
		{point: "shutdown_container", since: "0.4.0", old: "allow", fields: "containerID", before: container, in: enforcer.ShutdownContainerInput{ContainerID: idA}, state: stateOverlay + `, "started": {"` + idA + `": {"privileged": false}}`},
		{point: "signal_container_process", since: "0.5.0", old: "allow", fields: "argList,containerID,isInitProcess,signal", before: container, in: enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 9, IsInitProcess: true}, state: stateRunning},
		{point: "plan9_mount", since: "0.6.0", old: "allow", fields: "mountPathPrefix,rootPrefix,target", before: image, in: share(), state: stateMatches + `, "p9mounts": {"` + shareA + `": "` + idA + `"}`},
		{point: "plan9_unmount", since: "0.6.0", old: "allow", fields: "unmountTarget", before: append(slices.Clone(image), share()), in: enforcer.Plan9UnmountInput{UnmountTarget: shareA}, state: stateMatches},
		{point: "get_properties", since: "0.7.0", old: "allow", in: enforcer.GetPropertiesInput{}},
		{point: "dump_stacks", since: "0.7.0", old: "allow", in: enforcer.DumpStacksInput{}},
		{point: "runtime_logging", since: "0.8.0", old: "allow", in: enforcer.RuntimeLoggingInput{}},
		// What allows a fragment or a trust list is a signed document: the tests of fragments have that.
		{point: "load_fragment", since: "0.9.0", old: "deny", fields: "feed,fragment_loaded,has_header_svn,header_svn,issuer,namespace,receipts"},
		{point: "scratch_mount", since: "0.10.0", old: "allow", fields: "encrypted,target", in: enforcer.ScratchMountInput{Target: scratchA, Encrypted: true}, state: `"scratch_mounts": {"` + scratchA + `": {"encrypted": true}}`},
		{point: "scratch_unmount", since: "0.10.0", old: "allow", fields: "unmountTarget", before: []enforcer.Input{enforcer.ScratchMountInput{Target: scratchA, Encrypted: true}}, in: enforcer.ScratchUnmountInput{UnmountTarget: scratchA}},
		{point: "log_provider", since: "0.11.0", old: "allow", fields: "providers"},
		{point: "load_transparency_trust_list", since: "0.12.0", old: "deny", fields: "issuer,ledgers,subject,svn"},
		{point: "host_network", since: "0.12.0", old: "deny", in: enforcer.HostNetworkInput{}},
	}
}

const (
	allFlags = "allow_properties_access,allow_dump_stacks,allow_runtime_logging,allow_host_network"
	external = `external_processes := [{"command": ["/bin/df"], "working_dir": "/", "env_rules": [{"pattern": "A=1", "strategy": "string", "required": true}], "allow_stdio_access": true}]
`
)

// empty is an input of a point with nothing in it.
func empty(t testing.TB, point enforcer.Point) enforcer.Input {
	t.Helper()
	in, err := enforcer.DecodeInput(point, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestContractPointsAreTheTable: the contract's rows and the program's are the same, none more, none less.
func TestContractPointsAreTheTable(t *testing.T) {
	want := map[enforcer.Point]string{}
	for _, row := range contractPoints() {
		if _, twice := want[row.point]; twice {
			t.Errorf("%s: two rows", row.point)
		}
		want[row.point] = row.since + " " + row.old
	}
	got := map[enforcer.Point]string{}
	for _, p := range enforcer.Points() {
		got[p.Point] = p.Since + " " + p.Default
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-contract +program)\n%s", diff)
	}
	if _, err := enforcer.DecodeInput("mount_everything", []byte("{}")); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("got %v, want that the point does not exist", err)
	}
}

// TestContractInputFields: what a rule finds in input, by the contract's names, and in the input of the reason rule the point's name.
func TestContractInputFields(t *testing.T) {
	var b strings.Builder
	b.WriteString("package policy\napi_version := \"0.12.0\"\nreason := {\"errors\": [sprintf(\"%s: %s\", [input.rule, concat(\",\", sort(object.keys(object.remove(input, [\"rule\"]))))])]}\n")
	for _, row := range contractPoints() {
		fmt.Fprintf(&b, "%s := {\"allowed\": false}\n", row.point)
	}
	e := custom(t, b.String())
	for _, row := range contractPoints() {
		t.Run(string(row.point), func(t *testing.T) { refuse(t, e, empty(t, row.point), string(row.point)+": "+row.fields) })
	}
}

// TestContractAllowedOutputsAndState: each point once, allowed: what it answers besides, and what the state is then. The state is
// read from the engine and compared between the judges by each commit.
func TestContractAllowedOutputsAndState(t *testing.T) {
	text := policyText(t, []testContainer{web()}, strings.Split(allFlags, ",")...) + external
	for _, row := range contractPoints() {
		if row.in == nil {
			continue
		}
		t.Run(string(row.point), func(t *testing.T) {
			e := both(t, text)
			for _, in := range row.before {
				allow(t, e, in)
			}
			checkOutputs(t, row, would(t, e, row.in))
			allow(t, e, row.in)
			if row.point == "dump_stacks" {
				return
			}
			e = custom(t, stateText(t, text))
			for _, in := range append(slices.Clone(row.before), row.in) {
				allow(t, e, in)
			}
			wantState(t, e, "{"+row.state+"}")
		})
	}
}

func checkOutputs(t *testing.T, row pointRow, d *enforcer.Decision) {
	t.Helper()
	var want enforcer.Decision
	switch in := row.in.(type) {
	case enforcer.CreateContainerInput:
		want = enforcer.Decision{Env: in.EnvList, Capabilities: &in.Capabilities}
	case enforcer.ExecInContainerInput:
		want = enforcer.Decision{Env: in.EnvList, Capabilities: &in.Capabilities}
	case enforcer.ExecExternalInput:
		want = enforcer.Decision{Env: in.EnvList}
	}
	if !slices.Equal(d.Env, want.Env) || (d.Env != nil) != row.env {
		t.Errorf("got env %q, want %q", d.Env, want.Env)
	}
	if (d.Capabilities != nil) != row.caps || row.caps && !sameCaps(*d.Capabilities, *want.Capabilities) {
		t.Errorf("got capabilities %v, want %v", d.Capabilities, want.Capabilities)
	}
	if d.AllowStdio != row.stdio {
		t.Errorf("got stdio %t, want %t", d.AllowStdio, row.stdio)
	}
}

func sameCaps(a, b enforcer.Capabilities) bool {
	return slices.Equal(a.Bounding, b.Bounding) && slices.Equal(a.Effective, b.Effective) && slices.Equal(a.Inheritable, b.Inheritable) &&
		slices.Equal(a.Permitted, b.Permitted) && slices.Equal(a.Ambient, b.Ambient)
}

// TestContractDefaultsByVersion: a policy without rules, of each version there was. From a point's version on its rule must be there;
// before, the default of that time holds, unless strict; a rule that is there counts in every version.
func TestContractDefaultsByVersion(t *testing.T) {
	inOneGoroutine(t)
	rows := contractPoints()
	var versions []string
	for _, row := range rows {
		versions = append(versions, row.since)
	}
	slices.SortFunc(versions, compareVersions)
	for _, version := range slices.Compact(versions) {
		t.Run(version, func(t *testing.T) {
			text := fmt.Sprintf("package policy\napi_version := %q\nframework_version := \"0.5.0\"\n", version)
			lenient, strict := both(t, text), both(t, text, enforcer.Options{Strict: true})
			var rules strings.Builder
			for _, row := range rows {
				fmt.Fprintf(&rules, "%s := {\"allowed\": true}\n", row.point)
			}
			own := custom(t, text+rules.String())
			for _, row := range rows {
				missing := fmt.Sprintf("rule for %s is missing from policy", row.point)
				refuse(t, strict, empty(t, row.point), missing)
				would(t, own, empty(t, row.point))
				if compareVersions(version, row.since) >= 0 {
					refuse(t, lenient, empty(t, row.point), missing)
					continue
				}
				oldDefault(t, lenient, row)
			}
		})
	}
}

func compareVersions(a, b string) int {
	number := func(v string) (n int) {
		for _, part := range strings.Split(v, ".") {
			var i int
			_, _ = fmt.Sscan(part, &i)
			n = n*1000 + i
		}
		return n
	}
	return number(a) - number(b)
}

func oldDefault(t *testing.T, e *enforcer.Enforcer, row pointRow) {
	t.Helper()
	switch row.old {
	case "deny":
		if d := refuse(t, e, empty(t, row.point)); d.Rule != "the policy is older than this point and does not allow it" || d.Field != "policy.api_version" {
			t.Errorf("%s: got %v", row.point, d)
		}
	case "framework":
		if row.point == "rw_mount_device" {
			would(t, e, row.in)
		}
		// Without a reason rule the framework's refusal has none.
		refuse(t, e, empty(t, row.point))
	default:
		in := row.in
		if in == nil {
			in = empty(t, row.point)
		}
		d := would(t, e, in)
		// env_list null keeps what was asked; stdio is not given by a default.
		row.in, row.stdio = in, false
		checkOutputs(t, row, d)
	}
}

// TestContractDefaultResultsBelowAnAnswer: keys that a rule's answer leaves out have the point's default_results.
func TestContractDefaultResultsBelowAnAnswer(t *testing.T) {
	e := custom(t, `package policy
api_version := "0.12.0"
create_container := {"allowed": true}
exec_in_container := {"allowed": true, "env_list": null}
exec_external := {"allowed": true, "env_list": ["B=2"]}
`)
	in := changed(request(idA), func(in *enforcer.CreateContainerInput) { in.EnvList = []string{"B=2", "A=1", "B=2"} })
	if d := would(t, e, in); !slices.Equal(d.Env, in.EnvList) || d.AllowStdio || !sameCaps(*d.Capabilities, in.Capabilities) {
		t.Errorf("create: got %+v, want env and capabilities as asked, no stdio", d)
	}
	exec := execRequest(idA)
	if d := would(t, e, exec); !slices.Equal(d.Env, exec.EnvList) || !sameCaps(*d.Capabilities, exec.Capabilities) {
		t.Errorf("exec: got %+v, want what was asked", d)
	}
	if d := would(t, e, enforcer.ExecExternalInput{EnvList: []string{"A=1", "B=2"}}); !slices.Equal(d.Env, []string{"B=2"}) || d.AllowStdio {
		t.Errorf("exec_external: got %+v, want B only and no stdio", d)
	}
}

// TestContractEmptyAnswerIsNoRule: a rule that is undefined, or answers {}, is as if it were missing.
func TestContractEmptyAnswerIsNoRule(t *testing.T) {
	for name, rule := range map[string]string{
		"undefined": "unmount_device := {\"allowed\": true} if input.unmountTarget == \"/nowhere\"",
		"empty":     "unmount_device := {}",
	} {
		t.Run(name, func(t *testing.T) {
			text := "package policy\nimport rego.v1\napi_version := %q\nframework_version := \"0.5.0\"\n" + rule + "\n"
			in := enforcer.UnmountDeviceInput{UnmountTarget: "/a"}
			refuse(t, custom(t, fmt.Sprintf(text, "0.2.0")), in, "rule for unmount_device is missing from policy")
			would(t, custom(t, fmt.Sprintf(text, "0.1.0")), in)
			refuse(t, custom(t, fmt.Sprintf(text, "0.1.0"), enforcer.Options{Strict: true}), in, "rule for unmount_device is missing from policy")
		})
	}
}

// TestContractPolicyWithoutAPIVersion: every point is refused before a rule is asked, whatever the rules say.
func TestContractPolicyWithoutAPIVersion(t *testing.T) {
	text := replaceOnce(t, policyText(t, []testContainer{web()}, strings.Split(allFlags, ",")...), "api_version := \"0.12.0\"\n", "")
	plain, open := both(t, text), custom(t, replaceOnce(t, openDoor(), "api_version := \"0.12.0\"\n", ""))
	for _, row := range contractPoints() {
		refuse(t, plain, empty(t, row.point), "policy does not define api_version")
		refuse(t, open, empty(t, row.point), "policy does not define api_version")
	}
}

// TestContractAPITableForPolicies: what a policy can read of the table itself.
func TestContractAPITableForPolicies(t *testing.T) {
	const text = `package policy
import rego.v1
api_version := %q
framework_version := "0.5.0"
info(name) := i if { i := data.framework.enforcement_point_info with input as {"name": name} }
dump_stacks := {"allowed": false}
reason := {"errors": [json.marshal({"table": data.api, "info": {name: info(name) | some name in [%s]}})]}
`
	var all []string
	for _, row := range contractPoints() {
		all = append(all, fmt.Sprintf("%q", row.point))
	}
	all = append(all, `"mount_everything"`)
	for _, version := range []string{"0.1.0", "0.10.0", "0.12.0"} {
		t.Run(version, func(t *testing.T) {
			_, err := custom(t, fmt.Sprintf(text, version, strings.Join(all, ","))).Decide(context.Background(), enforcer.DumpStacksInput{})
			var denial *enforcer.Denial
			if !errors.As(err, &denial) {
				t.Fatal(err)
			}
			var got struct {
				Table struct {
					Version string `json:"version"`
					Points  map[enforcer.Point]struct {
						Since     string         `json:"introducedVersion"`
						Defaults  map[string]any `json:"default_results"`
						Framework bool           `json:"use_framework"`
					} `json:"enforcement_points"`
				}
				Info map[enforcer.Point]struct {
					Unknown, Available, Invalid bool
				}
			}
			if len(denial.Reasons) != 1 {
				t.Fatalf("got reasons %q", denial.Reasons)
			}
			if err := json.Unmarshal([]byte(denial.Reasons[0]), &got); err != nil {
				t.Fatal(err)
			}
			for _, row := range contractPoints() {
				p, i := got.Table.Points[row.point], got.Info[row.point]
				if p.Since != row.since || p.Framework != (row.old == "framework") {
					t.Errorf("%s: got %+v, want since %s, %s", row.point, p, row.since, row.old)
				}
				if diff := cmp.Diff(defaultResults(row), p.Defaults); diff != "" {
					t.Errorf("%s: default_results (-want +got)\n%s", row.point, diff)
				}
				if i.Unknown || i.Invalid || i.Available != (compareVersions(version, row.since) >= 0) {
					t.Errorf("%s: got info %+v for a policy of %s", row.point, i, version)
				}
			}
			if len(got.Table.Points) != len(contractPoints()) || !got.Info["mount_everything"].Unknown {
				t.Errorf("got %d points, and of one that does not exist %+v", len(got.Table.Points), got.Info["mount_everything"])
			}
		})
	}
}

// defaultResults is the contract's column "Def" as an object.
func defaultResults(row pointRow) map[string]any {
	results := map[string]any{"allowed": row.old == "allow"}
	if row.env {
		results["env_list"] = nil
	}
	if row.stdio {
		results["allow_stdio_access"] = false
	}
	switch row.point {
	case "load_fragment":
		results["add_module"] = false
	case "log_provider":
		results["providers_to_keep"] = nil
	}
	return results
}
