package cases

import (
	"iter"
	"math/rand/v2"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// Case is one policy and what is asked of it, in order, on one enforcer.
type Case struct {
	Seed     uint64
	Policy   string
	Commands []Command
	// DefaultMounts says that the requests have mounts of the runtime that the policy does not name: load it with Load's
	// options as LoadOptions gives them.
	DefaultMounts bool
}

// Command is one request.
type Command struct {
	Point enforcer.Point
	Input enforcer.Input
}

// Options choose what Generate makes. The zero value makes well-formed policies of every family.
type Options struct {
	// Families are chosen from with equal chances; nil means every pair of versions there was, the released ones more often,
	// and now and then a version that is missing or ahead.
	Families []Family
	// Odd lets policies have fields that are missing, null, of the wrong type or unknown, and forms no tool writes.
	Odd bool
	// Grouped leaves out what older judges of the contract read differently: patterns and values whose meaning depends on how
	// patterns are anchored, and policies that name a capability twice.
	Grouped bool
	// Own gives some policies a rule of their own, so that they are more than data and delegation.
	Own bool
	// Commands bounds how many requests a case has; 0 means 28.
	Commands int
}

// Family is a pair of versions that a policy names.
type Family struct {
	API, Framework string
	// OldNames spells them api_svn and framework_svn.
	OldNames bool
}

// Generate makes the case of a seed.
func Generate(seed uint64, opt Options) Case {
	s := &source{rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
	p := newPolicy(s, opt)
	w := &walk{s: s, p: p, limit: opt.Commands}
	if w.limit == 0 {
		w.limit = 28
	}
	c := Case{Seed: seed, Policy: p.text(s, opt), DefaultMounts: p.defaultMounts}
	c.Commands = w.run()
	return c
}

// All makes n cases, with the seeds from first on.
func All(first uint64, n int, opt Options) iter.Seq[Case] {
	return func(yield func(Case) bool) {
		for i := range n {
			if !yield(Generate(first+uint64(i), opt)) {
				return
			}
		}
	}
}

// LoadOptions are the options to load the case's policy with.
func (c Case) LoadOptions() enforcer.Options {
	if !c.DefaultMounts {
		return enforcer.Options{}
	}
	return enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()}
}
