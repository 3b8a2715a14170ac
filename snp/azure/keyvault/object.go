package keyvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// object is a JSON object with its members in order. encoding/json by itself would take the last of two members of one name, and names that differ in case.
type object []member

type member struct {
	name  string
	value any // string, bool, json.Number, nil, object or []any
}

func parseObject(text []byte) (object, error) {
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(text), maxPolicy)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more behind the document")
	}
	o, ok := v.(object)
	if !ok {
		return nil, fmt.Errorf("got %s, want an object", shown(v))
	}
	return o, nil
}

// maxJSONDepth is deeper than any policy: two levels for each of conditions.
const maxJSONDepth = 2*maxDepth + 4

func readValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	switch t {
	case json.Delim('{'):
		return readObject(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := readValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}

func readObject(d *json.Decoder, depth int) (any, error) {
	var o object
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		text, _ := name.(string) // names are strings, or Token would have failed
		if _, there := o.get(text); there {
			return nil, fmt.Errorf("member %q is there twice", text)
		}
		o = append(o, member{text, v})
	}
	_, err := d.Token()
	return o, err
}

func (o object) get(name string) (any, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

func (o object) text(name string) (string, bool) {
	v, _ := o.get(name)
	s, ok := v.(string)
	return s, ok
}

// only refuses other members.
func (o object) only(at string, names ...string) error {
	for _, m := range o {
		if !slices.Contains(names, m.name) {
			if at != "" {
				at += ": "
			}
			return fmt.Errorf("%sgot member %q, want only %q", at, m.name, names)
		}
	}
	return nil
}

// objects is a list that is not empty and has only objects in it.
func (o object) objects(name, at string) ([]object, error) {
	v, _ := o.get(name)
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("%s: got %s, want a list that is not empty", at, shown(v))
	}
	var out []object
	for i, v := range list {
		inner, ok := v.(object)
		if !ok {
			return nil, fmt.Errorf("%s[%d]: got %s, want an object", at, i, shown(v))
		}
		out = append(out, inner)
	}
	return out, nil
}

// shown is a value in an error.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case object:
		return "an object"
	case []any:
		return "a list"
	case string:
		return fmt.Sprintf("%.64q", v)
	default:
		return fmt.Sprint(v)
	}
}
