package arm

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/arm/expr"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// maxCopies is the resource manager's own bound of a loop.
const maxCopies = 800

// evaluationError is an expression that cannot be computed, at the value that it stands in.
type evaluationError struct {
	node *tree.Node
	path string
	err  error
}

func (e *evaluationError) Error() string {
	if e.path == "" {
		return e.err.Error()
	}
	return e.path + ": " + e.err.Error()
}

func (e *evaluationError) Unwrap() error { return e.err }

// below puts the name of the value around before the path of an error.
func below(name string, err error) error {
	var e *evaluationError
	if !errors.As(err, &e) {
		return err
	}
	path := name
	if e.path != "" && !strings.HasPrefix(e.path, "[") {
		path += "."
	}
	return &evaluationError{node: e.node, path: path + e.path, err: e.err}
}

// evaluate computes the expressions in a value. What the table ignores, leaves to the reader or has not is left as it is; nil
// is a table that has everything.
func (t *template) evaluate(n *tree.Node, s *shape.Spec, in *scope) (*tree.Node, error) {
	if err := t.budget.Use(0); err != nil {
		return nil, err
	}
	switch n.Kind {
	case tree.String:
		return t.evaluateString(n, in)
	case tree.Array:
		out := *n
		out.Source, out.Items = n, make([]*tree.Node, len(n.Items))
		if s != nil {
			s = s.Element()
		}
		for i, item := range n.Items {
			v, err := t.evaluate(item, s, in)
			if err != nil {
				return nil, below("["+strconv.Itoa(i)+"]", err)
			}
			out.Items[i] = v
		}
		return &out, nil
	case tree.Object:
		return t.evaluateObject(n, s, in)
	}
	return n, nil
}

func (t *template) evaluateString(n *tree.Node, in *scope) (*tree.Node, error) {
	if err := t.budget.Use(len(n.Text)); err != nil {
		return nil, err
	}
	x, plain, err := expr.Parse(n.Text)
	if err != nil {
		return nil, &evaluationError{node: n, err: err}
	}
	v := tree.Str(plain)
	if x != nil {
		if v, err = expr.Eval(x, in, t.budget); errors.Is(err, expr.ErrChain) {
			return nil, &evaluationError{node: n, err: expr.ErrChain} // and not the whole chain
		} else if err != nil {
			return nil, &evaluationError{node: n, err: fmt.Errorf("%q: %w", cut(n.Text), err)}
		}
	}
	if err := t.budget.UseNode(v); err != nil {
		return nil, err
	}
	out := relocate(v, n.Line, false)
	out.Source = n
	return out, nil
}

// relocate is a value as if it stood where the expression stands; all in a secret is secret.
func relocate(n *tree.Node, line int, secret bool) *tree.Node {
	out := *n
	out.Secret = n.Secret || secret
	out.Line, out.Start, out.End, out.Source = line, 0, 0, nil
	out.Items = slices.Clone(n.Items)
	for i := range out.Items {
		out.Items[i] = relocate(out.Items[i], line, out.Secret)
	}
	out.Members = slices.Clone(n.Members)
	for i := range out.Members {
		out.Members[i].Line = line
		out.Members[i].Value = relocate(out.Members[i].Value, line, out.Secret)
	}
	return &out
}

func (t *template) evaluateObject(n *tree.Node, s *shape.Spec, in *scope) (*tree.Node, error) {
	out := *n
	out.Source, out.Members = n, nil
	for _, m := range n.Members {
		var of *shape.Spec
		if s != nil {
			of = s.Find(m.Name, true)
			if of == nil && tree.EqualFold(m.Name, "copy") {
				if err := t.propertyLoops(&out, m.Value, s, in); err != nil {
					return nil, below(m.Name, err)
				}
				continue
			}
			if of == nil || !of.IsEvaluated(m.Value) {
				out.Members = append(out.Members, m)
				continue
			}
		} else if tree.EqualFold(m.Name, "copy") && m.Value.Kind == tree.Array {
			if err := t.propertyLoops(&out, m.Value, nil, in); err != nil {
				return nil, below(m.Name, err)
			}
			continue
		}
		v, err := t.evaluate(m.Value, of, in)
		if of != nil && of.IsLenient() && err != nil && !errors.Is(err, expr.ErrBudget) {
			v, err = &tree.Node{Kind: tree.Unknown, Line: m.Value.Line, Source: m.Value}, nil
		}
		if err != nil {
			return nil, below(m.Name, err)
		}
		m.Value = v
		out.Members = append(out.Members, m)
	}
	return &out, nil
}

// propertyLoops adds the members that the copy of an object makes.
func (t *template) propertyLoops(out *tree.Node, loops *tree.Node, s *shape.Spec, in *scope) error {
	if loops.Kind != tree.Array {
		return &evaluationError{node: loops, err: fmt.Errorf("got %s, want an array of loops", loops.Kind)}
	}
	for i, l := range loops.Items {
		name, v, err := t.propertyLoop(l, s, in)
		if err != nil {
			return below("["+strconv.Itoa(i)+"]", err)
		}
		out.Members = append(out.Members, tree.Member{Name: name, Line: l.Line, Value: v, Computed: true})
	}
	return nil
}

// propertyLoop computes {"name", "count", "input"}: an array of so many inputs.
func (t *template) propertyLoop(l *tree.Node, s *shape.Spec, in *scope) (string, *tree.Node, error) {
	fail := func(format string, args ...any) (string, *tree.Node, error) {
		return "", nil, &evaluationError{node: l, err: fmt.Errorf(format, args...)}
	}
	if l.Kind != tree.Object {
		return fail("got %s, want an object of name, count and input", l.Kind)
	}
	for _, m := range l.Members {
		if !slices.Contains([]string{"name", "count", "input"}, tree.Fold(m.Name)) {
			return fail("member %q of a loop is not understood; name, count and input are", cut(m.Name))
		}
	}
	name, input := foldMember(l, "name"), foldMember(l, "input")
	if name == nil || name.Kind != tree.String || input == nil {
		return fail("a loop has a name and an input")
	}
	count, err := t.count(l, in)
	if err != nil {
		return "", nil, err
	}
	var of *shape.Spec
	if s != nil {
		if of = s.Find(name.Text, true); of == nil || !of.IsEvaluated(input) {
			return fail("member %q is not understood here as a loop", cut(name.Text))
		}
		of = of.Element()
	}
	out := &tree.Node{Kind: tree.Array, Line: l.Line, Source: l}
	for i := range count {
		v, err := t.evaluate(input, of, in.within(loop{name: name.Text, index: i}))
		if err != nil {
			return "", nil, below("input", err)
		}
		out.Items = append(out.Items, v)
	}
	return name.Text, out, nil
}

// count is how often a loop runs.
func (t *template) count(l *tree.Node, in *scope) (int64, error) {
	n := foldMember(l, "count")
	if n == nil {
		return 0, &evaluationError{node: l, err: errors.New("a loop has a count")}
	}
	v, err := t.evaluate(n, nil, in)
	if err != nil {
		return 0, below("count", err)
	}
	if v.Kind == tree.Unknown {
		return 0, &evaluationError{node: n, path: "count", err: errors.New("how often the loop runs is known at deployment time only; a parameters file must say it")}
	}
	count, err := strconv.ParseInt(v.Text, 10, 64)
	if v.Kind != tree.Number || err != nil || count < 0 || count > maxCopies {
		return 0, &evaluationError{node: n, path: "count", err: fmt.Errorf("got %s %s, want a whole number of at most %d", v.Kind, v.Quote(), maxCopies)}
	}
	return count, nil
}
