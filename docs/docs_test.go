// Package docs_test holds the documents against the code they describe.
package docs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/enforcer"
)

// root is the repository's root.
const root = ".."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tableLines returns the lines of a document that begin with one of the prefixes.
func tableLines(text string, prefixes ...string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			out = append(out, line)
		}
	}
	return out
}

func compare(t *testing.T, document string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the table of %s is not the code's; it should read:\n%s", document, strings.Join(want, "\n"))
	}
}

func gateLine(r gate.Row) string {
	ways := map[gate.Way]string{gate.Refused: "refused", gate.Form: "form", gate.Decided: "decided", gate.Stdio: "stdio", gate.Own: "own"}
	what := "-"
	switch {
	case r.Way == gate.Refused:
		what = r.Why
	case len(r.Points) > 0:
		var points []string
		for _, p := range r.Points {
			points = append(points, "`"+string(p)+"`")
		}
		what = strings.Join(points, ", ")
	}
	unbound := "no"
	if r.Unbound {
		unbound = "yes"
	}
	return "| `" + r.Method + "` | `" + r.Message + "` | " + ways[r.Way] + " | " + unbound + " | " + what + " |"
}

// Who changes a row of the gate changes what hosts and policy authors are told.
func TestProtocolHasEveryRow(t *testing.T) {
	var want []string
	for _, r := range gate.Rows {
		want = append(want, gateLine(r))
	}
	compare(t, "docs/protocol.md", tableLines(read(t, "docs/protocol.md"), "| `grpc.", "| `cloister."), want)
}

func TestPolicyHasEveryPoint(t *testing.T) {
	points := enforcer.Points()
	var want, prefixes []string
	for _, p := range points {
		older := p.Default
		if p.Unsupported != "" {
			older = "refused: " + p.Unsupported
		}
		line := "| `" + string(p.Point) + "` | " + p.Since + " | " + older + " |"
		want, prefixes = append(want, line), append(prefixes, "| `"+string(p.Point)+"` | 0.")
	}
	compare(t, "docs/policy.md", tableLines(read(t, "docs/policy.md"), prefixes...), want)
}

func documents(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			list = append(list, strings.TrimPrefix(f, root+"/"))
		}
	}
	return list
}

// goFiles calls f for every Go file of the repository that is not test data.
func goFiles(t *testing.T, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "out", "bin"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(path, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var (
	testDefined = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)\(`)
	testNamed   = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]+)")
)

// A document that says which test proves a claim names one that exists.
func TestNamedTestsExist(t *testing.T) {
	defined := map[string]bool{}
	goFiles(t, func(path, text string) {
		for _, m := range testDefined.FindAllStringSubmatch(text, -1) {
			defined[m[1]] = true
		}
	})
	named := 0
	for _, d := range documents(t) {
		for _, m := range testNamed.FindAllStringSubmatch(read(t, d), -1) {
			named++
			if !defined[m[1]] {
				t.Errorf("%s names test %s, which does not exist", d, m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("found %d named tests, want the threat model's", named)
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)

func TestLinksResolve(t *testing.T) {
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, d), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(d), m[1])); err != nil {
				t.Errorf("%s: link to %q: %v", d, m[1], err)
			}
		}
	}
}

// docs/dependencies.md gives a reason for every module that our own code imports, and for no other.
func TestDependenciesAreGivenReasons(t *testing.T) {
	required := regexp.MustCompile(`(?m)^\t([a-z0-9.-]+\.[a-z]+/\S+) v`)
	var modules []string
	for _, m := range required.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		modules = append(modules, m[1])
	}
	used := map[string]bool{}
	goFiles(t, func(path, text string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			longest := ""
			for _, m := range modules {
				if (name == m || strings.HasPrefix(name, m+"/")) && len(m) > len(longest) {
					longest = m
				}
			}
			if longest != "" {
				used[longest] = true
			}
		}
	})
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9.-]+\\.[a-z]+/[^`]+)` \\|").FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		listed[m[1]] = true
	}
	for _, m := range slices.Sorted(maps.Keys(used)) {
		if !listed[m] {
			t.Errorf("docs/dependencies.md gives no reason for %s", m)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(listed)) {
		if !used[m] {
			t.Errorf("docs/dependencies.md lists %s, which no code here imports", m)
		}
	}
}
