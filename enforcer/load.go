package enforcer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/agentpolicy"
)

// Limits of a policy text. SetPolicy brings at most a ttrpc frame; an initdata disk may bring more.
const (
	DefaultPolicyLimit = 4 << 20
	MaxPolicyLimit     = 64 << 20
	// maxNesting bounds how deep a policy text may nest. The parser recurses, and a stack that overflows ends the process
	// without a chance to refuse.
	maxNesting         = 1000
	defaultEvalTimeout = 5 * time.Second
)

// Options of an enforcer. The zero value is what the agent uses for a policy by SetPolicy.
type Options struct {
	// Strict refuses points that an old policy does not know, instead of applying the default of its time.
	Strict bool
	// DefaultMounts and PrivilegedMounts are accepted without being named in the policy.
	DefaultMounts, PrivilegedMounts []Mount
	// EvalTimeout bounds one evaluation; 0 means 5 seconds.
	EvalTimeout time.Duration
	// PolicyLimit bounds the policy text in bytes; 0 means 4 MiB, more than 64 MiB is an error.
	PolicyLimit int
}

// Load compiles a policy. The caller has compared its digest with HOST_DATA: the text decides everything from here on. An
// error means that there is no enforcer, so nothing may be allowed.
func Load(ctx context.Context, policy []byte, opts Options) (e *Enforcer, err error) {
	defer recoverTo(&err, "load policy")
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	if len(policy) > opts.PolicyLimit {
		return nil, fmt.Errorf("load policy: got %d bytes, want at most %d", len(policy), opts.PolicyLimit)
	}
	if depth := nesting(policy); depth > maxNesting {
		return nil, fmt.Errorf("load policy: brackets nest deeper than %d", maxNesting)
	}
	compiler, err := compile(string(policy))
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	e = &Enforcer{opts: opts, compiler: compiler, state: firstSnapshot(opts)}
	if err := e.prepare(); err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	if e.apiVersion, err = e.readAPIVersion(ctx); err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	return e, nil
}

func (o *Options) complete() error {
	if o.EvalTimeout < 0 || o.PolicyLimit < 0 || o.PolicyLimit > MaxPolicyLimit {
		return fmt.Errorf("options: policy limit %d or evaluation timeout %s is out of range", o.PolicyLimit, o.EvalTimeout)
	}
	if o.EvalTimeout == 0 {
		o.EvalTimeout = defaultEvalTimeout
	}
	if o.PolicyLimit == 0 {
		o.PolicyLimit = DefaultPolicyLimit
	}
	return nil
}

// nesting returns how deep the brackets of a text nest. It counts brackets in strings too: the limit is far above what a
// tool writes, and a count that cannot be fooled by quoting is worth more than an exact one.
func nesting(text []byte) int {
	depth, deepest := 0, 0
	for _, c := range text {
		switch c {
		case '(', '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return deepest
}

// compile parses and compiles a policy, as Rego v1 if it is that, else as v0: policies in use were written for both. The
// text says nothing about its version, and most of what tools emit means the same in either.
func compile(text string) (*ast.Compiler, error) {
	v1, errV1 := parseAndCompile(text, ast.RegoV1)
	if errV1 == nil {
		return v1, nil
	}
	if final := (*packageError)(nil); errors.As(errV1, &final) {
		return nil, errV1
	}
	v0, errV0 := parseAndCompile(text, ast.RegoV0)
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

func parseAndCompile(text string, version ast.RegoVersion) (*ast.Compiler, error) {
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
	compiler := ast.NewCompiler().WithCapabilities(caps).WithDefaultRegoVersion(version)
	if compiler.Compile(all); compiler.Failed() {
		return nil, fmt.Errorf("compile: %w", shortError(compiler.Errors))
	}
	return compiler, nil
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
	return &packageError{fmt.Errorf("package: got %s, want policy", clip(name[len("data."):]))}
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
