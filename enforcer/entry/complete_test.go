package entry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

// framework is the framework's own text, compiled. What it finds at data.policy comes from a store: the same for its rules
// as a module of that package, and a hundred times cheaper than compiling one for each case.
var framework = sync.OnceValue(func() *ast.Compiler {
	modules := map[string]*ast.Module{}
	for _, m := range aci.Modules() {
		modules[m.Name] = ast.MustParseModuleWithOpts(m.Text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	}
	compiler := ast.NewCompiler()
	if compiler.Compile(modules); compiler.Failed() {
		panic(compiler.Errors)
	}
	return compiler
})

// frameworkRule evaluates a rule of the framework over the rules of a policy; nil is undefined.
func frameworkRule(t testing.TB, policy map[string]ast.Value, rule string) ast.Value {
	t.Helper()
	doc := map[string]any{}
	for name, v := range policy {
		x, err := ast.JSON(v)
		if err != nil {
			t.Fatal(err)
		}
		doc[name] = x
	}
	ctx := context.Background()
	store := inmem.NewFromObject(map[string]any{"policy": doc})
	txn := storage.NewTransactionOrDie(ctx, store)
	defer store.Abort(ctx, txn)
	query := ast.MustParseBody("x = data.framework." + rule)
	results, err := topdown.NewQuery(query).WithCompiler(framework()).WithStore(store).WithTransaction(txn).Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 {
		return nil
	}
	return results[0][ast.Var("x")].Value
}

// checkCandidates compares what becomes of lists with what the framework's text makes of them.
func checkCandidates(t *testing.T, version string, list []*Container, rules []*PlatformRule) {
	t.Helper()
	policy := map[string]ast.Value{
		"containers":     arrayOf(list, (*Container).Value),
		"platform_rules": arrayOf(rules, (*PlatformRule).Value),
	}
	if version != "" {
		policy["framework_version"] = ast.String(version)
	}
	before := fmt.Sprint(policy)
	got := Candidates(Complete(list, version), RulesOf(rules, version))
	same(t, "framework "+version, got, (*Container).Value, frameworkRule(t, policy, "candidate_containers"))
	policy["containers"], policy["platform_rules"] = arrayOf(list, (*Container).Value), arrayOf(rules, (*PlatformRule).Value)
	if fmt.Sprint(policy) != before {
		t.Error("the input was changed")
	}
	for _, c := range got {
		if slices.IndexFunc(list, func(in *Container) bool { return in.Index == c.Index && in.Name == c.Name }) < 0 {
			t.Errorf("index %d of %q is not its container's", c.Index, c.Name)
		}
	}
}

var frameworks = []string{
	"", "0.0.9", "0.1.0", "0.2.0", "0.2.1", "0.2.2", "0.2.3", "0.3.0", "0.4.0", "0.4.1", "0.4.9", "0.5.0", "0.5.1", "0.10.0", "1.0.0",
}

// without takes each field of each container away with a chance of one in n.
func without(rng *rand.Rand, list []*Container, n int) []*Container {
	out := make([]*Container, len(list))
	for i, c := range list {
		var less Container
		for _, k := range containerKeys {
			if c.Present&k.field != 0 && rng.IntN(n) != 0 {
				less.copyField(c, k.field)
				less.Present |= k.field
			}
		}
		less.Index = i
		out[i] = &less
	}
	return out
}

var someRules = []*PlatformRule{
	{EnvRules: []*EnvRule{{Whole: true, Pattern: "A=b", Strategy: "string"}}},
	{Mounts: []*Mount{{Destination: "/d", Source: "s", Options: []string{"ro"}, Type: "bind"}}, EnvRules: []*EnvRule{}},
	{},
}

func TestCandidatesAreTheFrameworks(t *testing.T) {
	const seed = 20
	rng := rand.New(rand.NewPCG(seed, seed))
	texts := recorded(t)
	names := make([]string, 0, len(texts))
	for name := range texts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		data := mustRead(t, texts[name]).Data
		for _, version := range frameworks {
			t.Run(name+"/"+version, func(t *testing.T) {
				checkCandidates(t, version, data.Containers, data.PlatformRules)
				for _, n := range []int{15, 60} {
					checkCandidates(t, version, without(rng, data.Containers, n), someRules[:rng.IntN(len(someRules)+1)])
				}
			})
		}
	}
}

func TestCompleteShares(t *testing.T) {
	all := mustRead(t, recorded(t)["confcom-0.12.0-0.5.0.rego"]).Data.Containers
	for _, version := range []string{"0.4.1", "0.4.9", "0.5.0"} {
		got := Complete(all, version)
		if !slices.Equal(got, all) {
			t.Errorf("%s: complete containers were copied", version)
		}
	}
	// Signals 9 and 15 are there already, so even an older framework adds nothing.
	if got := Complete(all, "0.3.0"); !slices.Equal(got, all) {
		t.Error("0.3.0: complete containers were copied")
	}
	if got := Candidates(all, nil); !slices.Equal(got, all) {
		t.Error("no platform rule, but variants")
	}
}

// TestCompleteKeepsSignalsApart: containers share lists of signals, so completing one must not write behind another's.
func TestCompleteKeepsSignalsApart(t *testing.T) {
	signals := append(make([]int64, 0, 8), 1)
	list := []*Container{{Signals: signals, Present: ^Fields(0)}, {Signals: signals, Present: ^Fields(0)}}
	got := Complete(list, "0.3.0")
	if !slices.Equal(got[0].Signals, []int64{1, 9, 15}) || !slices.Equal(signals[:3], []int64{1, 0, 0}) {
		t.Errorf("got %v and %v behind the original", got[0].Signals, signals[:3])
	}
}

func TestVersions(t *testing.T) {
	for _, text := range []string{"", "1", "0.5", "0.5.0.0", "v0.5.0", "00.5.0", "0.05.0", "0.5.0-rc1", "0.5.-1", "0.5.0\n", "0.5.9999999999", "٠.5.0"} {
		if v, ok := parseVersion(text); ok {
			t.Errorf("%q got %v, want none", text, v)
		}
		if Complete([]*Container{{}}, text) != nil {
			t.Errorf("%q has containers", text)
		}
	}
	if v, ok := parseVersion("0.10.999999999"); !ok || v != (semver{0, 10, 999999999}) {
		t.Errorf("got %v, %v", v, ok)
	}
}
