package entry

import (
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// plainImports change nothing about what a plain policy means.
var plainImports = []string{
	"rego.v1", "future.keywords", "future.keywords.in", "future.keywords.every", "future.keywords.if", "future.keywords.contains",
}

// plainImport returns the one of plainImports that a path is, or "".
func plainImport(path *ast.Term) string {
	for _, name := range plainImports {
		parts := strings.Split(name, ".")
		want := ast.Ref{ast.VarTerm(parts[0])}
		for _, part := range parts[1:] {
			want = append(want, ast.StringTerm(part))
		}
		if path.Value.Compare(want) == 0 {
			return name
		}
	}
	return ""
}

// recogniser goes over the rules of a module, each of which has to be one of a few known forms.
type recogniser struct {
	skeleton *skeleton
	points   []string
	policy   *Policy
	seen     map[string]bool
	// read are the names of the lists whose literal in the skeleton stands for one the fast reader has read.
	read map[string]bool
}

func recognise(module *ast.Module, s *skeleton, points []string) (*Policy, error) {
	if name := module.Package.Path.String(); name != "data.policy" {
		return nil, notPlain("the package is not policy")
	}
	if err := checkImports(module, s); err != nil {
		return nil, err
	}
	r := &recogniser{
		skeleton: s, points: points, seen: map[string]bool{}, read: map[string]bool{},
		policy: &Policy{Delegated: map[string]bool{}, Skeleton: s.text},
	}
	for _, rule := range module.Rules {
		if err := r.rule(rule); err != nil {
			return nil, err
		}
	}
	for i := range s.lists {
		if list := &s.lists[i]; !r.read[list.name] {
			return nil, notPlain("%s (line %d) is not a rule of the policy", list.name, s.line(s.literals[i]))
		}
	}
	return r.policy, nil
}

func checkImports(module *ast.Module, s *skeleton) error {
	var seen []string
	for _, imp := range module.Imports {
		path := plainImport(imp.Path)
		if path == "" || imp.Alias != "" {
			return notPlain("it imports %s (line %d)", clip(imp.Path.String()), s.line(imp.Location.Offset))
		}
		// Twice the same is an error in one version of the language and none in the other.
		if slices.Contains(seen, path) {
			return notPlain("it imports %s twice (line %d)", path, s.line(imp.Location.Offset))
		}
		seen = append(seen, path)
	}
	return nil
}

func (r *recogniser) rule(rule *ast.Rule) error {
	name, why := constant(rule)
	switch {
	case why != "":
	case r.seen[name]:
		why = "is defined twice"
	default:
		r.seen[name] = true
		known, err := r.value(name, rule.Head.Value)
		switch {
		case !known:
			why = "is none that the framework asks for"
		case err != nil:
			why = err.Error()
		}
	}
	if why == "" {
		return nil
	}
	return notPlain("rule %s (line %d) %s", clip(name), r.skeleton.line(rule.Location.Offset), why)
}

// constant returns the name of a rule and, if it is anything but `name := value` or `name = value`, what it is instead.
func constant(rule *ast.Rule) (name, why string) {
	head := rule.Head
	name = head.Ref().String()
	switch ref := head.Ref(); {
	case rule.Default:
		return name, "is a default"
	case len(ref) != 1 || head.Key != nil:
		return name, "is a partial rule"
	case len(head.Args) != 0:
		return name, "is a function"
	case rule.Else != nil:
		return name, "has an else"
	case len(rule.Annotations) != 0:
		return name, "has annotations"
	case head.Value == nil:
		return name, "has no value"
	case len(rule.Body) != 1 || !isTrue(rule.Body[0]):
		return name, "has a body of its own"
	}
	return name, ""
}

func isTrue(expr *ast.Expr) bool {
	term, ok := expr.Terms.(*ast.Term)
	return ok && !expr.Negated && len(expr.With) == 0 && term.Value.Compare(ast.Boolean(true)) == 0
}

// value takes the value of a rule by its name; known is false when there is no such name.
func (r *recogniser) value(name string, term *ast.Term) (known bool, err error) {
	if slices.Contains(r.points, name) {
		if !isFrameworkRef(term.Value, name) {
			return true, shapeError("is not data.framework." + name)
		}
		r.policy.Delegated[name] = true
		return true, nil
	}
	if flag := r.policy.Flags.flag(name); flag != nil {
		value, ok := term.Value.(ast.Boolean)
		if !ok {
			return true, shapeError("is not a boolean")
		}
		*flag = bool(value)
		return true, nil
	}
	switch name {
	case "api_version", "api_svn":
		return true, r.version(&r.policy.APIVersion, term.Value)
	case "framework_version", "framework_svn":
		return true, r.version(&r.policy.FrameworkVersion, term.Value)
	case "reason":
		return true, r.reason(term.Value)
	case "allowed_log_providers":
		// No rule of the framework reads it here: it is about Windows. A constant cannot matter.
		if !ast.IsConstant(term.Value) {
			return true, shapeError("is not a constant")
		}
		return true, nil
	}
	return r.list(name, term)
}

func isFrameworkRef(v ast.Value, name string) bool {
	ref, ok := v.(ast.Ref)
	return ok && ref.Equal(ast.Ref{ast.DefaultRootDocument, ast.StringTerm("framework"), ast.StringTerm(name)})
}

// flag is where a flag is kept, by its name in the policy, or nil.
func (f *Flags) flag(name string) *bool {
	switch name {
	case "allow_properties_access":
		return &f.PropertiesAccess
	case "allow_dump_stacks":
		return &f.DumpStacks
	case "allow_runtime_logging":
		return &f.RuntimeLogging
	case "allow_environment_variable_dropping":
		return &f.EnvironmentVariableDropping
	case "allow_capability_dropping":
		return &f.CapabilityDropping
	case "allow_unencrypted_scratch":
		return &f.UnencryptedScratch
	case "allow_host_network":
		return &f.HostNetwork
	case "allow_log_provider_dropping":
		return &f.LogProviderDropping
	}
	return nil
}

var versionForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$`)

func (r *recogniser) version(to *string, v ast.Value) error {
	text, ok := v.(ast.String)
	switch {
	case !ok || !versionForm.MatchString(string(text)):
		return shapeError("is not a version MAJOR.MINOR.PATCH")
	case *to != "":
		return shapeError("is there under its old and its new name")
	}
	*to = string(text)
	return nil
}

func (r *recogniser) reason(v ast.Value) error {
	if isFrameworkRef(v, "reason") {
		r.policy.Reason = ReasonFull
		return nil
	}
	is := func(obj ast.Object, key string) bool {
		t := obj.Get(ast.InternedTerm(key))
		return t != nil && isFrameworkRef(t.Value, key)
	}
	obj, ok := v.(ast.Object)
	switch {
	case ok && obj.Len() == 1 && is(obj, "errors"):
		r.policy.Reason = ReasonErrors
		return nil
	case ok && obj.Len() == 2 && is(obj, "errors") && is(obj, "error_objects"):
		// The framework's own reason, written out.
		r.policy.Reason = ReasonFull
		return nil
	}
	return shapeError("is not the framework's")
}

func (r *recogniser) list(name string, term *ast.Term) (known bool, err error) {
	if list := r.readAt(name, term); list != nil {
		r.read[name] = true
		if name == "containers" {
			r.policy.Data.Containers = list.containers
		} else {
			r.policy.Data.ExternalProcesses = list.external
		}
		return true, nil
	}
	data := &r.policy.Data
	switch name {
	case "containers":
		data.Containers, err = Containers(term.Value)
	case "external_processes":
		data.ExternalProcesses, err = ExternalProcesses(term.Value)
	case "fragments":
		data.Fragments, err = Fragments(term.Value)
	case "platform_rules":
		data.PlatformRules, err = PlatformRules(term.Value)
	case "transparency_trust_lists":
		data.TrustLists, err = TrustLists(term.Value)
	default:
		return false, nil
	}
	return true, err
}

// readAt returns the list that was read fast if this is the empty list that stands for it in the skeleton. The engine's
// parser came to exactly this place, expecting a value, and went on behind it: so it would have with the list as written.
func (r *recogniser) readAt(name string, term *ast.Term) *found {
	empty, ok := term.Value.(*ast.Array)
	if !ok || empty.Len() != 0 || term.Location == nil {
		return nil
	}
	for i := range r.skeleton.lists {
		if list := &r.skeleton.lists[i]; list.name == name && r.skeleton.literals[i] == term.Location.Offset {
			return list
		}
	}
	return nil
}
