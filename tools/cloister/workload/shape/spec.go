package shape

import (
	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

type kind int

const (
	textKind kind = iota
	boolKind
	wholeKind
	textsKind
	mapKind
	objectKind
	listKind
	anyKind
	ignoredKind
	refusedKind
)

// Spec is one member that is understood.
type Spec struct {
	Name    string
	Meaning string
	kind    kind
	members []Spec // of an object, or of each element of a list
	lenient bool
}

// Text is a string.
func Text(name, meaning string) Spec { return Spec{Name: name, Meaning: meaning} }

// Lenient is a string that a document may leave open, by an expression that cannot be computed too: it counts as not known.
func Lenient(name, meaning string) Spec { return Spec{Name: name, Meaning: meaning, lenient: true} }

// IsLenient says that an expression which cannot be computed is as good as one that is not known.
func (s *Spec) IsLenient() bool { return s.lenient }

// Bool is a boolean.
func Bool(name, meaning string) Spec { return Spec{Name: name, Meaning: meaning, kind: boolKind} }

// Whole is a whole number of 64 bits.
func Whole(name, meaning string) Spec { return Spec{Name: name, Meaning: meaning, kind: wholeKind} }

// Texts is an array of strings.
func Texts(name, meaning string) Spec { return Spec{Name: name, Meaning: meaning, kind: textsKind} }

// Map is an object of free names with strings.
func Map(name, meaning string) Spec { return Spec{Name: name, Meaning: meaning, kind: mapKind} }

// Object is an object of these members and no other.
func Object(name, meaning string, members ...Spec) Spec {
	return Spec{Name: name, Meaning: meaning, kind: objectKind, members: members}
}

// List is an array of objects of these members and no other.
func List(name, meaning string, members ...Spec) Spec {
	return Spec{Name: name, Meaning: meaning, kind: listKind, members: members}
}

// Any is a value that the reader takes apart by itself.
func Any(name, meaning string) Spec { return Spec{Name: name, Meaning: meaning, kind: anyKind} }

// Ignored is a value without effect on a policy; it is not looked into.
func Ignored(meaning string, names ...string) []Spec {
	list := make([]Spec, len(names))
	for i, n := range names {
		list[i] = Spec{Name: n, Meaning: meaning, kind: ignoredKind}
	}
	return list
}

// Refused is a member that is known and makes the document an error: why says what it would take.
func Refused(name, why string) Spec { return Spec{Name: name, Meaning: why, kind: refusedKind} }

// With returns the members of several lists as one.
func With(lists ...[]Spec) []Spec {
	var all []Spec
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// IsIgnored says that a value is not looked into.
func (s *Spec) IsIgnored() bool { return s.kind == ignoredKind }

// Find returns the member of a name, nil where the table has none.
func (s *Spec) Find(name string, fold bool) *Spec {
	for i := range s.members {
		if s.members[i].Name == name || fold && tree.EqualFold(s.members[i].Name, name) {
			return &s.members[i]
		}
	}
	return nil
}

// Element returns the table of a list's elements; that of anything else is itself.
func (s *Spec) Element() *Spec {
	if s.kind != listKind {
		return s
	}
	return &Spec{Name: s.Name, Meaning: s.Meaning, kind: objectKind, members: s.members}
}

// Fields lists the table below a path, in its own order.
func (s *Spec) Fields(path string) []workload.Field {
	var out []workload.Field
	for i := range s.members {
		m := &s.members[i]
		p := join(path, m.Name)
		switch m.kind {
		case listKind, textsKind:
			p += "[]"
		case mapKind:
			p += ".*"
		}
		f := workload.Field{Path: p, Meaning: m.Meaning, NoEffect: m.kind == ignoredKind}
		if m.kind == refusedKind {
			f.Meaning = "refused: " + m.Meaning
		}
		out = append(out, f)
		out = append(out, m.Fields(p)...)
	}
	return out
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// IsEvaluated says that the reader wants to see the value computed. It does not where it ignores or refuses the value; one
// that it takes apart by itself is computed if it is one expression as a whole.
func (s *Spec) IsEvaluated(n *tree.Node) bool {
	return s.kind < anyKind || s.kind == anyKind && n.Kind == tree.String
}
