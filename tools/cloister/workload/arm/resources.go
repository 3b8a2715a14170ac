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
			s.resource(r, list.Path()+"["+strconv.Itoa(i)+"]", in, parent)
		}
	case n.Kind == tree.Object:
		for _, m := range list.MapItems() {
			if r := m.Value.Node(); r != nil {
				s.resource(r, m.Value.Path(), in, parent)
			}
		}
	default:
		list.Errorf("got %s, want an array of resources, or an object of them", n.Kind)
	}
}

func (s *search) resource(n *tree.Node, path string, in *scope, parent string) {
	at := s.at(n, path)
	if n.Kind != tree.Object {
		at.Errorf("got %s, want a resource", n.Kind)
		return
	}
	if existing := foldMember(n, "existing"); existing != nil && existing.Kind == tree.Bool && existing.Text == "true" {
		return
	}
	typ := foldMember(n, "type")
	if typ == nil || typ.Kind != tree.String || strings.HasPrefix(typ.Text, "[") {
		at.Errorf("a resource has a type, as a plain string")
		return
	}
	full := typ.Text
	if parent != "" && !strings.Contains(typ.Text, ".") {
		full = parent + "/" + typ.Text
	}
	s.looped(n, path, in, func(in *scope) {
		switch {
		case strings.EqualFold(full, groupType) || strings.EqualFold(full, profileType):
			s.group(n, path, in)
		case strings.EqualFold(full, deploymentType):
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
	return foldMember(n, "resources") != nil || typ != nil && (strings.EqualFold(typ.Text, groupType) ||
		strings.EqualFold(typ.Text, profileType) || strings.EqualFold(typ.Text, deploymentType))
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
		switch strings.ToLower(m.Name) {
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
	for i := range count {
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

// wanted computes a resource's condition: only one that is known to be false leaves it out.
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
	return v.Text != "false"
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
	outer := !strings.EqualFold(p.Get("expressionEvaluationOptions").Get("scope").Known(), "inner")
	given := map[string]*tree.Node{}
	if !outer {
		values(p.Get("parameters"), given, func(v *tree.Node) (*tree.Node, error) { return in.template.evaluate(v, nil, in) })
	}
	t, ok := newTemplate(s.reader, in.template.budget, inner.Node(), inner.Path(), given)
	if !ok {
		return
	}
	next := &scope{template: t}
	if outer {
		next = in
	}
	s.resources(t.root.Get("resources"), next, "")
}
