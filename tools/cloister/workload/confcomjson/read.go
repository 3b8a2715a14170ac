package confcomjson

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// Read returns the one group of a configuration.
func Read(ctx context.Context, doc workload.Document) ([]workload.Group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n, err := jsontree.Parse(doc.Data)
	if err != nil {
		var e *jsontree.Error
		if errors.As(err, &e) {
			return nil, fmt.Errorf("%s:%d: %s", doc.Name, e.Line, e.Text)
		}
		return nil, err
	}
	r := &shape.Reader{File: doc.Name, Fold: true}
	root := r.Root(n, &config, "")
	if !root.Is() {
		root.Errorf("got null, want an object")
	}
	if !root.Check() || r.Err() != nil {
		return nil, r.Err()
	}
	g := readGroup(root)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return []workload.Group{g}, nil
}

func readGroup(v shape.Value) workload.Group {
	g := workload.Group{Platform: workload.ACI, Labels: v.Get("labels").Map(), Origin: v.Origin()}
	switch scenario := v.Get("scenario"); tree.Fold(scenario.Known()) {
	case "", "aci":
	case "vn2":
		g.Platform = workload.VirtualNode
	default:
		scenario.Errorf("got %q, want aci or vn2", cut(scenario.Known()))
	}
	for _, list := range []string{"fragments", "standaloneFragments"} {
		for _, f := range v.Get(list).Items() {
			g.Fragments = append(g.Fragments, readFragment(f))
		}
	}
	for _, c := range v.Get("containers").Items() {
		g.Containers = append(g.Containers, readContainer(c))
	}
	if len(g.Containers)+len(g.Fragments) == 0 {
		v.Errorf("the configuration has neither containers nor fragments")
	}
	return g
}

// either returns the one of two spellings that is there.
func either(v shape.Value, name, other string) shape.Value {
	a, b := v.Get(name), v.Get(other)
	if a.Is() && b.Is() {
		b.Errorf("want one of %s and %s", name, other)
	}
	if b.Is() {
		return b
	}
	return a
}

func readFragment(v shape.Value) workload.Fragment {
	f := workload.Fragment{Feed: v.Get("feed").Known(), Issuer: either(v, "issuer", "iss").Known(), Includes: v.Get("includes").KnownTexts(), Path: v.Get("path").Known()}
	svn := either(v, "minimum_svn", "minimumSvn")
	if n := svn.Node(); n != nil {
		f.MinimumSVN = n.Text
		if !digits(n.Text) {
			svn.Errorf("got %s %q, want a whole number of at least 0", n.Kind, cut(n.Text))
		}
	}
	if f.Feed == "" && f.Path == "" {
		v.Errorf("the fragment has neither feed nor path")
	}
	return f
}

func digits(s string) bool {
	return s != "" && len(s) <= 18 && strings.Trim(s, "0123456789") == ""
}

func cut(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "…"
	}
	return s
}
