// Package shapetest holds a reader against its own table: what the table says has an effect must have one, and nothing else
// may.
package shapetest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// Effects reads a document that has every field with an effect. A change or removal of such a field must change what is read,
// or be refused; a field without effect may have any value; a field that is refused must be. Lines do not matter. Fields are found below prefix.
func Effects(t *testing.T, fields []workload.Field, doc *tree.Node, prefix string, read func(doc []byte) ([]workload.Group, error)) {
	t.Helper()
	bare := func(n *tree.Node) (string, error) {
		groups, err := read(jsontree.Encode(n))
		if err != nil {
			return "", err
		}
		return Bare(groups)
	}
	want, err := bare(doc)
	if err != nil {
		t.Fatal(err)
	}
	same := func(n *tree.Node) bool {
		got, err := bare(n)
		return err == nil && got == want
	}
	for _, f := range fields {
		path := strings.Split(prefix+f.Path, ".")
		switch {
		case strings.HasPrefix(f.Meaning, "refused: "):
			for _, n := range put(doc, path) {
				if _, err := read(jsontree.Encode(n)); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(f.Meaning, "refused: ")) {
					t.Errorf("%s: got %v, want it refused", f.Path, err)
				}
			}
		case f.NoEffect:
			for _, n := range put(doc, path) {
				if !same(n) {
					_, err := read(jsontree.Encode(n))
					t.Errorf("%s: is said to have no effect and has one (%v)", f.Path, err)
				}
			}
		case slices.ContainsFunc(fields, func(o workload.Field) bool { return strings.HasPrefix(o.Path, f.Path+".") && !o.NoEffect }):
			// The effect of an object is that of what is in it.
		default:
			changed := change(doc, path)
			if len(changed) == 0 {
				t.Errorf("%s: the document has it not", f.Path)
			} else if !slices.ContainsFunc(changed, func(n *tree.Node) bool { return !same(n) }) {
				t.Errorf("%s: is said to have an effect and has none", f.Path)
			}
		}
	}
}

// Bare writes groups without their origins.
func Bare(groups []workload.Group) (string, error) {
	var paths []string // which the fragments' own JSON leaves out
	for _, g := range groups {
		for _, f := range g.Fragments {
			paths = append(paths, f.Path)
		}
	}
	out, err := json.Marshal(map[string]any{"groups": groups, "paths": paths})
	if err != nil {
		return "", err
	}
	n, err := jsontree.Parse(out)
	if err != nil {
		return "", err
	}
	return string(jsontree.Encode(withoutOrigins(n))), nil
}

func withoutOrigins(n *tree.Node) *tree.Node {
	out := *n
	out.Items, out.Members = nil, nil
	for _, item := range n.Items {
		out.Items = append(out.Items, withoutOrigins(item))
	}
	for _, m := range n.Members {
		if m.Name != "Origin" {
			m.Value = withoutOrigins(m.Value)
			out.Members = append(out.Members, m)
		}
	}
	return &out
}

// put returns the documents that have a value of no use at the path, one for each place.
func put(n *tree.Node, path []string) []*tree.Node {
	junk := &tree.Node{Kind: tree.Object, Members: []tree.Member{{Name: "frob", Value: tree.Str("x")}}}
	return each(n, path, func(object *tree.Node, name string) []*tree.Node {
		out := without(object, name)
		out.Members = append(out.Members, tree.Member{Name: name, Value: junk})
		return []*tree.Node{out}
	})
}

// change returns the documents that have another value of the same kind at the path, or none.
func change(n *tree.Node, path []string) []*tree.Node {
	return each(n, path, func(object *tree.Node, name string) []*tree.Node {
		old := find(object, name)
		if old == nil {
			return nil
		}
		out := []*tree.Node{without(object, name)}
		if v := other(old); v != nil {
			with := without(object, name)
			with.Members = append(with.Members, tree.Member{Name: name, Value: v})
			out = append(out, with)
		}
		return out
	})
}

func other(n *tree.Node) *tree.Node {
	switch n.Kind {
	case tree.String:
		return tree.Str("frob")
	case tree.Bool:
		return tree.Boolean(n.Text != "true")
	case tree.Number:
		return &tree.Node{Kind: tree.Number, Text: "77"}
	case tree.Array:
		if len(n.Items) > 0 {
			return &tree.Node{Kind: tree.Array, Items: n.Items[1:]}
		}
	}
	return nil
}

// each calls f for every object that may have the last name of the path, and returns the documents around what f returns.
func each(n *tree.Node, path []string, f func(object *tree.Node, name string) []*tree.Node) []*tree.Node {
	name, list := strings.CutSuffix(path[0], "[]")
	var out []*tree.Node
	if len(path) == 1 && n.Kind == tree.Object {
		names := []string{name}
		if name == "*" {
			names = nil
			for _, m := range n.Members {
				names = append(names, m.Name)
			}
		}
		for _, name := range names {
			out = append(out, f(n, name)...)
		}
		return out
	}
	for i, m := range n.Members {
		if name != "*" && !tree.EqualFold(m.Name, name) || len(path) == 1 {
			continue
		}
		if !list {
			for _, v := range each(m.Value, path[1:], f) {
				out = append(out, replaced(n, i, v))
			}
			continue
		}
		for j, item := range m.Value.Items {
			for _, v := range each(item, path[1:], f) {
				items := slices.Clone(m.Value.Items)
				items[j] = v
				out = append(out, replaced(n, i, &tree.Node{Kind: tree.Array, Items: items}))
			}
		}
	}
	return out
}

func replaced(n *tree.Node, i int, v *tree.Node) *tree.Node {
	out := &tree.Node{Kind: tree.Object, Members: slices.Clone(n.Members)}
	out.Members[i].Value = v
	return out
}

func find(n *tree.Node, name string) *tree.Node {
	for _, m := range n.Members {
		if tree.EqualFold(m.Name, name) {
			return m.Value
		}
	}
	return nil
}

func without(n *tree.Node, name string) *tree.Node {
	out := &tree.Node{Kind: tree.Object}
	for _, m := range n.Members {
		if !tree.EqualFold(m.Name, name) {
			out.Members = append(out.Members, m)
		}
	}
	return out
}
