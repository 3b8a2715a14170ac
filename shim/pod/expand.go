package pod

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// references replaces $(NAME) as kubelet does: "$$" for a dollar sign, everything else as it stands. It hands on each piece.
func references(text string, plain func(string), reference func(name string)) {
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			plain(text[i : i+1])
			continue
		}
		switch text[i+1] {
		case '$':
			plain("$")
			i++
		case '(':
			end := strings.IndexByte(text[i+2:], ')')
			if end < 0 {
				// Never closed: the two bytes are ordinary ones.
				plain("$(")
				i++
				continue
			}
			reference(text[i+2 : i+2+end])
			i += 2 + end
		default:
			plain("$")
		}
	}
}

// expand replaces the references to variables; an unknown one is left as it stands. The result is a pattern where a
// variable's value is one. A reference
// that only a cluster can resolve is an error.
func (v *variables) expand(text string) (Text, error) {
	var value, pattern strings.Builder
	var open bool
	var failed *openError
	plain := func(s string) {
		value.WriteString(s)
		pattern.WriteString(regexp.QuoteMeta(s))
	}
	references(text, plain, func(name string) {
		t, ok := v.values[name]
		switch {
		case ok && t.known():
			plain(t.Value)
		case ok && t.Pattern != anything:
			open = true
			pattern.WriteString(t.regexp())
		case ok:
			failed = &openError{fmt.Sprintf("refers to $(%s), whose value is known at run time only", clip(name))}
		case v.cluster && mayBeService(name, v.links):
			failed = &openError{fmt.Sprintf("refers to $(%s), which the cluster may set: declare the variable, or set enableServiceLinks to false", clip(name))}
		default:
			plain("$(" + name + ")")
		}
	})
	if failed != nil {
		return Text{}, failed
	}
	if open {
		return Pattern(pattern.String()), nil
	}
	return Literal(value.String()), nil
}

// expandAll is for commands, which a policy fixes word for word.
func (v *variables) expandAll(texts []string, at string) ([]string, error) {
	out := make([]string, len(texts))
	for i, text := range texts {
		t, err := v.expand(text)
		if err == nil && !t.known() {
			err = errors.New("refers to a variable whose value is known at run time only: a policy fixes each argument (a shell in the container can expand it)")
		}
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", at, i, err)
		}
		out[i] = t.Value
	}
	return out, nil
}

// expandStatic is kubelet's rule for the commands of probes: by the values as the document writes them, which a valueFrom
// leaves empty.
func expandStatic(texts []string, raw map[string]string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		var b strings.Builder
		references(text, func(s string) { b.WriteString(s) }, func(name string) {
			if value, ok := raw[name]; ok {
				b.WriteString(value)
			} else {
				b.WriteString("$(" + name + ")")
			}
		})
		out[i] = b.String()
	}
	return out
}
