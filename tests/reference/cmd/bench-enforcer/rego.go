package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/tests/cases"
)

const ownRegoRuns = 300

// ownRule makes a policy more than data and delegation.
const ownRule = "\nexec_external := {\"allowed\": count(input.argList) > 3}\n"

// measureOwnRego compares create_container under a policy that the enforcer leaves to the engine with the bare engine: the
// same text, the query prepared, the state in a store of the engine's own values, the input parsed before. What ours takes
// besides is reading the request, the deadline, and the answer.
func measureOwnRego(n int) (own, bare sample, err error) {
	ctx := context.Background()
	policy, admission := cases.Sized(n, false)
	policy = strings.Replace(policy, "exec_external := data.framework.exec_external\n", ownRule, 1)
	e, err := enforcer.Load(ctx, []byte(policy), options())
	if err != nil {
		return nil, nil, err
	}
	if name, _ := e.Judge(); name != enforcer.JudgeOPA {
		return nil, nil, fmt.Errorf("the policy with a rule of its own is judged by %s", name)
	}
	b, err := newBare(policy)
	if err != nil {
		return nil, nil, err
	}
	steps := admission(n / 2)
	create := steps[len(steps)-2]
	for _, in := range steps[:len(steps)-2] {
		d, err := e.Decide(ctx, in)
		if err != nil {
			return nil, nil, err
		}
		if _, err := d.Commit(); err != nil {
			return nil, nil, err
		}
		if err := b.advance(ctx, in); err != nil {
			return nil, nil, err
		}
	}
	ask, err := b.prepare(ctx, create)
	if err != nil {
		return nil, nil, err
	}
	runtime.GC()
	for i := range ownRegoRuns {
		if i%2 == 0 {
			if err := timeOwn(&own, e, create); err != nil {
				return nil, nil, err
			}
		}
		start := time.Now()
		answer, err := ask()
		bare.add(time.Since(start))
		if err != nil {
			return nil, nil, err
		}
		if allowed := answer.Get(ast.StringTerm("allowed")); allowed == nil || !allowed.Equal(ast.BooleanTerm(true)) {
			return nil, nil, fmt.Errorf("the bare engine refuses")
		}
		if i%2 == 1 {
			if err := timeOwn(&own, e, create); err != nil {
				return nil, nil, err
			}
		}
	}
	return own, bare, nil
}

func timeOwn(s *sample, e *enforcer.Enforcer, in enforcer.Input) error {
	start := time.Now()
	_, err := e.Decide(context.Background(), in)
	s.add(time.Since(start))
	return err
}

// bareEngine is the engine with the policy, the framework and the state, and nothing around it.
type bareEngine struct {
	compiler *ast.Compiler
	data     map[string]any
}

func newBare(policy string) (*bareEngine, error) {
	modules := map[string]*ast.Module{}
	parse := func(name, text string) error {
		m, err := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		modules[name] = m
		return err
	}
	if err := parse("policy.rego", policy); err != nil {
		return nil, err
	}
	for _, m := range aci.Modules() {
		if err := parse(m.Name, m.Text); err != nil {
			return nil, err
		}
	}
	compiler := ast.NewCompiler()
	if compiler.Compile(modules); compiler.Failed() {
		return nil, compiler.Errors
	}
	return &bareEngine{compiler: compiler, data: map[string]any{
		"sandboxPrefix": aci.SandboxPrefix, "hugePagesPrefix": aci.HugePagesPrefix, "plan9Prefix": aci.Plan9Prefix,
		"defaultMounts": aci.DefaultMounts(), "privilegedMounts": aci.PrivilegedMounts(),
		"defaultUnprivilegedCapabilities": aci.UnprivilegedCapabilities(), "defaultPrivilegedCapabilities": aci.PrivilegedCapabilities(),
		"metadata": map[string]map[string]any{},
	}}, nil
}

// prepare makes a question ready: the query compiled, state and input as values of the engine.
func (b *bareEngine) prepare(ctx context.Context, in enforcer.Input) (func() (ast.Object, error), error) {
	data, err := generic(b.data)
	if err != nil {
		return nil, err
	}
	store := inmem.NewFromObjectWithOpts(data.(map[string]any), inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	doc, err := generic(in)
	if err != nil {
		return nil, err
	}
	input, err := ast.InterfaceToValue(doc)
	if err != nil {
		return nil, err
	}
	qc := b.compiler.QueryCompiler()
	body, err := qc.Compile(ast.MustParseBody("result = data.policy." + string(in.Point())))
	if err != nil {
		return nil, err
	}
	term := ast.NewTerm(input)
	return func() (ast.Object, error) {
		txn, err := store.NewTransaction(ctx)
		if err != nil {
			return nil, err
		}
		defer store.Abort(ctx, txn)
		return run(ctx, topdown.NewQuery(body).WithCompiler(b.compiler).WithQueryCompiler(qc).WithInput(term), store, txn)
	}, nil
}

func run(ctx context.Context, q *topdown.Query, store storage.Store, txn storage.Transaction) (ast.Object, error) {
	results, err := q.WithStore(store).WithTransaction(txn).Run(ctx)
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("got %d results, want 1", len(results))
	}
	answer, ok := results[0]["result"].Value.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("the answer is no object")
	}
	return answer, nil
}

// advance asks and makes the changes of state that the answer orders.
func (b *bareEngine) advance(ctx context.Context, in enforcer.Input) error {
	ask, err := b.prepare(ctx, in)
	if err != nil {
		return err
	}
	answer, err := ask()
	if err != nil {
		return err
	}
	doc, err := ast.JSON(answer)
	if err != nil {
		return err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	var ordered struct {
		Allowed  bool
		Metadata []struct {
			Name, Action, Key string
			Value             any
		}
	}
	if err := json.Unmarshal(text, &ordered); err != nil || !ordered.Allowed {
		return fmt.Errorf("%s is not allowed: %v", in.Point(), err)
	}
	tables := b.data["metadata"].(map[string]map[string]any)
	for _, op := range ordered.Metadata {
		if tables[op.Name] == nil {
			tables[op.Name] = map[string]any{}
		}
		tables[op.Name][op.Key] = op.Value
	}
	return nil
}

// generic is v as encoding/json's own types.
func generic(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc any
	err = json.Unmarshal(text, &doc)
	return doc, err
}
