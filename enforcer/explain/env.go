package explain

import (
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/point"
)

const hidden = "<<redacted>>"

// env tells of each variable that no rule allows whether a rule of its name exists, and of each required rule without a
// variable its name. Values are never told, neither the request's nor the policy's.
func (c *comparison) env(rules []*entry.EnvRule, envs []string) {
	told := map[string]bool{}
	if !c.opts.DropEnvironment {
		for _, env := range envs {
			if c.known(rules, env) {
				continue
			}
			name, _, _ := strings.Cut(env, "=")
			if told[name] {
				continue
			}
			told[name] = true
			wanted := "no variable of this name"
			if i := c.ruleOfName(rules, name); i >= 0 {
				wanted = fmt.Sprintf("a value that env_rules[%d] (%s) allows", i, ruleName(rules[i]))
			}
			c.differ(weightEnv, "process.env "+point.QuoteLine(name), wanted, point.QuoteLine(name)+"="+hidden)
			if c.over() {
				return
			}
		}
	}
	for i, r := range rules {
		if r == nil || !r.Required || c.satisfied(r, envs) {
			continue
		}
		got, again := "not there", false
		for _, env := range envs {
			if name, _, _ := strings.Cut(env, "="); c.nameFits(r, name) {
				// A variable of the right name with another value may have been told above.
				got, again = point.QuoteLine(name)+"="+hidden, again || told[name]
			}
		}
		if again {
			continue
		}
		c.differ(weightEnv, "process.env "+ruleName(r), fmt.Sprintf("what env_rules[%d] requires", i), got)
		if c.over() {
			return
		}
	}
}

func (c *comparison) known(rules []*entry.EnvRule, env string) bool {
	for _, r := range rules {
		if c.allows(r, env) {
			return true
		}
	}
	return false
}

func (c *comparison) satisfied(r *entry.EnvRule, envs []string) bool {
	for _, env := range envs {
		if c.allows(r, env) {
			return true
		}
	}
	return false
}

func (c *comparison) allows(r *entry.EnvRule, env string) bool {
	if r == nil {
		return false
	}
	if r.Whole && c.strategy(r.Strategy, r.Pattern, env) {
		return true
	}
	name, value, found := strings.Cut(env, "=")
	return r.Split && found && c.strategy(r.NameStrategy, r.Name, name) && c.strategy(r.ValueStrategy, r.Value, value)
}

func (c *comparison) ruleOfName(rules []*entry.EnvRule, name string) int {
	for i, r := range rules {
		if r != nil && c.nameFits(r, name) {
			return i
		}
	}
	return -1
}

// nameFits says whether a rule is about variables of a name. Of a pattern over the whole variable the part before the first
// "=" is taken for the name, which holds for what tools write.
func (c *comparison) nameFits(r *entry.EnvRule, name string) bool {
	if r.Split {
		return c.strategy(r.NameStrategy, r.Name, name)
	}
	pattern, _, found := strings.Cut(strings.TrimPrefix(r.Pattern, "(?:"), "=")
	return found && (pattern == name || c.strategy(r.Strategy, pattern, name))
}

// ruleName is what a rule calls the variable: the pattern of the name, without the value.
func ruleName(r *entry.EnvRule) string {
	if r.Split {
		return point.QuoteLine(r.Name)
	}
	name, _, found := strings.Cut(r.Pattern, "=")
	if !found {
		return hidden
	}
	return point.QuoteLine(strings.TrimPrefix(name, "(?:"))
}
