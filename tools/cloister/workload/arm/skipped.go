package arm

import (
	"errors"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/arm/expr"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// wanted computes a resource's condition: only one that is false whatever values a deployment gives leaves it out.
func (s *search) wanted(n *tree.Node, path string, in *scope) bool {
	c := foldMember(n, "condition")
	if c == nil || c.Kind == tree.Null {
		return true
	}
	v, err := in.template.evaluate(c, nil, in)
	if err != nil {
		s.failed(c, path, below("condition", err))
		return false
	}
	if v.Kind != tree.Bool && v.Kind != tree.Unknown {
		s.at(c, path+".condition").Errorf("got %s, want a boolean", v.Kind)
		return false
	}
	if v.Text != "false" {
		return true
	}
	known := in.certain()
	if v, err = known.template.evaluate(c, nil, known); errors.Is(err, expr.ErrBudget) {
		s.failed(c, path, below("condition", err))
		return false
	}
	if err != nil || v.Kind != tree.Bool || v.Text != "false" {
		return true // false by a default value only
	}
	s.skip(n, path, "its condition is false")
	return false
}

// noTurns notes a loop that never runs; it may with another value than a default.
func (s *search) noTurns(n, l *tree.Node, path string, in *scope) {
	if !holdsGroup(n) {
		return
	}
	known := in.certain()
	if count, err := known.template.count(l, known); err != nil || count != 0 {
		s.at(l, path+".copy").Errorf("the loop runs 0 times by the default value of a parameter only: give the parameter a value with -p")
		return
	}
	s.skip(n, path, "its loop runs 0 times")
}

// skip notes what is left out, once for all turns of a loop.
func (s *search) skip(n *tree.Node, path, why string) {
	noted := func(g workload.Skipped) bool { return g.Origin.Path == path }
	if !holdsGroup(n) || slices.ContainsFunc(s.skipped, noted) {
		return
	}
	g := workload.Skipped{Why: why, Policy: carriesPolicy(n), Origin: s.at(n, path).Origin()}
	if name := foldMember(n, "name"); name != nil && name.Kind == tree.String {
		g.Name = name.Text
	}
	s.skipped = append(s.skipped, g)
}

// holdsGroup says that a resource is a group, or has one in it.
func holdsGroup(n *tree.Node) bool {
	if typ := foldMember(n, "type"); typ != nil && typ.Kind == tree.String {
		name := tree.Fold(typ.Text)
		if strings.HasSuffix(name, "containergroups") || strings.HasSuffix(name, "containergroupprofiles") {
			return true
		}
	}
	if template := foldMember(n, "template"); template != nil && template.Kind == tree.String {
		return true
	}
	for _, item := range n.Items {
		if holdsGroup(item) {
			return true
		}
	}
	return slices.ContainsFunc(n.Members, func(m tree.Member) bool { return holdsGroup(m.Value) })
}

// carriesPolicy says that a policy stands anywhere in a resource, or an expression that may make one.
func carriesPolicy(n *tree.Node) bool {
	for _, item := range n.Items {
		if carriesPolicy(item) {
			return true
		}
	}
	for _, m := range n.Members {
		switch v := m.Value; {
		case tree.EqualFold(m.Name, "ccePolicy"):
			if v.Kind != tree.Null && (v.Kind != tree.String || v.Text != "") {
				return true
			}
		case v.Kind == tree.String:
			whole := tree.EqualFold(m.Name, "properties") || tree.EqualFold(m.Name, "confidentialComputeProperties") || tree.EqualFold(m.Name, "template")
			if whole {
				return true
			}
		case carriesPolicy(v):
			return true
		}
	}
	return false
}

// certainValues are the values that a deployment gives to its template as far as no default value is in them; the others are
// not known.
func certainValues(section *tree.Node, given map[string]*tree.Node, in *scope) map[string]*tree.Node {
	out := map[string]*tree.Node{}
	for name := range given {
		out[name] = expr.Unknown()
	}
	if section == nil || section.Kind != tree.Object {
		return out
	}
	for _, m := range section.Members {
		v, err := oneValue(m.Value, func(v *tree.Node) (*tree.Node, error) { return in.template.evaluate(v, nil, in) })
		if err == nil {
			out[tree.Fold(m.Name)] = v
		}
	}
	return out
}
