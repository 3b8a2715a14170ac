package enforcer_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// The files contract_*_test.go go through the policy contract section by section. Every plain policy is judged by both judges at once:
// an answer, a reason or a state in which they differ is an error of the decision and fails the row.

// both loads a plain policy for both judges; under the race detector for the compiled rules only, as an agent does: what the engine has to do for a policy
// takes seconds there.
func both(t testing.TB, text string, opts ...enforcer.Options) *enforcer.Enforcer {
	t.Helper()
	want := enforcer.JudgeBoth
	if raceEnabled {
		want = enforcer.JudgeCompiled
	}
	e := load(t, text, judgedBy(want, opts))
	if name, notPlain := e.Judge(); name != want {
		t.Fatalf("judged by %s, want %s: the policy is not plain: %v", name, want, notPlain)
	}
	return e
}

// custom loads a policy with rules of its own, which only the engine may judge.
func custom(t testing.TB, text string, opts ...enforcer.Options) *enforcer.Enforcer {
	t.Helper()
	if _, err := enforcer.Load(context.Background(), []byte(text), judgedBy(enforcer.JudgeCompiled, opts)); err == nil {
		t.Fatal("a policy with rules of its own is taken for a plain one")
	}
	return load(t, text, judgedBy(enforcer.JudgeAuto, opts))
}

func judgedBy(name enforcer.JudgeName, opts []enforcer.Options) enforcer.Options {
	var o enforcer.Options
	if len(opts) > 0 {
		o = opts[0]
	}
	o.Judge = name
	return o
}

// withMounts are the options an agent has: the runtime's mounts are accepted without being named.
func withMounts() enforcer.Options {
	return enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()}
}

// would decides and changes nothing.
func would(t testing.TB, e *enforcer.Enforcer, in enforcer.Input) *enforcer.Decision {
	t.Helper()
	d, err := e.Decide(context.Background(), in)
	if err != nil {
		var denial *enforcer.Denial
		if errors.As(err, &denial) {
			t.Fatalf("%v %q", err, denial.Reasons)
		}
		t.Fatal(err)
	}
	return d
}

// imaged is an enforcer of both judges in which the image of web is joined for idA.
func imaged(t testing.TB, text string, opts ...enforcer.Options) *enforcer.Enforcer {
	t.Helper()
	e := both(t, text, opts...)
	mountImage(t, e, idA, 1)
	return e
}

// changed is in with one thing different.
func changed[T any](in T, change func(*T)) T {
	change(&in)
	return in
}

// one is a policy of one container, web with one thing different.
func one(t testing.TB, change func(*testContainer), flags ...string) string {
	t.Helper()
	c := web()
	if change != nil {
		change(&c)
	}
	return policyText(t, []testContainer{c}, flags...)
}

// stateText makes a policy tell its state: dump_stacks is refused, with the metadata as the only reason.
func stateText(t testing.TB, text string) string {
	t.Helper()
	text = replaceOnce(t, text, "dump_stacks := data.framework.dump_stacks", `dump_stacks := {"allowed": false}`)
	return replaceOnce(t, text, "reason := data.framework.reason",
		`reason := {"errors": [json.marshal(object.remove(data.metadata, ["operatingsystem"]))]}`)
}

// state reads what a policy of stateText keeps, without empty tables.
func state(t testing.TB, e *enforcer.Enforcer) map[string]any {
	t.Helper()
	_, err := e.Decide(context.Background(), enforcer.DumpStacksInput{})
	var denial *enforcer.Denial
	if !errors.As(err, &denial) || len(denial.Reasons) != 1 {
		t.Fatalf("got %v, want the state as the only reason", err)
	}
	var tables map[string]any
	if err := json.Unmarshal([]byte(denial.Reasons[0]), &tables); err != nil {
		t.Fatal(err)
	}
	for name, table := range tables {
		if m, ok := table.(map[string]any); ok && len(m) == 0 {
			delete(tables, name)
		}
	}
	return tables
}

// names replaces the candidates of each container in a state by their names.
func names(tables map[string]any) map[string]any {
	matches, _ := tables["matches"].(map[string]any)
	for id, list := range matches {
		var short []any
		for _, c := range list.([]any) {
			short = append(short, c.(map[string]any)["name"])
		}
		matches[id] = short
	}
	return tables
}

func wantState(t testing.TB, e *enforcer.Enforcer, want string) {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(want), &doc); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(doc, names(state(t, e))); diff != "" {
		t.Errorf("state (-want +got)\n%s", diff)
	}
}
