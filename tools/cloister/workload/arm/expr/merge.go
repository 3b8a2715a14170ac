package expr

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// evalUnion merges objects, also those in them, a later member over an earlier one; arrays are joined without repeating.
func evalUnion(a []*tree.Node) (*tree.Node, error) {
	if err := alike(a); err != nil {
		return nil, err
	}
	if a[0].Kind == tree.Array {
		return joined(a)
	}
	m := newMerger()
	for _, n := range a {
		m.add(n)
	}
	return m.node(), nil
}

// alike says that all are arrays, or all are objects.
func alike(a []*tree.Node) error {
	for _, n := range a {
		if n.Kind != a[0].Kind || n.Kind != tree.Array && n.Kind != tree.Object {
			return fmt.Errorf("got %s and %s, want arrays or objects", a[0].Kind, n.Kind)
		}
	}
	return nil
}

func joined(a []*tree.Node) (*tree.Node, error) {
	out := &tree.Node{Kind: tree.Array}
	seen := map[string]bool{}
	for _, n := range a {
		for _, item := range n.Items {
			if !item.Known() {
				return Unknown(), nil
			}
			if k := key(item); !seen[k] {
				seen[k] = true
				out.Items = append(out.Items, item)
			}
		}
	}
	if len(out.Items) > maxRange {
		return nil, ErrBudget
	}
	return out, nil
}

// key is the same for two values where equal says so, and for no others. The value is known.
func key(n *tree.Node) string {
	if n.Kind == tree.Number {
		if x, err := strconv.ParseFloat(n.Text, 64); err == nil && math.Abs(x) < 1<<53 {
			return strconv.FormatFloat(x+0, 'g', -1, 64) // -0 is 0
		}
	}
	return string(jsontree.Encode(sorted(n)))
}

// sorted is the value with all members in the order of their names.
func sorted(n *tree.Node) *tree.Node {
	out := *n
	out.Items = make([]*tree.Node, len(n.Items))
	for i, item := range n.Items {
		out.Items[i] = sorted(item)
	}
	out.Members = slices.Clone(n.Members)
	slices.SortStableFunc(out.Members, func(a, b tree.Member) int { return strings.Compare(a.Name, b.Name) })
	for i := range out.Members {
		out.Members[i].Value = sorted(out.Members[i].Value)
	}
	return &out
}

// merger is an object that is being made of several.
type merger struct {
	members []tree.Member
	index   map[string]int  // by folded name
	inner   map[int]*merger // members that are objects of several
}

func newMerger() *merger { return &merger{index: map[string]int{}, inner: map[int]*merger{}} }

func (m *merger) add(n *tree.Node) {
	for _, next := range n.Members {
		i, there := m.index[tree.Fold(next.Name)]
		if !there || m.members[i].Value.Kind != tree.Object || next.Value.Kind != tree.Object {
			m.put(next)
			continue
		}
		if m.inner[i] == nil {
			m.inner[i] = newMerger()
			m.inner[i].add(m.members[i].Value)
		}
		m.inner[i].add(next.Value)
	}
}

// put adds a member, or its value in place of the one that is there.
func (m *merger) put(next tree.Member) {
	i, there := m.index[tree.Fold(next.Name)]
	if !there {
		m.index[tree.Fold(next.Name)] = len(m.members)
		m.members = append(m.members, next)
		return
	}
	m.members[i].Value = next.Value
	delete(m.inner, i)
}

func (m *merger) node() *tree.Node {
	for i, inner := range m.inner {
		m.members[i].Value = inner.node()
	}
	return &tree.Node{Kind: tree.Object, Members: m.members}
}

func evalIntersection(a []*tree.Node) (*tree.Node, error) {
	if err := alike(a); err != nil {
		return nil, err
	}
	out := &tree.Node{Kind: a[0].Kind, Items: slices.Clone(a[0].Items), Members: slices.Clone(a[0].Members)}
	for _, n := range a[1:] {
		have := map[string]bool{}
		for _, item := range n.Items {
			have[key(item)] = true
		}
		out.Items = slices.DeleteFunc(out.Items, func(item *tree.Node) bool { return !have[key(item)] })
		values := map[string]*tree.Node{}
		for _, m := range n.Members {
			values[tree.Fold(m.Name)] = m.Value
		}
		out.Members = slices.DeleteFunc(out.Members, func(m tree.Member) bool {
			v := values[tree.Fold(m.Name)]
			return v == nil || !equal(v, m.Value)
		})
	}
	return out, nil
}

// evalShallowMerge puts the members of later objects in place of those of earlier ones.
func evalShallowMerge(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind != tree.Array {
		return nil, fmt.Errorf("got %s, want an array", a[0].Kind)
	}
	out := newMerger()
	for _, n := range a[0].Items {
		switch n.Kind {
		case tree.Unknown:
			return Unknown(), nil
		case tree.Object:
		default:
			return nil, fmt.Errorf("got %s in the array, want objects", n.Kind)
		}
		for _, m := range n.Members {
			out.put(m)
		}
	}
	return out.node(), nil
}
