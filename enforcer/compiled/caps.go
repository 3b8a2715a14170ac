package compiled

import (
	"math/bits"
	"slices"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// capBits numbers the capabilities the kernel knows.
var capBits = func() map[string]int {
	m := map[string]int{}
	for i, name := range aci.PrivilegedCapabilities() {
		m[name] = i
	}
	return m
}()

// capSet is a set of capabilities: those the kernel knows as bits, whatever else a policy or a host names in order.
type capSet struct {
	known uint64
	other []string
}

func newCapSet(names []string) capSet {
	var s capSet
	for _, name := range names {
		if bit, ok := capBits[name]; ok {
			s.known |= 1 << bit
			continue
		}
		s.other = append(s.other, name)
	}
	slices.Sort(s.other)
	s.other = slices.Compact(s.other)
	return s
}

func (s capSet) equal(t capSet) bool { return s.known == t.known && slices.Equal(s.other, t.other) }

func (s capSet) size() int { return bits.OnesCount64(s.known) + len(s.other) }

func (s capSet) has(name string) bool {
	if bit, ok := capBits[name]; ok {
		return s.known&(1<<bit) != 0
	}
	_, found := slices.BinarySearch(s.other, name)
	return found
}

func (s capSet) intersect(t capSet) capSet {
	r := capSet{known: s.known & t.known}
	for _, name := range s.other {
		if t.has(name) {
			r.other = append(r.other, name)
		}
	}
	return r
}

// capSets are the five sets: bounding, effective, inheritable, permitted, ambient.
type capSets [5]capSet

func newCapSets(c *point.Capabilities) *capSets {
	return &capSets{
		newCapSet(c.Bounding), newCapSet(c.Effective), newCapSet(c.Inheritable), newCapSet(c.Permitted), newCapSet(c.Ambient),
	}
}

func (s *capSets) equal(t *capSets) bool {
	for i := range s {
		if !s[i].equal(t[i]) {
			return false
		}
	}
	return true
}

func (s *capSets) intersect(t *capSets) *capSets {
	var r capSets
	for i := range s {
		r[i] = s[i].intersect(t[i])
	}
	return &r
}

func (s *capSets) size() int {
	n := 0
	for i := range s {
		n += s[i].size()
	}
	return n
}

var (
	unprivilegedCaps = defaultCaps(aci.UnprivilegedCapabilities(), nil)
	// Only a privileged container inherits any.
	privilegedCaps = defaultCaps(aci.PrivilegedCapabilities(), aci.PrivilegedCapabilities())
)

func defaultCaps(names, inheritable []string) *capSets {
	return newCapSets(&point.Capabilities{Bounding: names, Effective: names, Inheritable: inheritable, Permitted: names})
}

// capsCache holds the sets of the policy's distinct capability objects.
type capsCache map[*entry.Capabilities]*capSets

// capsOf is what a container may have; nil when its definition says nothing of it.
func (q *question) capsOf(c *container, privileged bool) *capSets {
	switch {
	case c.Present&entry.FieldCapabilities == 0:
		return nil
	case c.Capabilities == nil && privileged && c.Present&entry.FieldAllowElevated != 0 && c.AllowElevated:
		return privilegedCaps
	case c.Capabilities == nil:
		return unprivilegedCaps
	}
	sets := q.judge.matchers.caps[c.Capabilities]
	if sets == nil {
		sets = newCapSets((*point.Capabilities)(c.Capabilities))
		q.judge.matchers.caps[c.Capabilities] = sets
	}
	return sets
}

// keptCaps is what remains of the requested capabilities: all of them without dropping, else the largest of what the candidates
// allow, if it is one.
func (q *question) keptCaps(list []*container, privileged bool, asked *capSets) (kept *capSets, ok bool) {
	if !q.judge.flags.CapabilityDropping {
		return asked, true
	}
	size, unique := -1, false
	for _, c := range list {
		allowed := q.capsOf(c, privileged)
		if allowed == nil || !q.step() {
			continue
		}
		keep := asked.intersect(allowed)
		switch n := keep.size(); {
		case n > size:
			kept, size, unique = keep, n, true
		case n == size && !keep.equal(kept):
			unique = false
		}
	}
	return kept, unique
}

// withCaps are the containers that allow exactly these capabilities.
func (q *question) withCaps(list []*container, privileged bool, caps *capSets) []*container {
	return filter(list, func(c *container) bool {
		allowed := q.capsOf(c, privileged)
		return allowed != nil && allowed.equal(caps) && q.step()
	})
}

// keptLists are the request's own lists without what is not kept, in the request's order.
func (q *question) keptLists(asked *point.Capabilities, kept *capSets) *point.Capabilities {
	if !q.judge.flags.CapabilityDropping {
		return asked.Clone()
	}
	keep := func(names []string, set *capSet) []string {
		list := make([]string, 0, len(names))
		for _, name := range names {
			if set.has(name) {
				list = append(list, name)
			}
		}
		return list
	}
	return &point.Capabilities{
		Bounding: keep(asked.Bounding, &kept[0]), Effective: keep(asked.Effective, &kept[1]),
		Inheritable: keep(asked.Inheritable, &kept[2]), Permitted: keep(asked.Permitted, &kept[3]),
		Ambient: keep(asked.Ambient, &kept[4]),
	}
}

func filter(list []*container, test func(*container) bool) []*container {
	var kept []*container
	for i, c := range list {
		if test(c) {
			if kept == nil {
				kept = make([]*container, 0, min(len(list)-i, 4))
			}
			kept = append(kept, c)
		}
	}
	return kept
}
