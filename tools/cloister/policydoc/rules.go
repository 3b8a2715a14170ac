package policydoc

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Way says how a policy decides an enforcement point.
type Way string

// The ways.
const (
	Framework Way = "framework" // X := data.framework.X
	Allowed   Way = "allow"     // a constant {"allowed": true}
	Refused   Way = "deny"      // a constant {"allowed": false}
	Own       Way = "own"       // a rule of its own
	Absent    Way = "absent"    // no rule
)

// PointRule is what a policy does at one point.
type PointRule struct {
	Point enforcer.Point `json:"point"`
	Since string         `json:"since"`
	Rule  Way            `json:"rule"`
	// Default is what an agent does without a rule: for a policy older than the point allow, deny or framework, for one that
	// is not, deny. It is empty where there is a rule.
	Default string `json:"default,omitempty"`
	// Older says that the policy's API version does not know the point.
	Older bool `json:"older,omitempty"`
	// Unsupported says why the agent refuses the point in any case.
	Unsupported string `json:"unsupported,omitempty"`
}

// Effect is the decision in a word: framework, own rule, or always allowed or refused.
func (r PointRule) Effect() string {
	way := string(r.Rule)
	if r.Rule == Absent {
		way = r.Default
	}
	switch {
	case r.Unsupported != "":
		return "refused"
	case way == "allow":
		return "allowed"
	case way == "deny":
		return "refused"
	case way == "own":
		return "own rule"
	}
	return way
}

// flagOf are the flags that decide a point of the framework alone.
var flagOf = map[enforcer.Point]string{
	enforcer.PointGetProperties:  "allow_properties_access",
	enforcer.PointDumpStacks:     "allow_dump_stacks",
	enforcer.PointRuntimeLogging: "allow_runtime_logging",
	enforcer.PointHostNetwork:    "allow_host_network",
}

// Effect is the decision at a point, with what it hangs on.
func (p *Policy) Effect(r PointRule) string {
	effect := r.Effect()
	if target := p.Misdelegated[string(r.Point)]; target != "" {
		return effect + ": data.framework." + target + " (lint: CLP106)"
	}
	if name := flagOf[r.Point]; name != "" && effect == "framework" {
		switch version, ok := point.ParseVersion(p.FrameworkVersion); {
		case p.AllowsNothing() != "" || p.Custom[name] != "":
		case !p.Flag(name):
			return "refused (" + name + " is false)"
		case r.Point == enforcer.PointHostNetwork && (!ok || version.Less(point.Version{0, 5, 0})):
			return "refused (framework_version does not know " + name + ")"
		default:
			return "allowed (" + name + " is true)"
		}
	}
	return effect
}

// AllowsNothing says why the policy cannot allow anything, or anything that the framework decides.
func (p *Policy) AllowsNothing() string {
	version, ok := point.ParseVersion(p.FrameworkVersion)
	newest, _ := point.ParseVersion(aci.FrameworkVersion)
	switch {
	case p.APIVersion == "" && p.Custom["api_version"] == "":
		return "nothing: it has no api_version"
	case p.Custom["framework_version"] != "":
		return ""
	case p.FrameworkVersion == "":
		return "nothing that the framework decides: it has no framework_version"
	case !ok:
		return "nothing that the framework decides: its framework_version is not MAJOR.MINOR.PATCH"
	case newest.Less(version):
		return "nothing that the framework decides: its framework_version is ahead of the agent's"
	}
	return ""
}

var listNames = []string{
	"containers", "external_processes", "fragments", "platform_rules", "transparency_trust_lists", "allowed_log_providers",
}

var versionNames = []string{"api_version", "api_svn", "framework_version", "framework_svn"}

// classify says of every rule what it is there for.
func (p *Policy) classify(e *evaluation) {
	policy, hasVersion := point.ParseVersion(p.APIVersion)
	points := map[string]bool{}
	for _, info := range enforcer.Points() {
		name := string(info.Point)
		points[name] = true
		r := PointRule{Point: info.Point, Since: info.Since, Rule: Absent, Unsupported: info.Unsupported}
		since, _ := point.ParseVersion(info.Since)
		r.Older = hasVersion && policy.Less(since)
		if e.defines(name) {
			var target string
			r.Rule, target = e.way(name)
			if r.Rule == Framework && target != name {
				p.Misdelegated[name] = target
				r.Rule = Own
			}
			if r.Rule == Own {
				p.Custom[name] = e.text(name)
			}
		} else if r.Default = "deny"; r.Older {
			r.Default = info.Default
		}
		p.Points = append(p.Points, r)
	}
	p.HasReason = e.defines("reason")
	if p.HasReason && !e.plainReason() {
		p.Custom["reason"] = e.text("reason")
	}
	for name := range e.rules {
		switch {
		case points[name] || name == "reason":
		case slices.Contains(listNames, name), slices.Contains(versionNames, name), slices.Contains(FlagNames(), name):
			if !e.constant(name) {
				p.Custom[name] = e.text(name)
			}
		default:
			p.OwnRules = append(p.OwnRules, name)
			p.Custom[name] = e.text(name)
			if way, target := e.way(name); way == Framework {
				p.Misdelegated[name] = target
			}
		}
	}
	slices.Sort(p.OwnRules)
}

// single is the value of a rule that is one unconditional assignment.
func (e *evaluation) single(name string) *ast.Term {
	rules := e.rules[name]
	if len(rules) != 1 {
		return nil
	}
	r := rules[0]
	unconditional := len(r.Body) == 0 || len(r.Body) == 1 && r.Body[0].Equal(ast.NewExpr(ast.BooleanTerm(true)))
	if r.Else != nil || len(r.Head.Args) > 0 || len(r.Head.Ref()) != 1 || r.Head.Key != nil || r.Head.Value == nil || !unconditional {
		return nil
	}
	return r.Head.Value
}

func (e *evaluation) constant(name string) bool {
	v := e.single(name)
	if v == nil {
		return false
	}
	plain := true
	ast.WalkTerms(v, func(t *ast.Term) bool {
		switch t.Value.(type) {
		case ast.Var, ast.Ref, ast.Call, *ast.ArrayComprehension, *ast.ObjectComprehension, *ast.SetComprehension:
			plain = false
		}
		return !plain
	})
	return plain
}

func (e *evaluation) way(name string) (way Way, target string) {
	v := e.single(name)
	if v == nil {
		return Own, ""
	}
	if target, ok := e.frameworkRef(v); ok {
		return Framework, target
	}
	obj, ok := v.Value.(ast.Object)
	if !ok || !e.constant(name) {
		return Own, ""
	}
	switch allowed := obj.Get(ast.StringTerm("allowed")); {
	case allowed == nil || obj.Get(ast.StringTerm("metadata")) != nil:
		return Own, ""
	case allowed.Value.Compare(ast.Boolean(true)) == 0:
		return Allowed, ""
	case allowed.Value.Compare(ast.Boolean(false)) == 0:
		return Refused, ""
	}
	return Own, ""
}

// frameworkRef reads data.framework.X, spelt out or by an import.
func (e *evaluation) frameworkRef(t *ast.Term) (string, bool) {
	ref, ok := t.Value.(ast.Ref)
	if !ok || len(ref) == 0 {
		return "", false
	}
	if v, ok := ref[0].Value.(ast.Var); ok && !ref[0].Equal(ast.DefaultRootDocument) {
		for _, i := range e.module.Imports {
			if path, ok := i.Path.Value.(ast.Ref); ok && i.Name() == v {
				ref = path.Concat(ref[1:])
				break
			}
		}
	}
	if len(ref) != 3 || !ref[0].Equal(ast.DefaultRootDocument) || !ref[1].Equal(ast.StringTerm("framework")) {
		return "", false
	}
	name, ok := ref[2].Value.(ast.String)
	return string(name), ok
}

// plainReason recognises the two forms that tools write.
func (e *evaluation) plainReason() bool {
	v := e.single("reason")
	if v == nil {
		return false
	}
	if target, ok := e.frameworkRef(v); ok {
		return target == "reason"
	}
	obj, ok := v.Value.(ast.Object)
	if !ok || obj.Len() != 1 {
		return false
	}
	errs := obj.Get(ast.StringTerm("errors"))
	if errs == nil {
		return false
	}
	target, ok := e.frameworkRef(errs)
	return ok && target == "errors"
}

// text is a rule as the parser writes it: the same for texts that differ in white space and comments alone.
func (e *evaluation) text(name string) string {
	var parts []string
	for _, r := range e.rules[name] {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, "\n")
}
