package rego

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
)

const (
	// beingLoaded is the document the framework reads a fragment's lists from. It has blanks, so no fragment's package has its name.
	beingLoaded = "fragment being loaded"
	// givenParameters is the document of a fragment's package that its function parameter reads.
	givenParameters = "__fragment_parameters"
	// loadFactor is how many times longer than an evaluation a whole load may take.
	loadFactor = 10
	// maxParameterSets bounds how often one fragment is evaluated.
	maxParameterSets = 64
	// maxExtract bounds what a fragment's lists may grow to, in bytes: a comprehension can make much out of little, and it stays in memory.
	maxExtract = 16 << 20
)

// exports is what the framework reads of a fragment.
var exports = []string{
	"svn", "framework_version", "framework_svn",
	"containers", "external_processes", "fragments", "platform_rules", "transparency_trust_lists",
}

// LoadFragment asks the policy about a fragment, first by its header alone and then with its text, once for each object of parameters that
// the policy gives it. The fragment meets the compiler only after the first answer: until then nobody vouches for it. What all
// answers change is one pending change.
func (j *Judge) LoadFragment(ctx context.Context, f *fragment.Fragment) (*point.Verdict, error) {
	row := point.RowByName(point.LoadFragment)
	if reason := row.Before(j.apiVersion); reason != "" {
		return refusal(reason), nil
	}
	l := &load{judge: j, fragment: f, row: row, base: j.snapshot()}
	sets, verdict, err := l.first(ctx)
	if err == nil && verdict == nil {
		verdict, err = l.secondInTime(ctx, sets)
	}
	if refused := (*fragment.Error)(nil); errors.As(err, &refused) {
		return &point.Verdict{Refusal: refused.Refusal()}, nil
	}
	return verdict, err
}

// load is one fragment on its way into the state.
type load struct {
	judge    *Judge
	fragment *fragment.Fragment
	row      *point.Row
	base     *snapshot
	code     *fragmentCode
	// loading is what the framework reads of the fragment, for the object of parameters that was asked about last.
	loading map[string]ast.Value
}

func (l *load) question(loaded bool, s *snapshot) *question {
	in := l.fragment.Input(loaded)
	return &question{judge: l.judge, row: l.row, in: in, input: InputValue(in), base: s}
}

// first asks about the header and returns the objects of parameters.
func (l *load) first(ctx context.Context) ([]ast.Object, *point.Verdict, error) {
	answer, verdict, err := l.question(false, l.base).ask(ctx)
	if err != nil || verdict != nil {
		return nil, verdict, err
	}
	sets, err := parameterSets(answer)
	if err != nil {
		return nil, nil, err
	}
	used := l.base.kept[l.fragment.Namespace]
	if used != nil && (used.issuer != l.fragment.Issuer || used.feed != l.fragment.Feed) {
		return nil, nil, &fragment.Error{
			Reason: fragment.ReasonNamespace,
			Err:    fmt.Errorf("package %s is in use by another fragment", l.fragment.Namespace),
		}
	}
	return sets, nil, nil
}

// parameterSets reads the first answer's parameters. A rule that has no word for them gives none, which is one empty object.
func parameterSets(answer ast.Object) ([]ast.Object, error) {
	t := member(answer, "parameters")
	if t == nil || isNull(t) {
		return []ast.Object{ast.NewObject()}, nil
	}
	list, ok := plainTerm(t).Value.(*ast.Array)
	if !ok || list.Len() == 0 || list.Len() > maxParameterSets {
		return nil, fmt.Errorf("parameters: got %s, want an array of 1 to %d objects", ast.ValueName(t.Value), maxParameterSets)
	}
	sets := make([]ast.Object, list.Len())
	for i := range sets {
		if sets[i], ok = list.Elem(i).Value.(ast.Object); !ok {
			return nil, fmt.Errorf("parameters: got %s, want objects", ast.ValueName(list.Elem(i).Value))
		}
	}
	return sets, nil
}

// secondInTime bounds the sum of all evaluations, each of which may take its time.
func (l *load) secondInTime(ctx context.Context, sets []ast.Object) (*point.Verdict, error) {
	within, cancel := context.WithTimeout(ctx, loadFactor*l.judge.opts.EvalTimeout)
	defer cancel()
	verdict, err := l.second(within, sets)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		err = &fragment.Error{Reason: fragment.ReasonEval, Err: errors.New("the load took too long")}
	}
	return verdict, err
}

// second asks with the text. All changes happen on copies: a refusal of the last object of parameters leaves nothing of the first.
func (l *load) second(ctx context.Context, sets []ast.Object) (*point.Verdict, error) {
	var err error
	l.code, err = bounded(ctx, l.judge, func() (*fragmentCode, error) {
		return newFragmentCode(l.fragment, l.judge.text, l.base, l.judge.opts.Skeleton)
	})
	if err != nil {
		return nil, err
	}
	p := &pending{judge: l.judge, base: l.base, next: l.base}
	for _, parameters := range sets {
		answer, verdict, err := l.askWith(ctx, p.next, parameters)
		if err != nil || verdict != nil {
			return verdict, err
		}
		ops, err := operationsOf(answer)
		if err != nil {
			return nil, err
		}
		next, undo, err := p.next.apply(ops)
		if err != nil {
			return nil, err
		}
		l.noteOrigin(p.next, next)
		p.next, p.undo = next, append(p.undo, undo...)
		if add, _ := boolMember(answer, "add_module"); !add {
			continue
		}
		if len(sets) != 1 {
			return nil, &fragment.Error{
				Reason: fragment.ReasonNamespace,
				Err:    fmt.Errorf("the package cannot stay with %d sets of parameters", len(sets)),
			}
		}
		if err := l.keep(ctx, p, parameters); err != nil {
			return nil, err
		}
	}
	return &point.Verdict{Allowed: true, Pending: p, SVN: l.svn()}, nil
}

// askWith evaluates the fragment for one object of parameters and asks what the policy takes of it.
func (l *load) askWith(ctx context.Context, s *snapshot, parameters ast.Object) (ast.Object, *point.Verdict, error) {
	s = s.withFixed(l.fragment.Namespace, object(field{givenParameters, parameters}))
	if l.code.program != nil {
		// The policy's rules, or the fragment's, read beyond what the framework would: they get the package itself.
		s.program = l.code.program
	}
	question := l.question(true, s)
	l.loading = map[string]ast.Value{"parameters": parameters}
	left := maxExtract
	for _, name := range exports {
		v, err := l.judge.eval(ctx, l.code.exports[name], s, question.input)
		switch {
		case errors.Is(err, errUndefined):
			continue
		case err != nil && ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err != nil:
			return nil, nil, &fragment.Error{Reason: fragment.ReasonEval, Err: fmt.Errorf("%s: %w", name, err)}
		case !fits(v, &left):
			return nil, nil, &fragment.Error{Reason: fragment.ReasonEval, Err: fmt.Errorf("%s: the lists have more than %d bytes", name, maxExtract)}
		}
		l.loading[name] = plainTerm(ast.NewTerm(v)).Value
	}
	question.base = s.withFixed(beingLoaded, objectOf(l.loading))
	return question.ask(ctx)
}

// fits takes the size of a document from what is left.
func fits(v ast.Value, left *int) bool {
	const each = 16 // what an element costs besides its text
	ast.WalkTerms(v, func(t *ast.Term) bool {
		*left -= each
		switch v := t.Value.(type) {
		case ast.String:
			*left -= len(v)
		case ast.Number:
			*left -= len(v)
		}
		return *left < 0
	})
	return *left >= 0
}

// Contributed are the objects that a load adds to data.metadata.issuers: each has some of containers, external_processes,
// fragments, platform_rules and transparency_trust_lists, already completed for the fragment's framework version. They are in the order
// in which the framework's lists will have them. A change that is not of this package contributes nothing.
func Contributed(change point.Pending) []ast.Object {
	p, ok := change.(*pending)
	if !ok {
		return nil
	}
	before := map[string][]ast.Object{}
	issuersOf := func(s *snapshot) ast.Value { return s.metadata[tableIssuers] }
	eachExtract(issuersOf(p.base), func(issuer, feed string, e ast.Object) {
		before[issuer+"\x00"+feed] = append(before[issuer+"\x00"+feed], e)
	})
	var added []ast.Object
	eachExtract(issuersOf(p.next), func(issuer, feed string, e ast.Object) {
		for _, known := range before[issuer+"\x00"+feed] {
			if sameExtract(known, e) {
				return
			}
		}
		added = append(added, e)
	})
	return added
}

// eachExtract visits what loaded fragments added, in the order of the framework's lists. v is a value of data.metadata.issuers, or nil.
func eachExtract(v ast.Value, visit func(issuer, feed string, e ast.Object)) {
	issuers, ok := v.(ast.Object)
	if !ok {
		return
	}
	for _, issuer := range sortedKeys(issuers) {
		entry, ok := issuers.Get(issuer).Value.(ast.Object)
		if !ok {
			continue
		}
		feeds, ok := termObject(member(entry, "feeds"))
		if !ok {
			continue
		}
		for _, feed := range sortedKeys(feeds) {
			list, ok := termArray(feeds.Get(feed))
			if !ok {
				continue
			}
			list.Foreach(func(t *ast.Term) {
				if e, ok := t.Value.(ast.Object); ok {
					visit(keyText(issuer), keyText(feed), e)
				}
			})
		}
	}
}

func sortedKeys(obj ast.Object) []*ast.Term {
	keys := make([]*ast.Term, 0, obj.Len())
	ast.NewArray(obj.Keys()...).Sorted().Foreach(func(t *ast.Term) { keys = append(keys, t) })
	return keys
}

func termObject(t *ast.Term) (ast.Object, bool) {
	if t == nil {
		return nil, false
	}
	obj, ok := t.Value.(ast.Object)
	return obj, ok
}
