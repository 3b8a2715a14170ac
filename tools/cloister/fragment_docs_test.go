package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen/artifact"
)

const fragmentsDoc = "../../docs/fragments.md"

// varying is what differs from run to run. Widths of columns stay, except for the length of signatures.
var varying = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`did:x509:0:sha256:[A-Za-z0-9_-]{43}`), "did:x509:0:sha256:FINGERPRINT"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "DIGEST"},
	{regexp.MustCompile(`\b[0-9]{4} bytes|\b[0-9]{4}   sha256`), "N"},
	{regexp.MustCompile(`\b20[0-9]{2}-[0-9]{2}-[0-9]{2}\b`), "DATE"},
}

func settle(text string) string {
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	return text
}

// The worked example does what the document says.
func TestFragmentsDocumentExample(t *testing.T) {
	raw, err := os.ReadFile(fragmentsDoc)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	block := func(rest, marker string) (text, after string) {
		_, rest, found := strings.Cut(rest, "<!-- "+marker+" -->\n```")
		_, rest, _ = strings.Cut(rest, "\n")
		text, after, ended := strings.Cut(rest, "\n```\n")
		if !found || !ended {
			t.Fatalf("docs/fragments.md has no block %s", marker)
		}
		return text + "\n", after
	}
	text, rest := block(string(raw), "containers.json")
	writeHere(t, "containers.json", text)
	console, rest := block(rest, "run")
	runConsole(t, console)
	imported := mustFragment(t, "generate", "--generate-import", "-p", "side.rego.cose")
	text, rest = block(rest, "policy.rego")
	did := varying[0].pattern
	writeHere(t, "policy.rego", did.ReplaceAllString(text, did.FindString(imported)))
	console, _ = block(rest, "run")
	runConsole(t, console)
}

func writeHere(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// runConsole runs the lines that begin with "$ cloister" and compares what follows each.
func runConsole(t *testing.T, console string) {
	t.Helper()
	ran := 0
	for part := range strings.SplitSeq("\n"+console, "\n$ cloister ") {
		command, want, _ := strings.Cut(part, "\n")
		if command == "" {
			continue
		}
		stdout, stderr, err := rootCommand(t, "", strings.Fields(command)...)
		if err != nil || stderr != "" {
			t.Fatalf("%s: %v, %q", command, err, stderr)
		}
		if diff := cmp.Diff(settle(strings.TrimSuffix(want, "\n")), settle(strings.TrimSuffix(stdout, "\n"))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", command, diff)
		}
		ran++
	}
	if ran < 3 {
		t.Errorf("%d commands were run", ran)
	}
}

// The document names what the code does: types, algorithms, policies, the commands.
func TestFragmentsDocumentNames(t *testing.T) {
	text, err := os.ReadFile(fragmentsDoc)
	if err != nil {
		t.Fatal(err)
	}
	want := append(fragmentgen.Algorithms(), fragment.MediaTypeRego, artifact.ArtifactType, fragmentgen.ContentType, artifact.LayoutPrefix+"DIR", fragmentgen.DefaultFramework, "256 fragments")
	for _, c := range newFragmentCommand().Commands() {
		want = append(want, "`"+c.Name()) // with what follows
	}
	for _, w := range want {
		if !strings.Contains(string(text), w) {
			t.Errorf("docs/fragments.md does not name %s", w)
		}
	}
}

// Every command has examples and says what each flag is for; the flags that examples and the document use exist.
func TestFragmentHelp(t *testing.T) {
	text, err := os.ReadFile(fragmentsDoc)
	if err != nil {
		t.Fatal(err)
	}
	group := newRoot()
	sources := string(text)
	commands := map[string]*cobra.Command{}
	for _, path := range [][]string{{"fragment", "attach"}, {"fragment", "generate"}, {"fragment", "inspect"}, {"fragment", "pull"}, {"fragment", "push"}, {"fragment", "sign"}, {"dev", "signing", "init"}} {
		c, _, err := group.Find(path)
		if err != nil {
			t.Fatal(err)
		}
		commands[strings.Join(path, " ")] = c
		sources += "\n" + c.Example
		if c.Long == "" || !strings.Contains(c.Example, "cloister "+strings.Join(path, " ")) {
			t.Errorf("%q: no description, or no example", path)
		}
		if out, _, err := rootCommand(t, "", append(path, "--help")...); err != nil || !strings.Contains(out, "Examples:") {
			t.Errorf("%q: got %q, %v", path, out, err)
		}
	}
	seen := 0
	for line := range strings.Lines(strings.ReplaceAll(sources, "\\\n", " ")) {
		for path, c := range commands {
			_, args, ok := strings.Cut(line, "cloister "+path+" ")
			if !ok {
				continue
			}
			for _, word := range strings.Fields(args) {
				if name, ok := strings.CutPrefix(word, "--"); ok {
					seen++
					if name, _, _ = strings.Cut(name, "="); c.Flags().Lookup(name) == nil {
						t.Errorf("%q names flag --%s, which does not exist", strings.TrimSpace(line), name)
					}
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("found %d flags in examples", seen)
	}
}
