package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
)

// Policies with rules of their own: section 2.1's mechanics, section 1.4's metadata operations, section 3.1's languages.

// override replaces one delegation of web's policy by rules of its own.
func override(t testing.TB, point enforcer.Point, rules string, flags ...string) string {
	t.Helper()
	return replaceOnce(t, one(t, nil, flags...), fmt.Sprintf("%s := data.framework.%[1]s\n", point), rules+"\n")
}

// TestContractOneRuleOverridden: the rule is the policy's own, everything else the framework's, on one state.
func TestContractOneRuleOverridden(t *testing.T) {
	t.Run("stricter", func(t *testing.T) {
		e := custom(t, override(t, "create_container", `create_container := data.framework.create_container if input.workingDir == "/never"`))
		mountImage(t, e, idA, 1)
		refuse(t, e, request(idA), "rule for create_container is missing from policy")
	})
	t.Run("wider", func(t *testing.T) {
		e := custom(t, override(t, "mount_device", `default mount_device := {"allowed": false}
mount_device := data.framework.mount_device if input.deviceHash != "local"
mount_device := {"allowed": true, "metadata": [{"name": "devices", "action": "add", "key": input.target, "value": "`+rootTwo+`"}]} if input.deviceHash == "local"`))
		allow(t, e, layerOne())
		allow(t, e, changed(layerTwo(), func(in *enforcer.MountDeviceInput) { in.DeviceHash = "local" }))
		// The framework's overlay rule sees the state that the policy's own rule made.
		allow(t, e, overlay(idA, 1))
		allow(t, e, request(idA))
	})
	t.Run("around-the-framework", func(t *testing.T) {
		e := custom(t, override(t, "create_container", `create_container := object.union(data.framework.create_container, {"allow_stdio_access": false, "env_list": ["PATH=/bin"]})`))
		mountImage(t, e, idA, 1)
		d, _ := allow(t, e, request(idA))
		if d.AllowStdio || fmt.Sprint(d.Env) != "[PATH=/bin]" {
			t.Errorf("got %+v", d)
		}
		allow(t, e, execRequest(idA))
	})
	t.Run("reason", func(t *testing.T) {
		e := custom(t, replaceOnce(t, one(t, nil), "reason := data.framework.reason", `reason := {"errors": array.concat([e | some e in data.framework.errors], ["please ask the owner"])}`))
		refuse(t, e, layerOneAt("/x"), "please ask the owner", "mountpoint invalid")
	})
	t.Run("lists-are-computed", func(t *testing.T) {
		text := one(t, nil)
		text = replaceOnce(t, text, "containers := ", "shipped := ") + "containers := [c | some c in shipped; c.name == \"web\"]\n"
		e := custom(t, text)
		mountImage(t, e, idA, 1)
		allow(t, e, request(idA))
	})
	t.Run("flag-is-computed", func(t *testing.T) {
		e := custom(t, one(t, nil)+"allow_dump_stacks if count(data.metadata.devices) > 0\n")
		refuse(t, e, enforcer.DumpStacksInput{})
		allow(t, e, layerOne())
		allow(t, e, enforcer.DumpStacksInput{})
	})
}

func layerOneAt(path string) enforcer.MountDeviceInput {
	return changed(layerOne(), func(in *enforcer.MountDeviceInput) { in.Target = path })
}

// TestContractFrameworkReplaced: a policy that never mentions the framework keeps its own state, by its own tables.
func TestContractFrameworkReplaced(t *testing.T) {
	const rules = `
api_version := "0.12.0"
limit := 2
mount_device := {"allowed": true, "metadata": [{"name": "seen", "type": "set", "action": "add", "value": input.deviceHash}, {"name": "at", "action": "add", "key": input.target, "value": input.deviceHash}]} %[1]s {
	count(object.get(data.metadata, "seen", [])) < limit
}
unmount_device := {"allowed": true, "metadata": [{"name": "seen", "type": "set", "action": "remove", "value": data.metadata.at[input.unmountTarget]}, {"name": "at", "action": "remove", "key": input.unmountTarget}]} %[1]s {
	data.metadata.at[input.unmountTarget]
}
reason := "no more disks"
`
	for name, text := range map[string]string{
		"v0":           "package policy\n" + fmt.Sprintf(rules, ""),
		"v1":           "package policy\n" + fmt.Sprintf(rules, "if"),
		"v1-import":    "package policy\nimport rego.v1\n" + fmt.Sprintf(rules, "if"),
		"v0-keywords":  "package policy\nimport future.keywords.if\n" + fmt.Sprintf(rules, "if"),
		"v0-all-words": "package policy\nimport future.keywords\n" + fmt.Sprintf(rules, "if"),
	} {
		t.Run(name, func(t *testing.T) {
			e := custom(t, text)
			disk := func(n int) enforcer.MountDeviceInput {
				return enforcer.MountDeviceInput{Target: target(n), DeviceHash: fmt.Sprint(n)}
			}
			allow(t, e, disk(1))
			_, undo := allow(t, e, disk(2))
			refuse(t, e, disk(3), "rule for mount_device is missing from policy")
			undo()
			allow(t, e, disk(3))
			allow(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(1)})
			refuse(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(1)}, "rule for unmount_device is missing from policy")
			allow(t, e, disk(2))
		})
	}
}

// TestContractRegoVersions: what only one of the two languages has.
func TestContractRegoVersions(t *testing.T) {
	const head = "package policy\napi_version = \"0.12.0\"\n"
	for name, c := range map[string]struct {
		rules string
		loads bool
	}{
		"v0-body":             {"mount_device = {\"allowed\": true} { input.target == \"/a\" }", true},
		"v0-partial-set":      {"ok[x] { x := \"/a\" }\nmount_device = {\"allowed\": true} { ok[input.target] }", true},
		"v0-shadowed-input":   {"mount_device = {\"allowed\": true} { every_one == 1; input.target == \"/a\" }\nevery_one = 1", true},
		"v0-name-every":       {"every = \"/a\"\nmount_device = {\"allowed\": true} { input.target == every }", true},
		"v1-if":               {"mount_device := {\"allowed\": true} if input.target == \"/a\"", true},
		"v1-contains":         {"ok contains \"/a\"\nmount_device := {\"allowed\": true} if ok[input.target]", true},
		"v1-every":            {"mount_device := {\"allowed\": true} if { every x in [input.target] { x == \"/a\" } }", true},
		"v1-some-in":          {"mount_device := {\"allowed\": true} if { some x in [\"/a\"]; x == input.target }", true},
		"both-else":           {"mount_device = {\"allowed\": true} { input.target == \"/a\" } else = {\"allowed\": false} { true }", true},
		"default":             {"default mount_device = {\"allowed\": false}\nmount_device = {\"allowed\": true} { input.target == \"/a\" }", true},
		"mixed-in-one-policy": {"ok[x] { x := \"/a\" }\nmount_device := {\"allowed\": true} if ok[input.target]", false},
		"neither":             {"mount_device := {\"allowed\": true} when input.target == \"/a\"", false},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := enforcer.Load(t.Context(), []byte(head+c.rules+"\n"), enforcer.Options{})
			if (err == nil) != c.loads {
				t.Fatalf("got %v, want loaded: %t", err, c.loads)
			}
			if err != nil {
				return
			}
			judged(t, e, enforcer.MountDeviceInput{Target: "/a"}, true)
			judged(t, e, enforcer.MountDeviceInput{Target: "/b"}, false)
		})
	}
}

// TestContractOpenDoor: null keeps what was asked, and each point's rule stands for itself.
func TestContractOpenDoor(t *testing.T) {
	door := custom(t, openDoor())
	for _, row := range contractPoints() {
		in := row.in
		if in == nil {
			in = empty(t, row.point)
		}
		for range 2 { // no state: the same again
			d, undo := allow(t, door, in)
			checkOutputs(t, changed(row, func(r *pointRow) { r.in = in }), d)
			undo()
		}
	}
	// A door without the rule of a point is closed there.
	for _, row := range contractPoints() {
		text := openDoor()
		start := strings.Index(text, "\n"+string(row.point)+" := ")
		end := strings.Index(text[start+1:], "\n") + start + 1
		refuse(t, custom(t, text[:start]+text[end:]), empty(t, row.point), fmt.Sprintf("rule for %s is missing from policy", row.point))
	}
}

// tables is a policy whose mount_device answers with the given operations, and which tells its state.
func tables(ops string) string {
	return `package policy
import rego.v1
api_version := "0.12.0"
mount_device := {"allowed": true, "metadata": ` + ops + `}
unmount_device := {"allowed": true, "metadata": [{"name": "t", "action": "remove", "key": input.unmountTarget}]}
scratch_mount := {"allowed": true, "metadata": [{"name": "t", "action": "update", "key": input.target, "value": object.get(data.metadata, ["t", input.target], 0) + 1}]}
dump_stacks := {"allowed": false}
reason := {"errors": [json.marshal(object.remove(data.metadata, ["operatingsystem"]))]}
`
}

// TestContractMetadataFurther has what the tables of TestMetadataOperations and TestMetadataOperationsRefused leave out.
func TestContractMetadataFurther(t *testing.T) {
	for _, c := range []struct{ name, ops, want string }{
		{"order", `[{"name": "t", "action": "update", "key": "k", "value": n} | some n in [3, 1, 2]]`, `{"t": {"k": 2}}`},
		{"remove-then-add", `[{"name": "t", "action": "remove", "key": "k"}, {"name": "t", "action": "add", "key": "k", "value": 1}]`, `{"t": {"k": 1}}`},
		{"key-of-the-host", `[{"name": "t", "action": "add", "key": input.target, "value": input.deviceHash}]`, `{"t": {"a/b \"c": "h"}}`},
		{"empty-key", `[{"name": "t", "action": "add", "key": "", "value": {}}]`, `{"t": {"": {}}}`},
		{"false-is-a-value", `[{"name": "t", "action": "add", "key": "k", "value": false}]`, `{"t": {"k": false}}`},
		{"unknown-members-of-an-operation", `[{"name": "t", "action": "add", "key": "k", "value": 1, "note": "x"}]`, `{"t": {"k": 1}}`},
		{"remove-takes-no-notice-of-a-value", `[{"name": "t", "action": "remove", "key": "k", "value": 1}]`, `{}`},
		{"two-tables", `[{"name": "t", "action": "add", "key": "k", "value": 1}, {"name": "u", "action": "add", "key": "k", "value": 1}]`, `{"t": {"k": 1}, "u": {"k": 1}}`},
		{"set-of-objects", `[{"name": "s", "type": "set", "action": "add", "value": v} | some v in [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}]]`, `{"s": [{"a": 1, "b": 2}, {"a": 1}]}`},
		{"set-numbers-of-two-spellings", `[{"name": "s", "type": "set", "action": "add", "value": v} | some v in [1, 1.0, "1"]]`, `{"s": [1, "1"]}`},
		{"set-of-null", `[{"name": "s", "type": "set", "action": "add", "value": null}]`, `{"s": [null]}`},
		{"set-remove-missing", `[{"name": "s", "type": "set", "action": "remove", "value": 1}]`, `{"s": []}`},
		{"set-remove-deep", `[{"name": "s", "type": "set", "action": "add", "value": [{"a": [1]}]}, {"name": "s", "type": "set", "action": "remove", "value": [{"a": [1]}]}]`, `{"s": []}`},
		{"a-rego-set-becomes-a-list", `[{"name": "t", "action": "add", "key": "k", "value": {"b", "a"}}]`, `{"t": {"k": ["a", "b"]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := custom(t, tables(c.ops))
			_, undo := allow(t, e, enforcer.MountDeviceInput{Target: `a/b "c`, DeviceHash: "h"})
			wantState(t, e, c.want)
			undo()
			wantState(t, e, "{}")
		})
	}
	for _, c := range []struct{ name, ops, want string }{
		{"null", `null`, "want an array"},
		{"an-object", `{"name": "t", "action": "add", "key": "k", "value": 1}`, "want an array"},
		{"name-empty", `[{"name": "", "action": "add", "key": "k", "value": 1}]`, "name is not a string"},
		{"name-number", `[{"name": 1, "action": "add", "key": "k", "value": 1}]`, "name is not a string"},
		{"action-number", `[{"name": "t", "action": 1, "key": "k", "value": 1}]`, "action is not a string"},
		{"action-in-capitals", `[{"name": "t", "action": "Add", "key": "k", "value": 1}]`, "want add, update or remove"},
		{"type-null", `[{"name": "t", "action": "add", "key": "k", "value": 1, "type": null}]`, "want map or set"},
		{"add-no-value", `[{"name": "t", "action": "add", "key": "k"}]`, "value is missing"},
		{"no-key", `[{"name": "t", "action": "remove"}]`, "key is not a string"},
		{"set-unknown-action", `[{"name": "s", "type": "set", "action": "clear", "value": 1}]`, "want add or remove"},
		{"second-fails", `[{"name": "t", "action": "add", "key": "k", "value": 1}, {"name": "t", "action": "add", "key": "k", "value": 2}]`, "cannot add metadata value, key t[\"k\"] already exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := custom(t, tables(c.ops))
			_, err := e.Decide(context.Background(), enforcer.MountDeviceInput{})
			var denial *enforcer.Denial
			if err == nil || errors.As(err, &denial) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			wantState(t, e, "{}")
		})
	}
}

// TestContractMetadataBetweenDecisions: operations are made by a commit, once, on the state that the decision was made in.
func TestContractMetadataBetweenDecisions(t *testing.T) {
	e := custom(t, tables(`[{"name": "t", "action": "add", "key": input.target, "value": 1}]`))
	count := enforcer.ScratchMountInput{Target: "n"}
	would(t, e, count)
	wantState(t, e, "{}")
	for range 3 {
		allow(t, e, count)
	}
	wantState(t, e, `{"t": {"n": 3}}`)
	if _, err := e.Decide(t.Context(), enforcer.MountDeviceInput{Target: "n"}); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("got %v, want that the key exists", err)
	}
	_, undo := allow(t, e, count)
	undo()
	wantState(t, e, `{"t": {"n": 3}}`)
	_, undo = allow(t, e, enforcer.UnmountDeviceInput{UnmountTarget: "n"})
	wantState(t, e, `{}`)
	undo()
	wantState(t, e, `{"t": {"n": 3}}`)
}
