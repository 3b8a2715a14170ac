package compiled

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/entry"
)

// matcher compares one string: with itself, with a pattern, or with nothing (an unknown strategy).
type matcher struct {
	exact bool
	text  string
	re    *pattern
}

func (m *matchers) matcher(strategy, text string) matcher {
	switch strategy {
	case "string":
		return matcher{exact: true, text: text}
	case "re2":
		return matcher{re: m.pattern(text)}
	}
	return matcher{}
}

func (m *matcher) matches(s string) bool {
	if m.exact {
		return s == m.text
	}
	return m.re != nil && m.re.matches(s)
}

// envRule is one environment rule: over the whole "K=V", over name and value apart, or both.
type envRule struct {
	whole, split bool
	all          matcher
	name, value  matcher
	required     bool
}

type envRules struct {
	rules    []envRule
	required int
}

func (m *matchers) envRules(list []*entry.EnvRule) *envRules {
	r := &envRules{rules: make([]envRule, len(list))}
	for i, e := range list {
		r.rules[i] = m.envRule(e)
		if r.rules[i].required {
			r.required++
		}
	}
	return r
}

func (m *matchers) envRule(e *entry.EnvRule) envRule {
	rule := envRule{whole: e.Whole, split: e.Split, required: e.HasRequired && e.Required}
	if e.Whole {
		rule.all = m.matcher(e.Strategy, e.Pattern)
	}
	if e.Split {
		rule.name, rule.value = m.matcher(e.NameStrategy, e.Name), m.matcher(e.ValueStrategy, e.Value)
	}
	return rule
}

func (r *envRule) matches(env string) bool {
	if r.whole && r.all.matches(env) {
		return true
	}
	if !r.split {
		return false
	}
	name, value, found := strings.Cut(env, "=")
	return found && r.name.matches(name) && r.value.matches(value)
}

// envOf returns the compiled rules of a container; nil when its definition has none.
func (q *question) envOf(c *container) *envRules {
	if c.env == nil && c.Present&entry.FieldEnvRules != 0 {
		c.env = q.judge.matchers.envRules(c.EnvRules)
	}
	return c.env
}

func (q *question) envOfExternal(p *external) *envRules {
	if p.env == nil {
		p.env = q.judge.matchers.envRules(p.EnvRules)
	}
	return p.env
}

// known says whether some rule allows a variable.
func (q *question) known(r *envRules, env string) bool {
	if r == nil {
		return false
	}
	for i := range r.rules {
		if !q.work(len(env)) {
			return false
		}
		if r.rules[i].matches(env) {
			return true
		}
	}
	return false
}

// requiredOK says whether every required rule has a variable.
func (q *question) requiredOK(r *envRules, envs []string) bool {
	if r == nil {
		return false
	}
	if r.required == 0 {
		return true
	}
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.required && !slices.ContainsFunc(envs, func(env string) bool { return q.work(len(env)) && rule.matches(env) }) {
			return false
		}
	}
	return true
}

// envsOK says whether rules allow exactly such an environment: each variable known, each required one there.
func (q *question) envsOK(r *envRules, envs []string) bool {
	if r == nil {
		return false
	}
	for _, env := range envs {
		if !q.known(r, env) {
			return false
		}
	}
	return q.requiredOK(r, envs)
}

// bitset marks positions of a list.
type bitset []uint64

func newBitset(n int) bitset    { return make(bitset, (n+63)/64) }
func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitset) count(m bitset) int {
	n := 0
	for i := range b {
		n += bits.OnesCount64(b[i] & m[i])
	}
	return n
}

// keptEnvs is what remains of an environment. With dropping each candidate keeps what its rules know; the largest result wins, and
// if two candidates keep different sets of that size nobody can say which was meant: ok is false.
func (q *question) keptEnvs(rules []*envRules, envs []string) (kept []string, ok bool) {
	if !q.judge.flags.EnvironmentVariableDropping {
		return envs, true
	}
	if len(rules) == 0 {
		return nil, false
	}
	first := newBitset(len(envs)) // the first of equal variables: sizes count distinct ones
	seen := make(map[string]struct{}, len(envs))
	for i, env := range envs {
		if _, dup := seen[env]; !dup {
			seen[env] = struct{}{}
			first.set(i)
		}
	}
	var best bitset
	size, unique := -1, false
	for _, r := range rules {
		keep := newBitset(len(envs))
		for i, env := range envs {
			if q.known(r, env) {
				keep.set(i)
			}
		}
		switch n := keep.count(first); {
		case n > size:
			best, size, unique = keep, n, true
		case n == size && !slices.Equal(keep, best):
			unique = false
		}
	}
	if !unique {
		return nil, false
	}
	kept = make([]string, 0, len(envs))
	for i, env := range envs {
		if best.has(i) {
			kept = append(kept, env)
		}
	}
	return kept, true
}
