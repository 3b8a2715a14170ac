package compiled

import (
	"regexp"
	"testing"
)

var patternTexts = []string{
	"", "a", "abc", "a|b", "ab*", "ab?", "ab{0,1}", "ab{2}", "ab+", "(?i)abc", "^abc", "abc$", "^abc$", "a^b", `\Aabc`, `a\bc`, "[a-c]+x", "a)|(b",
	"(a", "a{", "a{1", "a,b", "K=.+", "K=v", ".+", ".*", "(?m)^a$", "a\nb", "é", "aé*", "$", "a$b", "*a", "+", "?", "{2}", "K=(a|b)", "a\\.b", "a\xff",
	"/data/.+", "[^/]+", "/a//b", `\d+`, "(?s).", `\Q`, `a\Qb`, "#x y", "a{,2}", "x**",
}

var patternValues = []string{
	"", "a", "b", "ab", "abb", "abc", "ABC", "abcx", "xabc", "aa", "a|b", "K=", "K=v", "K=a", "K=b", "a.b", "a\nb", "é", "aé", "aéé", "acx", "a{", "/data/x",
	"/data/", "12", "#x y", "a{,2}", "abbc", "\xff", "a\xff", "a,b", "abc\n",
}

// TestPatternIsTheGroupedExpression: the short cuts answer what the expression answers.
func TestPatternIsTheGroupedExpression(t *testing.T) {
	for _, text := range patternTexts {
		var re *regexp.Regexp
		if _, err := regexp.Compile(text); err == nil {
			re, _ = regexp.Compile("^(?:" + text + ")$")
		}
		p := newPattern(text)
		for _, v := range patternValues {
			if want, got := re != nil && re.MatchString(v), p.matches(v); got != want {
				t.Errorf("pattern %q, value %q: got %v, want %v", text, v, got, want)
			}
		}
	}
}

// TestBeneathIsTheJoinedPattern: a directory compared as text answers what the joined pattern answers.
func TestBeneathIsTheJoinedPattern(t *testing.T) {
	for _, dir := range []string{"", "/run/gcs/c/aa/sandboxMounts", "/run/a.b", "/run/(", "x"} {
		for _, path := range patternTexts {
			m := newMatchers()
			joined := newPattern(dir + path)
			for _, v := range patternValues {
				for _, source := range []string{dir + v, v, dir, "/run/aXb" + v} {
					if want, got := joined.matches(source), m.beneath(dir, path, source); got != want {
						t.Errorf("directory %q, path %q, source %q: got %v, want %v", dir, path, source, got, want)
					}
				}
			}
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, text := range patternTexts {
		f.Add(text, "/run/x", "abc")
	}
	f.Fuzz(func(t *testing.T, text, dir, value string) {
		if len(text) > 200 {
			return
		}
		if _, err := regexp.Compile(text); err == nil {
			// \Q without \E takes the group's end into the quoted text: valid alone, but not as a group, so nothing matches.
			re, err := regexp.Compile("^(?:" + text + ")$")
			if want, got := err == nil && re.MatchString(value), newPattern(text).matches(value); got != want {
				t.Errorf("pattern %q, value %q: got %v, want %v", text, value, got, want)
			}
		}
		m := newMatchers()
		if want, got := newPattern(dir+text).matches(dir+value), m.beneath(dir, text, dir+value); got != want {
			t.Errorf("directory %q, path %q, value %q: got %v, want %v", dir, text, value, got, want)
		}
	})
}
