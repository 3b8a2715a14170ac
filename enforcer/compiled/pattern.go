package compiled

import (
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/entry"
)

// pattern is an RE2 pattern that holds for the whole value, inside a group: `a|b` means a or b.
type pattern struct {
	text string
	// prefix begins every value the pattern holds for; most values are told apart by it without running the machine.
	prefix   string
	compiled bool
	// literal is set when the pattern is no more than its prefix.
	literal bool
	re      *regexp.Regexp // nil when the text is no valid pattern: nothing matches
}

func (p *pattern) matches(s string) bool {
	if !strings.HasPrefix(s, p.prefix) {
		return false
	}
	if !p.compiled {
		p.compile()
	}
	if p.literal {
		return s == p.text
	}
	return p.re != nil && p.re.MatchString(s)
}

func (p *pattern) compile() {
	p.compiled = true
	// Valid by itself, or `a)|(b` would step out of the group.
	if _, err := syntax.Parse(p.text, syntax.Perl); err != nil {
		return
	}
	p.re, _ = regexp.Compile("^(?:" + p.text + ")$")
}

// plainBytes are those that stand for themselves in a pattern wherever they are.
func plainByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("_=/-:,@%~ \"'<>!;&#", c) >= 0
}

// literalPrefix is what every match of a pattern begins with, as far as it can be seen without parsing. Alternatives may begin with
// anything, so a pattern with a bar has none. whole says that the pattern is nothing but its prefix.
func literalPrefix(text string) (prefix string, whole bool) {
	if strings.IndexByte(text, '|') >= 0 {
		return "", false
	}
	n := 0
	for n < len(text) && plainByte(text[n]) {
		n++
	}
	if n == len(text) {
		return text, true
	}
	// A quantifier that allows nothing takes the byte before it back.
	if c := text[n]; n > 0 && (c == '*' || c == '?' || c == '{') {
		n--
	}
	return text[:n], false
}

func newPattern(text string) *pattern {
	p := &pattern{text: text}
	p.prefix, p.literal = literalPrefix(text)
	p.compiled = p.literal
	return p
}

// dynamicLimit bounds the patterns that are kept though no policy names them: those around the agent's own directories.
const dynamicLimit = 1024

// matchers are the patterns and sets that were needed so far.
type matchers struct {
	patterns map[string]*pattern
	dynamic  map[string]*pattern
	caps     capsCache
}

func newMatchers() matchers {
	return matchers{patterns: map[string]*pattern{}, dynamic: map[string]*pattern{}, caps: capsCache{}}
}

// pattern is a pattern of the policy's text.
func (m *matchers) pattern(text string) *pattern {
	p := m.patterns[text]
	if p == nil {
		p = newPattern(text)
		m.patterns[text] = p
	}
	return p
}

// warmPatterns is how many patterns are compiled when a policy is loaded, so that the first request need not wait for them. A policy
// of thousands of containers has too many, and uses few of them.
const warmPatterns = 64

func (m *matchers) warm(list []*entry.Container) {
	for _, c := range list {
		for _, r := range c.EnvRules {
			m.envRule(r)
		}
		for _, mount := range c.Mounts {
			if path, ok := strings.CutPrefix(mount.Source, aci.SandboxPrefix); ok && separable(path) {
				m.pattern(path)
			}
		}
		if len(m.patterns) > warmPatterns {
			return
		}
	}
	for _, p := range m.patterns {
		if !p.compiled {
			p.compile()
		}
	}
}

// beneath says whether source matches the pattern dir+path. A pod has a directory of its own and the policy's paths are few, so where
// it means the same, the directory is compared as the text it is and only the path as a pattern.
func (m *matchers) beneath(dir, path, source string) bool {
	if _, plain := literalPrefix(dir); !plain || !separable(path) {
		return m.agentPattern(dir + path).matches(source)
	}
	rest, ok := strings.CutPrefix(source, dir)
	return ok && m.pattern(path).matches(rest)
}

// separable says whether a pattern means the same behind a literal text as alone: an alternative would reach over that text, a
// quantifier at its beginning would take hold of it, and an anchor or word boundary (an escape) would see it.
func separable(path string) bool {
	return !strings.ContainsAny(path, `|^\`) && (path == "" || strings.IndexByte("*+?{", path[0]) < 0)
}

// agentPattern is a pattern that came with an input.
func (m *matchers) agentPattern(text string) *pattern {
	if p := m.dynamic[text]; p != nil {
		return p
	}
	if len(m.dynamic) >= dynamicLimit {
		clear(m.dynamic)
	}
	p := newPattern(text)
	m.dynamic[text] = p
	return p
}
