package vn2

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
)

// environment is a container's variables in their order, each name once.
type environment struct {
	list  []workload.Env
	index map[string]int
}

func (e *environment) put(v workload.Env) {
	if i, again := e.index[v.Name]; again {
		e.list[i] = v
		return
	}
	e.index[v.Name] = len(e.list)
	e.list = append(e.list, v)
}

// get is expansion's view.
func (e *environment) get(name string) (workload.Text, bool) {
	if i, ok := e.index[name]; ok {
		return e.list[i].Value, true
	}
	return workload.Text{}, false
}

func (r *podReader) environment(c shape.Value) *environment {
	e := &environment{index: map[string]int{}}
	for _, from := range c.Get("envFrom").Items() {
		r.envFrom(e, from)
	}
	for _, v := range c.Get("env").Items() {
		r.env(e, v)
	}
	return e
}

// dataOf finds what a reference names; nil where the file has it not.
func (r *podReader) dataOf(kind string, ref shape.Value) map[string]datum {
	if !ref.Get("name").Is() {
		ref.Errorf("the reference has no name")
	}
	return r.data[dataName{kind, r.pod.space, ref.Get("name").Known()}]
}

func (r *podReader) envFrom(e *environment, v shape.Value) {
	kind, ref := "ConfigMap", v.Get("configMapRef")
	if s := v.Get("secretRef"); s.Is() {
		if ref.Is() {
			v.Errorf("want one of configMapRef and secretRef")
		}
		kind, ref = "Secret", s
	}
	if !ref.Is() {
		v.Errorf("want configMapRef or secretRef")
		return
	}
	values := r.dataOf(kind, ref)
	if values == nil {
		if !ref.Get("optional").True() {
			ref.Errorf("%s %q is not in the file: the names of its variables cannot be known", kind, cut(ref.Get("name").Known()))
		}
		return
	}
	prefix := v.Get("prefix").Known()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		d := values[key]
		if d.binary || strings.Contains(prefix+key, "=") {
			ref.Errorf("key %q of %s %q is not a variable", cut(key), kind, cut(ref.Get("name").Known()))
		}
		secret := kind == "Secret"
		e.put(workload.Env{Name: prefix + key, Value: workload.Text{Value: d.text, Secret: secret, Origin: d.origin}, Secret: secret, Origin: v.Origin()})
	}
}

func (r *podReader) env(e *environment, v shape.Value) {
	out := workload.Env{Name: v.Get("name").Known(), Origin: v.Origin()}
	if out.Name == "" || strings.Contains(out.Name, "=") {
		v.Errorf("the variable wants a name without '='")
	}
	value, from := v.Get("value"), v.Get("valueFrom")
	switch {
	case value.Is() && value.Known() != "" && from.Is():
		v.Errorf("the variable has value and valueFrom, want one")
	case from.Is():
		text, ok := r.valueFrom(from)
		if !ok {
			return
		}
		text.Secret = from.Get("secretKeyRef").Is()
		out.Value, out.Secret = text, text.Secret
	case value.Is():
		out.Value = workload.Placeholder(expand(*value.Text(), e.get))
		out.Secret = out.Value.Secret
	default:
		out.Value = workload.Text{Origin: v.Origin()}
	}
	e.put(out)
}

// valueFrom returns a value from elsewhere; false is no variable at all.
func (r *podReader) valueFrom(v shape.Value) (workload.Text, bool) {
	wildcard := workload.Text{Value: ".*", Wildcard: true, Origin: v.Origin()}
	var said int
	for _, name := range []string{"configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef"} {
		if v.Get(name).Is() {
			said++
		}
	}
	if said != 1 {
		v.Errorf("want one of configMapKeyRef, fieldRef, resourceFieldRef and secretKeyRef")
		return wildcard, true
	}
	for name, kind := range map[string]string{"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"} {
		ref := v.Get(name)
		if !ref.Is() {
			continue
		}
		values := r.dataOf(kind, ref)
		if values == nil {
			return wildcard, true
		}
		d, ok := values[ref.Get("key").Known()]
		switch {
		case ok && !d.binary:
			return workload.Text{Value: d.text, Origin: d.origin}, true
		case !ok && ref.Get("optional").True():
			return workload.Text{}, false
		}
		ref.Errorf("%s %q has no text with key %q", kind, cut(ref.Get("name").Known()), cut(ref.Get("key").Known()))
	}
	return wildcard, true
}

// fromServices are the variables that a kubelet adds for services: their values are known in the cluster only.
var fromServices = regexp.MustCompile(`^[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)$`)

// expand replaces $(NAME) as a kubelet does: $$ is a dollar, a name that is not known stays as it is written.
func expand(t workload.Text, get func(string) (workload.Text, bool)) workload.Text {
	var parts []workload.Text
	s, words := t.Value, ""
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			words += s
			break
		}
		words += s[:i]
		s = s[i:]
		end := strings.IndexByte(s, ')')
		switch {
		case s[1] == '$':
			words += "$"
			s = s[2:]
		case s[1] == '(' && end > 0:
			v, ok := get(s[2:end])
			if !ok && fromServices.MatchString(s[2:end]) {
				v, ok = workload.Text{Value: ".*", Wildcard: true}, true
			}
			if ok {
				parts = append(parts, workload.Text{Value: words}, v)
				words = ""
			} else {
				words += s[:end+1]
			}
			s = s[end+1:]
		default:
			words += s[:2]
			s = s[2:]
		}
	}
	return together(t, append(parts, workload.Text{Value: words}))
}

// together is the string of its parts, or a wildcard where one is; secret where a part is.
func together(t workload.Text, parts []workload.Text) workload.Text {
	out := workload.Text{Secret: t.Secret, Origin: t.Origin}
	for _, p := range parts {
		out.Value += p.Value
		out.Wildcard = out.Wildcard || p.Wildcard
		out.Secret = out.Secret || p.Secret
	}
	if out.Wildcard {
		out.Value = ".*"
	}
	return out
}
