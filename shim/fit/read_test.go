package fit_test

import (
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/shim/fit"
)

func readAny(text string) (*fit.Policy, error) { return fit.Read([]byte(text)) }

// notKnown are texts that the reader must not take for lists, or not guess at.
func notKnown(t testing.TB) map[string]string {
	t.Helper()
	plain := policyOf(true, web(mount("/cache", "sandbox:///emptydir/cache")))
	change := func(old, with string) string {
		if !strings.Contains(plain, old) {
			t.Fatalf("the policy has no %q", old)
		}
		return strings.Replace(plain, old, with, 1)
	}
	return map[string]string{
		"kata":              strings.Replace(plain, "package policy", "package agent_policy", 1),
		"no-package":        change("package policy", ""),
		"own-rule":          change("create_container := data.framework.create_container", "create_container := {\"allowed\": true}"),
		"own-condition":     change("create_container := data.framework.create_container", "create_container := data.framework.create_container if { input.x }"),
		"no-rule":           change("create_container := data.framework.create_container", ""),
		"comprehension":     change("containers := [", "containers := [c | c := data.x] # ["),
		"concatenation":     change("]\nallow_environment", "] | x\nallow_environment"),
		"twice":             plain + "\ncontainers := []\n",
		"default":           plain + "\ndefault x := true\n",
		"import":            change("package policy", "package policy\nimport data.x"),
		"newer":             change("0.5.0", "0.6.0"),
		"no-version":        change("framework_version := \"0.5.0\"", ""),
		"two-versions":      plain + "\nframework_svn := \"0.5.0\"\n",
		"not-a-version":     change("0.5.0", "0.5"),
		"key-twice":         change(`"name":"web"`, `"name":"web","name":"web"`),
		"function":          plain + "\nf(x) := x\n",
		"number-for-string": change(`"name":"web"`, `"command":1,"name":"web"`),
		"cut":               plain[:len(plain)/2],
		"deep":              plain + "\nx := " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\n",
		"huge":              plain + strings.Repeat("#", 9<<20),
		"bad-string":        change("/bin/web", `\q`),
		"line-in-string":    change("/bin/web", "a\nb"),
		"not-utf8":          change("/bin/web", "\xff"),
		"dropping-is-text":  change("dropping := true", `dropping := "true"`),
		"reference":         plain + "\nx := data.other\n",
	}
}

func TestReadForms(t *testing.T) {
	plain := policyOf(true, web(mount("/cache", "sandbox:///emptydir/cache")))
	for name, text := range map[string]string{
		"as-it-is":       plain,
		"old-names":      strings.Replace(strings.Replace(plain, "framework_version", "framework_svn", 1), "api_version", "api_svn", 1),
		"windows-lines":  strings.ReplaceAll(plain, "\n", "\r\n"),
		"trailing-comma": strings.ReplaceAll(strings.ReplaceAll(plain, "}]", "},]"), `"}`, `",}`),
		"comments":       "# one\n" + strings.ReplaceAll(plain, "\n", " # two\n"),
		"equals-sign":    strings.ReplaceAll(plain, ":=", "="),
		"raw-string":     strings.Replace(plain, `"/srv"`, "`/srv`", 1),
		"escapes":        strings.Replace(plain, `"/srv"`, `"\u002fsr\u0076"`, 1),
		"imports":        strings.Replace(plain, "package policy", "package policy\nimport future.keywords.every\nimport rego.v1\n", 1),
		"unknown-list":   plain + "\ntransparency_trust_lists := [{\"svn\": -1.5e3, \"x\": [null, true, {}]}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			if !read(t, text).Layers(roots) {
				t.Error("the container was not found")
			}
			if _, err := enforcer.Load(t.Context(), []byte(text), enforcer.Options{}); err != nil {
				t.Errorf("the enforcer does not take the text: %v", err)
			}
		})
	}
	if _, err := readAny(""); err == nil {
		t.Error("an empty text is a policy")
	}
}

// FuzzRead: the reader neither fails nor reads another policy than the engine. Where it knows a policy that the enforcer takes for plain, both find a container of the
// same layers, or neither.
func FuzzRead(f *testing.F) {
	f.Add(policyOf(true, web(mount("/cache", "sandbox:///emptydir/cache"))))
	f.Add(policyOf(false))
	f.Add(policyText(f, "acigen/testdata/options.rego"))
	f.Add(policyText(f, "acigen/testdata/virtual-node.rego"))
	for _, text := range notKnown(f) {
		if len(text) < 1<<16 {
			f.Add(text)
		}
	}
	var points []string
	for _, p := range enforcer.Points() {
		points = append(points, string(p.Point))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := readAny(text)
		if err != nil || !p.Known() {
			return
		}
		other, err := entry.Read([]byte(text), points)
		if err != nil {
			return // rules that only the engine tells apart from lists, or a text that it refuses
		}
		for _, c := range other.Data.Containers {
			if len(c.Layers) > 0 && other.FrameworkVersion != "" && len(other.Data.PlatformRules) == 0 && !p.Layers(c.Layers) {
				t.Errorf("the layers %q were not found", c.Layers)
			}
		}
	})
}
