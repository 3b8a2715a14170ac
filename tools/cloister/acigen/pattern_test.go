package acigen

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

func TestPatternsAreClosed(t *testing.T) {
	for pattern, grouped := range map[string]bool{
		"": false, "a": false, "ab": false, ".+": false, "[a-z]+": false, "(a|b)": false, "[a|b]": false, `a\|b`: false, `\w+\.example\.com`: false, "a{2,3}b*?": false,
		"^a$": false, "x(?:a|b)y": false, "(?P<n>a)": false, `\Qa|b\E`: false, "[[:alpha:]|]x": false, "https?://[^/]+(:[0-9]+)?/.*": false, "()": false, "é+": false,
		"a|b": true, "(a)|b": true, "[[:alpha:](]x|b": true, "|": true, "(?i)a|b": true, "(?:a|b)c|d": true, `\Qa\E|b`: true, "(?m)a": true, "(?m:a)": true, "(?i)a": true, "a(?s).": true,
	} {
		want := pattern
		if grouped {
			want = "(?:" + pattern + ")"
		}
		if got, err := closed(pattern); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", pattern, got, err, want)
		}
	}
	for pattern, want := range map[string]string{
		`\Qa`: "quotation", `a|\Qb`: "quotation", `\Qa\E\Q`: "quotation", ")(": "unexpected", "(": "missing", strings.Repeat("a", maxPattern+1): "has 4097 bytes, want at most 4096",
	} {
		if got, err := closed(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %.20q, %v, want %q", pattern, got, err, want)
		}
	}
}

// TestPatternOfPipes: a document can not keep the generator busy, and is told where its pattern stands.
func TestPatternOfPipes(t *testing.T) {
	env := func(pattern string) error {
		c := app()
		c.Env = []workload.Env{{Name: "A", Strategy: "re2", Value: workload.Text{Value: pattern}, Origin: at("env[0]", 7)}}
		_, err := Generate(t.Context(), only(c), testImages(), Options{})
		return err
	}
	done := make(chan error, 2)
	go func() {
		done <- env("[" + strings.Repeat("|", 60<<10) + "]")
		done <- env("[" + strings.Repeat("|", maxPattern-2) + "]")
	}()
	for _, want := range []string{`"A" (template.json:7: env[0]): value is not RE2: the pattern has 61442 bytes`, ""} {
		select {
		case err := <-done:
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		case <-time.After(time.Minute):
			t.Fatal("it takes minutes")
		}
	}
}

// FuzzClosedPatterns: anchored without a group, a pattern accepts what it accepts anchored in one, behind its name.
func FuzzClosedPatterns(f *testing.F) {
	for _, p := range []string{"a|b", "(?m)a", `\Qa`, "[a|b]", "a$|^b", "(?i)a", "(?-s).+", `\Qa\E|b`} {
		f.Add(p, "a\nA=b")
		f.Add(p, "b")
	}
	f.Fuzz(func(t *testing.T, pattern, value string) {
		got, err := closed(pattern)
		if err != nil {
			return
		}
		ungrouped, err := regexp.Compile("^A=" + got + "$")
		if err != nil {
			t.Fatalf("%q became %q: %v", pattern, got, err)
		}
		grouped := regexp.MustCompile("^(?:A=(?:" + pattern + "))$")
		for _, v := range []string{value, "A=" + value, "A=" + value + "\n", "x\nA=" + value} {
			if ungrouped.MatchString(v) != grouped.MatchString(v) {
				t.Fatalf("%q became %q, which differs for %q", pattern, got, v)
			}
		}
	})
}
