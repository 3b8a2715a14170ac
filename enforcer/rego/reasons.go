package rego

import (
	"context"
	"errors"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/point"
)

// textEngineError stands in for the reason of a policy that failed to give one (policy contract, section 2.5).
const textEngineError = "Security policy is not valid. "

// refuse asks the policy for its reasons. That this fails changes nothing about the refusal.
func (q *question) refuse(ctx context.Context) *point.Refusal {
	r := &point.Refusal{Container: q.container()}
	asked := withMember(q.input.(ast.Object), ast.StringTerm("rule"), ast.StringTerm(string(q.row.Point)))
	v, err := q.judge.eval(ctx, q.base.program.reason, q.base, asked)
	switch {
	case errors.Is(err, errUndefined):
		r.Text = point.TextNoReason
	case err != nil:
		r.Text, r.PolicyError = textEngineError, err.Error()
	default:
		r.Document = func() any { return document(v) }
		r.Reasons = reasonsOf(v)
	}
	return r
}

// reasonsOf reads {"errors": [...]}; a custom policy may answer with text alone.
func reasonsOf(v ast.Value) []string {
	var reasons []string
	add := func(t *ast.Term) {
		if s, ok := t.Value.(ast.String); ok {
			reasons = append(reasons, string(s))
		}
	}
	switch v := v.(type) {
	case ast.String:
		return []string{string(v)}
	case ast.Object:
		list := member(v, "errors")
		if list == nil {
			return nil
		}
		switch list := list.Value.(type) {
		case *ast.Array:
			list.Foreach(add)
		case ast.Set:
			list.Sorted().Foreach(add)
		}
	}
	return reasons
}

// container is the name of the only candidate left for the request's container id, if there is exactly one name.
func (q *question) container() string {
	id, ok := point.ContainerOf(q.in)
	if !ok {
		return ""
	}
	matches, ok := q.base.table("matches")
	if !ok {
		return ""
	}
	candidates, ok := termArray(matches.Get(ast.StringTerm(id)))
	if !ok || candidates.Len() == 0 {
		return ""
	}
	name := candidateName(candidates.Elem(0))
	for i := 1; i < candidates.Len(); i++ {
		if candidateName(candidates.Elem(i)) != name {
			return ""
		}
	}
	return name
}

func termArray(t *ast.Term) (*ast.Array, bool) {
	if t == nil {
		return nil, false
	}
	list, ok := t.Value.(*ast.Array)
	return list, ok
}

func candidateName(t *ast.Term) string {
	obj, ok := t.Value.(ast.Object)
	if !ok {
		return ""
	}
	if name, ok := stringMember(obj, "name"); ok && name != "" {
		return name
	}
	id, _ := stringMember(obj, "id")
	return id
}
