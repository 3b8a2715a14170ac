package rego

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
)

// keptModule is a package that a fragment added to the program.
type keptModule struct {
	issuer, feed string
	// svn is the text of the fragment's SVN.
	svn        string
	text       string
	parameters ast.Object
	modules    []*ast.Module
}

// keep makes the fragment's package a part of the program that p leads to.
func (l *load) keep(ctx context.Context, p *pending, parameters ast.Object) error {
	f := l.fragment
	k := &keptModule{issuer: f.Issuer, feed: f.Feed, svn: l.svn(), text: f.Text, parameters: parameters, modules: l.code.modules}
	if old := l.base.kept[f.Namespace]; old != nil {
		if old.text == k.text && old.parameters.Compare(parameters) == 0 {
			return nil
		}
		// Data of two fragments adds up, but rules are replaced: an older text must not take a newer one's place.
		if !reaches(k.svn, old.svn) {
			return &fragment.Error{
				Reason: fragment.ReasonNamespace,
				Err:    fmt.Errorf("package %s is in use by the same fragment with a higher SVN", f.Namespace),
			}
		}
	}
	joined := l.code.program
	if joined == nil {
		var err error
		joined, err = bounded(ctx, l.judge, func() (*program, error) { return l.code.join(l.judge.text, l.base, f.Namespace) })
		if err != nil {
			return err
		}
	}
	next := p.next.withFixed(f.Namespace, object(field{givenParameters, parameters}))
	next.program = joined
	next.kept = maps.Clone(next.kept)
	if next.kept == nil {
		next.kept = map[string]*keptModule{}
	}
	next.kept[f.Namespace] = k
	p.next, p.keeps = next, f.Namespace
	return nil
}

// svn is the text of what the policy has compared: the header's, or else the one in the text.
func (l *load) svn() string {
	if l.fragment.HeaderSVN != nil {
		return strconv.FormatInt(*l.fragment.HeaderSVN, 10)
	}
	switch v := l.loading["svn"].(type) {
	case ast.String:
		return string(v)
	case ast.Number:
		return string(v)
	}
	return ""
}

// reaches says whether an SVN is at least another. Two that do not compare are no answer, so they do not.
func reaches(svn, minimum string) bool {
	a, errA := strconv.ParseInt(svn, 10, 64)
	b, errB := strconv.ParseInt(minimum, 10, 64)
	if errA == nil && errB == nil {
		return a >= b
	}
	v, okV := point.ParseVersion(svn)
	w, okW := point.ParseVersion(minimum)
	return okV && okW && !v.Less(w)
}

// takeModuleBack is s without the package that p added, or with the one it replaced.
func (s *snapshot) takeModuleBack(p *pending) (*snapshot, error) {
	name := p.keeps
	if s.kept[name] != p.next.kept[name] {
		return nil, errors.New("the package that the change added was replaced since")
	}
	next := s.withFixed(name, p.base.fixed[name])
	next.kept = maps.Clone(s.kept)
	if next.kept[name] = p.base.kept[name]; next.kept[name] == nil {
		delete(next.kept, name)
	}
	if s.program == p.next.program {
		next.program = p.base.program
		return next, nil
	}
	// Another package came after this one: the program without only this one was never there.
	var err error
	next.program, err = newProgram(p.judge.text, modulesOf(next.kept)...)
	return next, err
}
