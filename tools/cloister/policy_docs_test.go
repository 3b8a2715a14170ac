package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/agent/sandbox"
)

// The example of docs/policy.md does what the document says, for both judges, and explain finds nothing to say of it.
func TestPolicyDocumentExample(t *testing.T) {
	data, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(name string) string {
		_, rest, found := strings.Cut(string(data), "<!-- "+name+" -->\n```")
		_, rest, _ = strings.Cut(rest, "\n")
		text, _, ended := strings.Cut(rest, "```\n")
		if !found || !ended {
			t.Fatalf("docs/policy.md has no block %s", name)
		}
		return text
	}
	policy, commands := writeFile(t, "example.rego", block("example.rego")), writeFile(t, "COMMANDS.json", block("COMMANDS.json"))
	for _, judge := range []string{"auto", "both"} {
		stdout, stderr, err := policyCommand(t, "", "simulate", "--judge", judge, "--policy", policy, commands)
		if diff := cmp.Diff(block("answers"), stdout); err != nil || stderr != "" || diff != "" {
			t.Errorf("%s: %v, %q (-want +got)\n%s", judge, err, stderr, diff)
		}
	}
	if stdout, _, err := policyCommand(t, "", "explain", policy, commands); err != nil || stdout != "exec_in_container: allowed\n" {
		t.Errorf("got %q, %v", stdout, err)
	}
	if layerPaths != sandbox.LayerPathRegex {
		t.Errorf("got %q, the agent's is %q", layerPaths, sandbox.LayerPathRegex)
	}
	for _, value := range []string{layerPaths, rwPaths, plan9Root, plan9Targets} {
		if !strings.Contains(string(data), "`"+value+"`") {
			t.Errorf("docs/policy.md does not name %s", value)
		}
	}
}
