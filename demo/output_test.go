package main

import (
	"slices"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"plain", "--policy=out/a.rego", "--policy=out/a.rego"},
		{"empty", "", "''"},
		{"space", "a b", "'a b'"},
		{"dollar", "$HOME", "'$HOME'"},
		{"quote", "it's", `'it'\''s'`},
		{"glob", "*", "'*'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := quote(c.in); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAbridge(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"short", "a line\twith a tab", "a line\twith a tab"},
		{"escape", "\x1b[2Jgone", "?[2Jgone"},
		{"c1", "a\u009bb", "a?b"},
		{"long", strings.Repeat("x", 401), strings.Repeat("x", 120) + "... (401 bytes in all)"},
		{"long-not-in-a-rune", strings.Repeat("x", 119) + strings.Repeat("é", 200), strings.Repeat("x", 119) + "... (519 bytes in all)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := abridge(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLines(t *testing.T) {
	var got []string
	l := &lines{each: func(line string) { got = append(got, line) }}
	for _, s := range []string{"a", "b\nc\n", "\n", "d"} {
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("write got %d, %v", n, err)
		}
	}
	l.flush()
	l.flush()
	if want := []string{"ab", "c", "", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEvidenceInLog(t *testing.T) {
	log := []string{
		"cloister: booting", "nginx  | " + beginMark, "client | first", "client | " + beginMark, `client | {"a":`, "nginx  | between", `client | "b"}`,
		"client | " + endMark, "client | last",
	}
	cases := []struct {
		name  string
		lines []string
		want  string
		found bool
	}{
		{"whole", log, "{\"a\":\"b\"}\n", true},
		{"no-end", log[:7], "", false},
		{"no-begin", log[4:], "", false},
		{"other-container", []string{"nginx | " + beginMark, "nginx | x", "nginx | " + endMark}, "", false},
		{"empty", nil, "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, found := between(containerLines(c.lines, "client"), beginMark, endMark)
			if got != c.want || found != c.found {
				t.Errorf("got %q, %v, want %q, %v", got, found, c.want, c.found)
			}
		})
	}
}
