package compiled

import (
	"strings"
	"testing"
)

// TestLiteralPrefix: what begins every match, and no more.
func TestLiteralPrefix(t *testing.T) {
	for _, c := range []struct {
		text, prefix string
		whole        bool
	}{
		{"", "", true},
		{"PATH=/usr/bin:/bin", "PATH=/usr/bin:/bin", true},
		{"HOSTNAME=.+", "HOSTNAME=", false},
		{"T(E)?MP=.+", "T", false},
		{"(?i)(FABRIC)_.+=.+", "", false},
		{"AB*", "A", false},
		{"AB?", "A", false},
		{"AB{0,2}", "A", false},
		{"AB+", "AB", false}, // at least one
		{"A|B", "", false},
		{"*", "", false},
		{`A\.b`, "A", false},
		{"Aé", "A", false},
	} {
		if prefix, whole := literalPrefix(c.text); prefix != c.prefix || whole != c.whole {
			t.Errorf("%q: got %q, %t, want %q, %t", c.text, prefix, whole, c.prefix, c.whole)
		}
	}
}

// TestPatternsAreShared: a policy's patterns are compiled once; those that come with inputs do not grow without bound.
func TestPatternsAreShared(t *testing.T) {
	m := newMatchers()
	policy, agent := m.pattern("a."), m.agentPattern("a.")
	if policy != m.pattern("a.") || agent != m.agentPattern("a.") {
		t.Error("a pattern is made anew")
	}
	for i := range 3 * dynamicLimit {
		m.agentPattern(strings.Repeat("a", i%7) + string(rune('a'+i%26)) + strings.Repeat("b", i/7))
		if len(m.dynamic) > dynamicLimit {
			t.Fatalf("got %d patterns of inputs, want at most %d", len(m.dynamic), dynamicLimit)
		}
	}
	if len(m.patterns) != 1 {
		t.Errorf("got %d patterns of the policy, want the one", len(m.patterns))
	}
}
