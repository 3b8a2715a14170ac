package policydoc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

// evalTimeout bounds the evaluation of one list.
const evalTimeout = 10 * time.Second

// evaluation answers what a rule of the policy is worth when nothing was asked yet.
type evaluation struct {
	ctx      context.Context
	syntax   string
	module   *ast.Module // as it was parsed
	compiler *ast.Compiler
	rules    map[string][]*ast.Rule
}

// newEvaluation compiles the text as package enforcer does: as Rego v1, or else as v0. The enforcer has loaded the text, so
// the functions it calls are those that a policy may call. The lists of a plain policy are constants: the framework, which takes
// the most time, is not needed for them.
func newEvaluation(ctx context.Context, text string, plain bool) (*evaluation, error) {
	e, err := evaluationOf(ctx, text, plain, ast.RegoV1)
	if err != nil {
		if older, errV0 := evaluationOf(ctx, text, plain, ast.RegoV0); errV0 == nil {
			return older, nil
		}
	}
	return e, err
}

func evaluationOf(ctx context.Context, text string, plain bool, version ast.RegoVersion) (*evaluation, error) {
	caps := ast.CapabilitiesForThisVersion()
	caps.AllowNet = []string{}
	module, err := ast.ParseModuleWithOpts("policy.rego", text, ast.ParserOptions{RegoVersion: version, Capabilities: caps})
	if err != nil {
		return nil, err
	}
	all := map[string]*ast.Module{"policy.rego": module.Copy()}
	for _, m := range aci.Modules() {
		if plain {
			break
		}
		parsed, err := ast.ParseModuleWithOpts(m.Name, m.Text, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: caps})
		if err != nil {
			return nil, err
		}
		all[m.Name] = parsed
	}
	compiler := ast.NewCompiler().WithCapabilities(caps).WithDefaultRegoVersion(version)
	if compiler.Compile(all); compiler.Failed() {
		return nil, compiler.Errors
	}
	e := &evaluation{ctx: ctx, syntax: "v1", module: module, compiler: compiler, rules: map[string][]*ast.Rule{}}
	if version == ast.RegoV0 {
		e.syntax = "v0"
	}
	for _, r := range module.Rules {
		e.rules[ruleName(r)] = append(e.rules[ruleName(r)], r)
	}
	return e, nil
}

func ruleName(r *ast.Rule) string {
	if ref := r.Head.Ref(); len(ref) > 0 {
		if v, ok := ref[0].Value.(ast.Var); ok {
			return string(v)
		}
	}
	return r.Head.Name.String()
}

func (e *evaluation) defines(name string) bool { return len(e.rules[name]) > 0 }

// value is what a rule is worth; known is false for a rule that is absent, undefined, or not to be evaluated.
func (e *evaluation) value(name string) (v any, known bool) {
	if !e.defines(name) {
		return nil, false
	}
	term, err := e.eval(name)
	if err != nil {
		return nil, false
	}
	v, err = ast.JSON(term)
	return v, err == nil
}

var errUndefined = errors.New("undefined")

func (e *evaluation) eval(name string) (v ast.Value, err error) {
	// The engine is not trusted to survive every text; a list that it fails on is a list that is not known.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("engine panic: %v", r)
		}
	}()
	const result = ast.Var("result")
	ref := ast.Ref{ast.DefaultRootDocument, ast.StringTerm("policy"), ast.StringTerm(name)}
	qc := e.compiler.QueryCompiler()
	body, err := qc.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(result), ast.NewTerm(ref))))
	if err != nil {
		return nil, err
	}
	store := inmem.NewFromObject(map[string]any{"metadata": map[string]any{}})
	txn, err := store.NewTransaction(e.ctx)
	if err != nil {
		return nil, err
	}
	defer store.Abort(e.ctx, txn)
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(evalTimeout, cancel.Cancel)
	defer timer.Stop()
	stop := context.AfterFunc(e.ctx, cancel.Cancel)
	defer stop()
	results, err := topdown.NewQuery(body).WithCompiler(e.compiler).WithQueryCompiler(qc).WithStore(store).WithTransaction(txn).
		WithCancel(cancel).Run(e.ctx)
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || results[0][result] == nil {
		return nil, errUndefined
	}
	return results[0][result].Value, nil
}
