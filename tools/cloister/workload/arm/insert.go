package arm

import (
	"bytes"
	"context"
	"fmt"
	"reflect"

	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// Insert returns the template with the policy (base64) as that of the numbered group, counted as Read counts them; no other
// byte changes. A policy that stands there already gives the same bytes. Where one place of the template makes several
// groups that are not alike, or another place makes this one, there is nothing to write to, and that is an error.
func Insert(ctx context.Context, in Input, group int, policy string) ([]byte, error) {
	f, err := find(ctx, in)
	if err != nil {
		return nil, err
	}
	if group < 0 || group >= len(f.groups) {
		return nil, fmt.Errorf("%s: got group %d, the template has %d", in.Template.Name, group, len(f.groups))
	}
	g := f.groups[group]
	if !f.alike(g) {
		g.value.Errorf("a loop makes groups of this one that are not alike: there is no place for the policy of one")
		return nil, f.reader.Err()
	}
	out, err := write(in.Template.Data, g, policy)
	if err != nil {
		return nil, err
	}
	if err := f.verify(out, g, policy); err != nil {
		return nil, fmt.Errorf("%s: write the policy into %s: %w", in.Template.Name, g.value.Path(), err)
	}
	return out, nil
}

// alike says whether all groups that one place of the template makes have the same policy: that they differ in nothing but
// their names.
func (f *finding) alike(g foundGroup) bool {
	want := readGroup(g.value).Containers
	for _, other := range f.groups {
		if other.raw == g.raw && !reflect.DeepEqual(readGroup(other.value).Containers, want) {
			return false
		}
	}
	return true
}

// place is the way from a group to its policy.
var place = []string{"properties", "confidentialComputeProperties", "ccePolicy"}

// write edits the deepest part of the place that is there.
func write(doc []byte, g foundGroup, policy string) ([]byte, error) {
	n := g.raw
	for i, name := range place {
		if n.Kind != tree.Object {
			return nil, notWritable(g.value, place[:i], n)
		}
		next := foldMember(n, name)
		switch {
		case next == nil:
			return jsontree.AddMember(doc, n, name, wrap(place[i+1:], policy)), nil
		case next.Kind == tree.Null || i == len(place)-1:
			if next.Kind == tree.String && next.Text == policy {
				return bytes.Clone(doc), nil
			}
			return jsontree.Replace(doc, next, wrap(place[i+1:], policy)), nil
		}
		n = next
	}
	return nil, notWritable(g.value, place, n)
}

func notWritable(g shape.Value, at []string, n *tree.Node) error {
	path := g.Path()
	for _, name := range at {
		path += "." + name
	}
	origin := g.Origin()
	origin.Path, origin.Line = path, n.Line
	return fmt.Errorf("%s: got %s, want an object that stands here itself, to write the policy into", origin, n.Kind)
}

// wrap is the policy as a JSON string, inside objects of these names.
func wrap(names []string, policy string) *tree.Node {
	n := tree.Str(policy)
	for i := len(names) - 1; i >= 0; i-- {
		n = &tree.Node{Kind: tree.Object, Members: []tree.Member{{Name: names[i], Value: n}}}
	}
	return n
}

// verify reads what was written: it must be the same document but for the one value.
func (f *finding) verify(out []byte, g foundGroup, policy string) error {
	got, err := jsontree.Parse(out)
	if err != nil {
		return err
	}
	if want := withPolicy(f.root, g.raw, policy); !tree.Equal(got, want) {
		return fmt.Errorf("the document would change in more than its policy")
	}
	return nil
}

// withPolicy is the document with the policy in the group.
func withPolicy(n, group *tree.Node, policy string) *tree.Node {
	if n == group {
		return set(n, place, policy)
	}
	out := *n
	out.Items, out.Members = nil, nil
	for _, item := range n.Items {
		out.Items = append(out.Items, withPolicy(item, group, policy))
	}
	for _, m := range n.Members {
		m.Value = withPolicy(m.Value, group, policy)
		out.Members = append(out.Members, m)
	}
	return &out
}

func set(n *tree.Node, names []string, policy string) *tree.Node {
	if len(names) == 0 {
		return tree.Str(policy)
	}
	out := &tree.Node{Kind: tree.Object}
	if n == nil {
		n = out
	}
	found := false
	for _, m := range n.Members {
		if m.Value == foldMember(n, names[0]) {
			m.Value, found = set(m.Value, names[1:], policy), true
		}
		out.Members = append(out.Members, m)
	}
	if !found {
		out.Members = append(out.Members, tree.Member{Name: names[0], Value: set(nil, names[1:], policy)})
	}
	return out
}
