package acigen

import (
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// The sources of a rule.
const (
	FromTemplate = "template" // the document
	FromImage    = "image"    // the image's configuration or layers
	FromDefault  = "default"  // the file of defaults, or the level
	FromOption   = "option"   // of the command line
)

// Secret stands for a value that must not be shown.
const Secret = "<secret>"

// Rule is one rule and where it comes from.
type Rule struct {
	Container string `json:"container,omitempty"` // name, else id; "" is a rule of the whole policy
	Field     string `json:"field"`               // env_rules[3]
	Value     string `json:"value"`               // with <secret> for what the document calls secret
	Source    string `json:"source"`
	Place     string `json:"place"` // file, line and path; image and field; defaults and entry
}

// sourced is a value with its source.
type sourced[T any] struct {
	value    T
	source   string
	place    string
	secret   bool
	wildcard bool
}

func fromTemplate[T any](v T, o workload.Origin) sourced[T] {
	return sourced[T]{value: v, source: FromTemplate, place: originText(o)}
}

// originText leaves out what is not known of a place.
func originText(o workload.Origin) string {
	if o.File == "" {
		return o.Path
	}
	return o.String()
}

func show(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []string:
		return "[" + strings.Join(v, " ") + "]"
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

func shownText(t workload.Text) string {
	if t.Secret {
		return Secret
	}
	return t.Value
}

// explained collects the rules of one container.
type explained struct {
	name      string
	rules     []Rule
	wildcards []Rule
}

func (e *explained) explain(field, value, source, at string) Rule {
	r := Rule{Container: e.name, Field: field, Value: value, Source: source, Place: at}
	e.rules = append(e.rules, r)
	return r
}
