// Package aci holds what an ACI policy expects to find around it: the framework its rules delegate to (data.framework), and
// the mounts and capabilities the runtime adds to every container.
//
// The Rego text is part of the agent and so of the launch measurement: the host cannot change it, and a policy cannot
// either, since a policy module may only be `package policy`. The text trusts the typed inputs of package enforcer and the
// metadata table, nothing else; every rule has a default that refuses.
//
// Where this text decides otherwise than the reference implementation of the contract, it is stricter, on purpose:
//   - RE2 patterns hold for the whole value as a group (`a|b` is `a` or `b`), and must be valid by themselves;
//   - a policy whose framework_version is missing or ahead gets nothing at all, flags included;
//   - a source with one of the prefixes sandbox://, hugepages://, plan9:// is never compared literally;
//   - a refused exec has no reasons about fields that exec entries do not have.
//
// Package enforcer differs in these: metadata operations apply on commit only and all or none, an answer without a boolean
// "allowed" is an error even where the point's default would allow, environment order and duplicates are kept, and
// functions that reach outside do not exist for a policy.
package aci

import _ "embed"

// Versions of the contract spoken here. A policy that names a newer framework is refused in every decision; a policy that
// names an older one has its containers completed with the defaults of that time.
const (
	APIVersion       = "0.12.0"
	FrameworkVersion = "0.5.0"
)

//go:embed framework.rego
var frameworkText string

//go:embed lists.rego
var listsText string

//go:embed fragments.rego
var fragmentsText string

//go:embed matching.rego
var matchingText string

//go:embed reasons.rego
var reasonsText string

// Module is one file of Rego text.
type Module struct {
	Name string
	Text string
}

// Modules returns the framework: the rules of the points first, what they are made of, and the reasons given when they refuse.
func Modules() []Module {
	return []Module{
		{Name: "framework.rego", Text: frameworkText},
		{Name: "lists.rego", Text: listsText},
		{Name: "fragments.rego", Text: fragmentsText},
		{Name: "matching.rego", Text: matchingText},
		{Name: "reasons.rego", Text: reasonsText},
	}
}

// Prefixes of a mount source in a policy that stand for a directory only the agent can name.
const (
	SandboxPrefix   = "sandbox://"
	HugePagesPrefix = "hugepages://"
	Plan9Prefix     = "plan9://"
)
