package enforcer_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
)

// reasonRow is one of the contract's exact reason strings (section 2.5), the shortest way to it, and what the refusal tells of it.
type reasonRow struct {
	reason string
	text   string // the policy; web alone when empty
	own    bool   // the policy has rules of its own
	prior  []enforcer.Input
	in     enforcer.Input
	// others are the further reasons of the same refusal; field is the part of the request that is named.
	others []string
	field  string
	// names is what the one-line refusal quotes after the field.
	names string
}

const wrongVersion = "deviceHash not found"

func reasonRows(t testing.TB) []reasonRow {
	type signal = enforcer.SignalContainerProcessInput
	image := []enforcer.Input{layerOne(), layerTwo(), overlay(idA, 1)}
	running := append(slices.Clone(image), request(idA))
	two := func(change func(*testContainer), flags ...string) string {
		first, second := web(), web()
		change(&second)
		return policyText(t, []testContainer{first, second}, flags...)
	}
	version := func(text string) string {
		return strings.Replace(one(t, nil), `framework_version := "0.5.0"`+"\n", text, 1)
	}
	plainly := changed(disk(), func(in *enforcer.RWMountDeviceInput) { in.Encrypted = false })
	stdio := `external_processes := [{"command": ["/x"], "working_dir": "/", "env_rules": [], "allow_stdio_access": true}, {"command": ["/x"], "working_dir": "/", "env_rules": [], "allow_stdio_access": false}]` + "\n"
	return []reasonRow{
		{reason: "deviceHash not found", in: changed(layerOne(), func(in *enforcer.MountDeviceInput) { in.DeviceHash = root(1) }), field: "deviceHash"},
		{reason: "device already mounted at path", prior: image, in: layerOne(), field: "target"},
		{reason: "mountpoint invalid", in: changed(layerOne(), func(in *enforcer.MountDeviceInput) { in.Target = "/" }), field: "target"},
		{reason: "no device at path to unmount", in: enforcer.UnmountDeviceInput{UnmountTarget: target(1)}, field: "unmountTarget"},
		{reason: "received read-only unmount request, but device provided is read-write", prior: []enforcer.Input{disk()}, in: enforcer.UnmountDeviceInput{UnmountTarget: diskA}, field: "unmountTarget"},
		{reason: "received read-write unmount request, but device provided is read-only", prior: image, in: enforcer.RWUnmountDeviceInput{UnmountTarget: target(1)}, field: "unmountTarget"},
		{reason: plainDisk, in: plainly, field: "encrypted"},
		{reason: "ensureFilesystem must be set on rw device mounts", in: changed(disk(), func(in *enforcer.RWMountDeviceInput) { in.EnsureFilesystem = false }), field: "ensureFilesystem"},
		{reason: "rw device mounts uses a filesystem that is not allowed", in: changed(disk(), func(in *enforcer.RWMountDeviceInput) { in.Filesystem = "btrfs" }), field: "filesystem"},
		{reason: "blockdev mounts are not supported", in: enforcer.MountBlockDevInput{Target: "/dev/x"}, field: "target"},
		{reason: "overlay has already been mounted", prior: image, in: overlay(idA, 1), field: "target"},
		{reason: "no matching containers for overlay", prior: image[:2], in: changed(overlay(idA, 1), func(in *enforcer.MountOverlayInput) { in.LayerPaths = in.LayerPaths[:1] }), field: "layerPaths"},
		{reason: "no overlay at path to unmount", in: enforcer.UnmountOverlayInput{UnmountTarget: rootfsA}, field: "unmountTarget"},
		{reason: "container already started", prior: running, in: request(idA), field: "containerID"},
		{reason: "container not started", in: enforcer.ShutdownContainerInput{ContainerID: idA}, field: "containerID"},
		{reason: "privileged escalation not allowed", prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.Privileged = true }), field: "privileged"},
		{reason: "invalid command", prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.ArgList = []string{"/bin/sh"} }), field: "process.args"},
		{
			reason: "invalid env list: A,B", prior: running, field: "process.env", names: "A,B",
			in: changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.EnvList = append(in.EnvList, "A=1", "B") }),
		},
		{reason: "invalid env list", text: two(func(c *testContainer) { c.EnvRules = literal("C=3") }), prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.EnvList = []string{"PATH=/bin", "C=3"} }), field: "process.env"},
		{reason: "missing required environment variable", prior: running, in: changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.EnvList = nil }), field: "process.env"},
		{reason: "invalid working directory", prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" }), field: "process.cwd"},
		{
			reason: "invalid mount list: /a,/b", prior: image, field: "mounts", names: "/a,/b",
			in: create(func(in *enforcer.CreateContainerInput) {
				in.Mounts = []enforcer.Mount{{Destination: "/a"}, {Destination: "/b"}}
			}),
		},
		{reason: "invalid noNewPrivileges", text: one(t, func(c *testContainer) { c.NoNewPrivs = true }), prior: image, in: request(idA), field: "process.noNewPrivileges"},
		{reason: "invalid user", prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.Umask = "0777" }), field: "process.user"},
		{reason: "invalid seccomp", prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.SeccompProfileSHA256 = rootOne }), field: "linux.seccomp"},
		{reason: "devices not supported", prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.Devices = []enforcer.Device{{Path: "/dev/kvm"}} }), field: "linux.devices"},
		{reason: "capabilities don't match", prior: image, in: create(func(in *enforcer.CreateContainerInput) { in.Capabilities.Bounding = nil }), field: "process.capabilities"},
		{
			reason: "containers only distinguishable by capabilties", field: "process.capabilities", prior: image,
			text: two(func(c *testContainer) { c.Capabilities = ptr(caps("CAP_CHOWN", "CAP_KILL")) }, capsFlag),
			in:   create(func(in *enforcer.CreateContainerInput) { in.Capabilities = caps("CAP_CHOWN CAP_KILL", "CAP_KILL") }),
		},
		{reason: "containers only distinguishable by allow_stdio_access", text: two(func(c *testContainer) { c.AllowStdio = false }), prior: image, in: request(idA), field: "policy.allow_stdio_access"},
		{reason: "external processes only distinguishable by allow_stdio_access", text: one(t, nil) + stdio, in: enforcer.ExecExternalInput{ArgList: []string{"/x"}, WorkingDir: "/"}, field: "policy.allow_stdio_access"},
		{reason: "target isn't allowed to receive the signal", prior: running, in: signal{ContainerID: idA, Signal: 1, IsInitProcess: true}, field: "signal"},
		{reason: "scratch already mounted at path", prior: []enforcer.Input{enforcer.ScratchMountInput{Target: "/s", Encrypted: true}}, in: enforcer.ScratchMountInput{Target: "/s", Encrypted: true}, field: "target"},
		{reason: "unencrypted scratch not allowed", in: enforcer.ScratchMountInput{Target: "/s"}, field: "encrypted"},
		{reason: "no scratch at path to unmount", in: enforcer.ScratchUnmountInput{UnmountTarget: "/s"}, field: "unmountTarget"},
		{
			reason: "framework_version is ahead of the current version: 0.5.1 is greater than 0.5.0", own: true, text: version(`framework_version := "0.5.1"` + "\n"),
			in: layerOne(), others: []string{wrongVersion}, field: "policy.framework_version",
		},
		{reason: "framework_version is missing", own: true, text: version(""), in: layerOne(), others: []string{wrongVersion}, field: "policy.framework_version"},
		{reason: "framework_version is not a semantic version", own: true, text: version("framework_version := \"1\"\n"), in: layerOne(), others: []string{wrongVersion}, field: "policy.framework_version"},
		// Not in the contract's list, but said by the contract elsewhere or by this agent.
		{reason: "policy does not define api_version", text: strings.Replace(one(t, nil), "api_version := \"0.12.0\"\n", "", 1), in: layerOne(), field: "policy.api_version"},
		{reason: "rule for mount_device is missing from policy", text: strings.Replace(one(t, nil), "mount_device := data.framework.mount_device\n", "", 1), in: layerOne(), field: "policy"},
		{reason: "not supported by a Linux utility VM", in: enforcer.LogProviderInput{}, field: "point"},
	}
}

// loadRow loads for both judges where the policy is plain.
func loadRow(t testing.TB, text string, own bool) *enforcer.Enforcer {
	t.Helper()
	switch {
	case own:
		return custom(t, text)
	case text == "":
		text = one(t, nil)
	}
	return both(t, text)
}

// TestContractReasonStrings: each string of section 2.5, alone where the contract lets it stand alone.
func TestContractReasonStrings(t *testing.T) {
	inOneGoroutine(t)
	for _, row := range reasonRows(t) {
		t.Run(row.reason, func(t *testing.T) {
			e := loadRow(t, row.text, row.own)
			for _, in := range row.prior {
				allow(t, e, in)
			}
			d := refuse(t, e, row.in, append(slices.Clone(row.others), row.reason)...)
			rule := strings.TrimSuffix(row.reason, ": "+row.names)
			if d.Rule != rule || d.Field != row.field {
				t.Errorf("got rule %q, field %q, want %q, %q", d.Rule, d.Field, rule, row.field)
			}
			start := fmt.Sprintf("%s: %s: %s", row.in.Point(), rule, row.field)
			if row.names != "" {
				start += fmt.Sprintf(" %q", row.names)
			}
			if !strings.HasPrefix(d.Error(), start) {
				t.Errorf("got %q, want it to begin with %q", d.Error(), start)
			}
		})
	}
}

// unexplainedRows are refusals that have no reason string; each has a rule of its own in the one-line refusal.
func unexplainedRows(t testing.TB) []reasonRow {
	first, second := web(), web()
	first.Command, second.WorkingDir = []string{"/bin/one"}, "/two"
	const bare = "package policy\napi_version := \"0.12.0\"\n"
	return []reasonRow{
		{reason: "the policy gives no reason", own: true, text: bare + "mount_device := {\"allowed\": false}\n", in: layerOne(), field: "request"},
		{reason: "not allowed by the policy", in: enforcer.DumpStacksInput{}, field: "policy.allow_dump_stacks"},
		{reason: "the policy is older than this point and does not allow it", text: "package policy\napi_version := \"0.10.0\"\nframework_version := \"0.2.3\"\n", in: enforcer.HostNetworkInput{}, field: "policy.api_version"},
		{
			reason: "no single container of the policy has all that was asked", text: policyText(t, []testContainer{first, second}),
			prior: []enforcer.Input{layerOne(), layerTwo(), overlay(idA, 1)}, field: "process",
			in: create(func(in *enforcer.CreateContainerInput) { in.ArgList, in.WorkingDir = []string{"/bin/one"}, "/two" }),
		},
		{
			reason: "the policy could not give a reason", own: true, field: "policy", in: layerOne(),
			text: bare + "mount_device := {\"allowed\": false}\nreason := 1 if input\nreason := 2 if input\n",
		},
	}
}

func TestContractRefusalsWithoutReason(t *testing.T) {
	for _, row := range unexplainedRows(t) {
		t.Run(row.reason, func(t *testing.T) {
			e := loadRow(t, row.text, row.own)
			for _, in := range row.prior {
				allow(t, e, in)
			}
			if d := refuse(t, e, row.in); d.Rule != row.reason || d.Field != row.field {
				t.Errorf("got rule %q, field %q, want %q, %q", d.Rule, d.Field, row.reason, row.field)
			}
		})
	}
}

// fragmentRules are the rules that the tests of fragments and trust lists produce.
func fragmentRule(rule string) bool {
	return strings.Contains(rule, "fragment") || strings.Contains(rule, "trust list") ||
		slices.Contains([]string{"svn in header...", "missing receipt from..."}, rule)
}

// TestContractEveryRuleHasARow fails when a rule can be named that no row above produces.
func TestContractEveryRuleHasARow(t *testing.T) {
	var produced []string
	for _, row := range append(reasonRows(t), unexplainedRows(t)...) {
		rule := row.reason
		if row.names != "" {
			rule = strings.TrimSuffix(rule, ": "+row.names)
		}
		produced = append(produced, rule)
	}
	for _, rule := range enforcer.Rules() {
		start, prefix := strings.CutSuffix(rule, "...")
		if fragmentRule(rule) {
			continue
		}
		if !slices.ContainsFunc(produced, func(s string) bool { return s == rule || prefix && strings.HasPrefix(s, start) }) {
			t.Errorf("no row produces rule %q", rule)
		}
	}
}

// TestContractEveryPointIsRefusedByARow: the rows of section 2.2 allow each point, these refuse each.
func TestContractEveryPointIsRefusedByARow(t *testing.T) {
	e := both(t, one(t, nil))
	for _, p := range enforcer.Points() {
		_, err := e.Decide(context.Background(), empty(t, p.Point))
		var denial *enforcer.Denial
		if !errors.As(err, &denial) {
			t.Errorf("%s: got %v for an empty request, want a denial", p.Point, err)
		}
	}
}

// TestContractReasonForms: reason may be the framework's, its errors alone, or the policy's own.
func TestContractReasonForms(t *testing.T) {
	full, errs := one(t, nil), replaceOnce(t, one(t, nil), "reason := data.framework.reason", `reason := {"errors": data.framework.errors}`)
	none := replaceOnce(t, one(t, nil), "reason := data.framework.reason\n", "")
	bad := create(func(in *enforcer.CreateContainerInput) { in.WorkingDir = "/" })
	for _, c := range []struct {
		name, text string
		reason     any
		errors     []string
		objects    bool
	}{
		{name: "framework", text: full, errors: []string{"invalid working directory"}, objects: true},
		{name: "errors-only", text: errs, errors: []string{"invalid working directory"}},
		{name: "none", text: none},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := imaged(t, c.text)
			refuse(t, e, bad, c.errors...)
			r, _ := policyDecision(t, e, bad)
			reason, isObject := r.Reason.(map[string]any)
			if c.errors == nil {
				text, _ := r.Reason.(string)
				if !strings.HasPrefix(text, "Security policy is either not valid or did not provide a reason for denial") {
					t.Errorf("got reason %v", r.Reason)
				}
				return
			}
			if !isObject || fmt.Sprint(reason["errors"]) != fmt.Sprint(c.errors) || (reason["error_objects"] != nil) != c.objects {
				t.Errorf("got reason %v", r.Reason)
			}
		})
	}
}

// envelope is the JSON of a refusal, with its keys as they are.
func envelope(t testing.TB, d *enforcer.Denial) map[string]any {
	t.Helper()
	text, ok := strings.CutPrefix(d.PolicyDecision(), "policyDecision<")
	text, ok2 := strings.CutSuffix(text, ">policyDecision")
	data, err := base64.StdEncoding.DecodeString(text)
	if !ok || !ok2 || err != nil {
		t.Fatalf("got %q, %v", d.PolicyDecision(), err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestContractEnvelopeOfEveryPoint: the input as it was judged, with the point's name in it, and nothing that is not in the contract.
func TestContractEnvelopeOfEveryPoint(t *testing.T) {
	e := both(t, one(t, nil))
	for _, row := range contractPoints() {
		t.Run(string(row.point), func(t *testing.T) {
			_, err := e.Decide(context.Background(), empty(t, row.point))
			var denial *enforcer.Denial
			if !errors.As(err, &denial) {
				t.Fatal(err)
			}
			doc := envelope(t, denial)
			var keys []string
			input, _ := doc["input"].(map[string]any)
			for key := range input {
				if key != "rule" {
					keys = append(keys, key)
				}
			}
			slices.Sort(keys)
			if got := strings.Join(keys, ","); got != row.fields || input["rule"] != string(row.point) {
				t.Errorf("got input %s of rule %v, want %s", got, input["rule"], row.fields)
			}
			delete(doc, "input")
			delete(doc, "reason")
			if diff := cmp.Diff(map[string]any{"decision": "deny"}, doc); diff != "" {
				t.Errorf("besides input and reason (-want +got)\n%s", diff)
			}
		})
	}
}

// TestContractEnvelopeShortensCapabilities: in input and in error_objects, and only where they are exactly the default sets.
func TestContractEnvelopeShortensCapabilities(t *testing.T) {
	more := append([]string{"CAP_NEW"}, unprivileged...)
	for _, c := range []struct {
		name string
		caps enforcer.Capabilities
		want any
	}{
		{"privileged", privilegedCaps(privileged), "[privileged]"},
		{"unprivileged", defaultCaps(unprivileged), "[unprivileged]"},
		{"in-another-order", defaultCaps(reversed(unprivileged)), "[unprivileged]"},
		{"one-more", defaultCaps(more), nil},
		{"one-fewer", defaultCaps(unprivileged[1:]), nil},
		{"ambient-too", changed(defaultCaps(unprivileged), func(c *enforcer.Capabilities) { c.Ambient = []string{"CAP_KILL"} }), nil},
		{"none", enforcer.Capabilities{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := imaged(t, one(t, func(d *testContainer) { d.Capabilities = ptr(c.caps) }))
			bad := create(func(in *enforcer.CreateContainerInput) { in.Capabilities, in.WorkingDir = c.caps, "/" })
			doc := envelope(t, refuse(t, e, bad, "invalid working directory"))
			objects := []any{doc["input"]}
			if reason, _ := doc["reason"].(map[string]any); reason["error_objects"] != nil {
				objects = append(objects, reason["error_objects"].([]any)...)
			} else if doc["truncated"] == nil {
				t.Errorf("got reason %v, want error_objects", doc["reason"])
			}
			for _, object := range objects {
				got := object.(map[string]any)["capabilities"]
				if sets, isObject := got.(map[string]any); c.want != nil && got != c.want || c.want == nil && (!isObject || len(sets) != 5) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// TestContractEnvelopeRedacts: a value of the environment is nowhere, in none of the points that have one, nor are the values that a
// policy's rules ask for.
func TestContractEnvelopeRedacts(t *testing.T) {
	text := one(t, func(c *testContainer) {
		c.EnvRules = append(c.EnvRules, testEnv{Pattern: "KEY=" + secret, Strategy: "string"}, testEnv{Pattern: "KEY=(" + secret + ")?", Strategy: "re2"})
	})
	text = replaceOnce(t, text, `"env_rules":[`, `"env_rules":[{"name":"N","name_strategy":"string","value":"`+secret+`","value_strategy":"string","required":false},`)
	text += `external_processes := [{"command": ["/x"], "working_dir": "/", "env_rules": [{"pattern": "KEY=` + secret + `", "strategy": "string", "required": true}], "allow_stdio_access": true}]` + "\n"
	e := imaged(t, text)
	env := []string{"KEY=" + secret, "KEY=", "KEY==" + secret, "=" + secret, "quote\"=" + secret, "PATH=/bin"}
	want := []any{"KEY=<<redacted>>", "KEY=<<redacted>>", "KEY=<<redacted>>", "=<<redacted>>", "quote\"=<<redacted>>", "PATH=<<redacted>>"}
	bad := create(func(in *enforcer.CreateContainerInput) { in.EnvList = env })
	check := func(in enforcer.Input) {
		t.Helper()
		_, err := e.Decide(context.Background(), in)
		var denial *enforcer.Denial
		if !errors.As(err, &denial) {
			t.Fatalf("got %v, want a denial", err)
		}
		doc := envelope(t, denial)
		if whole := denial.Error() + jsonText(t, doc); strings.Contains(whole, secret) {
			t.Errorf("%s repeats a value: %s", in.Point(), whole)
		}
		if got := doc["input"].(map[string]any)["envList"]; !cmp.Equal(got, any(want)) {
			t.Errorf("%s: got envList %v, want %v", in.Point(), got, want)
		}
	}
	check(bad)
	check(enforcer.ExecExternalInput{ArgList: []string{"/x"}, WorkingDir: "/", EnvList: env})
	allow(t, e, request(idA))
	check(changed(execRequest(idA), func(in *enforcer.ExecInContainerInput) { in.EnvList = env }))
}

// TestContractEnvelopeLimit walks the size of each part over the limit: never more than 3 KiB, dropped in the contract's order, and nothing
// is dropped that would have fitted.
func TestContractEnvelopeLimit(t *testing.T) {
	const policy = `package policy
api_version := "0.12.0"
mount_overlay := {"allowed": false}
reason := {"errors": [input.target], "error_objects": [input.containerID]}
`
	e := custom(t, policy)
	seen := map[string]bool{}
	for _, size := range []struct{ errors, objects, layers int }{
		{1, 1, 1},
		{1, 700, 1},
		{1, 1000, 1},
		{1, 1100, 1},
		{1, 1200, 1},
		{1, 2500, 1},
		{1, 1, 1900},
		{1, 1, 2000},
		{1, 1, 2500},
		{900, 1, 1},
		{1100, 1, 1},
		{2100, 1, 1},
		{2200, 1, 1},
		{2300, 1, 1},
		{4000, 1, 1},
		{900, 900, 900},
		{1, 5000, 5000},
		{5000, 5000, 5000},
	} {
		in := enforcer.MountOverlayInput{
			Target: strings.Repeat("e", size.errors), ContainerID: strings.Repeat("o", size.objects), LayerPaths: []string{strings.Repeat("l", size.layers)},
		}
		_, err := e.Decide(context.Background(), in)
		var denial *enforcer.Denial
		if !errors.As(err, &denial) {
			t.Fatal(err)
		}
		doc := envelope(t, denial)
		want, cut := cutByHand(t, in)
		seen[fmt.Sprint(cut)] = true
		if diff := cmp.Diff(want, doc); diff != "" || len(denial.PolicyDecision()) > 3*1024 {
			t.Errorf("%+v: %d characters (-want +got)\n%s", size, len(denial.PolicyDecision()), diff)
		}
	}
	if len(seen) != 4 {
		t.Errorf("got %d kinds of truncation, want all four: %v", len(seen), seen)
	}
}

// cutByHand is the contract's truncation, as plainly as it can be written.
func cutByHand(t testing.TB, in enforcer.MountOverlayInput) (map[string]any, []string) {
	t.Helper()
	reason := map[string]any{"errors": []any{in.Target}, "error_objects": []any{in.ContainerID}}
	doc := map[string]any{
		"decision": "deny", "reason": reason,
		"input": map[string]any{"containerID": in.ContainerID, "layerPaths": []any{in.LayerPaths[0]}, "target": in.Target, "rule": "mount_overlay"},
	}
	var cut []string
	for _, drop := range []string{"reason.error_objects", "input", "reason"} {
		if len("policyDecision<")+base64.StdEncoding.EncodedLen(len(jsonText(t, doc)))+len(">policyDecision") <= 3*1024 {
			break
		}
		cut = append(cut, drop)
		var list []any
		for _, s := range cut {
			list = append(list, s)
		}
		doc["truncated"] = list
		if drop == "reason.error_objects" {
			delete(reason, "error_objects")
			continue
		}
		delete(doc, drop)
	}
	return doc, cut
}

// TestContractEnvelopeOfAnEngineError: the fixed text, and what the engine said in policyError.
func TestContractEnvelopeOfAnEngineError(t *testing.T) {
	e := custom(t, "package policy\napi_version := \"0.12.0\"\nmount_device := {\"allowed\": false}\nreason := 1 if input\nreason := 2 if input\n")
	doc := envelope(t, refuse(t, e, layerOne()))
	if text, _ := doc["reason"].(string); !strings.HasPrefix(text, "Security policy is not valid") {
		t.Errorf("got reason %v", doc["reason"])
	}
	if text, _ := doc["policyError"].(string); !strings.Contains(text, "conflict") {
		t.Errorf("got policyError %v", doc["policyError"])
	}
}
