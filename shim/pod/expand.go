package pod

import "strings"

// expand replaces $(NAME) as kubelet does: by the container's own variables declared so far, "$$" for a dollar sign, and
// an unknown reference left as it stands.
func expand(text string, env map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i+2:], ')')
			if end < 0 {
				// Never closed: the two bytes are ordinary ones.
				out.WriteString("$(")
				i++
				continue
			}
			name := text[i+2 : i+2+end]
			if value, ok := env[name]; ok {
				out.WriteString(value)
			} else {
				out.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

func expandAll(texts []string, env map[string]string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = expand(t, env)
	}
	return out
}
