package fragmentgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

// Containers are container objects, and the version of the framework they were written for, if their document says it.
type Containers struct {
	FrameworkVersion string
	Objects          []json.RawMessage
}

// ReadContainers reads container objects from a policy's or a fragment's Rego text, or from JSON: a list, one object, or an object
// {"containers": [...]}. They are taken as they are; Check says whether they mean something.
func ReadContainers(ctx context.Context, data []byte) (Containers, error) {
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) == 0 {
		return Containers{}, errors.New("it is empty")
	}
	if trimmed[0] == '[' || trimmed[0] == '{' {
		return jsonContainers(trimmed)
	}
	return regoContainers(ctx, data)
}

func jsonContainers(data []byte) (Containers, error) {
	var v any
	// Of two values under one key, a decoder takes one without a word.
	strict, err := kjson.UnmarshalStrict(data, &v)
	if err != nil {
		return Containers{}, err
	}
	if len(strict) > 0 {
		return Containers{}, errors.Join(strict...)
	}
	if object, ok := v.(map[string]any); ok {
		list, has := object["containers"]
		switch {
		case !has:
			v = []any{object}
		case len(object) > 1:
			return Containers{}, errors.New(`an object with "containers" has other members too`)
		default:
			v = list
		}
	}
	return objects(v, "")
}

func regoContainers(ctx context.Context, data []byte) (Containers, error) {
	read := func(ctx context.Context, text []byte) (*policydoc.Policy, error) {
		return policydoc.ReadFragment(ctx, string(text))
	}
	if _, err := fragment.Namespace(string(data)); err != nil { // a policy's package is reserved
		read = policydoc.Read
	}
	doc, err := read(ctx, data)
	if err != nil {
		return Containers{}, err
	}
	if len(doc.Problems) > 0 {
		return Containers{}, problems(doc.Problems)
	}
	v, ok := doc.Lists()["containers"]
	if !ok {
		return Containers{}, errors.New("its containers are not there, or depend on a request")
	}
	return objects(v, doc.FrameworkVersion)
}

func objects(v any, framework string) (Containers, error) {
	list, ok := v.([]any)
	if !ok {
		return Containers{}, fmt.Errorf("containers: got %T, want a list of objects", v)
	}
	out := Containers{FrameworkVersion: framework}
	for i, item := range list {
		if _, ok := item.(map[string]any); !ok {
			return Containers{}, fmt.Errorf("containers[%d]: got %T, want an object", i, item)
		}
		raw, err := json.Marshal(item)
		if err != nil {
			return Containers{}, err
		}
		out.Objects = append(out.Objects, raw)
	}
	return out, nil
}

// Join puts the containers of several documents into one list. Documents that name different framework versions do not go together:
// the framework completes containers by one version only.
func Join(lists ...Containers) (Containers, error) {
	var out Containers
	for _, l := range lists {
		switch {
		case l.FrameworkVersion == "" || l.FrameworkVersion == out.FrameworkVersion:
		case out.FrameworkVersion == "":
			out.FrameworkVersion = l.FrameworkVersion
		default:
			return Containers{}, fmt.Errorf("containers are of frameworks %s and %s, want one", out.FrameworkVersion, l.FrameworkVersion)
		}
		out.Objects = append(out.Objects, l.Objects...)
	}
	return out, nil
}
