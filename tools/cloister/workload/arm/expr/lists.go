package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// maxRange is the resource manager's own bound.
const maxRange = 10_000

func evalLength(a []*tree.Node) (*tree.Node, error) {
	switch n := a[0]; n.Kind {
	case tree.String:
		return integer(int64(len(units(n.Text)))), nil
	case tree.Array:
		return integer(int64(len(n.Items))), nil
	case tree.Object:
		return integer(int64(len(n.Members))), nil
	}
	return nil, fmt.Errorf("got %s, want a string, an array or an object", a[0].Kind)
}

func evalEmpty(a []*tree.Node) (*tree.Node, error) {
	switch n := a[0]; n.Kind {
	case tree.Unknown:
		return Unknown(), nil
	case tree.Null:
		return tree.Boolean(true), nil
	case tree.String:
		if n.Pattern != "" {
			return Unknown(), nil
		}
		return tree.Boolean(n.Text == ""), nil
	case tree.Array, tree.Object:
		return tree.Boolean(len(n.Items)+len(n.Members) == 0), nil
	}
	return nil, fmt.Errorf("got %s, want a string, an array or an object", a[0].Kind)
}

func evalContains(a []*tree.Node) (*tree.Node, error) {
	switch of, what := a[0], a[1]; of.Kind {
	case tree.Array:
		return tree.Boolean(slices.ContainsFunc(of.Items, func(n *tree.Node) bool { return equal(n, what) })), nil
	case tree.Object:
		name, err := str(what)
		return tree.Boolean(err == nil && of.Fold(name) != nil), err
	case tree.String:
		s, err := text(what)
		return tree.Boolean(strings.Contains(of.Text, s)), err
	}
	return nil, fmt.Errorf("got %s, want a string, an array or an object", a[0].Kind)
}

func evalFirst(a []*tree.Node) (*tree.Node, error) { return end(a[0], true) }
func evalLast(a []*tree.Node) (*tree.Node, error)  { return end(a[0], false) }

func end(n *tree.Node, first bool) (*tree.Node, error) {
	u := units(n.Text)
	switch {
	case n.Kind == tree.String && len(u) == 0:
		return tree.Str(""), nil
	case n.Kind == tree.String && first:
		return tree.Str(string(utf16.Decode(u[:1]))), nil
	case n.Kind == tree.String:
		return tree.Str(string(utf16.Decode(u[len(u)-1:]))), nil
	case n.Kind == tree.Array && len(n.Items) == 0:
		return &tree.Node{}, nil
	case n.Kind == tree.Array && first:
		return n.Items[0], nil
	case n.Kind == tree.Array:
		return n.Items[len(n.Items)-1], nil
	}
	return nil, fmt.Errorf("got %s, want a string or an array", n.Kind)
}

func evalTake(a []*tree.Node) (*tree.Node, error) { return divided(a, true) }
func evalSkip(a []*tree.Node) (*tree.Node, error) { return divided(a, false) }

func divided(a []*tree.Node, before bool) (*tree.Node, error) {
	count, err := whole(a[1])
	if err != nil {
		return nil, err
	}
	cutAt := func(n int) int { return int(min(max(count, 0), int64(n))) }
	switch n := a[0]; n.Kind {
	case tree.String:
		u := units(n.Text)
		if i := cutAt(len(u)); before {
			u = u[:i]
		} else {
			u = u[i:]
		}
		return tree.Str(string(utf16.Decode(u))), nil
	case tree.Array:
		i := cutAt(len(n.Items))
		if before {
			return &tree.Node{Kind: tree.Array, Items: n.Items[:i:i]}, nil
		}
		return &tree.Node{Kind: tree.Array, Items: n.Items[i:]}, nil
	}
	return nil, fmt.Errorf("got %s, want a string or an array", a[0].Kind)
}

func evalRange(a []*tree.Node) (*tree.Node, error) {
	from, err := whole(a[0])
	if err != nil {
		return nil, err
	}
	count, err := whole(a[1])
	if err != nil {
		return nil, err
	}
	if count < 0 || count > maxRange || from > 1<<31 || from < -1<<31 {
		return nil, fmt.Errorf("%d numbers from %d, want at most %d", count, from, maxRange)
	}
	out := &tree.Node{Kind: tree.Array}
	for i := range count {
		out.Items = append(out.Items, integer(from+i))
	}
	return out, nil
}

func evalArray(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind == tree.Array || a[0].Kind == tree.Unknown {
		return a[0], nil
	}
	return &tree.Node{Kind: tree.Array, Items: a}, nil
}

func evalCreateObject(a []*tree.Node) (*tree.Node, error) {
	if len(a)%2 != 0 {
		return nil, errors.New("a name without a value")
	}
	out := &tree.Node{Kind: tree.Object}
	seen := map[string]bool{}
	for i := 0; i < len(a); i += 2 {
		if a[i].Kind == tree.Unknown || a[i].Pattern != "" {
			return Unknown(), nil
		}
		name, err := str(a[i])
		if err != nil {
			return nil, fmt.Errorf("name %d: %w", i/2, err)
		}
		if seen[tree.Fold(name)] {
			return nil, fmt.Errorf("member %s is there twice", a[i].Quote())
		}
		seen[tree.Fold(name)] = true
		out.Members = append(out.Members, tree.Member{Name: name, Value: a[i+1], Computed: true})
	}
	return out, nil
}

func evalFlatten(a []*tree.Node) (*tree.Node, error) {
	out := &tree.Node{Kind: tree.Array}
	for _, n := range a[0].Items {
		if n.Kind == tree.Unknown {
			return Unknown(), nil
		}
		if n.Kind != tree.Array {
			return nil, fmt.Errorf("got %s in the array, want arrays", n.Kind)
		}
		out.Items = append(out.Items, n.Items...)
	}
	if a[0].Kind != tree.Array {
		return nil, fmt.Errorf("got %s, want an array", a[0].Kind)
	}
	return out, nil
}

// sortedMembers are an object's members as items and objectKeys give them: by name.
func sortedMembers(n *tree.Node) ([]tree.Member, error) {
	if n.Kind != tree.Object {
		return nil, fmt.Errorf("got %s, want an object", n.Kind)
	}
	type keyed struct {
		key    string
		member tree.Member
	}
	list := make([]keyed, len(n.Members))
	for i, m := range n.Members {
		list[i] = keyed{tree.Fold(m.Name), m}
	}
	slices.SortStableFunc(list, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	out := make([]tree.Member, len(list))
	for i := range list {
		out[i] = list[i].member
	}
	return out, nil
}

func evalItems(a []*tree.Node) (*tree.Node, error) {
	list, err := sortedMembers(a[0])
	out := &tree.Node{Kind: tree.Array}
	for _, m := range list {
		out.Items = append(out.Items, &tree.Node{Kind: tree.Object, Members: []tree.Member{
			{Name: "key", Value: tree.Str(m.Name), Computed: true}, {Name: "value", Value: m.Value, Computed: true},
		}})
	}
	return out, err
}

func evalObjectKeys(a []*tree.Node) (*tree.Node, error) {
	list, err := sortedMembers(a[0])
	out := &tree.Node{Kind: tree.Array}
	for _, m := range list {
		out.Items = append(out.Items, tree.Str(m.Name))
	}
	return out, err
}

// evalTryGet follows names and numbers into a value; where one leads nowhere it is null.
func evalTryGet(a []*tree.Node) (*tree.Node, error) {
	n := a[0]
	for _, i := range a[1:] {
		var err error
		if n, err = pick(n, i, true); err != nil {
			return nil, err
		}
	}
	return n, nil
}
