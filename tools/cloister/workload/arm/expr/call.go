package expr

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// reach is how far an unknown argument makes the result unknown.
type reach int

const (
	deep    reach = iota // anything unknown in an argument, however deep
	shallow              // an argument that is itself unknown, or partly
	own                  // the function says so itself
)

type function struct {
	min, max int // arguments; max -1 is any number
	reach    reach
	eval     func(args []*tree.Node) (*tree.Node, error)
}

// special functions see their arguments before these are evaluated.
type special struct {
	min, max int
	eval     func(e *evaluation, args []Expr) (*tree.Node, error)
}

func (e *evaluation) call(c *call) (*tree.Node, error) {
	name := tree.Fold(c.name)
	if strings.Contains(name, ".") {
		return e.user(c)
	}
	var n *tree.Node
	var err error
	switch f, s := functions[name], specials[name]; {
	case s.eval != nil:
		if err = count(c, s.min, s.max); err == nil {
			n, err = s.eval(e, c.args)
		}
	case f.eval != nil:
		if err = count(c, f.min, f.max); err == nil {
			n, err = e.plain(name, f, c.args)
		}
	case deploymentTime[name] || strings.HasPrefix(name, "list") && len(name) > len("list"):
		return Unknown(), nil
	default:
		return nil, fmt.Errorf("function %q is not understood; those that are: %s", cut(c.name), strings.Join(Functions(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return n, nil
}

func count(c *call, least, most int) error {
	switch n := len(c.args); {
	case least == most && n != least:
		return fmt.Errorf("got %d arguments, want %d", n, least)
	case n < least:
		return fmt.Errorf("got %d arguments, want at least %d", n, least)
	case most >= 0 && n > most:
		return fmt.Errorf("got %d arguments, want at most %d", n, most)
	}
	return nil
}

func (e *evaluation) all(args []Expr) ([]*tree.Node, error) {
	list := make([]*tree.Node, len(args))
	for i, a := range args {
		n, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		list[i] = n
	}
	return list, nil
}

func (e *evaluation) plain(name string, f function, exprs []Expr) (*tree.Node, error) {
	args, err := e.all(exprs)
	if err != nil {
		return nil, err
	}
	// What a function may read is counted before it reads it.
	for _, a := range args {
		if err := e.budget.UseNode(a); err != nil {
			return nil, err
		}
	}
	for _, a := range args {
		if f.reach == deep && !a.Known() || f.reach == shallow && (a.Kind == tree.Unknown || a.Pattern != "") {
			return tainted(Unknown(), args...), nil
		}
	}
	if err := e.budget.Use(work(name, args)); err != nil {
		return nil, err
	}
	n, err := f.eval(args)
	if err != nil {
		return nil, hidden(err, args...)
	}
	if err := e.budget.UseNode(n); err != nil {
		return nil, err
	}
	return tainted(n, args...), nil
}

// hidden is an error that may show what it was computed of, which it must not where that is secret.
func hidden(err error, of ...*tree.Node) error {
	if errors.Is(err, ErrBudget) || errors.Is(err, ErrChain) || !slices.ContainsFunc(of, (*tree.Node).Hides) {
		return err
	}
	return errors.New("a value that it is given is (secret) and none that it takes")
}

func (e *evaluation) user(c *call) (*tree.Node, error) {
	args, err := e.all(c.args)
	if err != nil {
		return nil, err
	}
	n, err := e.scope.Function(c.name, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return n, nil
}

// Functions returns the names of the functions that are evaluated, in alphabetical order and lower case.
func Functions() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range maps.Keys(functions) {
			if !yield(name) {
				return
			}
		}
		for name := range maps.Keys(specials) {
			if !yield(name) {
				return
			}
		}
	})
}

// DeploymentTime returns the names of the functions whose value is known at deployment time only. So are those that begin
// with "list".
func DeploymentTime() []string { return slices.Sorted(maps.Keys(deploymentTime)) }

// Of guid and uniqueString only the resource manager knows the rule.
var deploymentTime = map[string]bool{
	"guid": true, "uniquestring": true, "newguid": true, "utcnow": true, "resourcegroup": true, "subscription": true, "tenant": true,
	"managementgroup": true, "deployment": true, "deployer": true, "environment": true, "reference": true, "references": true,
	"resourceid": true, "subscriptionresourceid": true, "tenantresourceid": true, "extensionresourceid": true,
	"managementgroupresourceid": true, "getsecret": true, "pickzones": true, "providers": true, "datetimeadd": true,
	"datetimefromepoch": true, "datetimetoepoch": true, "tologicalzone": true, "tophysicalzone": true,
}
