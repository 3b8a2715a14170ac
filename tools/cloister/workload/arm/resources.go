package arm

import (
	"errors"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

const (
	groupType      = "Microsoft.ContainerInstance/containerGroups"
	profileType    = "Microsoft.ContainerInstance/containerGroupProfiles"
	deploymentType = "Microsoft.Resources/deployments"
)

// search walks through the resources of a template and of those inside it.
type search struct{ *finding }

// at is a resource before it is computed: its value as it was read, for errors.
func (s *search) at(n *tree.Node, path string) shape.Value { return s.reader.Root(n, &resource, path) }

// resources looks into an array of resources, or an object of them by symbolic names.
func (s *search) resources(list shape.Value, in *scope, parent string) {
	n := list.Node()
	switch {
	case n == nil:
	case n.Kind == tree.Array:
		for i, r := range n.Items {
			s.resource(r, list.Path()+"["+strconv.Itoa(i)+"]", in, parent, false)
		}
	case n.Kind == tree.Object:
		for _, m := range list.MapItems() {
			if r := m.Value.Node(); r != nil {
				s.resource(r, m.Value.Path(), in, parent, true)
			}
		}
	default:
		list.Errorf("got %s, want an array of resources, or an object of them", n.Kind)
	}
}

func (s *search) resource(n *tree.Node, path string, in *scope, parent string, symbolic bool) {
	at := s.at(n, path)
	if n.Kind != tree.Object {
		at.Errorf("got %s, want a resource", n.Kind)
		return
	}
	if existing := foldMember(n, "existing"); existing != nil && existing.Kind == tree.Bool && existing.Text == "true" {
		if !symbolic {
			s.at(existing, path+".existing").Errorf("counts only where resources have symbolic names, as an object of them: in an array the resource is deployed")
		}
		return
	}
	typ := foldMember(n, "type")
	if typ == nil || typ.Kind != tree.String || strings.HasPrefix(typ.Text, "[") {
		at.Errorf("a resource has a type, as a plain string")
		return
	}
	if !tree.ASCII(typ.Text) {
		s.at(typ, path+".type").Errorf("type %s is not understood: types are of ASCII letters", typ.Quote())
		return
	}
	full := typ.Text
	if parent != "" && !strings.Contains(typ.Text, ".") {
		full = parent + "/" + typ.Text
	}
	s.looped(n, path, in, func(in *scope) {
		switch {
		case tree.EqualFold(full, groupType) || tree.EqualFold(full, profileType):
			s.group(n, path, in)
		case tree.EqualFold(full, deploymentType):
			s.deployment(n, path, in)
		}
		if inner := foldMember(n, "resources"); inner != nil {
			s.resources(s.reader.Root(inner, &shape.Spec{Name: "resources"}, path+".resources"), in, full)
		}
	})
}

// interesting says whether a group or a template may be found in a resource.
func interesting(n *tree.Node) bool {
	typ := foldMember(n, "type")
	return foldMember(n, "resources") != nil || typ != nil && (tree.EqualFold(typ.Text, groupType) ||
		tree.EqualFold(typ.Text, profileType) || tree.EqualFold(typ.Text, deploymentType))
}

// looped calls f as often as the resource's copy says.
func (s *search) looped(n *tree.Node, path string, in *scope, f func(*scope)) {
	l := foldMember(n, "copy")
	if l == nil || l.Kind == tree.Null || !interesting(n) {
		f(in)
		return
	}
	name := foldMember(l, "name")
	if l.Kind != tree.Object || name == nil || name.Kind != tree.String {
		s.at(l, path+".copy").Errorf("want an object of name and count")
		return
	}
	for _, m := range l.Members {
		switch tree.Fold(m.Name) {
		case "name", "count", "mode", "batchsize":
		default:
			s.at(m.Value, path+".copy."+m.Name).Errorf("not understood; what is understood here: batchSize, count, mode, name")
			return
		}
	}
	count, err := in.template.count(l, in)
	if err != nil {
		s.failed(l, path, below("copy", err))
		return
	}
	if count == 0 {
		s.noTurns(n, l, path, in)
	}
	for i := range count {
		if err := in.template.budget.Use(0); err != nil {
			s.failed(l, path, err)
			return
		}
		f(in.within(loop{name: name.Text, index: i, resource: true}))
	}
}

// failed notes an expression that could not be computed.
func (s *search) failed(n *tree.Node, path string, err error) {
	var e *evaluationError
	if errors.As(err, &e) {
		n = e.node
		if e.path != "" && !strings.HasPrefix(e.path, "[") {
			path += "."
		}
		path += e.path
		err = e.err
	}
	s.at(n, path).Errorf("%v", err)
}

func (s *search) group(n *tree.Node, path string, in *scope) {
	if !s.wanted(n, path, in) {
		return
	}
	v, err := in.template.evaluate(n, &resource, in)
	if err != nil {
		s.failed(n, path, err)
		return
	}
	value := s.reader.Root(v, &resource, path)
	if !value.Check() {
		return
	}
	p := value.Get("properties")
	if p.Get("containerGroupProfile").Is() && !p.Get("containers").Is() {
		s.skip(n, path, "it takes its containers from a profile")
		return
	}
	s.groups = append(s.groups, foundGroup{value: value, raw: n})
}

// deployment looks into the template that a deployment carries.
func (s *search) deployment(n *tree.Node, path string, in *scope) {
	if !s.wanted(n, path, in) {
		return
	}
	v, err := in.template.evaluate(n, &deployment, in)
	if err != nil {
		s.failed(n, path, err)
		return
	}
	value := s.reader.Root(v, &deployment, path)
	if !value.Check() {
		return
	}
	p := value.Get("properties")
	inner := p.Get("template")
	if !inner.Is() {
		return
	}
	from := p.Get("expressionEvaluationOptions").Get("scope")
	outer := !tree.EqualFold(from.Known(), "inner")
	if outer && from.Is() && !tree.EqualFold(from.Known(), "outer") {
		from.Errorf("got %s, want inner or outer", from.Quote())
		return
	}
	given, certain := map[string]*tree.Node{}, map[string]*tree.Node{}
	if !outer {
		values(p.Get("parameters"), given, func(v *tree.Node) (*tree.Node, error) { return in.template.evaluate(v, nil, in) })
		certain = certainValues(foldMember(foldMember(n, "properties"), "parameters"), given, in.certain())
	}
	t, ok := newTemplate(s.reader, in.template.budget, inner.Node(), inner.Path(), given, certain)
	if !ok {
		return
	}
	next := &scope{template: t}
	if outer {
		next = in
	}
	s.resources(t.root.Get("resources"), next, "")
}
