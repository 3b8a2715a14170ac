package fit

import (
	"crypto/sha256"
	"path"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/shim/spec"
)

const (
	sandboxPrefix = "sandbox://"
	// sandboxDir stands for the agent's directory of a pod (policy contract, mount matching): a rule's source is a pattern behind it. Every pod's has this form.
	sandboxDir = "/run/gcs/c/0000000000000000000000000000000000000000000000000000000000000000/sandboxMounts"
)

// accepts says whether a rule takes the agent's name for a source, where it is name below the pod's directory.
func (p *Policy) accepts(rule *mountRule, name string) bool {
	want, ok := strings.CutPrefix(rule.source, sandboxPrefix)
	return ok && p.pattern(sandboxDir+want).matches(path.Join(sandboxDir, name))
}

// directory is a source for an emptyDir that both the agent's form of names and the rule take; "" when there is none. A volume gets the same one in each container
// whose rule is the same.
func (p *Policy) directory(rule *mountRule, v spec.Volume) string {
	want, ok := strings.CutPrefix(rule.source, sandboxPrefix)
	if !ok {
		return ""
	}
	if usual := v.Default(); p.accepts(rule, strings.TrimPrefix(usual, sandboxPrefix)) {
		return usual
	}
	tree, err := syntax.Parse(want, syntax.Perl)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(v.Name))
	e := example{name: v.Name, random: sum[:]}
	for _, made := range e.of(tree, 0) {
		local := strings.TrimPrefix(made, "/")
		if local == "" || !filepath.IsLocal(local) || path.Clean(local) != local || strings.ContainsRune(local, 0) {
			continue
		}
		if p.accepts(rule, local) {
			return sandboxPrefix + "/" + local
		}
	}
	return ""
}

// example makes texts that an expression matches, with a volume's name where it leaves a choice. It need not be right: what it makes is checked.
type example struct {
	name   string
	random []byte // of the name, so that two volumes get two texts
}

// Limits of an example: expressions are the host's to send.
const (
	maxExamples = 8
	maxExample  = 1024 // bytes
	maxNesting  = 32
)

func (e *example) of(t *syntax.Regexp, depth int) []string {
	if depth > maxNesting {
		return nil
	}
	switch t.Op {
	case syntax.OpLiteral:
		return []string{string(t.Rune)}
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []string{e.fill(t, 1, 1)}
	case syntax.OpStar:
		return e.repeat(t.Sub[0], 0, -1, depth)
	case syntax.OpPlus:
		return e.repeat(t.Sub[0], 1, -1, depth)
	case syntax.OpQuest:
		return e.repeat(t.Sub[0], 0, 1, depth)
	case syntax.OpRepeat:
		return e.repeat(t.Sub[0], t.Min, t.Max, depth)
	case syntax.OpCapture:
		return e.of(t.Sub[0], depth+1)
	case syntax.OpAlternate:
		var out []string
		for _, s := range t.Sub {
			out = append(out, e.of(s, depth+1)...)
		}
		return out[:min(len(out), maxExamples)]
	case syntax.OpConcat:
		out := []string{""}
		for _, s := range t.Sub {
			out = join(out, e.of(s, depth+1))
		}
		return out
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText:
		return []string{""}
	default:
		return nil // word boundaries, and what matches nothing
	}
}

// join is each of a followed by each of b, as far as the limits go.
func join(a, b []string) []string {
	var out []string
	for _, x := range a {
		for _, y := range b {
			if len(out) < maxExamples && len(x)+len(y) <= maxExample {
				out = append(out, x+y)
			}
		}
	}
	return out
}

// repeat repeats as often as it must, or fills a free place with the volume's name. most is -1 for no bound.
func (e *example) repeat(t *syntax.Regexp, least, most, depth int) []string {
	switch t.Op {
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []string{e.fill(t, least, most)}
	}
	once := e.of(t, depth+1)
	out := []string{""}
	for range min(least, maxExample) {
		out = join(out, once)
	}
	if least == 0 {
		return append(out, once[:min(len(once), maxExamples-1)]...) // without it, or with it once
	}
	return out
}

// usual are the characters a filled place is made of: the first of them that the class has are enough.
const usual = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

// fill is the volume's name where class and length take it, else as many characters of the class, chosen by the name.
func (e *example) fill(class *syntax.Regexp, least, most int) string {
	if n := len(e.name); n >= least && (most < 0 || n <= most) && n > 0 {
		if !strings.ContainsFunc(e.name, func(r rune) bool { return !inClass(class, r) }) {
			return e.name
		}
	}
	var alphabet []rune
	for _, r := range usual {
		if inClass(class, r) {
			alphabet = append(alphabet, r)
		}
	}
	if len(alphabet) == 0 {
		if class.Op != syntax.OpCharClass || len(class.Rune) == 0 {
			return ""
		}
		alphabet = class.Rune[:1]
	}
	n := min(max(least, 16), maxExample)
	if most >= 0 {
		n = min(n, most)
	}
	var out strings.Builder
	for i := range n {
		out.WriteRune(alphabet[int(e.random[i%len(e.random)])%len(alphabet)])
	}
	return out.String()
}

func inClass(class *syntax.Regexp, r rune) bool {
	if class.Op != syntax.OpCharClass {
		return r != '\n'
	}
	for pair := range slices.Chunk(class.Rune, 2) {
		if len(pair) == 2 && pair[0] <= r && r <= pair[1] {
			return true
		}
	}
	return false
}

// sameOptions fits the words for one thing: a bind with or without what is mounted below it, no propagation or the policy's, and that it is writable. The answer is the
// rule's options, or false when the two say different things.
func sameOptions(have, rule []string) ([]string, bool) {
	if sameSet(have, rule) {
		return have, true
	}
	h, r := meaning(have), meaning(rule)
	if h.readOnly != r.readOnly || !sameSet(h.other, r.other) || h.propagation != "private" && h.propagation != r.propagation {
		return nil, false
	}
	return slices.Clone(rule), true
}

// options is what a bind's options say.
type options struct {
	readOnly    bool
	propagation string
	other       []string
}

func meaning(list []string) options {
	out := options{propagation: "private"}
	for _, o := range list {
		switch o {
		case "bind", "rbind", "rw", "rrw":
		case "ro", "rro":
			out.readOnly = true
		case "private", "rprivate":
		case "shared", "rshared", "slave", "rslave":
			out.propagation = strings.TrimPrefix(o, "r")
		default:
			out.other = append(out.other, o)
		}
	}
	return out
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
