package acigen

import (
	"crypto/sha256"
	"slices"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
)

// Policy is a policy or a fragment: what its text says, with the reason of each rule.
type Policy struct {
	Level    *defaults.Level
	Defaults string // name of the file of defaults

	Fragments  []defaults.Fragment
	Containers []Container
	// LeftOut are the names of containers that an included fragment has already.
	LeftOut []string
	// Notes are sentences for the user: what is allowed and may surprise.
	Notes []string

	namespace, svn string // of a fragment; "" for a policy
	debug          bool
	rules          []Rule
	wildcards      []Rule
}

// Rego is the text. Pretty puts each member of the containers on a line of its own; the rest stays. Only the bytes that are
// deployed have the HOST_DATA of the deployment.
func (p *Policy) Rego(pretty bool) []byte { return p.text(pretty) }

// SHA256 is the digest of the compact text: HOST_DATA of a VM that runs it.
func (p *Policy) SHA256() [sha256.Size]byte { return sha256.Sum256(p.Rego(false)) }

// Explain tells where each rule comes from, in the order of the text.
func (p *Policy) Explain() []Rule { return slices.Clone(p.rules) }

// Wildcards are the rules that stand for values which are not known yet: whatever the host sets them to is accepted.
func (p *Policy) Wildcards() []Rule { return slices.Clone(p.wildcards) }
