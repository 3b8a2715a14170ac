package fit

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// containerRule is what a policy says of one container, as far as a specification can be fitted to it.
type containerRule struct {
	layers          []string // root hashes, base first
	command         []string // nil: nothing matches
	workingDir      string
	hasDir          bool
	env             []*envRule
	mounts          []*mountRule
	seccomp         string
	elevated        bool
	noNewPrivileges bool
}

// envRule allows variables by a pattern over "NAME=value", or over name and value apart.
type envRule struct {
	hasWhole, hasSplit bool
	whole, name, value matcher
	required           bool
}

type matcher struct{ text, strategy string }

// mountRule allows one mount.
type mountRule struct {
	destination, source, kind string
	options                   []string
}

// pattern is an expression that holds for a whole string, as the enforcer takes it; nil re matches nothing.
type pattern struct{ re *regexp.Regexp }

// pattern compiles an expression when it is first needed, and keeps it while there is room. One that is not valid by itself could step out of the group.
func (p *Policy) pattern(text string) *pattern {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.patterns[text]; ok {
		return c
	}
	c := &pattern{}
	cost := patternCost(text)
	if _, err := syntax.Parse(text, syntax.Perl); err == nil && cost <= maxPattern {
		// The second branch matches nothing. With it the expression is not compiled for one pass, whose tables grow with the square of its size.
		c.re, _ = regexp.Compile("^(?:" + text + `)$|\z.`)
	}
	if p.compiled+cost < maxCompiled {
		p.compiled += 1 + cost
		p.patterns[text] = c
	}
	return c
}

func (c *pattern) matches(s string) bool { return c.re != nil && c.re.MatchString(s) }

func (p *Policy) matches(m matcher, s string) bool {
	switch m.strategy {
	case "string":
		return m.text == s
	case "re2":
		return p.pattern(m.text).matches(s)
	}
	return false
}

func (p *Policy) envOK(r *envRule, env string) bool {
	if r.hasWhole && p.matches(r.whole, env) {
		return true
	}
	name, value, found := strings.Cut(env, "=")
	return r.hasSplit && found && p.matches(r.name, name) && p.matches(r.value, value)
}

func (p *Policy) envListed(c *containerRule, env string) bool {
	return slices.ContainsFunc(c.env, func(r *envRule) bool { return p.envOK(r, env) })
}

// named says whether a rule speaks of this variable by its name, with whatever value.
func (c *containerRule) named(variable string) bool {
	return slices.ContainsFunc(c.env, func(r *envRule) bool {
		return r.hasWhole && strings.HasPrefix(r.whole.text, variable+"=") || r.hasSplit && r.name.strategy == "string" && r.name.text == variable
	})
}
