package kube

import (
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// Fields lists what this package understands of the objects around a template, "KIND: PATH", then what shim/pod understands
// of a Pod. The path of a template's field is that behind the path of the template.
func Fields() []workload.Field {
	var out []workload.Field
	for _, k := range kinds {
		if len(k.path) == 0 {
			continue
		}
		for _, f := range slices.Concat(metadataFields, k.fields) {
			if f.Use != pod.Refused {
				out = append(out, workload.Field{Path: k.name + ": " + f.Path, Meaning: f.Meaning, NoEffect: f.Meaning == ""})
			}
		}
	}
	for _, f := range pod.Fields() {
		if f.Use != pod.Refused {
			out = append(out, workload.Field{Path: "Pod: " + f.Path, Meaning: f.Meaning, NoEffect: f.Meaning == ""})
		}
	}
	return out
}

// clip cuts a string of the document to what an error line can hold.
func clip(s string) string {
	if len(s) > 128 {
		s = strings.ToValidUTF8(s[:128], "") + "…"
	}
	return s
}
