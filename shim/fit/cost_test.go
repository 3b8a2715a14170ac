package fit_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// heap is the memory in use when nothing is left to collect.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// allocated is all that a function allocates, collected or not.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func withEnv(patterns ...string) string {
	c := web(mount("/cache", "sandbox:///emptydir/cache"))
	for _, p := range patterns {
		c.EnvRules = append(c.EnvRules, env(p, "re2", false))
	}
	return policyOf(false, c)
}

func repeated(n int, one func(i int) string) []string {
	var out []string
	for i := range n {
		out = append(out, one(i))
	}
	return out
}

// TestFitRefusesBombs: a short text that an expression, or a list, makes large of is not fitted to, with a note that says why.
func TestFitRefusesBombs(t *testing.T) {
	letters := strings.Repeat("abc", 1000)
	split := web()
	split.EnvRules = append(split.EnvRules, map[string]any{"name": "A", "name_strategy": "string", "value": "(?:" + letters + "){1000}", "value_strategy": "re2", "required": false})
	const empty = `{"env_rules": [], "mounts": []},`
	wide := web()
	for range 5000 {
		wide.EnvRules = append(wide.EnvRules, env("A=b", "string", false))
	}
	for name, c := range map[string]struct{ text, says string }{
		"one":            {withEnv(repeated(12, func(i int) string { return fmt.Sprintf("%d(?:%s){1000}", i, letters) })...), "expression"},
		"nested":         {withEnv("(?:(?:abcdefghijkl){30}){33}"), "expression"},
		"open-repeat":    {withEnv("(?:" + letters + "){900,}"), "expression"},
		"alternatives":   {withEnv("(?:" + strings.Repeat("a|bc|", 60) + "){500}"), "expression"},
		"classes":        {withEnv(strings.Repeat(`\pL`, 3000)), "expression"},
		"long":           {withEnv(strings.Repeat("a", 20_000)), "expression"},
		"many":           {withEnv(repeated(300, func(i int) string { return fmt.Sprintf("%d=a{900}b{900}", i) })...), "expressions"},
		"value":          {policyOf(false, split), "expression"},
		"source":         {policyOf(false, web(mount("/cache", "sandbox:///(?:"+letters+"){1000}"))), "expression"},
		"platform-rules": {policyOf(false, wide) + "platform_rules := [" + strings.Repeat(empty, 5000) + "]\n", "rules"},
	} {
		t.Run(name, func(t *testing.T) {
			s := kubelet(t)
			before := fmt.Sprint(s)
			if made := allocated(func() {
				p, err := readAny(c.text)
				if err != nil {
					t.Fatal(err)
				}
				notes := p.Fit(s, roots)
				if p.Known() || fmt.Sprint(s) != before || p.FitExec(s.Process, s, roots) != nil {
					t.Error("the policy is known, or something was changed")
				}
				if len(notes) != 1 || !strings.Contains(notes[0].Why, c.says) || strings.Contains(fmt.Sprint(notes), "abcabc") {
					t.Errorf("got %d notes %.300s, want one that says %q", len(notes), fmt.Sprint(notes), c.says)
				}
			}); made > 64<<20 {
				t.Errorf("allocated %d bytes for a policy of %d, want at most 64 MiB", made, len(c.text))
			}
		})
	}
}

// TestFitKeepsLittle: expressions that are just small enough do not stay compiled for the pod's life.
func TestFitKeepsLittle(t *testing.T) {
	text := withEnv(repeated(100, func(i int) string { return fmt.Sprintf("%d=(?:%s){99}", i, strings.Repeat("x?", 33)) })...)
	// Expressions of optional characters that are all different, for which a table of all that may come next would be made.
	distinct := ""
	for c := rune(0x4e00); c < 0x4e00+320; c++ {
		distinct += string(c) + "?"
	}
	for name, text := range map[string]string{"long": text, "distinct": withEnv(repeated(150, func(i int) string { return fmt.Sprintf("%d=", i) + distinct })...)} {
		before := heap()
		p := read(t, text)
		s := kubelet(t)
		s.Process.Env = s.Process.Env[:4]
		p.Fit(s, roots)
		if kept := heap() - before; kept > 48<<20 {
			t.Errorf("%s: keeps %d bytes, want at most 48 MiB", name, kept)
		}
		runtime.KeepAlive(p)
	}
}

// TestFitTakesLongRules: what people write is far below the bounds.
func TestFitTakesLongRules(t *testing.T) {
	patterns := repeated(200, func(i int) string { return fmt.Sprintf(`SERVICE_%d_(?:HOST|PORT)=[a-z0-9.]{0,253}`, i) })
	patterns = append(patterns, `LONG=`+strings.Repeat("v", 4000), `UUID=[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`, `ANY=\p{L}+`)
	s := kubelet(t)
	without(s, "/etc/config")
	s.Process.Env = append(s.Process.Env, "SERVICE_199_PORT=a.b", "UUID=0f6a3c9e-5c1d-4b8e-9d1a-2b7c4e5f6a70")
	read(t, withEnv(patterns...)).Fit(s, roots)
	if got := strings.Join(s.Process.Env, " "); !strings.Contains(got, "SERVICE_199_PORT=a.b UUID=0f6a") {
		t.Errorf("got %q, want what the rules list kept", got)
	}
}
