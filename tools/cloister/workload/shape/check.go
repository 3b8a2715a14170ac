package shape

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

const notKnown = "the value is known at deployment time only; a parameters file or a default value must give it"

var wants = map[kind]string{
	textKind: "a string", boolKind: "a boolean", wholeKind: "a whole number", textsKind: "an array of strings",
	mapKind: "an object of strings", objectKind: "an object", listKind: "an array of objects",
}

// Check notes all that the table does not allow: members it has not, the same member twice, values of another kind. It says
// whether there is nothing.
func (v Value) Check() bool {
	before := len(v.reader.errs) + v.reader.more
	v.check()
	return len(v.reader.errs)+v.reader.more == before
}

func (v Value) check() {
	if !v.Is() || v.spec.kind == ignoredKind || v.spec.kind == anyKind {
		return
	}
	if v.spec.kind == refusedKind {
		v.Errorf("refused: %s", v.spec.Meaning)
		return
	}
	if v.node.Kind == tree.Unknown && v.spec.kind != textKind {
		v.Errorf("want %s: %s", wants[v.spec.kind], notKnown)
		return
	}
	switch v.spec.kind {
	case textKind:
		v.want(v.node.Kind == tree.String || v.node.Kind == tree.Unknown)
	case boolKind:
		v.want(v.node.Kind == tree.Bool)
	case wholeKind:
		v.want(v.node.Kind == tree.Number && v.Whole() != nil)
	case textsKind:
		v.checkTexts()
	case mapKind:
		v.checkMap()
	case objectKind:
		v.checkObject()
	case listKind:
		if v.want(v.node.Kind == tree.Array) {
			for _, item := range v.Items() {
				item.element()
			}
		}
	}
}

// element is an element of a list: null is none, not nothing.
func (v Value) element() {
	if v.want(v.node.Kind != tree.Null) {
		v.check()
	}
}

func (v Value) want(ok bool) bool {
	if ok {
		return true
	}
	got := v.node.Kind.String()
	if !v.node.Secret && (v.node.Kind == tree.Number || v.node.Kind == tree.Bool) {
		got += " (" + v.node.Text + ")"
	}
	v.Errorf("got %s, want %s", got, wants[v.spec.kind])
	return false
}

var anyText = &Spec{Name: "text"}

func (v Value) checkTexts() {
	if !v.want(v.node.Kind == tree.Array) {
		return
	}
	for _, item := range v.Items() {
		item.spec = anyText
		item.element()
	}
}

func (v Value) checkMap() {
	if !v.want(v.node.Kind == tree.Object) {
		return
	}
	for _, m := range v.MapItems() {
		m.Value.check()
	}
}

func (v Value) checkObject() {
	if !v.want(v.node.Kind == tree.Object) {
		return
	}
	seen := map[string]bool{}
	for i := range v.node.Members {
		m := &v.node.Members[i]
		at := Value{reader: v.reader, node: m.Value, spec: v.spec.Find(m.Name, v.reader.Fold), path: join(v.path, m.Name)}
		key := m.Name
		if v.reader.Fold {
			key = tree.Fold(key)
		}
		if seen[key] {
			at.Errorf("the member is there twice")
			continue
		}
		seen[key] = true
		if at.spec == nil {
			at.Errorf("not understood; what is understood here: %s", v.spec.names())
			continue
		}
		at.path = join(v.path, at.spec.Name)
		at.check()
	}
}

func (s *Spec) names() string {
	var list []string
	for i := range s.members {
		if s.members[i].kind != refusedKind {
			list = append(list, s.members[i].Name)
		}
	}
	slices.Sort(list)
	if len(list) > 40 {
		return strings.Join(list[:40], ", ") + " and " + strconv.Itoa(len(list)-40) + " more"
	}
	return strings.Join(list, ", ")
}
