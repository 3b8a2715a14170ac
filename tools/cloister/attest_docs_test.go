package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/evidence"
	"github.com/cloister-cc/cloister/snp/verify"
)

const attestationDoc = "../../docs/attestation.md"

// The document's table of checks is the verifier's. With -update it is written anew.
func TestAttestationDocumentHasEveryCheck(t *testing.T) {
	var want strings.Builder
	for _, c := range verify.Codes() {
		fmt.Fprintf(&want, "| `%s` | `%s` | %s | %s |\n", c.Code, c.Name, c.Class, c.Meaning)
	}
	text, err := os.ReadFile(attestationDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), "| code | check | class | right when |\n|---|---|---|---|\n")
	table, tail, ended := strings.Cut(rest, "\n\n")
	if !ok || !ended {
		t.Fatal("docs/attestation.md has no table of checks")
	}
	if *update {
		head += "| code | check | class | right when |\n|---|---|---|---|\n"
		if err := os.WriteFile(attestationDoc, []byte(head+want.String()+"\n"+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want.String(), table+"\n"); d != "" {
		t.Errorf("docs/attestation.md (-want +got):\n%s", d)
	}
}

// The document names every exit code, and the words a policy is judged by.
func TestAttestationDocumentNames(t *testing.T) {
	text, err := os.ReadFile(attestationDoc)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"| 0 | ", fmt.Sprintf("| %d | wrong usage", exitVerifyUsage)}
	for _, c := range []verify.Class{verify.ClassSignature, verify.ClassMissing, verify.ClassRevocation, verify.ClassPolicy} {
		want = append(want, fmt.Sprintf("| %d | ", int(c)))
	}
	for _, s := range []verify.Status{verify.StatusPass, verify.StatusFail, verify.StatusNotAsked, verify.StatusNotJudged} {
		want = append(want, "`"+string(s)+"`")
	}
	want = append(want, evidence.MoreCapabilities()...)
	for _, w := range want {
		if !strings.Contains(string(text), w) {
			t.Errorf("docs/attestation.md does not name %q", w)
		}
	}
}

// Flags that examples use exist.
func TestAttestExamplesUseFlagsThatExist(t *testing.T) {
	text, err := os.ReadFile(attestationDoc)
	if err != nil {
		t.Fatal(err)
	}
	cmd := newAttestVerifyCommand()
	seen := 0
	for _, source := range []string{string(text), cmd.Example} {
		source = strings.ReplaceAll(source, "\\\n", " ")
		for line := range strings.Lines(source) {
			_, args, ok := strings.Cut(line, "attest verify ")
			if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, word := range strings.Fields(args) {
				if name, ok := strings.CutPrefix(word, "--"); ok {
					seen++
					if name = strings.Trim(name, "`.,)"); name != "help" && cmd.Flags().Lookup(name) == nil {
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
