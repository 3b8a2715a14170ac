package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
)

func TestCommitAndUndoOfAMount(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}
	_, undo := allow(t, e, in)
	refuse(t, e, in, "device already mounted at path")
	undo()
	_, undo = allow(t, e, in)
	undo()
	undo() // a second call does nothing
	allow(t, e, in)
}

func TestUndoOfCreateUnNarrows(t *testing.T) {
	one, two := web(), web()
	one.Command, two.Command = []string{"/bin/one"}, []string{"/bin/two"}
	e := load(t, policyText(t, []testContainer{one, two}))
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.ArgList = []string{"/bin/one"}
	_, undo := allow(t, e, in)
	in.ArgList = []string{"/bin/two"}
	refuse(t, e, in, "container already started", "invalid command")
	undo()
	allow(t, e, in)
}

func TestUndoOfARemovedEntryRestoresIt(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	mountImage(t, e, idA, 1)
	_, undo := allow(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(1)})
	undo()
	refuse(t, e, enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootTwo, MountPathRegex: scsi}, "device already mounted at path")
	// The recorded hash is the old one: the overlay of another container still matches.
	allow(t, e, overlay(idB, 1))
}

func TestDenialChangesNothing(t *testing.T) {
	const text = `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
mount_device := {"allowed": false, "metadata": [{"name": "t", "action": "add", "key": "k", "value": true}]}
dump_stacks := {"allowed": allowed} if { allowed := object.get(data.metadata, ["t", "k"], "absent") == "absent" }
reason := {"errors": ["no"]}`
	e := load(t, text)
	refuse(t, e, enforcer.MountDeviceInput{}, "no")
	allow(t, e, enforcer.DumpStacksInput{})
}

func TestCommitOfAStaleDecision(t *testing.T) {
	ctx := context.Background()
	e := load(t, policyText(t, []testContainer{web()}))
	in := enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi}
	first, err := e.Decide(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.Decide(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Commit(); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("got %v, want a stale decision", err)
	}
	if _, err := first.Commit(); err == nil || !strings.Contains(err.Error(), "committed before") {
		t.Errorf("got %v, want an error on the second commit", err)
	}
}

func TestUndoOutOfOrder(t *testing.T) {
	e := load(t, policyText(t, []testContainer{web()}))
	_, undoOne := allow(t, e, enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi})
	_, undoTwo := allow(t, e, enforcer.MountDeviceInput{Target: target(2), DeviceHash: rootTwo, MountPathRegex: scsi})
	// The two touched different entries, so the first can go without the second.
	undoOne()
	refuse(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(1)}, "no device at path to unmount")
	allow(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(2)})
	// Undoing the mount of what was unmounted since is impossible: nothing may be decided any more.
	undoTwo()
	_, err := e.Decide(context.Background(), enforcer.UnmountDeviceInput{UnmountTarget: target(2)})
	if !errors.Is(err, enforcer.ErrInconsistent) {
		t.Errorf("got %v, want %v", err, enforcer.ErrInconsistent)
	}
}

// metadataPolicy answers mount_device with the operations given and lets get_properties see the tables.
func metadataPolicy(ops, check string) string {
	return fmt.Sprintf(`package policy
import rego.v1
api_version := "0.12.0"
framework_version := "0.5.0"
mount_device := {"allowed": true, "metadata": %s}
default get_properties := {"allowed": false}
get_properties := {"allowed": true} if { %s }
reason := {"errors": ["check failed"]}`, ops, check)
}

func TestMetadataOperations(t *testing.T) {
	cases := []struct{ name, ops, check string }{
		{"add", `[{"name": "t", "action": "add", "key": "k", "value": {"a": [1]}}]`, `data.metadata.t == {"k": {"a": [1]}}`},
		{"add-null", `[{"name": "t", "action": "add", "key": "k", "value": null}]`, `data.metadata.t.k == null`},
		{"update-new", `[{"name": "t", "action": "update", "key": "k", "value": 1}]`, `data.metadata.t.k == 1`},
		{"update-old", `[{"name": "t", "action": "add", "key": "k", "value": 1}, {"name": "t", "action": "update", "key": "k", "value": 2}]`, `data.metadata.t.k == 2`},
		{"remove", `[{"name": "t", "action": "add", "key": "k", "value": 1}, {"name": "t", "action": "remove", "key": "k"}]`, `data.metadata.t == {}`},
		{"remove-missing", `[{"name": "t", "action": "remove", "key": "k"}]`, `data.metadata.t == {}`},
		{"type-map", `[{"name": "t", "action": "add", "key": "k", "value": 1, "type": "map"}]`, `data.metadata.t.k == 1`},
		{"set-add", `[{"name": "s", "action": "add", "value": {"a": 1}, "type": "set"}]`, `data.metadata.s == [{"a": 1}]`},
		{"set-add-twice", `[{"name": "s", "action": "add", "value": [1], "type": "set"}, {"name": "s", "action": "add", "value": [1], "type": "set"}]`, `data.metadata.s == [[1]]`},
		{"set-index", `[{"name": "s", "action": "add", "value": "x", "type": "set"}]`, `data.metadata.s[0] == "x"`},
		{"set-remove", `[{"name": "s", "action": "add", "value": 1, "type": "set"}, {"name": "s", "action": "add", "value": 2, "type": "set"}, {"name": "s", "action": "remove", "value": 1, "type": "set"}]`, `data.metadata.s == [2]`},
		{"set-value-becomes-array", `[{"name": "t", "action": "add", "key": "k", "value": {"deep": {3, 1, 2}}}]`, `data.metadata.t.k.deep == [1, 2, 3]`},
		{"number-key-in-value", `[{"name": "t", "action": "add", "key": "k", "value": {1: "x"}}]`, `data.metadata.t.k == {"1": "x"}`},
		{"whole-metadata", `[{"name": "t", "action": "add", "key": "k", "value": 1}]`, `data.metadata == {"t": {"k": 1}, "operatingsystem": {"ostype": "linux"}}`},
		{"operations-in-a-set", `{{"name": "t", "action": "add", "key": "k", "value": 1}}`, `data.metadata.t.k == 1`},
		{"none", `[]`, `not data.metadata.t`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, metadataPolicy(c.ops, c.check))
			_, undo := allow(t, e, enforcer.MountDeviceInput{})
			allow(t, e, enforcer.GetPropertiesInput{})
			undo()
			if c.name != "none" && c.name != "remove" && c.name != "remove-missing" {
				refuse(t, e, enforcer.GetPropertiesInput{}, "check failed")
			}
		})
	}
}

func TestMetadataOperationsRefused(t *testing.T) {
	cases := []struct{ name, ops, want string }{
		{"not-a-list", `"x"`, "want an array"},
		{"not-an-object", `[1]`, "want an object"},
		{"no-name", `[{"action": "add", "key": "k", "value": 1}]`, "name is not a string"},
		{"no-action", `[{"name": "t", "key": "k", "value": 1}]`, "action is not a string"},
		{"unknown-action", `[{"name": "t", "action": "drop", "key": "k", "value": 1}]`, "want add, update or remove"},
		{"unknown-type", `[{"name": "t", "action": "add", "key": "k", "value": 1, "type": "list"}]`, "want map or set"},
		{"number-key", `[{"name": "t", "action": "add", "key": 1, "value": 1}]`, "key is not a string"},
		{"no-value", `[{"name": "t", "action": "update", "key": "k"}]`, "value is missing"},
		{"key-exists", `[{"name": "t", "action": "add", "key": "k", "value": 1}, {"name": "t", "action": "add", "key": "k", "value": 1}]`, "already exists"},
		{"set-update", `[{"name": "s", "action": "update", "value": 1, "type": "set"}]`, "want add or remove"},
		{"set-key", `[{"name": "s", "action": "add", "key": "k", "value": 1, "type": "set"}]`, "no key"},
		{"set-no-value", `[{"name": "s", "action": "remove", "type": "set"}]`, "want a value"},
		{"set-is-a-map", `[{"name": "operatingsystem", "action": "add", "value": 1, "type": "set"}]`, "is a map"},
		{"map-is-a-set", `[{"name": "s", "action": "add", "value": 1, "type": "set"}, {"name": "s", "action": "add", "key": "k", "value": 1}]`, "is a set"},
		{"first-is-not-kept", `[{"name": "t", "action": "add", "key": "k", "value": 1}, {"name": "t", "action": "drop", "key": "k"}]`, "want add, update or remove"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, metadataPolicy(c.ops, `data.metadata == {"operatingsystem": {"ostype": "linux"}}`))
			_, err := e.Decide(context.Background(), enforcer.MountDeviceInput{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			var denial *enforcer.Denial
			if errors.As(err, &denial) {
				t.Errorf("got a denial, want an error: the policy could not decide")
			}
			allow(t, e, enforcer.GetPropertiesInput{})
		})
	}
}

// TestUndoBesideAnotherChange takes each operation back while an unrelated entry was added after it.
func TestUndoBesideAnotherChange(t *testing.T) {
	cases := []struct{ name, ops string }{
		{"add", `[{"name": "t", "action": "add", "key": "k", "value": 1}]`},
		{"update", `[{"name": "t", "action": "update", "key": "k", "value": 2}]`},
		{"remove-missing", `[{"name": "t", "action": "remove", "key": "k"}]`},
		{"remove", `[{"name": "operatingsystem", "action": "remove", "key": "ostype"}]`},
		{"set", `[{"name": "s", "action": "add", "value": 1, "type": "set"}, {"name": "s", "action": "add", "value": 2, "type": "set"}]`},
		{"two", `[{"name": "t", "action": "add", "key": "k", "value": 1}, {"name": "t", "action": "update", "key": "k", "value": 3}]`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := load(t, metadataPolicy(c.ops, `data.metadata == {"o": {"x": 1}, "operatingsystem": {"ostype": "linux"}}`)+`
unmount_device := {"allowed": true, "metadata": [{"name": "o", "action": "add", "key": "x", "value": 1}]}`)
			_, undo := allow(t, e, enforcer.MountDeviceInput{})
			allow(t, e, enforcer.UnmountDeviceInput{})
			undo()
			allow(t, e, enforcer.GetPropertiesInput{})
		})
	}
}

func TestUndoOfAChangedSetIsImpossible(t *testing.T) {
	e := load(t, metadataPolicy(`[{"name": "s", "action": "add", "value": input.target, "type": "set"}]`, "true"))
	_, undo := allow(t, e, enforcer.MountDeviceInput{Target: "a"})
	d, err := e.Decide(context.Background(), enforcer.MountDeviceInput{Target: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	pending, err := e.Decide(context.Background(), enforcer.MountDeviceInput{Target: "c"})
	if err != nil {
		t.Fatal(err)
	}
	undo()
	if _, err := e.Decide(context.Background(), enforcer.GetPropertiesInput{}); !errors.Is(err, enforcer.ErrInconsistent) {
		t.Errorf("got %v, want %v", err, enforcer.ErrInconsistent)
	}
	if _, err := pending.Commit(); !errors.Is(err, enforcer.ErrInconsistent) {
		t.Errorf("got %v, want %v", err, enforcer.ErrInconsistent)
	}
}

// TestConcurrentDecisions: any number of decisions beside one another, commits in between; each mount is recorded once.
func TestConcurrentDecisions(t *testing.T) {
	ctx := context.Background()
	e := load(t, policyText(t, []testContainer{web()}, "allow_properties_access"))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 5 {
				in := enforcer.MountDeviceInput{Target: target(10*worker + n), DeviceHash: rootOne, MountPathRegex: scsi}
				for {
					d, err := e.Decide(ctx, in)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := d.Commit(); err == nil {
						break
					}
				}
				if _, err := e.Decide(ctx, enforcer.GetPropertiesInput{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for worker := range 4 {
		for n := range 5 {
			allow(t, e, enforcer.UnmountDeviceInput{UnmountTarget: target(10*worker + n)})
		}
	}
}
