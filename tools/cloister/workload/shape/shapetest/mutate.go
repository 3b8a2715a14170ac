package shapetest

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// Mutate returns a document with a few random changes: members gone, doubled in other places, values changed or swapped.
func Mutate(n *tree.Node, r *rand.Rand) *tree.Node {
	pool := nodes(n, nil)
	for range r.IntN(4) {
		n = mutate(n, r, pool[r.IntN(len(pool))], pool)
	}
	return n
}

func nodes(n *tree.Node, into []*tree.Node) []*tree.Node {
	into = append(into, n)
	for _, item := range n.Items {
		into = nodes(item, into)
	}
	for _, m := range n.Members {
		into = nodes(m.Value, into)
	}
	return into
}

// mutate changes the one value that is target.
func mutate(n *tree.Node, r *rand.Rand, target *tree.Node, pool []*tree.Node) *tree.Node {
	if n == target {
		return changed(n, r, pool)
	}
	out := *n
	out.Items, out.Members = slices.Clone(n.Items), slices.Clone(n.Members)
	for i := range out.Items {
		out.Items[i] = mutate(out.Items[i], r, target, pool)
	}
	for i := range out.Members {
		out.Members[i].Value = mutate(out.Members[i].Value, r, target, pool)
	}
	return &out
}

var texts = []string{"", "frob", "[concat('a', resourceGroup().id)]", "[[x]", "$(A)", "yes", "0x1F", "a: b", "- x", "# y", "é\u2028😀", "/"}

func changed(n *tree.Node, r *rand.Rand, pool []*tree.Node) *tree.Node {
	out := &tree.Node{Kind: n.Kind, Text: n.Text, Items: slices.Clone(n.Items), Members: slices.Clone(n.Members)}
	switch k := r.IntN(8); {
	case k < 4 && len(out.Members) > 0:
		i := r.IntN(len(out.Members))
		out.Members = slices.Delete(out.Members, i, i+1)
	case k < 4 && len(out.Items) > 0:
		out.Items = append(out.Items, out.Items[r.IntN(len(out.Items))])
	case k < 5 && n.Kind == tree.Object:
		from := pool[r.IntN(len(pool))]
		if len(from.Members) > 0 && find(out, from.Members[0].Name) == nil {
			out.Members = append(out.Members, from.Members[0])
		}
	case k < 7 && n.Kind == tree.String:
		out.Text = texts[r.IntN(len(texts))]
	case k < 6:
		return &tree.Node{Kind: tree.Null}
	}
	return out
}

// Layout writes a document as JSON in a random layout: on one line or many, with odd spaces and, if asked for, comments.
func Layout(n *tree.Node, r *rand.Rand, comments bool) []byte {
	l := &layout{r: r, newline: []string{"", "\n", "\r\n"}[r.IntN(3)], step: []string{"  ", "    ", "\t"}[r.IntN(3)], odd: r.IntN(3) == 0, comments: comments && r.IntN(2) == 0}
	l.write(n, 0)
	return l.b.Bytes()
}

type layout struct {
	b             bytes.Buffer
	r             *rand.Rand
	newline, step string
	odd, comments bool
}

// gap is the space between two parts.
func (l *layout) gap(depth int) {
	commented := l.comments && l.newline != "" && l.r.IntN(12) == 0
	if commented {
		l.b.WriteString([]string{" // it's { [ \" ", "/* , */ //"}[l.r.IntN(2)])
	}
	if l.newline != "" && (commented || !l.odd || l.r.IntN(2) == 0) {
		l.b.WriteString(l.newline + strings.Repeat(l.step, depth))
	} else if l.odd && l.r.IntN(2) == 0 {
		l.b.WriteString("  ")
	}
}

func (l *layout) write(n *tree.Node, depth int) {
	switch {
	case n.Kind == tree.Object && len(n.Members) > 0:
		l.b.WriteByte('{')
		for i, m := range n.Members {
			if i > 0 {
				l.b.WriteByte(',')
			}
			l.gap(depth + 1)
			l.b.Write(jsontree.Encode(tree.Str(m.Name)))
			l.b.WriteString([]string{":", ": ", " : "}[l.r.IntN(3)])
			l.write(m.Value, depth+1)
		}
		l.gap(depth)
		l.b.WriteByte('}')
	case n.Kind == tree.Array && len(n.Items) > 0:
		l.b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				l.b.WriteByte(',')
			}
			l.gap(depth + 1)
			l.write(item, depth+1)
		}
		l.gap(depth)
		l.b.WriteByte(']')
	default:
		l.b.Write(jsontree.Encode(n))
	}
}
