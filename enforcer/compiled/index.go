package compiled

import (
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/cloister-cc/cloister/enforcer/entry"
)

// container is one definition with what comparisons need, made when it is first compared.
type container struct {
	*entry.Container
	env *envRules
}

// external is a process of the utility VM, likewise.
type external struct {
	*entry.ExternalProcess
	env *envRules
}

// candidates are the containers an id can still be. They never change; narrowing makes new ones.
type candidates struct {
	members []*container
	// bucket is set when members are all containers of one layer chain.
	bucket *bucket
}

// bucket holds the containers that share one layer chain.
type bucket struct {
	layers    []string
	all       candidates
	byCommand map[uint64][]*container // only in buckets worth it
	summary   *summary
}

// bigBucket is from where a look-up by command beats a walk.
const bigBucket = 8

// universe is every container the policy allows.
type universe struct {
	hashes map[string]struct{}
	chains map[uint64][]*bucket
}

var seed = maphash.MakeSeed()

// hashOf is a hash of a list of strings; whoever looks something up by it compares the lists afterwards.
func hashOf(list []string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, s := range list {
		_, _ = h.WriteString(s)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// maxVariants bounds what platform rules make of the containers: each rule makes a variant of each. Entries are the environment rules and
// mounts of all variants.
const (
	maxVariants       = 1 << 16
	maxVariantEntries = 1 << 22
)

var errVariants = fmt.Errorf("platform rules: want at most %d variants of containers, with %d environment rules and mounts", maxVariants, maxVariantEntries)

// lists joins what the policy and the fragments define. The order of containers is the policy's, then the fragments' in the order they
// were loaded.
func (j *Judge) lists(fragments []*entry.Data) (containers []*entry.Container, rules []*entry.PlatformRule, processes []*entry.ExternalProcess) {
	containers = entry.Complete(j.policy.Containers, j.written)
	rules = entry.RulesOf(j.policy.PlatformRules, j.written)
	processes = j.policy.ExternalProcesses
	for _, f := range fragments {
		containers = append(slices.Clip(containers), f.Containers...)
		rules = append(slices.Clip(rules), f.PlatformRules...)
		processes = append(slices.Clip(processes), f.ExternalProcesses...)
	}
	return containers, rules, processes
}

// CheckFragments says whether SetFragments can take them.
func (j *Judge) CheckFragments(fragments []*entry.Data) error {
	containers, rules, _ := j.lists(fragments)
	if len(rules) == 0 {
		return nil
	}
	inContainers, inRules := 0, 0
	for _, c := range containers {
		inContainers += len(c.EnvRules) + len(c.Mounts)
	}
	for _, r := range rules {
		inRules += len(r.EnvRules) + len(r.Mounts)
	}
	// Each factor is bounded by the size of the text, so the products fit.
	if len(containers)*len(rules) > maxVariants || inContainers*len(rules)+inRules*len(containers) > maxVariantEntries {
		return errVariants
	}
	return nil
}

// index builds what look-ups need.
func (j *Judge) index() {
	containers, rules, processes := j.lists(j.fragments)
	j.universe = newUniverse(entry.Candidates(containers, rules))
	j.externals = make([]*external, len(processes))
	for i, p := range processes {
		j.externals[i] = &external{ExternalProcess: p}
	}
}

func newUniverse(list []*entry.Container) *universe {
	u := &universe{
		hashes: make(map[string]struct{}, len(list)),
		chains: make(map[uint64][]*bucket, len(list)),
	}
	space := make([]container, len(list))
	for i, c := range list {
		space[i].Container = c
		if c.Present&entry.FieldLayers == 0 {
			continue
		}
		for _, l := range c.Layers {
			u.hashes[l] = struct{}{}
		}
		b := u.bucket(c.Layers, true)
		b.all.members = append(b.all.members, &space[i])
	}
	for _, list := range u.chains {
		for _, b := range list {
			b.all.bucket = b
			b.index()
		}
	}
	return u
}

// bucket finds the bucket of a layer chain, base first; it makes one when asked to.
func (u *universe) bucket(layers []string, create bool) *bucket {
	h := hashOf(layers)
	for _, b := range u.chains[h] {
		if slices.Equal(b.layers, layers) {
			return b
		}
	}
	if !create {
		return nil
	}
	b := &bucket{layers: layers}
	u.chains[h] = append(u.chains[h], b)
	return b
}

func (b *bucket) index() {
	if len(b.all.members) < bigBucket {
		return
	}
	b.byCommand = make(map[uint64][]*container, len(b.all.members))
	for _, c := range b.all.members {
		if c.Present&entry.FieldCommand != 0 && !c.CommandNull {
			h := hashOf(c.Command)
			b.byCommand[h] = append(b.byCommand[h], c)
		}
	}
}

// withCommand are the members that can have the command; the caller compares it once more.
func (c *candidates) withCommand(command []string) []*container {
	if c.bucket != nil && c.bucket.byCommand != nil {
		return c.bucket.byCommand[hashOf(command)]
	}
	return c.members
}
