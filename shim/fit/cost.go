package fit

import (
	"regexp/syntax"
	"strings"
)

// Limits of what a policy's expressions and lists may cost. A few characters repeat what is before them a thousand times, and a compiled expression takes some hundred
// bytes for each of them; a policy beyond the limits is not understood.
const (
	maxPattern  = 10_000    // of one expression
	maxPatterns = 1_000_000 // of all different ones
	maxCompiled = 250_000   // of those that are kept compiled
	maxRules    = 1 << 20   // of all containers together, each with each rule of the platform
)

// Why a policy is not fitted to.
const (
	tooLong = "an expression of the policy is too large to be compiled"
	tooMany = "the expressions of the policy are too large together to be compiled"
	tooWide = "the containers of the policy with the rules of its platform have too many rules"
)

// patternCost says how many instructions an expression is compiled to, about, without doing so. What is not valid costs nothing: it is never compiled.
func patternCost(text string) int {
	if len(text) > maxPattern {
		return maxPattern + 1
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	return treeCost(tree)
}

// treeCost counts the nodes, characters and ranges of a tree, each as often as it is repeated, and stops counting above maxPattern.
func treeCost(t *syntax.Regexp) int {
	cost := 0
	for _, sub := range t.Sub {
		if cost += treeCost(sub); cost > maxPattern {
			break
		}
	}
	switch t.Op {
	case syntax.OpLiteral:
		cost += len(t.Rune)
	case syntax.OpCharClass:
		cost += 1 + len(t.Rune)/2
	case syntax.OpRepeat:
		cost = (cost + 1) * max(t.Min+1, t.Max) // at most a thousand times, so nothing overflows
	default:
		cost++
	}
	return min(cost, maxPattern+1)
}

// tooCostly says why the expressions of the containers are not compiled, or "".
func tooCostly(containers ...*containerRule) string {
	total, seen := 0, map[string]bool{}
	for _, c := range containers {
		for _, text := range c.patterns() {
			if seen[text] {
				continue
			}
			seen[text] = true
			cost := patternCost(text)
			if cost > maxPattern {
				return tooLong
			}
			if total += cost; total > maxPatterns {
				return tooMany
			}
		}
	}
	return ""
}

// patterns are the expressions that fitting to the container may compile.
func (c *containerRule) patterns() (out []string) {
	for _, e := range c.env {
		for _, m := range []matcher{e.whole, e.name, e.value} {
			if m.strategy == "re2" {
				out = append(out, m.text)
			}
		}
	}
	for _, m := range c.mounts {
		if want, ok := strings.CutPrefix(m.source, sandboxPrefix); ok {
			out = append(out, sandboxDir+want)
		}
	}
	return out
}
