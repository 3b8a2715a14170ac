package enforcer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/enforcer/rego"
)

// ErrEntriesUnknown means that it cannot be said which entries of the policy a container may be: the policy has rules of its own, or is so old
// that every process may be executed, and what is allowed then need not be an entry of any list.
var ErrEntriesUnknown = errors.New("the entries of the policy that a container may be are not known")

// ErrNoContainer means that no container of that id was created, or that it has been shut down.
var ErrNoContainer = errors.New("no container of that id was created and is not shut down")

// FragmentID names a fragment that was loaded.
type FragmentID struct {
	Issuer, Feed string
	// SVN is the text of the number or version that the policy compared.
	SVN string
	// Digest is the SHA-256 of the fragment's text: nothing keeps an issuer from signing two with the same names.
	Digest [32]byte
}

// PolicyEntry is one container definition: Index is its position, from 0, in the array that the policy's text, or the fragment's, calls
// containers. Of a fragment whose lists are computed it is the position in the list as evaluated with the parameters of the policy.
type PolicyEntry struct {
	// Fragment is nil for the policy's own text.
	Fragment *FragmentID
	Index    uint32
}

// Surviving are the entries that a container may be.
type Surviving struct {
	// Entries are sorted, the policy's own first, and unique; there is at least one. Which of them the container is, nobody knows: everything
	// that was asked of it so far is allowed by each.
	Entries []PolicyEntry
}

// Surviving returns the entries of the policy that a container may still be, after its create and each process and signal since. They can
// only become fewer. It fails with ErrNoContainer before the create was committed and after a shutdown, and with ErrEntriesUnknown for a policy
// with rules of its own.
func (e *Enforcer) Surviving(containerID string) (Surviving, error) {
	s, err := e.surviving(containerID)
	if err != nil {
		return Surviving{}, fmt.Errorf("entries of container %.64q: %w", containerID, err)
	}
	return s, nil
}

func (e *Enforcer) surviving(id string) (Surviving, error) {
	if e.poisoned.Load() {
		return Surviving{}, ErrInconsistent
	}
	switch j := e.judge.(type) {
	case *plainJudge:
		return j.surviving(id)
	case *rego.Judge:
		return e.catalogue.surviving(j, id, e.opts.Strict)
	case *bothJudges:
		j.mu.Lock()
		defer j.mu.Unlock()
		got, errCompiled := j.compiled.surviving(id)
		want, err := e.catalogue.surviving(j.engine, id, e.opts.Strict)
		if (err == nil) != (errCompiled == nil) || !slices.EqualFunc(got.Entries, want.Entries, sameEntry) {
			return Surviving{}, fmt.Errorf("%w: entries: the engine says %v, %v, the compiled rules %v, %v", ErrJudgesDisagree, want, err, got, errCompiled)
		}
		return got, err
	}
	return Surviving{}, ErrEntriesUnknown
}

// openExec says whether a plain policy allows every process, for it is older than the point and has no rule for it.
func openExec(p *entry.Policy, strict bool) bool {
	if p.Delegated[string(point.ExecInContainer)] {
		return false
	}
	api, _ := point.ParseVersion(p.APIVersion)
	reason, use := point.RowByName(point.ExecInContainer).Missing(api, strict)
	return reason == "" && use == point.FallbackAllow
}

func (j *plainJudge) surviving(id string) (Surviving, error) {
	if j.openExec {
		return Surviving{}, ErrEntriesUnknown
	}
	list, ok := j.Possible(id)
	if !ok {
		return Surviving{}, ErrNoContainer
	}
	return survivingOf(list)
}

// unknownOrigin marks containers of a fragment that cannot be named.
var unknownOrigin = &entry.Origin{}

// survivingOf names the entries.
func survivingOf(list []*entry.Container) (Surviving, error) {
	var s Surviving
	for _, c := range list {
		e := PolicyEntry{Index: uint32(c.Index)}
		switch {
		case c.Origin == unknownOrigin:
			return Surviving{}, ErrEntriesUnknown
		case c.Origin != nil:
			e.Fragment = (*FragmentID)(c.Origin)
		}
		s.Entries = append(s.Entries, e)
	}
	if len(s.Entries) == 0 {
		return Surviving{}, ErrEntriesUnknown
	}
	slices.SortFunc(s.Entries, compareEntries)
	s.Entries = slices.CompactFunc(s.Entries, sameEntry)
	return s, nil
}

func sameEntry(a, b PolicyEntry) bool { return compareEntries(a, b) == 0 }

func compareEntries(a, b PolicyEntry) int {
	if a.Fragment == nil || b.Fragment == nil {
		if (a.Fragment == nil) != (b.Fragment == nil) {
			return map[bool]int{true: -1, false: 1}[a.Fragment == nil]
		}
		return cmp.Compare(a.Index, b.Index)
	}
	f, g := a.Fragment, b.Fragment
	return cmp.Or(
		cmp.Compare(f.Issuer, g.Issuer), cmp.Compare(f.Feed, g.Feed), cmp.Compare(f.SVN, g.SVN),
		slices.Compare(f.Digest[:], g.Digest[:]), cmp.Compare(a.Index, b.Index),
	)
}

// catalogue finds the entries that values of the engine's state are. It is made when it is first asked for: only a policy that the engine
// judges needs it.
type catalogue struct {
	mu     sync.Mutex
	policy *entry.Policy
	err    error // why there is none
	// made is for the fragments that were loaded when the container got its candidates.
	made      bool
	fragments []ast.Object
	byHash    map[int][]*entry.Container
}

// surviving looks the candidates up by their value: containers that are written the same, and all such are candidates together.
func (c *catalogue) surviving(j *rego.Judge, id string, strict bool) (Surviving, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.policy == nil && c.err == nil {
		if c.policy, c.err = entry.Read([]byte(j.Text()), pointNames); c.err == nil && openExec(c.policy, strict) {
			c.err = errors.New("the policy is older than exec_in_container")
		}
	}
	if c.err != nil {
		return Surviving{}, fmt.Errorf("%w: %w", ErrEntriesUnknown, c.err)
	}
	values, loaded, ok := j.Possible(id)
	if !ok {
		return Surviving{}, ErrNoContainer
	}
	if err := c.make(loaded); err != nil {
		return Surviving{}, err
	}
	var list []*entry.Container
	for _, v := range values {
		found := false
		for _, candidate := range c.byHash[v.Hash()] {
			if candidate.Value().Compare(v) == 0 {
				list, found = append(list, candidate), true
			}
		}
		if !found {
			return Surviving{}, fmt.Errorf("%w: the state has a container that is in no list", ErrEntriesUnknown)
		}
	}
	return survivingOf(list)
}

// maxCatalogue bounds the variants that platform rules make.
const maxCatalogue = 1 << 16

// make reads the lists as they are with these fragments.
func (c *catalogue) make(loaded []rego.Loaded) error {
	same := func(l rego.Loaded, e ast.Object) bool { return l.Extract == e }
	if c.made && slices.EqualFunc(loaded, c.fragments, same) {
		return nil
	}
	data, err := dataOf(loaded)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEntriesUnknown, err)
	}
	containers := entry.Complete(c.policy.Data.Containers, c.policy.FrameworkVersion)
	rules := entry.RulesOf(c.policy.Data.PlatformRules, c.policy.FrameworkVersion)
	c.fragments = nil
	for i, d := range data {
		containers = append(slices.Clip(containers), d.Containers...)
		rules = append(slices.Clip(rules), d.PlatformRules...)
		c.fragments = append(c.fragments, loaded[i].Extract)
	}
	if len(containers)*len(rules) > maxCatalogue {
		return fmt.Errorf("%w: platform rules make more than %d variants", ErrEntriesUnknown, maxCatalogue)
	}
	c.made, c.byHash = true, map[int][]*entry.Container{}
	for _, candidate := range entry.Candidates(containers, rules) {
		h := candidate.Value().Hash()
		c.byHash[h] = append(c.byHash[h], candidate)
	}
	return nil
}
