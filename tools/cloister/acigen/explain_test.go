package acigen

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

func TestWildcards(t *testing.T) {
	want := []Rule{{Container: "app", Field: "env_rules[2]", Value: "ZONE=.*", Source: FromTemplate, Place: "template.json:10: env[2]"}}
	for _, format := range []string{Ext4, Both} {
		if diff := cmp.Diff(mustGenerate(t, testGroup(), Options{Format: format}).Wildcards(), want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", format, diff)
		}
	}
}
