package entry

import (
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/aci"
)

// What the framework makes of a policy's lists before it looks at any request (policy contract, sections 2.7 and 3.4). The
// rules are those of the framework's Rego text, required_fields, field_defaults and candidate_containers, and a test
// evaluates both.

// fieldDefaults are the values of the fields that a policy of an older framework cannot have.
var fieldDefaults = Container{
	User: &User{
		UserIDName:   IDName{Strategy: "any"},
		GroupIDNames: []IDName{{Strategy: "any"}},
		Umask:        "0022",
	},
	Present: FieldNoNewPrivileges | FieldUser | FieldCapabilities | FieldSeccomp,
}

// agentSignals are what the agent itself sent before 0.4.1, whatever the policy said.
var agentSignals = []int64{9, 15}

// Complete returns the containers as this framework understands them, for a policy of the given framework version. Those of
// an older one are rebuilt: a field that its version did not have gets the default of that time, and a container without one of
// the fields of its time is left out. A version that is ahead, or none, has no containers. Nothing that was passed in changes.
func Complete(cs []*Container, framework string) []*Container {
	version, ok := parseVersion(framework)
	if !ok || version.compare(currentFramework) > 0 {
		return nil
	}
	if version == currentFramework {
		return cs
	}
	required := requiredFields(version)
	out := make([]*Container, 0, len(cs))
	for _, c := range cs {
		// The signals are read whatever the version, so a container without them is never rebuilt.
		if need := required | FieldSignals; c.Present&need == need {
			out = append(out, rebuild(c, required, version))
		}
	}
	return out
}

func requiredFields(version semver) (fields Fields) {
	for _, k := range containerKeys {
		if since, ok := parseVersion(k.since); ok && version.compare(since) >= 0 {
			fields |= k.field
		}
	}
	return fields
}

// Kept returns the positions of the containers of list that Complete keeps for the given framework version. list is as a fragment has it.
func Kept(list *ast.Array, framework string) []int {
	version, ok := parseVersion(framework)
	if !ok || version.compare(currentFramework) > 0 {
		return nil
	}
	required := requiredFields(version) | FieldSignals
	var kept []int
	for i := range list.Len() {
		c, ok := list.Elem(i).Value.(ast.Object)
		if !ok {
			continue
		}
		var present Fields
		for _, k := range containerKeys {
			if c.Get(ast.InternedTerm(k.key)) != nil {
				present |= k.field
			}
		}
		if version == currentFramework || present&required == required {
			kept = append(kept, i)
		}
	}
	return kept
}

func rebuild(c *Container, required Fields, version semver) *Container {
	signals := c.Signals
	if version.compare(semver{0, 4, 1}) < 0 {
		for _, signal := range agentSignals {
			if !slices.Contains(c.Signals, signal) {
				signals = append(slices.Clip(signals), signal)
			}
		}
	}
	keep := c.Present & (required | FieldID | FieldName | FieldSignals)
	missing := fieldDefaults.Present &^ required
	if keep == c.Present && missing == 0 && len(signals) == len(c.Signals) {
		return c
	}
	out := &Container{Index: c.Index, Origin: c.Origin, Present: keep | missing}
	for _, k := range containerKeys {
		switch {
		case missing&k.field != 0:
			out.copyField(&fieldDefaults, k.field)
		case keep&k.field != 0:
			out.copyField(c, k.field)
		}
	}
	out.Signals = signals
	return out
}

func (c *Container) copyField(from *Container, field Fields) {
	switch field {
	case FieldID:
		c.ID = from.ID
	case FieldName:
		c.Name = from.Name
	case FieldCommand:
		c.Command, c.CommandNull = from.Command, from.CommandNull
	case FieldEnvRules:
		c.EnvRules = from.EnvRules
	case FieldLayers:
		c.Layers = from.Layers
	case FieldMounts:
		c.Mounts = from.Mounts
	case FieldExecProcesses:
		c.ExecProcesses = from.ExecProcesses
	case FieldSignals:
		c.Signals = from.Signals
	case FieldUser:
		c.User = from.User
	case FieldCapabilities:
		c.Capabilities = from.Capabilities
	case FieldSeccomp:
		c.SeccompProfileSHA256 = from.SeccompProfileSHA256
	case FieldWorkingDir:
		c.WorkingDir = from.WorkingDir
	case FieldAllowElevated:
		c.AllowElevated = from.AllowElevated
	case FieldAllowStdioAccess:
		c.AllowStdioAccess = from.AllowStdioAccess
	case FieldNoNewPrivileges:
		c.NoNewPrivileges = from.NoNewPrivileges
	}
}

// RulesOf returns the platform rules that count in a policy of the given framework version: none before 0.5.0.
func RulesOf(rules []*PlatformRule, framework string) []*PlatformRule {
	version, ok := parseVersion(framework)
	if !ok || version.compare(currentFramework) > 0 || version.compare(semver{0, 5, 0}) < 0 {
		return nil
	}
	return rules
}

// Candidates returns every container that the policy allows: one variant of each container for each rule, with the rule's
// environment and mounts appended together, or the containers themselves where there is no rule. A variant has the index
// of its container. A container without environment rules or mounts has no variants.
func Candidates(cs []*Container, rules []*PlatformRule) []*Container {
	if len(rules) == 0 {
		return cs
	}
	const extended = FieldEnvRules | FieldMounts
	out := make([]*Container, 0, len(cs)*len(rules))
	for _, c := range cs {
		if c.Present&extended != extended {
			continue
		}
		for _, rule := range rules {
			if len(rule.EnvRules) == 0 && len(rule.Mounts) == 0 {
				out = append(out, c)
				continue
			}
			variant := *c
			variant.EnvRules = slices.Concat(c.EnvRules, rule.EnvRules)
			variant.Mounts = slices.Concat(c.Mounts, rule.Mounts)
			out = append(out, &variant)
		}
	}
	return out
}

// semver is a version MAJOR.MINOR.PATCH.
type semver [3]int

var currentFramework, _ = parseVersion(aci.FrameworkVersion)

func parseVersion(text string) (v semver, ok bool) {
	if !versionForm.MatchString(text) {
		return v, false
	}
	for i, part := range strings.Split(text, ".") {
		v[i], _ = strconv.Atoi(part)
	}
	return v, true
}

func (v semver) compare(w semver) int { return slices.Compare(v[:], w[:]) }
