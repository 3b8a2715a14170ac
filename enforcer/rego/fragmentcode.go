package rego

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// compileFactor is how many times longer than an evaluation a compilation may take: it works on a text of megabytes, and happens once.
const compileFactor = 4

// fragmentCode is a compiled fragment.
type fragmentCode struct {
	// modules are the fragment's text and what the agent adds to its package.
	modules []*ast.Module
	exports map[string]prepared
	// program is the policy with the fragment in it; nil when nothing but the fragment is needed to evaluate the fragment.
	program *program
}

// parameterText gives a fragment its parameters: what the policy gives them, or else the default that the fragment declares. The
// values are a document and no text, so they cannot be anything but values. object.union hides from the type checker what it knows of
// parameters_api: a parameter without a default has to be undefined, not an error.
const parameterText = `package %[1]s

parameter(name) := data[%[2]s][%[3]s][name]

parameter(name) := spec["default"] if {
	not name in object.keys(data[%[2]s][%[3]s])
	spec := object.union({}, data[%[2]s].parameters_api)[name]
}
`

// bounded runs a compilation and answers when the deadline has passed, also if the compiler does not: it cannot be stopped. Until it has
// ended nothing else of a fragment is compiled, so that a host cannot pile them up.
func bounded[T any](ctx context.Context, j *Judge, compile func() (T, error)) (T, error) {
	var none T
	deadline := time.NewTimer(compileFactor * j.opts.EvalTimeout)
	defer deadline.Stop()
	select {
	case j.compiling <- struct{}{}:
	case <-deadline.C:
		return none, &fragment.Error{Reason: fragment.ReasonRego, Err: errors.New("another fragment is still being compiled")}
	case <-ctx.Done():
		return none, ctx.Err()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		func() {
			defer recoverTo(&r.err, "compile fragment")
			r.value, r.err = compile()
		}()
		<-j.compiling
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil && !errors.As(r.err, new(*fragment.Error)) {
			r.err = &fragment.Error{Reason: fragment.ReasonRego, Err: r.err}
		}
		return r.value, r.err
	case <-deadline.C:
		return none, &fragment.Error{Reason: fragment.ReasonRego, Err: errors.New("the compilation took too long")}
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// newFragmentCode parses a fragment as Rego v1 and, when that or its compilation fails, as v0, like a policy.
func newFragmentCode(f *fragment.Fragment, policy string, base *snapshot, skeleton bool) (*fragmentCode, error) {
	code, errV1 := newFragmentCodeAs(f, policy, base, skeleton, ast.RegoV1)
	if errV1 == nil {
		return code, nil
	}
	if errors.As(errV1, new(*fragment.Error)) {
		return nil, errV1
	}
	code, errV0 := newFragmentCodeAs(f, policy, base, skeleton, ast.RegoV0)
	if errV0 == nil {
		return code, nil
	}
	if errors.As(errV1, new(*parseError)) && !errors.As(errV0, new(*parseError)) {
		return nil, errV0
	}
	return nil, errV1
}

func newFragmentCodeAs(f *fragment.Fragment, policy string, base *snapshot, skeleton bool, version ast.RegoVersion) (*fragmentCode, error) {
	module, err := ast.ParseModuleWithOpts("fragment.rego", f.Text, ast.ParserOptions{RegoVersion: version, Capabilities: language()})
	if err != nil {
		return nil, &parseError{fmt.Errorf("parse: %w", shortError(err))}
	}
	if err := checkFragment(module, f.Namespace); err != nil {
		return nil, err
	}
	if skeleton && mentionsBeyond(module, func(name string) bool { return name == f.Namespace || base.kept[name] != nil }) {
		return nil, &fragment.Error{Reason: fragment.ReasonEval, Err: errors.New("it reads documents besides its own package and those of fragments that stayed")}
	}
	quoted := strconv.Quote(f.Namespace)
	helper, err := ast.ParseModuleWithOpts("parameters.rego", fmt.Sprintf(parameterText, f.Namespace, quoted, strconv.Quote(givenParameters)),
		ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: language()})
	if err != nil {
		return nil, &parseError{fmt.Errorf("parse: %w", shortError(err))}
	}
	code := &fragmentCode{modules: []*ast.Module{module, helper}}
	compiler := ast.NewCompiler().WithCapabilities(language()).WithDefaultRegoVersion(version)
	compiler.Compile(map[string]*ast.Module{"fragment.rego": module, "parameters.rego": helper})
	if base.program.loadDelegated && !compiler.Failed() && selfContained(compiler, f.Namespace) {
		return code, code.prepare(compiler, f.Namespace)
	}
	if !mentionsOthers(module, f.Namespace) && compiler.Failed() {
		return nil, fmt.Errorf("compile: %w", shortError(compiler.Errors))
	}
	if code.program, err = code.join(policy, base, f.Namespace); err != nil {
		return nil, err
	}
	return code, code.prepare(code.program.compiler, f.Namespace)
}

// checkFragment holds the parser's word against what the policy was asked about, and keeps the fragment from answering for its parameters.
func checkFragment(module *ast.Module, namespace string) error {
	if got := module.Package.Path; len(got) != 2 || !got[1].Equal(ast.StringTerm(namespace)) {
		return &fragment.Error{Reason: fragment.ReasonNamespace, Err: fmt.Errorf("got package %s, want %s", point.Quote(got.String()), namespace)}
	}
	for _, r := range module.Rules {
		for r := r; r != nil; r = r.Else {
			ref := r.Head.Ref()
			for _, name := range []string{"parameter", givenParameters} {
				if len(ref) > 0 && (ref[0].Equal(ast.VarTerm(name)) || ref[0].Equal(ast.StringTerm(name))) {
					return &fragment.Error{Reason: fragment.ReasonRego, Err: fmt.Errorf("it defines %s, which is the agent's", name)}
				}
			}
		}
	}
	return nil
}

func (c *fragmentCode) prepare(compiler *ast.Compiler, namespace string) error {
	c.exports = make(map[string]prepared, len(exports))
	for _, name := range exports {
		q, err := prepareRef(compiler, namespace, name)
		if err != nil {
			return err
		}
		c.exports[name] = q
	}
	return nil
}

// join compiles the policy with the fragment in it.
func (c *fragmentCode) join(policy string, base *snapshot, namespace string) (*program, error) {
	kept := maps.Clone(base.kept)
	delete(kept, namespace)
	return newProgram(policy, append(modulesOf(kept), c.modules...)...)
}

func modulesOf(kept map[string]*keptModule) []*ast.Module {
	var list []*ast.Module
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		list = append(list, kept[name].modules...)
	}
	return list
}

// selfContained says whether a compiled fragment reads no document besides its own package: then its value is the same with or without
// the policy around it.
func selfContained(compiler *ast.Compiler, namespace string) bool {
	for _, m := range compiler.Modules {
		if mentionsOthers(m, namespace) {
			return false
		}
	}
	return true
}

func mentionsOthers(module *ast.Module, namespace string) bool {
	return mentionsBeyond(module, func(name string) bool { return name == namespace })
}

// mentionsBeyond says whether a module reads a document other than the packages that known names.
func mentionsBeyond(module *ast.Module, known func(name string) bool) bool {
	beyond := false
	look := func(ref ast.Ref) bool {
		if len(ref) == 0 || !ref[0].Equal(ast.DefaultRootDocument) {
			return beyond
		}
		name := ast.String("")
		if len(ref) > 1 {
			name, _ = ref[1].Value.(ast.String)
		}
		beyond = beyond || !known(string(name))
		return beyond
	}
	for _, imported := range module.Imports {
		if ref, ok := imported.Path.Value.(ast.Ref); ok {
			look(ref)
		}
	}
	for _, r := range module.Rules {
		ast.WalkRefs(r, look)
	}
	return beyond
}
