package acigen

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

func TestExplainGolden(t *testing.T) {
	var b strings.Builder
	for _, r := range mustGenerate(t, testGroup(), Options{Debug: true, Stdio: ptr(true)}).Explain() {
		fmt.Fprintf(&b, "%s|%s|%s|%s|%s\n", r.Container, r.Field, r.Value, r.Source, r.Place)
	}
	golden(t, "explain.txt", []byte(b.String()))
}

// TestExplainCoversEveryRule: each entry of each list and each other field of a container has its line.
func TestExplainCoversEveryRule(t *testing.T) {
	p := mustGenerate(t, testGroup(), Options{Debug: true})
	has := func(container, field string) bool {
		return slices.ContainsFunc(p.Explain(), func(r Rule) bool { return r.Container == container && r.Field == field })
	}
	for _, c := range p.Containers[:3] {
		fields := []string{
			"id", "name", "command", "working_dir", "allow_elevated", "allow_stdio_access", "no_new_privileges", "capabilities", "seccomp_profile_sha256",
			"user.user_idname", "user.group_idnames[0]", "signals",
		}
		for name, n := range map[string]int{"env_rules": len(c.EnvRules), "mounts": len(c.Mounts), "layers": len(c.Layers), "exec_processes": len(c.ExecProcesses)} {
			for i := range n {
				fields = append(fields, index(name, i))
			}
		}
		for _, f := range fields {
			if !has(c.Name, f) {
				t.Errorf("%s: %s is not explained", c.Name, f)
			}
		}
	}
	for i := range p.Fragments {
		if !has("", index("fragments", i)) {
			t.Errorf("fragment %d is not explained", i)
		}
	}
	for _, f := range p.Level.Flags {
		if !has("", f.Name) {
			t.Errorf("%s is not explained", f.Name)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	p := mustGenerate(t, testGroup(), Options{})
	for _, r := range append(p.Explain(), p.Wildcards()...) {
		if strings.Contains(r.Value+r.Place, "hunter2") {
			t.Errorf("the secret is shown: %+v", r)
		}
	}
	if strings.Contains(strings.Join(p.Notes, "\n"), "hunter2") || !strings.Contains(strings.Join(p.Notes, "\n"), "TOKEN") {
		t.Errorf("notes: got %v, want the name and not the value", p.Notes)
	}
}

// TestSecretsOfCommandsAreNotShown: what the document calls secret is in the policy only, wherever it stands.
func TestSecretsOfCommandsAreNotShown(t *testing.T) {
	secret := func(s string) workload.Text { return workload.Text{Value: s, Secret: true} }
	c := app()
	c.Args = []workload.Text{{Value: "-p"}, secret("hunter2")}
	c.Exec = []workload.Exec{{Command: []string{"/bin/live", "hunter2"}, Secret: true}, {Command: []string{"/bin/ready"}}}
	c.WorkingDir = ptr(secret("/hunter2"))
	c.Env = []workload.Env{{Name: "TOKEN", Value: secret("hunter2")}}
	p := mustGenerate(t, only(c), Options{})
	for field, want := range map[string]string{
		"command": "[/entry -p <secret>]", "exec_processes[0]": "<secret>", "exec_processes[1]": "[/bin/ready]", "working_dir": "<secret>", "env_rules[0]": "TOKEN=<secret>",
	} {
		if !slices.ContainsFunc(p.Explain(), func(r Rule) bool { return r.Container == "app" && r.Field == field && r.Value == want }) {
			t.Errorf("%s: want %q in %+v", field, want, p.Explain())
		}
	}
	if strings.Contains(fmt.Sprint(p.Explain(), p.Wildcards(), p.Notes), "hunter2") || !strings.Contains(string(p.Rego(false)), "hunter2") {
		t.Errorf("the secret is shown, or is not in the policy: %+v, %v", p.Explain(), p.Notes)
	}
	var want []string
	for _, what := range []string{"command[2]", "TOKEN", "exec_processes[0]", "working_dir"} {
		want = append(want, `container "app": the value of `+what+` is written into the policy, which the host can read`)
	}
	slices.Sort(want)
	notes := slices.Sorted(slices.Values(p.Notes))
	if diff := cmp.Diff(notes, want); diff != "" {
		t.Errorf("notes (-got +want):\n%s", diff)
	}
}

// TestSecretWildcards: no value is written, so nothing is noted; known parts of one are neither shown.
func TestSecretWildcards(t *testing.T) {
	for pattern, note := range map[string]string{".*": "", "hunter2.*": "what is known of the value of TOKEN is written into the policy"} {
		c := app()
		c.Env = []workload.Env{{Name: "TOKEN", Value: workload.Text{Value: pattern, Wildcard: true, Secret: true}}}
		p := mustGenerate(t, only(c), Options{})
		if w := p.Wildcards(); len(w) != 1 || w[0].Value != "TOKEN=<secret>" {
			t.Errorf("%s: got wildcards %+v", pattern, w)
		}
		if notes := strings.Join(p.Notes, "\n"); (notes == "") != (note == "") || !strings.Contains(notes, note) {
			t.Errorf("%s: got notes %q, want %q", pattern, notes, note)
		}
	}
}

// TestErrorsDoNotShowSecrets: neither do the errors of what cannot be written.
func TestErrorsDoNotShowSecrets(t *testing.T) {
	part := workload.Text{Value: "hunter2.*", Wildcard: true, Secret: true}
	for name, f := range map[string]func(*workload.Container){
		"command":            func(c *workload.Container) { c.Command = []workload.Text{part} },
		"working-dir":        func(c *workload.Container) { c.WorkingDir = &part },
		"working-dir-prefix": func(c *workload.Container) { c.WorkingDir = &workload.Text{Value: "hunter2", Secret: true} },
		"env": func(c *workload.Container) {
			c.Env = []workload.Env{{Name: "A", Strategy: "re2", Value: workload.Text{Value: "(hunter2"}, Secret: true}}
		},
	} {
		c := app()
		f(&c)
		if _, err := Generate(t.Context(), only(c), testImages(), Options{}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want an error without the secret", name, err)
		}
	}
}

func TestWildcards(t *testing.T) {
	want := []Rule{{Container: "app", Field: "env_rules[2]", Value: "ZONE=.*", Source: FromTemplate, Place: "template.json:10: env[2]"}}
	for _, format := range []string{Ext4, Both} {
		if diff := cmp.Diff(mustGenerate(t, testGroup(), Options{Format: format}).Wildcards(), want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", format, diff)
		}
	}
}
