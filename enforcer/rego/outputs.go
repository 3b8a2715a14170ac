package rego

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/enforcer/point"
)

// isAsked says whether an answer is the input's own value, not an equal one: then there is nothing to compare.
func isAsked(t *ast.Term, input ast.Value, key string) bool {
	in, ok := input.(ast.Object)
	if !ok || t == nil {
		return false
	}
	asked := member(in, key)
	if asked == nil {
		return false
	}
	switch v := t.Value.(type) {
	case *ast.Array:
		a, ok := asked.Value.(*ast.Array)
		return ok && a == v
	case ast.Object:
		o, ok := asked.Value.(ast.Object)
		return ok && o == v
	}
	return false
}

// keptEnv is the request's environment without what the answer does not list. The order and the duplicates stay the
// request's: programs depend on both.
func keptEnv(answer ast.Object, request []string, input ast.Value) ([]string, error) {
	t := member(answer, "env_list")
	if isAsked(t, input, "envList") {
		return keep(request, nil, true), nil
	}
	kept, all, err := stringSet(t, "env_list")
	if err != nil {
		return nil, err
	}
	return keep(request, kept, all), nil
}

func keptCapabilities(answer ast.Object, request point.Capabilities, input ast.Value) (*point.Capabilities, error) {
	t := member(answer, "caps_list")
	if t == nil || isNull(t) || isAsked(t, input, "capabilities") {
		return request.Clone(), nil
	}
	obj, ok := t.Value.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("caps_list: got %s, want an object", ast.ValueName(t.Value))
	}
	var final point.Capabilities
	for _, set := range []struct {
		key     string
		request []string
		final   *[]string
	}{
		{"bounding", request.Bounding, &final.Bounding},
		{"effective", request.Effective, &final.Effective},
		{"inheritable", request.Inheritable, &final.Inheritable},
		{"permitted", request.Permitted, &final.Permitted},
		{"ambient", request.Ambient, &final.Ambient},
	} {
		// A set the answer leaves out, or answers with null, is empty: here absence must not mean "all".
		kept, all, err := stringSet(member(obj, set.key), "caps_list."+set.key)
		if err != nil {
			return nil, err
		}
		if all {
			kept = nil
		}
		*set.final = keep(set.request, kept, false)
	}
	return &final, nil
}

// stringSet reads a list of strings. all is true when there is no list, which means "what was asked".
func stringSet(t *ast.Term, name string) (set map[string]bool, all bool, err error) {
	if t == nil || isNull(t) {
		return nil, true, nil
	}
	set = map[string]bool{}
	add := func(e *ast.Term) error {
		s, ok := e.Value.(ast.String)
		if !ok {
			return fmt.Errorf("%s: got an entry that is %s, want strings", name, ast.ValueName(e.Value))
		}
		set[string(s)] = true
		return nil
	}
	switch v := t.Value.(type) {
	case *ast.Array:
		err = v.Iter(add)
	case ast.Set:
		err = v.Iter(add)
	default:
		err = fmt.Errorf("%s: got %s, want an array", name, ast.ValueName(v))
	}
	return set, false, err
}

func isNull(t *ast.Term) bool {
	_, ok := t.Value.(ast.Null)
	return ok
}

func keep(request []string, kept map[string]bool, all bool) []string {
	result := make([]string, 0, len(request))
	for _, s := range request {
		if all || kept[s] {
			result = append(result, s)
		}
	}
	return result
}

// keptLedgers is the request's ledgers without what the answer does not list. No list means none: what is allowed here is trusted
// from then on.
func keptLedgers(answer ast.Object, request []string) ([]string, error) {
	kept, _, err := stringSet(member(answer, "allowed_ledgers"), "allowed_ledgers")
	if err != nil {
		return nil, err
	}
	return keep(request, kept, false), nil
}
