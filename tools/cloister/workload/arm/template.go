package arm

import (
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/arm/expr"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// template is one template, outermost or inside another one: what the names in its expressions stand for.
type template struct {
	reader *shape.Reader
	budget *expr.Budget
	root   shape.Value
	// given are the values of the parameters, by their names in lower case.
	given      map[string]*tree.Node
	parameters map[string]*entry
	variables  map[string]*entry
	functions  map[string]*tree.Node // by namespace.name in lower case

	// certain is the same template in which what only a default value says is not known; nil in that one itself.
	certain *template
}

// without returns the template's twin that takes no default value for granted; given are the values that others than
// defaults give.
func (t *template) without(given map[string]*tree.Node) *template {
	twin := *t
	twin.given, twin.parameters, twin.variables = given, fresh(t.parameters), fresh(t.variables)
	return &twin
}

func fresh(entries map[string]*entry) map[string]*entry {
	out := make(map[string]*entry, len(entries))
	for name, e := range entries {
		out[name] = &entry{node: e.node, path: e.path}
	}
	return out
}

// entry is a parameter or variable, computed when it is first asked for.
type entry struct {
	node  *tree.Node
	path  string
	value *tree.Node
	busy  bool
}

// parse reads a file.
func parse(doc workload.Document) (*tree.Node, error) {
	n, err := jsontree.Parse(doc.Data)
	if e, ok := err.(*jsontree.Error); ok {
		return nil, fmt.Errorf("%s:%d: %s", doc.Name, e.Line, e.Text)
	}
	return n, err
}

// newTemplate takes a template's sections apart; mistakes are noted with the reader. certain are the given values as far as they
// do not come from default values.
func newTemplate(r *shape.Reader, b *expr.Budget, n *tree.Node, path string, given, certain map[string]*tree.Node) (*template, bool) {
	t := &template{reader: r, budget: b, root: r.Root(n, &document, path), given: given}
	if !t.root.Check() {
		return nil, false
	}
	ok := true
	t.parameters, ok = entries(t.root.Get("parameters"), ok)
	t.variables, ok = entries(t.root.Get("variables"), ok)
	ok = t.readFunctions() && ok
	for name := range given {
		if t.parameters[name] == nil {
			t.root.Get("parameters").Errorf("the parameters file has a value for %q, which the template does not declare", cut(name))
			ok = false
		}
	}
	t.certain = t.without(certain)
	return t, ok
}

// entries lists the members of a section by their names in lower case.
func entries(section shape.Value, ok bool) (map[string]*entry, bool) {
	out := map[string]*entry{}
	n := section.Node()
	if n == nil {
		return out, ok
	}
	if n.Kind != tree.Object {
		section.Errorf("got %s, want an object", n.Kind)
		return out, false
	}
	for _, m := range section.MapItems() {
		key := tree.Fold(m.Name)
		if out[key] != nil {
			m.Value.Errorf("the member is there twice")
			ok = false
		}
		out[key] = &entry{node: m.Value.Node(), path: m.Value.Path()}
		if out[key].node == nil {
			out[key].node = &tree.Node{}
		}
	}
	return out, ok
}

// readFunctions lists the functions that the template itself defines.
func (t *template) readFunctions() bool {
	t.functions = map[string]*tree.Node{}
	section := t.root.Get("functions")
	n := section.Node()
	if n == nil {
		return true
	}
	if n.Kind != tree.Array {
		section.Errorf("got %s, want an array", n.Kind)
		return false
	}
	for i, space := range n.Items {
		name, members := foldMember(space, "namespace"), foldMember(space, "members")
		if name == nil || name.Kind != tree.String || members == nil || members.Kind != tree.Object {
			section.Errorf("element %d: want an object of namespace and members", i)
			return false
		}
		for _, m := range members.Members {
			t.functions[tree.Fold(name.Text+"."+m.Name)] = m.Value
		}
	}
	return true
}

func foldMember(n *tree.Node, name string) *tree.Node { return n.Fold(name) }

func cut(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "…"
	}
	return s
}
