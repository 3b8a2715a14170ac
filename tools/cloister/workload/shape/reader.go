package shape

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// maxErrors is how many mistakes of one document are listed.
const maxErrors = 20

// Reader collects what is wrong with one document.
type Reader struct {
	File string
	Fold bool // names of members are the same whatever their case
	// Exact keeps the known parts of a string that is not known as a whole.
	Exact bool
	errs  []error
	more  int
}

// Error is one thing wrong at one place.
type Error struct {
	Origin workload.Origin
	Text   string
}

func (e *Error) Error() string { return e.Origin.String() + ": " + e.Text }

// Err returns all that was found, nil if nothing was.
func (r *Reader) Err() error {
	if r.more > 0 {
		return errors.Join(append(r.errs[:len(r.errs):len(r.errs)], fmt.Errorf("%s: %d more like these", r.File, r.more))...)
	}
	return errors.Join(r.errs...)
}

// Root returns the value at a path with its table.
func (r *Reader) Root(n *tree.Node, s *Spec, path string) Value {
	return Value{reader: r, node: n, spec: s, path: path}
}

// Value is one value of a document, or its absence: null is the same as nothing.
type Value struct {
	reader *Reader
	node   *tree.Node
	spec   *Spec
	path   string
}

// Is says whether the document has the value.
func (v Value) Is() bool { return v.node != nil && v.node.Kind != tree.Null }

// Node returns the value itself; nil if it is not there.
func (v Value) Node() *tree.Node {
	if !v.Is() {
		return nil
	}
	return v.node
}

// Path returns where the value is.
func (v Value) Path() string { return v.path }

// Origin returns where the value is, with its line.
func (v Value) Origin() workload.Origin {
	o := workload.Origin{File: v.reader.File, Path: v.path}
	if v.node != nil {
		o.Line = v.node.Line
	}
	return o
}

// Errorf notes that the value is wrong.
func (v Value) Errorf(format string, args ...any) {
	if len(v.reader.errs) >= maxErrors {
		v.reader.more++
		return
	}
	v.reader.errs = append(v.reader.errs, &Error{Origin: v.Origin(), Text: fmt.Sprintf(format, args...)})
}

// Get returns a member. A name that the table has not is a mistake of the reader, and a panic.
func (v Value) Get(name string) Value {
	s := v.spec.Find(name, false)
	if s == nil {
		panic(fmt.Sprintf("the table of %s has no %q", v.path, name))
	}
	out := Value{reader: v.reader, spec: s, path: join(v.path, s.Name)}
	if v.node == nil || v.node.Kind != tree.Object {
		return out
	}
	for i := range v.node.Members {
		if m := &v.node.Members[i]; m.Name == name || v.reader.Fold && tree.EqualFold(m.Name, name) {
			out.node = m.Value
			return out
		}
	}
	return out
}

// Items returns the elements of a list.
func (v Value) Items() []Value {
	if v.node == nil || v.node.Kind != tree.Array {
		return nil
	}
	element := v.spec.Element()
	out := make([]Value, len(v.node.Items))
	for i, n := range v.node.Items {
		out[i] = Value{reader: v.reader, node: n, spec: element, path: v.path + "[" + strconv.Itoa(i) + "]"}
	}
	return out
}

// Text returns a string, or the pattern that it leaves; nil where there is none.
func (v Value) Text() *workload.Text {
	if !v.Is() {
		return nil
	}
	t := workload.Text{Value: v.node.Text, Secret: v.node.Secret, Origin: v.Origin()}
	if v.node.Kind == tree.Unknown || v.node.Pattern != "" {
		t.Value, t.Wildcard = ".*", true
		if v.reader.Exact && v.node.Pattern != "" {
			t.Value = v.node.Pattern
		}
	}
	return &t
}

// Known returns a string that must be known; "" where there is none.
func (v Value) Known() string {
	t := v.Text()
	if t == nil {
		return ""
	}
	if t.Wildcard {
		v.Errorf("%s", notKnown)
		return ""
	}
	return t.Value
}

// Secret says that the value must not be shown.
func (v Value) Secret() bool { return v.Is() && v.node.Secret }

// Quote returns the value as errors show it; "(secret)" where it must not be shown.
func (v Value) Quote() string {
	if !v.Is() {
		return `""`
	}
	return v.node.Quote()
}

// Texts returns an array of strings; nil where there is none, or none in it.
func (v Value) Texts() []workload.Text {
	if !v.Is() {
		return nil
	}
	var out []workload.Text
	for _, item := range v.Items() {
		if t := item.Text(); t != nil {
			t.Secret = t.Secret || v.node.Secret
			out = append(out, *t)
		}
	}
	return out
}

// KnownTexts returns an array of strings that must be known.
func (v Value) KnownTexts() []string {
	if !v.Is() {
		return nil
	}
	out := []string{}
	for _, item := range v.Items() {
		out = append(out, item.Known())
	}
	return out
}

// Map returns an object of strings that must be known.
func (v Value) Map() map[string]string {
	if !v.Is() {
		return nil
	}
	out := map[string]string{}
	for _, m := range v.MapItems() {
		out[m.Name] = m.Value.Known()
	}
	return out
}

// Named is one member of an object of free names.
type Named struct {
	Name  string
	Value Value
}

// MapItems returns an object's members in their order.
func (v Value) MapItems() []Named {
	if v.node == nil {
		return nil
	}
	var out []Named
	for i := range v.node.Members {
		m := &v.node.Members[i]
		out = append(out, Named{m.Name, Value{reader: v.reader, node: m.Value, spec: &Spec{Name: m.Name}, path: join(v.path, m.Name)}})
	}
	return out
}

// Bool returns a boolean; nil where there is none.
func (v Value) Bool() *bool {
	if !v.Is() || v.node.Kind != tree.Bool {
		return nil
	}
	b := v.node.Text == "true"
	return &b
}

// True says that the boolean is there and true.
func (v Value) True() bool {
	b := v.Bool()
	return b != nil && *b
}

// Whole returns a number; nil where there is none.
func (v Value) Whole() *int64 {
	if !v.Is() || v.node.Kind != tree.Number {
		return nil
	}
	n, err := strconv.ParseInt(v.node.Text, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// As is another value of the same document, read by another table.
func (v Value) As(n *tree.Node, s *Spec, path string) Value {
	return Value{reader: v.reader, node: n, spec: s, path: path}
}
