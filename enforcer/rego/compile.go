package rego

import (
	"errors"
	"fmt"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/agentpolicy"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// newProgram parses and compiles a policy and the packages that fragments add, the policy as Rego v1 if it is that, else as v0: policies in use were written for both. The
// text says nothing about its version, and most of what tools emit means the same in either.
func newProgram(text string, kept ...*ast.Module) (*program, error) {
	v1, errV1 := parseAndCompile(text, ast.RegoV1, kept)
	if errV1 == nil {
		return v1, nil
	}
	if final := (*packageError)(nil); errors.As(errV1, &final) {
		return nil, errV1
	}
	v0, errV0 := parseAndCompile(text, ast.RegoV0, kept)
	if errV0 == nil {
		return v0, nil
	}
	// The version whose parser got further is the one the author had in mind.
	var parse *parseError
	if errors.As(errV1, &parse) && !errors.As(errV0, &parse) {
		return nil, errV0
	}
	return nil, errV1
}

func parseAndCompile(text string, version ast.RegoVersion, kept []*ast.Module) (*program, error) {
	caps := language()
	module, err := ast.ParseModuleWithOpts("policy.rego", text, ast.ParserOptions{RegoVersion: version, Capabilities: caps})
	if err != nil {
		return nil, &parseError{fmt.Errorf("parse: %w", shortError(err))}
	}
	if err := checkPackage(module); err != nil {
		return nil, err
	}
	modules, err := frameworkModules()
	if err != nil {
		return nil, err
	}
	all := map[string]*ast.Module{"policy.rego": module}
	for name, m := range modules {
		all[name] = m
	}
	for i, m := range kept {
		all[fmt.Sprintf("fragment-%d.rego", i)] = m
	}
	compiler := ast.NewCompiler().WithCapabilities(caps).WithDefaultRegoVersion(version)
	if compiler.Compile(all); compiler.Failed() {
		return nil, fmt.Errorf("compile: %w", shortError(compiler.Errors))
	}
	p := &program{compiler: compiler, loadDelegated: delegates(module, "load_fragment")}
	return p, p.prepare()
}

// delegates says whether a policy's only rule of this name is `name := data.framework.name`.
func delegates(module *ast.Module, name string) bool {
	found := false
	for _, r := range module.Rules {
		if ref := r.Head.Ref(); len(ref) == 0 || !ref[0].Equal(ast.VarTerm(name)) {
			continue
		}
		want := ast.NewTerm(ast.Ref{ast.DefaultRootDocument, ast.StringTerm("framework"), ast.StringTerm(name)})
		plain := len(r.Head.Ref()) == 1 && r.Head.Value != nil && r.Head.Value.Equal(want) &&
			r.Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true)))) && r.Else == nil && len(r.Head.Args) == 0
		if found || !plain {
			return false
		}
		found = true
	}
	return found
}

type parseError struct{ error }

func (e *parseError) Unwrap() error { return e.error }

// packageError is about a text that is Rego but not an ACI policy.
type packageError struct{ error }

func (e *packageError) Unwrap() error { return e.error }

// checkPackage keeps a policy out of the agent's own packages: in `package framework` it would add rules to the fixed ones.
func checkPackage(module *ast.Module) error {
	name := module.Package.Path.String()
	switch name {
	case "data.policy":
		return nil
	case "data." + agentpolicy.Package:
		return &packageError{agentpolicy.ErrUnsupported}
	}
	return &packageError{fmt.Errorf("package: got %s, want policy", point.Quote(name[len("data."):]))}
}

// language is shared by all enforcers; nothing changes it after it was built.
var language = sync.OnceValue(capabilities)

var framework struct {
	once    sync.Once
	modules map[string]*ast.Module
	err     error
}

// frameworkModules parses the framework once a process; the compiler works on copies.
func frameworkModules() (map[string]*ast.Module, error) {
	framework.once.Do(func() {
		framework.modules = map[string]*ast.Module{}
		for _, m := range aci.Modules() {
			parsed, err := ast.ParseModuleWithOpts(m.Name, m.Text, ast.ParserOptions{
				RegoVersion: ast.RegoV1, Capabilities: language(),
			})
			if err != nil {
				framework.err = fmt.Errorf("framework: %w", err)
				return
			}
			framework.modules[m.Name] = parsed
		}
	})
	return framework.modules, framework.err
}

func firstSnapshot(opts Options) *snapshot {
	return &snapshot{
		fixed: map[string]ast.Value{
			"api":                             apiObject(),
			"defaultMounts":                   array(opts.DefaultMounts, mountValue),
			"privilegedMounts":                array(opts.PrivilegedMounts, mountValue),
			"sandboxPrefix":                   ast.String(aci.SandboxPrefix),
			"hugePagesPrefix":                 ast.String(aci.HugePagesPrefix),
			"plan9Prefix":                     ast.String(aci.Plan9Prefix),
			"defaultUnprivilegedCapabilities": stringArray(aci.UnprivilegedCapabilities()),
			"defaultPrivilegedCapabilities":   stringArray(aci.PrivilegedCapabilities()),
		},
		metadata: map[string]ast.Value{
			"operatingsystem": object(str("ostype", "linux")),
		},
	}
}
