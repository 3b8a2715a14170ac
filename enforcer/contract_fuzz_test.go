package enforcer_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
)

// metadataModel is section 1.4 of the contract as plainly as it can be written: operations in order, all or none.
func metadataModel(before map[string]any, text string) (after map[string]any, ok bool) {
	var ops []map[string]any
	var list []any
	if json.Unmarshal([]byte(text), &list) != nil || list == nil {
		return nil, false
	}
	for _, entry := range list {
		op, isObject := entry.(map[string]any)
		if !isObject {
			return nil, false
		}
		ops = append(ops, op)
	}
	data, err := json.Marshal(before)
	if err != nil || json.Unmarshal(data, &after) != nil {
		return nil, false
	}
	for _, op := range ops {
		if !applyModel(after, op) {
			return nil, false
		}
	}
	return after, true
}

func applyModel(state map[string]any, op map[string]any) bool {
	name, _ := op["name"].(string)
	action, _ := op["action"].(string)
	value, hasValue := op["value"]
	kind, hasKind := op["type"]
	if name == "" || hasKind && kind != "map" && kind != "set" {
		return false
	}
	if kind == "set" {
		_, hasKey := op["key"]
		list, isList := state[name].([]any)
		if _, exists := state[name]; hasKey || !hasValue || exists && !isList {
			return false
		}
		without := slices.DeleteFunc(slices.Clone(list), func(v any) bool { return cmp.Equal(v, value) })
		switch {
		case action == "remove":
			list = without
		case action == "add" && len(without) == len(list):
			list = append(slices.Clone(list), value)
		case action != "add":
			return false
		}
		state[name] = append([]any{}, list...)
		return true
	}
	key, isKey := op["key"].(string)
	table, isTable := state[name].(map[string]any)
	if _, exists := state[name]; !isKey || exists && !isTable {
		return false
	}
	if table == nil {
		table = map[string]any{}
	}
	_, exists := table[key]
	switch {
	case action == "remove":
		delete(table, key)
	case action == "update" && hasValue, action == "add" && hasValue && !exists:
		table[key] = value
	default:
		return false
	}
	state[name] = table
	return true
}

// modelled are texts in which the model's numbers are the engine's.
func modelled(text string) bool {
	return !regexp.MustCompile(`[0-9]{15}|[0-9.][eE]|-0`).MatchString(text)
}

// FuzzMetadata: any operations that an answer can ask for leave what the model leaves, or nothing; taken back in turn, they leave what was there
// before.
func FuzzMetadata(f *testing.F) {
	seeds := []string{
		`[]`, `null`, `{}`, `[1]`,
		`[{"name":"t","action":"add","key":"k","value":1}]`,
		`[{"name":"t","action":"update","key":"k","value":{"a":[1,null,"x"]}},{"name":"t","action":"remove","key":"k"}]`,
		`[{"name":"s","type":"set","action":"add","value":{"a":1}},{"name":"s","type":"set","action":"add","value":{"a":1.0}}]`,
		`[{"name":"s","type":"set","action":"remove","value":"x"}]`,
		`[{"name":"s","type":"map","action":"add","key":"","value":false}]`,
		`[{"name":"operatingsystem","action":"remove","key":"ostype"}]`,
		`[{"name":"t","action":"add","key":"k","value":1},{"name":"t","action":"add","key":"k","value":1}]`,
	}
	for i, seed := range seeds {
		f.Add(seed, seeds[(i+3)%len(seeds)])
	}
	e := custom(f, `package policy
import rego.v1
api_version := "0.12.0"
mount_device := {"allowed": true, "metadata": json.unmarshal(input.deviceHash)}
dump_stacks := {"allowed": false}
reason := {"errors": [json.marshal(data.metadata)]}
`)
	whole := func(t *testing.T) map[string]any {
		t.Helper()
		return state(t, e)
	}
	base := map[string]any{"operatingsystem": map[string]any{"ostype": "linux"}}
	f.Fuzz(func(t *testing.T, first, second string) {
		if len(first)+len(second) > fuzzTextLimit || !utf8.ValidString(first) || !utf8.ValidString(second) {
			return
		}
		states, undos := []map[string]any{base}, []func(){}
		for _, text := range []string{first, second} {
			d, err := e.Decide(context.Background(), enforcer.MountDeviceInput{DeviceHash: text})
			var denial *enforcer.Denial
			if errors.As(err, &denial) {
				// json.unmarshal of what is no JSON is undefined: then there is no rule.
				if json.Valid([]byte(text)) {
					t.Fatalf("%q: got %v", text, err)
				}
				continue
			}
			if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("got %q, want one line", err)
			}
			want, ok := metadataModel(states[len(states)-1], text)
			if modelled(text) && (err == nil) != ok {
				t.Fatalf("%q: got %v, want it to hold: %t", text, err, ok)
			}
			if err != nil {
				continue
			}
			undo, err := d.Commit()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(withoutEmpty(want), whole(t)); modelled(first+second) && diff != "" {
				t.Errorf("%q: (-want +got)\n%s", text, diff)
			}
			states, undos = append(states, want), append(undos, undo)
		}
		for i := len(undos) - 1; i >= 0; i-- {
			undos[i]()
			if diff := cmp.Diff(withoutEmpty(states[i]), whole(t)); (modelled(first+second) || i == 0) && diff != "" {
				t.Fatalf("after the undo of %d (-want +got)\n%s", i, diff)
			}
		}
	})
}

// withoutEmpty leaves out tables without entries, as state does.
func withoutEmpty(tables map[string]any) map[string]any {
	out := map[string]any{}
	for name, table := range tables {
		if m, ok := table.(map[string]any); !ok || len(m) > 0 {
			out[name] = table
		}
	}
	return out
}
