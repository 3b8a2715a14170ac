package arm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/arm/expr"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// readParameters reads parameters files, a later one over an earlier one.
func readParameters(docs []workload.Document) (map[string]*tree.Node, error) {
	given := map[string]*tree.Node{}
	for _, doc := range docs {
		n, err := parse(doc)
		if err != nil {
			return nil, err
		}
		r := &shape.Reader{File: doc.Name, Fold: true}
		root := r.Root(n, &parametersFile, "")
		if root.Check() {
			values(root.Get("parameters"), given, func(v *tree.Node) (*tree.Node, error) { return v, nil })
		}
		if err := r.Err(); err != nil {
			return nil, err
		}
	}
	return given, nil
}

// values reads {"name": {"value": …}} or {"name": {"reference": …}}: what a vault holds is known at deployment time only.
func values(section shape.Value, into map[string]*tree.Node, resolve func(*tree.Node) (*tree.Node, error)) {
	n := section.Node()
	if n == nil {
		return
	}
	if n.Kind != tree.Object {
		section.Errorf("got %s, want an object", n.Kind)
		return
	}
	for _, m := range section.MapItems() {
		v, err := oneValue(m.Value.Node(), resolve)
		if err != nil {
			m.Value.Errorf("%v", err)
			continue
		}
		into[tree.Fold(m.Name)] = v
	}
}

func oneValue(n *tree.Node, resolve func(*tree.Node) (*tree.Node, error)) (*tree.Node, error) {
	if n == nil || n.Kind != tree.Object || len(n.Members) != 1 {
		return nil, errors.New("want an object with value or reference, and nothing else")
	}
	switch tree.Fold(n.Members[0].Name) {
	case "value":
		return resolve(n.Members[0].Value)
	case "reference", "expression":
		return &tree.Node{Kind: tree.Unknown, Secret: true}, nil
	}
	return nil, fmt.Errorf("got member %q, want value or reference", cut(n.Members[0].Name))
}

var typeKinds = map[string]tree.Kind{
	"string": tree.String, "securestring": tree.String, "int": tree.Number, "bool": tree.Bool,
	"object": tree.Object, "secureobject": tree.Object, "array": tree.Array,
}

// parameter computes a parameter: the given value, else the default, else it is not known.
func (t *template) parameter(e *entry) (*tree.Node, error) {
	at := t.reader.Root(e.node, &parameter, e.path)
	if e.node.Kind == tree.Null || !at.Check() {
		return nil, fmt.Errorf("%s is not a parameter's declaration", e.path)
	}
	typ := tree.Fold(at.Get("type").Known())
	given, err := t.parameterValue(at, typ, e.path)
	if err != nil {
		return nil, err
	}
	if kind, known := typeKinds[typ]; typ != "" && !known {
		return nil, fmt.Errorf("%s: type %q is not known", e.path, cut(typ))
	} else if known && given.Kind != kind && given.Kind != tree.Unknown && given.Kind != tree.Null {
		return nil, fmt.Errorf("%s: the value is %s, want %s", e.path, given.Kind, kind)
	}
	if allowed := at.Get("allowedValues").Node(); allowed != nil && given.Known() && given.Kind != tree.Array && given.Kind != tree.Null {
		if !slices.ContainsFunc(allowed.Items, func(n *tree.Node) bool { return tree.Equal(n, given) }) {
			return nil, fmt.Errorf("%s: the value is none of the allowedValues", e.path)
		}
	}
	return secret(given, strings.HasPrefix(typ, "secure")), nil
}

func (t *template) parameterValue(at shape.Value, typ, path string) (*tree.Node, error) {
	_, name, _ := cutLast(path)
	if v, ok := t.given[tree.Fold(name)]; ok {
		return v, nil
	}
	if t.certain == nil {
		return expr.Unknown(), nil
	}
	declared := foldMember(at.Node(), "defaultValue")
	if declared == nil {
		if at.Get("nullable").True() {
			return &tree.Node{}, nil
		}
		return expr.Unknown(), nil
	}
	// The default of a secure parameter may be empty only; a new one is made otherwise.
	v, err := t.evaluate(declared, nil, &scope{template: t})
	switch {
	case err == nil || errors.Is(err, expr.ErrBudget) || errors.Is(err, expr.ErrChain):
		return v, err
	case strings.HasPrefix(typ, "secure"):
		return nil, fmt.Errorf("default of %s: (secret) and cannot be computed", path)
	default:
		return nil, fmt.Errorf("default of %s: %w", path, err)
	}
}

func cutLast(path string) (before, after string, found bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// secret marks a value and all in it.
func secret(n *tree.Node, yes bool) *tree.Node {
	if !yes {
		return n
	}
	c := *n
	c.Secret = true
	c.Items = slices.Clone(n.Items)
	for i := range c.Items {
		c.Items[i] = secret(c.Items[i], true)
	}
	c.Members = slices.Clone(n.Members)
	for i := range c.Members {
		c.Members[i].Value = secret(c.Members[i].Value, true)
	}
	return &c
}
