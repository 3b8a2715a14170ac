package acigen

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// env collects the rules in the order document, image, defaults: a variable of the document hides the image's of its name,
// and a default whose name the document names.
func (t *translation) env(e *Container) error {
	var rules []sourced[defaults.EnvRule]
	named := map[string]string{}
	for _, v := range t.c.Env {
		r, err := envRule(v)
		if err != nil {
			return fmt.Errorf("%.80q (%s): %w", v.Name, originText(v.Origin), err)
		}
		if before, twice := named[v.Name]; twice {
			if before == r.value.Pattern {
				continue
			}
			return fmt.Errorf("%.80q (%s) is named twice with different values", v.Name, originText(v.Origin))
		}
		named[v.Name] = r.value.Pattern
		switch {
		case !r.secret:
		case !r.wildcard:
			t.written(v.Name)
		case v.Value.Value != ".*":
			t.note("what is known of the value of %s is written into the policy, which the host can read", v.Name)
		}
		rules = append(rules, r)
	}
	for _, v := range t.image.Config.Env {
		name, _, ok := strings.Cut(v, "=")
		if !ok {
			return fmt.Errorf("image %.200q: variable %.80q has no value", t.image.Reference, v)
		}
		if _, ok := named[name]; !ok {
			rules = append(rules, sourced[defaults.EnvRule]{
				value: defaults.EnvRule{Pattern: v, Strategy: "string"}, source: FromImage, place: imageAt(t.image, "Env"),
			})
		}
	}
	rules = t.defaultEnv(rules, named)
	if t.out.Level.EnvOrder == defaults.Sorted {
		slices.SortStableFunc(rules, func(a, b sourced[defaults.EnvRule]) int { return cmp.Compare(a.value.Pattern, b.value.Pattern) })
	}
	t.writeEnv(e, rules)
	return nil
}

func (t *translation) defaultEnv(rules []sourced[defaults.EnvRule], named map[string]string) []sourced[defaults.EnvRule] {
	if t.sidecar(t.c) {
		return rules
	}
	for _, a := range t.additions {
		for i, r := range a.value.Env {
			if _, ok := named[r.EnvName()]; !ok {
				rules = append(rules, sourced[defaults.EnvRule]{
					value: r, source: FromDefault, place: t.defaultsAt(a.at + "." + index("env_rules", i)),
				})
			}
		}
	}
	return rules
}

func (t *translation) writeEnv(e *Container, rules []sourced[defaults.EnvRule]) {
	e.EnvRules = []defaults.EnvRule{}
	for _, r := range rules {
		if slices.Contains(e.EnvRules, r.value) {
			continue
		}
		shown := r.value.Pattern
		if r.secret {
			name, _, _ := strings.Cut(shown, "=")
			shown = name + "=" + Secret
		}
		rule := t.explain(index("env_rules", len(e.EnvRules)), shown, r.source, r.place)
		if r.wildcard {
			t.wildcards = append(t.wildcards, rule)
		}
		e.EnvRules = append(e.EnvRules, r.value)
	}
}

// envRule is the rule for a variable of the document.
func envRule(v workload.Env) (sourced[defaults.EnvRule], error) {
	strategy := v.Strategy
	if strategy == "" {
		strategy = "string"
		if v.Value.Wildcard {
			strategy = "re2"
		}
	}
	origin := v.Origin
	if origin == (workload.Origin{}) {
		origin = v.Value.Origin
	}
	r := fromTemplate(defaults.EnvRule{Pattern: v.Name + "=" + v.Value.Value, Required: v.Required, Strategy: strategy}, origin)
	r.secret, r.wildcard = v.Secret || v.Value.Secret, v.Value.Wildcard
	switch {
	case v.Name == "" || strings.ContainsRune(v.Name, '='):
		return r, fmt.Errorf("this is not a name of a variable")
	case strategy == "string" && v.Value.Wildcard:
		return r, fmt.Errorf("the value is not known before deployment, but shall be matched as it is")
	case strategy == "string":
		return r, nil
	case strategy != "re2":
		return r, fmt.Errorf("strategy is %.40q, want \"string\" or \"re2\"", strategy)
	}
	value, err := closed(v.Value.Value)
	if err != nil {
		if e := (*syntax.Error)(nil); r.secret && errors.As(err, &e) {
			err = errors.New(e.Code.String()) // and not the pattern
		}
		return r, fmt.Errorf("value is not RE2: %w", err)
	}
	r.value.Pattern = regexp.QuoteMeta(v.Name) + "=" + value
	return r, nil
}

// written notes that a secret is no secret in a policy.
func (t *translation) written(what string) {
	t.note("the value of %s is written into the policy, which the host can read", what)
}

func (t *translation) note(format string, args ...any) {
	t.out.Notes = append(t.out.Notes, fmt.Sprintf("container %.80q: ", t.name)+fmt.Sprintf(format, args...))
}
