package rego

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
)

const fragmentPolicy = `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
fragments := [
	{"issuer": "did:a", "feed": "f", "minimum_svn": 1, "includes": ["containers", "external_processes"]},
	{"issuer": "did:n", "feed": "f", "minimum_svn": 1, "includes": ["namespace"]},
	{"issuer": "did:m", "feed": "f", "minimum_svn": 1, "includes": ["namespace", "fragments"]},
]
load_fragment := data.framework.load_fragment
get_properties := {"allowed": data.one.open}
dump_stacks := {"allowed": data.two.open}
reason := data.framework.reason
`

func fragmentJudge(t testing.TB, policy string) *Judge {
	t.Helper()
	j, err := New(t.Context(), policy, Options{EvalTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func textOf(issuer, namespace, rules string) *fragment.Fragment {
	svn := int64(1)
	return &fragment.Fragment{
		Issuer: issuer, Feed: "f", HeaderSVN: &svn, Namespace: namespace,
		Text: "package " + namespace + "\nframework_version := \"0.5.0\"\n" + rules + "\n",
	}
}

func commit(t testing.TB, j *Judge, f *fragment.Fragment) (p point.Pending, undo func() error) {
	t.Helper()
	v, err := j.LoadFragment(t.Context(), f)
	if err != nil || !v.Allowed {
		t.Fatalf("got %+v, %v, want it allowed", v, err)
	}
	if undo, err = v.Pending.Commit(); err != nil {
		t.Fatal(err)
	}
	return v.Pending, undo
}

// TestReservedNames: a fragment's package may not stand in the place of a document of the agent.
func TestReservedNames(t *testing.T) {
	s := firstSnapshot(Options{})
	for name := range s.fixed {
		if !slices.Contains(fragment.Reserved, name) {
			t.Errorf("%s is a document of the agent and not reserved", name)
		}
	}
	if _, err := fragment.Namespace("package " + beingLoaded + "\n"); err == nil {
		t.Errorf("%q can be a fragment's package", beingLoaded)
	}
}

// TestFragmentProgram: data needs no compilation, and a package that stays is one snapshot with the state that it came with.
func TestFragmentProgram(t *testing.T) {
	j := fragmentJudge(t, fragmentPolicy)
	first := j.snapshot().program
	commit(t, j, textOf("did:a", "infra", `containers := [{"id": 1}]`))
	if j.snapshot().program != first {
		t.Error("a fragment of lists compiled the policy anew")
	}
}

// TestFragmentPackagesOneByOne: of two packages the one that came first can go, and the other is left as if it had come alone.
func TestFragmentPackagesOneByOne(t *testing.T) {
	j := fragmentJudge(t, strings.Replace(fragmentPolicy, "load_fragment := data.framework.load_fragment", `load_fragment := {"allowed": true, "add_module": true}`, 1))
	asked := func(p point.Point) bool {
		t.Helper()
		in, err := point.DecodeInput(p, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := j.Decide(t.Context(), point.RowByName(p), in)
		return err == nil && v.Allowed
	}
	_, undoOne := commit(t, j, textOf("did:n", "one", "open := true"))
	_, undoTwo := commit(t, j, textOf("did:m", "two", "open if data.one.open"))
	if !asked(point.GetProperties) || !asked(point.DumpStacks) {
		t.Fatal("a rule that stays is not there")
	}
	if err := undoOne(); err != nil {
		t.Fatal(err)
	}
	if asked(point.GetProperties) || asked(point.DumpStacks) {
		t.Error("a rule that was taken back is there")
	}
	if len(j.snapshot().kept) != 1 || j.snapshot().fixed["one"] != nil {
		t.Errorf("got %v, want one package", j.snapshot().kept)
	}
	commit(t, j, textOf("did:n", "one", "open := true"))
	if !asked(point.DumpStacks) {
		t.Error("the second package does not see the first that is there again")
	}
	if err := undoTwo(); err != nil || asked(point.DumpStacks) || !asked(point.GetProperties) {
		t.Errorf("got %v, want the second package gone and the first there", err)
	}
}

func TestContributed(t *testing.T) {
	j := fragmentJudge(t, fragmentPolicy)
	lists := func(p point.Pending) string {
		var docs []any
		for _, e := range Contributed(p) {
			docs = append(docs, document(e))
		}
		text, err := json.Marshal(docs)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	p, _ := commit(t, j, textOf("did:a", "infra", "containers := [{\"id\": 1}]\nfragments := [1]\nother := 2"))
	if got, want := lists(p), `[{"containers":[{"id":1}]}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p, _ = commit(t, j, textOf("did:a", "infra", `containers := [{"id": 1}]`)); len(Contributed(p)) != 0 {
		t.Errorf("the same lists again: got %s", lists(p))
	}
	p, _ = commit(t, j, textOf("did:a", "infra", `external_processes := [{"id": 2}]`))
	if got, want := lists(p), `[{"external_processes":[{"id":2}]}]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := Contributed(nil); got != nil {
		t.Errorf("got %v of nothing", got)
	}
}

// TestFragmentCompilesOneAtATime: a compilation that does not end holds up the next load for as long as a compilation may take.
func TestFragmentCompilesOneAtATime(t *testing.T) {
	j := fragmentJudge(t, fragmentPolicy)
	j.opts.EvalTimeout = 200 * time.Millisecond
	j.compiling <- struct{}{}
	v, err := j.LoadFragment(t.Context(), textOf("did:a", "infra", ""))
	if err != nil || v.Allowed || !strings.Contains(v.Refusal.Text, "still being compiled") {
		t.Errorf("got %+v, %v", v, err)
	}
	<-j.compiling
	commit(t, j, textOf("did:a", "infra", ""))

	release := make(chan struct{})
	_, err = bounded(t.Context(), j, func() (int, error) { <-release; return 0, nil })
	if err == nil || !strings.Contains(err.Error(), "took too long") {
		t.Errorf("got %v", err)
	}
	close(release)
	commit(t, j, textOf("did:a", "infra", ""))

	_, err = bounded(t.Context(), j, func() (int, error) { panic("x") })
	if err == nil || !strings.Contains(err.Error(), "engine panic") {
		t.Errorf("got %v", err)
	}
	commit(t, j, textOf("did:a", "infra", ""))
}

// TestFragmentCompilerIsNotReachedBeforeTheIssuer: while the compiler is taken, a stranger's fragment is refused at once.
func TestFragmentCompilerIsNotReachedBeforeTheIssuer(t *testing.T) {
	j := fragmentJudge(t, fragmentPolicy)
	j.compiling <- struct{}{}
	for _, f := range []*fragment.Fragment{textOf("did:stranger", "infra", ""), textOf("did:a", "framework", "")} {
		f.Feed = map[bool]string{true: "other", false: "f"}[f.Issuer == "did:a"]
		v, err := j.LoadFragment(t.Context(), f)
		if err != nil || v.Allowed || !slices.ContainsFunc(v.Refusal.Reasons, func(r string) bool { return strings.HasPrefix(r, "invalid fragment") }) {
			t.Errorf("%s: got %+v, %v", f.Issuer, v, err)
		}
	}
}

// TestFragmentReadsOthers: a fragment that reads beyond its package gives what it would give as a part of the policy.
func TestFragmentReadsOthers(t *testing.T) {
	j := fragmentJudge(t, fragmentPolicy)
	for _, rule := range []string{
		`containers := [{"id": data.policy.api_version}]`,
		"import data.policy.api_version as v\ncontainers := [{\"id\": v}]",
		"import data.policy\ncontainers := [{\"id\": policy.api_version}]",
		`containers := [{"id": v}] if { some name in ["policy"]; v := data[name].api_version }`,
		`containers := [{"id": x.policy.api_version}] if x := {"policy": data["policy"]}`,
	} {
		first := j.snapshot().program
		v, err := j.LoadFragment(t.Context(), textOf("did:a", "infra", rule))
		if err != nil || !v.Allowed {
			t.Fatalf("%s: got %+v, %v", rule, v, err)
		}
		got := Contributed(v.Pending)
		if len(got) != 1 || got[0].String() != `{"containers": [{"id": "0.12.0"}]}` {
			t.Errorf("%s: got %v", rule, got)
		}
		if j.snapshot().program != first {
			t.Error("the program changed before the commit")
		}
	}
	// Everything at once, itself included, cannot be read.
	v, err := j.LoadFragment(t.Context(), textOf("did:a", "infra", `containers := [x] if x := data`))
	if err != nil || v.Allowed {
		t.Errorf("got %+v, %v, want a refusal", v, err)
	}
}

func TestExtractIsBounded(t *testing.T) {
	left := 1000
	if !fits(ast.NewArray(ast.StringTerm(strings.Repeat("x", 500))), &left) || left != 1000-500-16 {
		t.Errorf("got %d left", left)
	}
	if fits(ast.NewArray(ast.StringTerm(strings.Repeat("x", 500))), &left) {
		t.Error("more fits than there is room")
	}
	j := fragmentJudge(t, fragmentPolicy)
	j.opts.EvalTimeout = time.Minute // the size is what must end it, on the slowest machine
	v, err := j.LoadFragment(t.Context(), textOf("did:a", "infra", `containers := [concat("", [x | some _ in numbers.range(1, 1000)]) | some i in numbers.range(1, 200)]
x := "`+strings.Repeat("x", 100)+`"`))
	if err != nil || v.Allowed || !strings.Contains(v.Refusal.Text, "bytes") {
		t.Errorf("got %+v, %v, want a refusal", v, err)
	}
}

// TestFragmentLoadIsBounded: many evaluations that are each in time are too long together.
func TestFragmentLoadIsBounded(t *testing.T) {
	var entries []string
	for i := range maxParameterSets {
		entries = append(entries, fmt.Sprintf(`{"issuer": "did:a", "feed": "f", "minimum_svn": 1, "includes": ["containers"], "parameters": {"n": %d}}`, i))
	}
	j := fragmentJudge(t, "package policy\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\nload_fragment := data.framework.load_fragment\nfragments := ["+
		strings.Join(entries, ",")+"]\n")
	j.opts.EvalTimeout = 300 * time.Millisecond
	f := textOf("did:a", "infra", `containers := [1 | some a in numbers.range(1, 400); some b in numbers.range(1, 400); a + b == parameter("n")]`)
	v, err := j.LoadFragment(t.Context(), f)
	if err != nil || v.Allowed || !strings.Contains(v.Refusal.Text, "too long") {
		t.Errorf("got %+v, %v, want a refusal", v, err)
	}
}

func TestReaches(t *testing.T) {
	for _, c := range []struct {
		svn, minimum string
		want         bool
	}{
		{"2", "1", true},
		{"1", "1", true},
		{"1", "2", false},
		{"10", "9", true},
		{"1.10.0", "1.9.0", true},
		{"1.9.0", "1.10.0", false},
		{"1.0.0", "1", false},
		{"1", "1.0.0", false},
		{"", "", false},
	} {
		if got := reaches(c.svn, c.minimum); got != c.want {
			t.Errorf("%s reaches %s: got %v", c.svn, c.minimum, got)
		}
	}
}

// FuzzFragmentText: a fragment of an issuer that the policy trusts is loaded as a whole or refused, and taken back without a trace. It
// never changes what the policy says of anything else.
func FuzzFragmentText(f *testing.F) {
	for _, rules := range []string{
		`containers := [{"id": parameter("x")}]`, "parameters_api := {\"x\": {\"default\": 1}}\ncontainers := [parameter(\"x\")]",
		"svn := 2", "import data.framework\ncontainers := framework.candidate_containers", "open := true", "x contains 1\nx contains 2",
		"containers := [y | some y in numbers.range(1, 10)]", "package framework", `containers := [c] { c := "v0" }`, "x := y\ny := x",
		`containers := [data[input.namespace]]`, `metadata := {"a": 1}`, "default parameter(_) := 1", "a.b.c[x] := 1 if some x in [1]",
	} {
		f.Add(rules)
	}
	j := fragmentJudge(f, strings.Replace(fragmentPolicy, `"includes": ["containers", "external_processes"]`, `"includes": ["containers", "platform_rules", "namespace"]`, 1))
	j.opts.EvalTimeout = 200 * time.Millisecond
	state := func() string { return fmt.Sprint(j.Metadata(), len(j.snapshot().kept), len(j.snapshot().fixed)) }
	before, program := state(), j.snapshot().program
	f.Fuzz(func(t *testing.T, rules string) {
		if len(rules) > 1<<10 || aci.Nesting(rules) > 50 {
			return
		}
		v, err := j.LoadFragment(t.Context(), textOf("did:a", "infra", rules))
		if (v == nil) == (err == nil) {
			t.Fatalf("got %v and %v", v, err)
		}
		if got := state(); got != before {
			t.Fatalf("the state changed before the commit: got %s", got)
		}
		if v == nil || !v.Allowed {
			return
		}
		undo, err := v.Pending.Commit()
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range []point.Input{point.GetPropertiesInput{}, point.CreateContainerInput{}, point.LoadFragmentInput{Issuer: "did:b", Feed: "f"}} {
			if v, err := j.Decide(t.Context(), point.RowOf(in), in); err == nil && v.Allowed {
				t.Fatalf("%s is allowed after %q", in.Point(), rules)
			}
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		if got := state(); got != before || j.snapshot().program != program {
			t.Fatalf("got %s after the undo", got)
		}
	})
}
