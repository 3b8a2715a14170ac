package pod

import (
	"fmt"
	"reflect"
	"strings"
)

// initContainerFields are a container's, of an init container; one whose restartPolicy is Always is a sidecar.
func initContainerFields() []Field {
	out := []Field{}
	for _, f := range containerFields {
		f.Path = strings.Replace(f.Path, "spec.containers[]", "spec.initContainers[]", 1)
		if f.Use == Everywhere {
			f.Use = ClusterOnly
		}
		out = append(out, f)
	}
	return out
}

// Check refuses an object that sets a field which is not in the table, or is there as refused. Every such field is named,
// because a user who meets them one at a time gives up. object is a pointer to a Kubernetes type; at is where it stands in
// its document, "" or ending in a dot; cluster tells whether fields that only a cluster carries are understood.
func Check(object any, at string, table []Field, cluster bool) error {
	w := fieldWalk{whole: map[string]bool{}, inside: map[string]bool{}, reasons: map[string]string{}}
	for _, f := range table {
		switch {
		case f.Use == Refused:
			w.reasons[f.Path] = f.Meaning
			continue
		case f.Use == ClusterOnly && !cluster:
			continue
		}
		w.whole[f.Path] = true
		for i, r := range f.Path {
			if r == '.' || r == '[' {
				w.inside[f.Path[:i]] = true
			}
		}
	}
	w.object(reflect.ValueOf(object).Elem(), "", at)
	if len(w.refused) > 0 {
		return fmt.Errorf("not supported: %s", strings.Join(w.refused, ", "))
	}
	return nil
}

type fieldWalk struct {
	whole   map[string]bool   // supported with everything below
	inside  map[string]bool   // something below is supported
	reasons map[string]string // why something is not
	refused []string          // paths as a user would write them
}

func (w *fieldWalk) refuse(pattern, shown string) {
	if reason := w.reasons[pattern]; reason != "" {
		shown += " (" + reason + ")"
	}
	w.refused = append(w.refused, shown)
}

// value looks at one field: pattern is its path with [] for indices, shown its path with the indices.
func (w *fieldWalk) value(v reflect.Value, pattern, shown string) {
	if v.IsZero() || w.whole[pattern] {
		return
	}
	if !w.inside[pattern] {
		w.refuse(pattern, shown)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		w.value(v.Elem(), pattern, shown)
	case reflect.Struct:
		w.object(v, pattern+".", shown+".")
	case reflect.Slice:
		for i := range v.Len() {
			elem := v.Index(i)
			w.object(elem, pattern+"[].", fmt.Sprintf("%s[%d].", shown, i))
		}
	default:
		w.refuse(pattern, shown)
	}
}

func (w *fieldWalk) object(v reflect.Value, pattern, shown string) {
	t := v.Type()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if t.Field(i).Anonymous && name == "" {
			w.object(v.Field(i), pattern, shown)
			continue
		}
		w.value(v.Field(i), pattern+name, shown+name)
	}
}
