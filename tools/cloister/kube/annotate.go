package kube

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// edit is one replacement in the text of a file.
type edit struct {
	start, end int
	text       string
}

// Annotate returns the file with one annotation in the template of each workload of the list; no other byte changes. What is
// written is read again: it has to be the old documents and the annotations.
func (f *File) Annotate(carriers map[*Workload]Carrier) ([]byte, error) {
	byDocument := map[int][]edit{}
	for w, c := range carriers {
		e, err := f.place(w, c)
		if err != nil {
			return nil, fmt.Errorf("%s: write the annotation of %s: %w", f.doc.Name, w, err)
		}
		byDocument[w.document] = append(byDocument[w.document], e)
	}
	var out []byte
	last := 0
	for i, d := range f.documents {
		edits := byDocument[i]
		if len(edits) == 0 {
			continue
		}
		data, err := apply(d.data, edits)
		if err == nil {
			err = f.check(i, data, carriers)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", f.doc.Name, i+1, err)
		}
		out = append(append(out, f.doc.Data[last:d.start]...), data...)
		last = d.start + len(d.data)
	}
	return append(out, f.doc.Data[last:]...), nil
}

// apply makes the edits, which are offsets in data and do not overlap.
func apply(data []byte, edits []edit) ([]byte, error) {
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	var out []byte
	last := 0
	for _, e := range edits {
		if e.start < last || e.end < e.start || e.end > len(data) {
			return nil, errors.New("two annotations would be written to one place")
		}
		out = append(append(out, data[last:e.start]...), e.text...)
		last = e.end
	}
	return append(out, data[last:]...), nil
}

// check reads a changed document and compares it with what it should say.
func (f *File) check(i int, changed []byte, carriers map[*Workload]Carrier) error {
	again := document{data: changed}
	if err := again.read(); err != nil {
		return fmt.Errorf("the annotation cannot be written where it belongs: %w", err)
	}
	var got, want any
	if err := json.Unmarshal(again.json, &got); err != nil {
		return err
	}
	if err := json.Unmarshal(f.documents[i].json, &want); err != nil {
		return err
	}
	for w, c := range carriers {
		if w.document == i && !set(want, slices.Concat(w.path, []string{"metadata", "annotations"}), c) {
			return errors.New("the annotation cannot be written where it belongs")
		}
	}
	if !reflect.DeepEqual(got, want) {
		return errors.New("the annotation cannot be written without changing something else (an anchor or a merge key stands there)")
	}
	return nil
}

// set puts the annotation into a decoded document.
func set(value any, path []string, c Carrier) bool {
	for _, step := range path {
		switch v := value.(type) {
		case map[string]any:
			if v[step] == nil {
				v[step] = map[string]any{}
			}
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return false
			}
			value = v[i]
		default:
			return false
		}
	}
	annotations, ok := value.(map[string]any)
	if ok {
		annotations[c.Key] = c.Value
	}
	return ok
}

// place finds where the annotation goes.
func (f *File) place(w *Workload, c Carrier) (edit, error) {
	data := f.documents[w.document].data
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return edit{}, err
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 {
		return edit{}, errors.New("is no YAML document")
	}
	text := newText(data)
	value, key := root.Content[0], (*yaml.Node)(nil)
	for i, step := range slices.Concat(w.path, []string{"metadata", "annotations", c.Key}) {
		nextKey, next, err := child(value, step)
		if err != nil {
			return edit{}, err
		}
		if next == nil {
			missing := slices.Concat(w.path, []string{"metadata", "annotations", c.Key})[i:]
			return text.insert(key, value, missing, c.Value)
		}
		key, value = nextKey, next
	}
	return text.replace(key, value, c.Value)
}

// child is one step down; the nodes are nil when there is no such key.
func child(parent *yaml.Node, step string) (key, value *yaml.Node, err error) {
	switch parent.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(parent.Content); i += 2 {
			if parent.Content[i].Value == step {
				return parent.Content[i], parent.Content[i+1], nil
			}
		}
		return nil, nil, nil
	case yaml.SequenceNode:
		i, err := strconv.Atoi(step)
		if err != nil || i >= len(parent.Content) {
			return nil, nil, fmt.Errorf("has no element %q", step)
		}
		return nil, parent.Content[i], nil
	case yaml.ScalarNode:
		if parent.Tag == "!!null" {
			return nil, nil, nil
		}
	case yaml.AliasNode:
		return nil, nil, fmt.Errorf("an alias (*%s) stands above it: write the annotations out", parent.Value)
	}
	return nil, nil, fmt.Errorf("%q is not in a mapping", step)
}
