package expr

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// The bounds of one Budget.
const (
	maxSteps = 4_000_000
	maxBytes = 64 << 20
	maxChain = 256
)

// ErrBudget is the answer when a document asks for more than any real one does.
var ErrBudget = errors.New("the template asks for more computing than is given to one")

// ErrChain is the answer when values are made of values, and these of others, without an end in sight.
var ErrChain = fmt.Errorf("variables and default values are made of each other, more than %d deep", maxChain)

// Budget is what all evaluations of one document may use together.
type Budget struct{ steps, bytes, chain int }

// Enter begins a value that others are made of; Leave ends it.
func (b *Budget) Enter() error {
	if b.chain >= maxChain {
		return ErrChain
	}
	b.chain++
	return nil
}

// Leave ends what Enter began.
func (b *Budget) Leave() { b.chain-- }

// Use counts a step that makes so many bytes, or looks at so many.
func (b *Budget) Use(bytes int) error {
	if b.steps >= maxSteps || bytes > maxBytes-b.bytes {
		b.steps = maxSteps // what was refused once stays so
		return ErrBudget
	}
	b.steps++
	b.bytes += bytes
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
		if err := e.budget.Use(len(of.Members)); err != nil {
			return nil, err
		}
		return pick(of, tree.Str(x.name), x.safe)
	case *index:
		of, err := e.eval(x.of)
		if err != nil {
			return nil, err
		}
		i, err := e.eval(x.index)
		if err != nil {
			return nil, err
		}
		if err := e.budget.Use(len(of.Members)); err != nil {
			return nil, err
		}
		return pick(of, i, x.safe)
	}
	return nil, fmt.Errorf("expression of type %T", x)
}

// pick is value[index], by name or by number, or value.name. Of an object with a secret in it the other members are none.
func pick(of, i *tree.Node, safe bool) (*tree.Node, error) {
	var n *tree.Node
	var err error
	switch {
	case of.Kind == tree.Unknown || i.Kind == tree.Unknown || i.Pattern != "":
		n = Unknown()
	case of.Kind == tree.Null && safe:
		n = of
	case i.Kind == tree.String:
		n, err = pickMember(of, i, safe)
	case of.Kind != tree.Array:
		err = fmt.Errorf("element of %s, want an array", of.Kind)
	default:
		n, err = pickElement(of, i, safe)
	}
	if err != nil {
		return nil, err
	}
	return marked(n, of.Secret || i.Secret), nil
}

func pickMember(of, name *tree.Node, safe bool) (*tree.Node, error) {
	if of.Kind != tree.Object {
		return nil, fmt.Errorf("member %s of %s, want an object", name.Quote(), of.Kind)
	}
	if v := of.Fold(name.Text); v != nil {
		return v, nil
	}
	if safe {
		return &tree.Node{}, nil
	}
	return nil, fmt.Errorf("no member %s; there are %s", name.Quote(), names(of))
}

func pickElement(of, i *tree.Node, safe bool) (*tree.Node, error) {
	n, err := whole(i)
	if err != nil {
		return nil, err
	}
	if n >= 0 && n < int64(len(of.Items)) {
		return of.Items[n], nil
	}
	if safe {
		return &tree.Node{}, nil
	}
	return nil, fmt.Errorf("element %s of an array of %d", strings.Trim(i.Quote(), `"`), len(of.Items))
}

func names(of *tree.Node) string {
	switch {
	case of.Secret:
		return "(secret)"
	case len(of.Members) == 0:
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

// tainted returns the value as a secret if any of those it came from is one, or has one in it, however deep. These were counted
// with the budget before.
func tainted(n *tree.Node, from ...*tree.Node) *tree.Node {
	return marked(n, !n.Secret && slices.ContainsFunc(from, (*tree.Node).Hides))
}

func marked(n *tree.Node, yes bool) *tree.Node {
	if !yes || n.Secret {
		return n
	}
	c := *n
	c.Secret = true
	return &c
}

func whole(n *tree.Node) (int64, error) {
	if n.Kind != tree.Number {
		return 0, fmt.Errorf("got %s, want a whole number", n.Kind)
	}
	i, err := strconv.ParseInt(n.Text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("got %s, want a whole number of 64 bits", strings.Trim(n.Quote(), `"`))
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
