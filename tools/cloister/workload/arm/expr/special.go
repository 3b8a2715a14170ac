package expr

import (
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

var specials map[string]special

func init() {
	specials = map[string]special{
		"parameters":      {1, 1, evalParameters},
		"variables":       {1, 1, evalVariables},
		"copyindex":       {0, 2, evalCopyIndex},
		"if":              {3, 3, evalIf},
		"and":             {1, -1, func(e *evaluation, args []Expr) (*tree.Node, error) { return junction(e, args, "false") }},
		"or":              {1, -1, func(e *evaluation, args []Expr) (*tree.Node, error) { return junction(e, args, "true") }},
		"coalesce":        {1, -1, evalCoalesce},
		"lambda":          {1, -1, func(*evaluation, []Expr) (*tree.Node, error) { return nil, errors.New("stands outside map or filter") }},
		"lambdavariables": {1, 1, evalLambdaVariables},
		"map":             {2, 2, evalMap},
		"filter":          {2, 2, evalFilter},
		"reduce":          {3, 3, evalReduce},
		"toobject":        {2, 3, evalToObject},
	}
}

// nameArgument evaluates an argument that must be a known name.
func nameArgument(e *evaluation, x Expr) (*tree.Node, error) {
	n, err := e.eval(x)
	if err != nil {
		return nil, err
	}
	if n.Kind != tree.String || n.Pattern != "" {
		return nil, fmt.Errorf("the name is %s, want a string that is known", n.Kind)
	}
	return n, nil
}

// named is what a name stands for; with a secret name that is a secret, and so is what is wrong with it.
func named(e *evaluation, x Expr, f func(name string) (*tree.Node, error)) (*tree.Node, error) {
	name, err := nameArgument(e, x)
	if err != nil {
		return nil, err
	}
	n, err := f(name.Text)
	if err != nil {
		return nil, hidden(err, name)
	}
	return marked(n, name.Secret), nil
}

func evalParameters(e *evaluation, args []Expr) (*tree.Node, error) {
	return named(e, args[0], e.scope.Parameter)
}

func evalVariables(e *evaluation, args []Expr) (*tree.Node, error) {
	return named(e, args[0], e.scope.Variable)
}

// evalCopyIndex takes (), (offset), (loop) and (loop, offset).
func evalCopyIndex(e *evaluation, args []Expr) (*tree.Node, error) {
	list, err := e.all(args)
	if err != nil {
		return nil, err
	}
	secrets := list
	var loop string
	if len(list) > 0 && list[0].Kind == tree.String {
		loop, list = list[0].Text, list[1:]
	}
	var offset int64
	if len(list) > 0 {
		if offset, err = whole(list[0]); err != nil {
			return nil, fmt.Errorf("offset: %w", err)
		}
	}
	n, err := e.scope.CopyIndex(loop)
	if err != nil {
		return nil, hidden(err, secrets...)
	}
	return tainted(integer(n+offset), secrets...), nil
}

// truth returns "true", "false" or, where it is not known, "".
func truth(n *tree.Node) (string, error) {
	switch n.Kind {
	case tree.Unknown:
		return "", nil
	case tree.Bool:
		return n.Text, nil
	}
	return "", fmt.Errorf("got %s, want a boolean", n.Kind)
}

func evalIf(e *evaluation, args []Expr) (*tree.Node, error) {
	condition, err := e.eval(args[0])
	if err != nil {
		return nil, err
	}
	known, err := truth(condition)
	switch {
	case err != nil:
		return nil, fmt.Errorf("condition: %w", err)
	case known == "true":
		n, err := e.eval(args[1])
		return taintedBy(n, err, condition)
	case known == "false":
		n, err := e.eval(args[2])
		return taintedBy(n, err, condition)
	}
	one, err := e.eval(args[1])
	if err != nil {
		return nil, err
	}
	other, err := e.eval(args[2])
	if err != nil {
		return nil, err
	}
	for _, n := range []*tree.Node{one, other} {
		if err := e.budget.UseNode(n); err != nil {
			return nil, err
		}
	}
	if one.Known() && tree.Equal(one, other) {
		return tainted(one, condition, other), nil
	}
	return tainted(Unknown(), condition, one, other), nil
}

func taintedBy(n *tree.Node, err error, from ...*tree.Node) (*tree.Node, error) {
	if err != nil {
		return nil, err
	}
	return tainted(n, from...), nil
}

// junction is and (stops at false) and or (stops at true).
func junction(e *evaluation, args []Expr, stop string) (*tree.Node, error) {
	unknown, secret := false, false
	for _, a := range args {
		n, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		secret = secret || n.Secret
		known, err := truth(n)
		if err != nil {
			return nil, err
		}
		if known == stop {
			return marked(n, secret), nil
		}
		unknown = unknown || known == ""
	}
	if unknown {
		return marked(Unknown(), secret), nil
	}
	return marked(tree.Boolean(stop == "false"), secret), nil
}

func evalCoalesce(e *evaluation, args []Expr) (*tree.Node, error) {
	secret := false
	for _, a := range args {
		n, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		if n.Kind != tree.Null {
			return marked(n, secret), nil
		}
		secret = secret || n.Secret
	}
	return marked(&tree.Node{}, secret), nil
}

func evalLambdaVariables(e *evaluation, args []Expr) (*tree.Node, error) {
	name, err := nameArgument(e, args[0])
	if err != nil {
		return nil, err
	}
	for i := len(e.locals) - 1; i >= 0; i-- {
		if tree.EqualFold(e.locals[i].name, name.Text) {
			return marked(e.locals[i].value, name.Secret), nil
		}
	}
	return nil, fmt.Errorf("no lambda around has an argument %s", name.Quote())
}

// each calls a lambda for the elements of an array, unless it is not known.
func (e *evaluation) each(args []Expr, f func(item, result *tree.Node) error) (*tree.Node, error) {
	list, err := e.eval(args[0])
	if err != nil || list.Kind == tree.Unknown {
		return list, err
	}
	if err := e.budget.UseNode(list); err != nil {
		return nil, err
	}
	params, body, err := e.lambda(args[1])
	if list.Kind != tree.Array || err != nil || len(params) > 2 {
		return nil, errors.Join(errors.New("want an array and a lambda of one argument or two"), err)
	}
	for i, item := range list.Items {
		n, err := e.body(body, params, marked(item, list.Secret), integer(int64(i)))
		if err != nil {
			return nil, err
		}
		if err := f(marked(item, list.Secret), n); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// lambda takes a lambda of one to three arguments apart.
func (e *evaluation) lambda(x Expr) ([]string, Expr, error) {
	l, ok := x.(*call)
	if !ok || !tree.EqualFold(l.name, "lambda") || len(l.args) < 2 || len(l.args) > 4 {
		return nil, nil, errors.New("no lambda")
	}
	last := len(l.args) - 1
	var params []string
	for _, a := range l.args[:last] {
		name, err := nameArgument(e, a)
		if err != nil {
			return nil, nil, err
		}
		params = append(params, name.Text)
	}
	return params, l.args[last], nil
}

func (e *evaluation) body(x Expr, params []string, values ...*tree.Node) (*tree.Node, error) {
	defer func(n int) { e.locals = e.locals[:n] }(len(e.locals))
	for i, name := range params {
		e.locals = append(e.locals, local{name, values[i]})
	}
	return e.eval(x)
}

func evalMap(e *evaluation, args []Expr) (*tree.Node, error) {
	out := &tree.Node{Kind: tree.Array}
	list, err := e.each(args, func(_, result *tree.Node) error {
		out.Items = append(out.Items, result)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if list.Kind == tree.Unknown {
		out = Unknown()
	}
	return tainted(out, list), nil
}

func evalFilter(e *evaluation, args []Expr) (*tree.Node, error) {
	out, unknown, secret := &tree.Node{Kind: tree.Array}, false, false
	list, err := e.each(args, func(item, result *tree.Node) error {
		known, err := truth(result)
		if known == "true" {
			out.Items = append(out.Items, item)
		}
		unknown, secret = unknown || known == "", secret || result.Secret
		return err
	})
	if err != nil {
		return nil, err
	}
	if unknown || list.Kind == tree.Unknown {
		out = Unknown()
	}
	return tainted(marked(out, secret), list), nil
}

// evalReduce calls a lambda of the value so far and the next element.
func evalReduce(e *evaluation, args []Expr) (*tree.Node, error) {
	list, err := e.eval(args[0])
	if err != nil {
		return nil, err
	}
	value, err := e.eval(args[1])
	if err != nil {
		return nil, err
	}
	if list.Kind == tree.Unknown {
		return marked(tainted(Unknown(), value), list.Secret), nil
	}
	if err := e.budget.UseNode(list); err != nil {
		return nil, err
	}
	params, body, err := e.lambda(args[2])
	if list.Kind != tree.Array || err != nil || len(params) < 2 {
		return nil, errors.Join(errors.New("want an array, a value and a lambda of two arguments or three"), err)
	}
	for i, item := range list.Items {
		if value, err = e.body(body, params, value, marked(item, list.Secret), integer(int64(i))); err != nil {
			return nil, err
		}
	}
	return tainted(value, list), nil
}

// evalToObject makes an object of an array by a lambda for the names and one, or none, for the values.
func evalToObject(e *evaluation, args []Expr) (*tree.Node, error) {
	list, err := e.eval(args[0])
	if err != nil || list.Kind == tree.Unknown {
		return list, err
	}
	var names []*tree.Node
	if _, err := e.each(args[:2], func(_, name *tree.Node) error { names = append(names, name); return nil }); err != nil {
		return nil, err
	}
	values := list.Items
	if len(args) == 3 {
		values = nil
		if _, err := e.each([]Expr{args[0], args[2]}, func(_, v *tree.Node) error { values = append(values, v); return nil }); err != nil {
			return nil, err
		}
	}
	var members []*tree.Node
	for i, name := range names {
		members = append(members, name, marked(values[i], list.Secret))
	}
	out, err := evalCreateObject(members)
	if err != nil {
		return nil, hidden(err, names...)
	}
	return tainted(out, append(names, list)...), nil
}
