package arm

import (
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/tools/cloister/workload/arm/expr"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// loop is one copy loop that an expression stands in.
type loop struct {
	name     string
	index    int64
	resource bool // of a resource: what copyIndex() without a name means
}

// scope is what an expression sees: its template, the loops around it and, in a function of the template, the arguments.
type scope struct {
	template *template
	loops    []loop
	args     map[string]*tree.Node // nil outside a function
}

func (s *scope) within(l loop) *scope {
	return &scope{template: s.template, loops: append(s.loops[:len(s.loops):len(s.loops)], l), args: s.args}
}

// certain is the scope in which what only a default value says is not known.
func (s *scope) certain() *scope {
	if s.template.certain == nil {
		return s
	}
	return &scope{template: s.template.certain, loops: s.loops, args: s.args}
}

// Parameter is expr.Scope's.
func (s *scope) Parameter(name string) (*tree.Node, error) {
	if s.args != nil {
		if v := s.args[tree.Fold(name)]; v != nil {
			return v, nil
		}
		return nil, fmt.Errorf("the function has no parameter %q", cut(name))
	}
	e := s.template.parameters[tree.Fold(name)]
	if e == nil {
		return nil, fmt.Errorf("the template declares no parameter %q", cut(name))
	}
	return e.compute(s.template.budget, s.template.parameter)
}

// Variable is expr.Scope's.
func (s *scope) Variable(name string) (*tree.Node, error) {
	t := s.template
	if s.args != nil {
		return nil, errors.New("a function has no variables")
	}
	if e := t.variables[tree.Fold(name)]; e != nil {
		return e.compute(t.budget, func(e *entry) (*tree.Node, error) {
			v, err := t.evaluate(e.node, nil, &scope{template: t})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.path, err)
			}
			return v, nil
		})
	}
	if v, err := t.variableLoop(name); v != nil || err != nil {
		return v, err
	}
	return nil, fmt.Errorf("the template has no variable %q", cut(name))
}

// variableLoop computes a variable that the section's own copy makes.
func (t *template) variableLoop(name string) (*tree.Node, error) {
	e := t.variables["copy"]
	if e == nil || e.node.Kind != tree.Array {
		return nil, nil
	}
	if made := t.variables["copy."+tree.Fold(name)]; made != nil && made.value != nil {
		return made.value, nil
	}
	if err := t.budget.Use(len(e.node.Items)); err != nil {
		return nil, err
	}
	for _, l := range e.node.Items {
		if n := foldMember(l, "name"); n == nil || !tree.EqualFold(n.Text, name) {
			continue
		}
		key := "copy." + tree.Fold(name)
		if t.variables[key] == nil {
			t.variables[key] = &entry{node: l, path: e.path + "." + name}
		}
		return t.variables[key].compute(t.budget, func(e *entry) (*tree.Node, error) {
			_, v, err := t.propertyLoop(e.node, nil, &scope{template: t})
			return v, err
		})
	}
	return nil, nil
}

// CopyIndex is expr.Scope's.
func (s *scope) CopyIndex(name string) (int64, error) {
	for i := len(s.loops) - 1; i >= 0; i-- {
		if l := s.loops[i]; tree.EqualFold(l.name, name) || name == "" && l.resource {
			return l.index, nil
		}
	}
	if name == "" {
		return 0, errors.New("stands in no copy loop of a resource; that of a property wants its name")
	}
	return 0, fmt.Errorf("stands in no copy loop %q", cut(name))
}

// Function is expr.Scope's.
func (s *scope) Function(name string, args []*tree.Node) (*tree.Node, error) {
	f := s.template.functions[tree.Fold(name)]
	if f == nil {
		return nil, errors.New("the template has no such function")
	}
	if s.args != nil {
		return nil, errors.New("a function of a template calls no other")
	}
	named := map[string]*tree.Node{}
	var count int
	if list := foldMember(f, "parameters"); list != nil {
		count = len(list.Items)
		for i, p := range list.Items {
			if n := foldMember(p, "name"); n != nil && i < len(args) {
				named[tree.Fold(n.Text)] = args[i]
			}
		}
	}
	if len(args) != count {
		return nil, fmt.Errorf("got %d arguments, want %d", len(args), count)
	}
	output := foldMember(f, "output")
	if output == nil || foldMember(output, "value") == nil {
		return nil, errors.New("the function has no output with a value")
	}
	return s.template.evaluate(foldMember(output, "value"), nil, &scope{template: s.template, args: named})
}

// compute returns the value, made at the first call.
func (e *entry) compute(b *expr.Budget, f func(*entry) (*tree.Node, error)) (*tree.Node, error) {
	if e.value != nil {
		return e.value, nil
	}
	if e.busy {
		return nil, fmt.Errorf("%s is made from itself", e.path)
	}
	if err := b.Enter(); err != nil {
		return nil, err
	}
	e.busy = true
	defer func() { e.busy = false; b.Leave() }()
	v, err := f(e)
	if err != nil {
		return nil, err
	}
	e.value = v
	return v, nil
}
