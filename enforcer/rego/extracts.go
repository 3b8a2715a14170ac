package rego

import (
	"crypto/sha256"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// Tables of the framework's state (policy contract, section 1.4).
const (
	tableIssuers = "issuers"
	tableMatches = "matches"
	tableStarted = "started"
)

// Loaded is what one fragment added for one object of parameters.
type Loaded struct {
	// Extract has some of containers, external_processes, fragments, platform_rules and transparency_trust_lists.
	Extract ast.Object
	// Origin is nil when the change of the state does not say where the extract is from: a rule of the policy's own made it.
	Origin *entry.Origin
	// Index are the positions that the extract's containers have in the fragment's list; nil when each has its own.
	Index []int
}

// origin remembers where an extract is from; the state itself has issuer and feed only.
type origin struct {
	entry.Origin
	extract ast.Object
	index   []int
	// known is false when the positions of the containers cannot be told.
	known bool
}

// Extracts are all objects in data.metadata.issuers as a load leaves them, in the order of the framework's lists.
func Extracts(change point.Pending) []Loaded {
	p, ok := change.(*pending)
	if !ok {
		return nil
	}
	return p.next.loaded(p.next.metadata[tableIssuers])
}

// loaded are the extracts of a value of data.metadata.issuers.
func (s *snapshot) loaded(issuers ast.Value) []Loaded {
	var all []Loaded
	eachExtract(issuers, func(issuer, feed string, e ast.Object) {
		l := Loaded{Extract: e}
		for i := range s.origins {
			o := &s.origins[i]
			if o.known && o.Issuer == issuer && o.Feed == feed && sameExtract(o.extract, e) {
				l.Origin, l.Index = &o.Origin, o.index
			}
		}
		all = append(all, l)
	})
	return all
}

// Possible are the containers that an id can still be, as the state has them, and what fragments had added when it got them. ok is
// false when the id was not created, or has been shut down.
func (j *Judge) Possible(id string) (matches []ast.Value, fragments []Loaded, ok bool) {
	s := j.snapshot()
	key := ast.StringTerm(id)
	started, isTable := s.table(tableStarted)
	table, isMatches := s.table(tableMatches)
	issuers, wasBorn := s.born[id]
	if !isTable || !isMatches || !wasBorn || started.Get(key) == nil || table.Get(key) == nil {
		return nil, nil, false
	}
	list, ok := termArray(table.Get(key))
	if !ok {
		return nil, nil, false
	}
	list.Foreach(func(t *ast.Term) { matches = append(matches, t.Value) })
	return matches, s.loaded(issuers), true
}

// Text is the policy's text.
func (j *Judge) Text() string { return j.text }

// noteOrigin remembers which fragment the extract is from that next has and before has not.
func (l *load) noteOrigin(before, next *snapshot) {
	var old []ast.Object
	f := l.fragment
	of := func(s *snapshot, visit func(e ast.Object)) {
		eachExtract(s.metadata[tableIssuers], func(issuer, feed string, e ast.Object) {
			if issuer == f.Issuer && feed == f.Feed {
				visit(e)
			}
		})
	}
	of(before, func(e ast.Object) { old = append(old, e) })
	of(next, func(e ast.Object) {
		if slices.ContainsFunc(old, func(o ast.Object) bool { return sameExtract(o, e) }) {
			return
		}
		o := origin{
			Origin:  entry.Origin{Issuer: f.Issuer, Feed: f.Feed, SVN: l.svn(), Digest: sha256.Sum256([]byte(f.Text))},
			extract: e,
		}
		o.index, o.known = l.positions(e)
		kept := slices.DeleteFunc(slices.Clone(next.origins), func(x origin) bool { return x.Issuer == o.Issuer && x.Feed == o.Feed && sameExtract(x.extract, e) })
		next.origins = append(kept, o)
	})
}

// positions are those of an extract's containers in the fragment's list, nil when none was left out.
func (l *load) positions(extract ast.Object) (index []int, known bool) {
	taken, ok := termArray(member(extract, "containers"))
	if !ok {
		return nil, true
	}
	all, ok := l.loading["containers"].(*ast.Array)
	if ok && all.Len() == taken.Len() {
		return nil, true
	}
	if !ok {
		return nil, false
	}
	version, ok := l.loading["framework_version"].(ast.String)
	if !ok {
		version, _ = l.loading["framework_svn"].(ast.String)
	}
	index = entry.Kept(all, string(version))
	return index, len(index) == taken.Len()
}

func sameExtract(a, b ast.Object) bool { return a == b || a.Compare(b) == 0 }

// keyText is the key of a table of the state, all of which are strings.
func keyText(t *ast.Term) string {
	s, _ := t.Value.(ast.String)
	return string(s)
}
