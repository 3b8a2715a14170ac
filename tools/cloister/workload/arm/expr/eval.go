package expr

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// The bounds of one Budget.
const (
	maxSteps = 4_000_000
	maxBytes = 64 << 20
)

// ErrBudget is the answer when a document asks for more than any real one does.
var ErrBudget = errors.New("the template asks for more computing than is given to one")

// Budget is what all evaluations of one document may use together.
type Budget struct{ steps, bytes int }

// Use counts a step that makes so many bytes.
func (b *Budget) Use(bytes int) error {
	b.steps++
	b.bytes += bytes
	if b.steps > maxSteps || b.bytes > maxBytes {
		return ErrBudget
	}
	return nil
}

// UseNode counts a value with all that is in it.
func (b *Budget) UseNode(n *tree.Node) error {
	if err := b.Use(len(n.Text) + len(n.Pattern)); err != nil {
		return err
	}
	for _, item := range n.Items {
		if err := b.UseNode(item); err != nil {
			return err
		}
	}
	for i := range n.Members {
		if err := b.UseNode(n.Members[i].Value); err != nil {
			return err
		}
	}
	return nil
}

// Scope is what the names in an expression stand for.
type Scope interface {
	Parameter(name string) (*tree.Node, error)
	Variable(name string) (*tree.Node, error)
	// CopyIndex is the present number of a loop, counted from 0; "" is the innermost.
	CopyIndex(name string) (int64, error)
	// Function calls a function of the template; name has its namespace.
	Function(name string, args []*tree.Node) (*tree.Node, error)
}

// Unknown returns a value that exists at deployment time only.
func Unknown() *tree.Node { return &tree.Node{Kind: tree.Unknown} }

// Eval computes the value of an expression.
func Eval(x Expr, s Scope, b *Budget) (*tree.Node, error) {
	return (&evaluation{scope: s, budget: b}).eval(x)
}

type evaluation struct {
	scope  Scope
	budget *Budget
	locals []local // arguments of the lambdas around
}

type local struct {
	name  string
	value *tree.Node
}

func (e *evaluation) eval(x Expr) (*tree.Node, error) {
	if err := e.budget.Use(0); err != nil {
		return nil, err
	}
	switch x := x.(type) {
	case literal:
		return x.value, nil
	case *call:
		return e.call(x)
	case *member:
		of, err := e.eval(x.of)
		if err != nil {
			return nil, err
		}
		return pickMember(of, x.name, x.safe)
	case *index:
		of, err := e.eval(x.of)
		if err != nil {
			return nil, err
		}
		i, err := e.eval(x.index)
		if err != nil {
			return nil, err
		}
		return pick(of, i, x.safe)
	}
	return nil, fmt.Errorf("expression of type %T", x)
}

func pickMember(of *tree.Node, name string, safe bool) (*tree.Node, error) {
	if of.Kind == tree.Unknown {
		return tainted(Unknown(), of), nil
	}
	if of.Kind == tree.Null && safe {
		return of, nil
	}
	if of.Kind != tree.Object {
		return nil, fmt.Errorf("member %q of %s, want an object", cut(name), of.Kind)
	}
	if v := fold(of, name); v != nil {
		return tainted(v, of), nil
	}
	if safe {
		return &tree.Node{}, nil
	}
	return nil, fmt.Errorf("no member %q; there are %s", cut(name), names(of))
}

// pick is value[index], by name or by number.
func pick(of, i *tree.Node, safe bool) (*tree.Node, error) {
	switch {
	case of.Kind == tree.Unknown || i.Kind == tree.Unknown || i.Pattern != "":
		return tainted(Unknown(), of), nil
	case i.Kind == tree.String:
		return pickMember(of, i.Text, safe)
	case of.Kind == tree.Null && safe:
		return of, nil
	case of.Kind != tree.Array:
		return nil, fmt.Errorf("element of %s, want an array", of.Kind)
	}
	n, err := whole(i)
	if err != nil {
		return nil, err
	}
	if n < 0 || n >= int64(len(of.Items)) {
		if safe {
			return &tree.Node{}, nil
		}
		return nil, fmt.Errorf("element %d of an array of %d", n, len(of.Items))
	}
	return tainted(of.Items[n], of), nil
}

// fold finds a member as the resource manager does, without regard to case.
func fold(of *tree.Node, name string) *tree.Node {
	for i := range of.Members {
		if strings.EqualFold(of.Members[i].Name, name) {
			return of.Members[i].Value
		}
	}
	return nil
}

func names(of *tree.Node) string {
	if len(of.Members) == 0 {
		return "none"
	}
	var list []string
	for i := range of.Members {
		if i == 8 {
			return strings.Join(list, ", ") + ", …"
		}
		list = append(list, strconv.Quote(cut(of.Members[i].Name)))
	}
	return strings.Join(list, ", ")
}

// tainted returns the value as a secret if any of those it came from is one.
func tainted(n *tree.Node, from ...*tree.Node) *tree.Node {
	for _, f := range from {
		if f.Secret && !n.Secret {
			c := *n
			c.Secret = true
			return &c
		}
	}
	return n
}

func whole(n *tree.Node) (int64, error) {
	if n.Kind != tree.Number {
		return 0, fmt.Errorf("got %s, want a whole number", n.Kind)
	}
	i, err := strconv.ParseInt(n.Text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("got %s, want a whole number of 64 bits", cut(n.Text))
	}
	return i, nil
}

// pattern is the RE2 pattern of a scalar.
func pattern(n *tree.Node) (string, error) {
	if n.Kind == tree.Unknown {
		return ".*", nil
	}
	if n.Pattern != "" {
		return n.Pattern, nil
	}
	s, err := text(n)
	return regexp.QuoteMeta(s), err
}
