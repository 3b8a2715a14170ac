package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/cose/cosetest"
)

// fragmentFiles writes a policy that allows a fragment, the fragment with the container "side", and returns both and the document.
func fragmentFiles(t *testing.T, rules string) (policy, file string, document []byte) {
	t.Helper()
	chain := cosetest.NewChain(t, cosetest.ChainOptions{})
	text, err := os.ReadFile("testdata/policy/web.rego")
	if err != nil {
		t.Fatal(err)
	}
	allowed := fmt.Sprintf("fragments := [{\"issuer\": %q, \"feed\": \"example/side\", \"minimum_svn\": 1, \"includes\": [\"containers\", \"external_processes\", \"platform_rules\"]}]\n",
		chain.DID(t, "subject"))
	_, containers, _ := strings.Cut(string(text), "containers := ")
	containers, _, _ = strings.Cut(containers, "\n]\n")
	side := strings.NewReplacer(`"name": "web"`, `"name": "side"`, `"/bin/web"`, `"/bin/side"`, strings.Repeat("b", 64), strings.Repeat("f", 64)).Replace(containers)
	svn := int64(1)
	document = chain.Document(t, []byte("package side\nsvn := 1\nframework_version := \"0.5.0\"\ncontainers := "+side+"\n]\n"+rules), "example/side", &svn)
	file = filepath.Join(t.TempDir(), "side.cose")
	if err := os.WriteFile(file, document, 0o644); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "policy.rego", string(text)+allowed), file, document
}

const sideDevice = `{"name": "mount_device", "input": {"target": "/run/mounts/scsi/m9", "deviceHash": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "mountPathRegex": "/run/mounts/scsi/m[0-9]+"}}`

func TestSimulateLoadsFragments(t *testing.T) {
	policy, file, document := fragmentFiles(t, "")
	byPath, err := json.Marshal(map[string]any{"name": "load_fragment", "input": map[string]string{"path": file}})
	if err != nil {
		t.Fatal(err)
	}
	byValue := fmt.Sprintf(`{"name": "load_fragment", "input": {"fragment_base64": %q}}`, base64.StdEncoding.EncodeToString(document))
	broken := `{"name": "load_fragment", "input": {"fragment_base64": "AAAA"}}`
	asList := fmt.Sprintf(`{"name": "load_transparency_trust_list", "input": {"path": %q}}`, file)
	unknownType := fmt.Sprintf(`{"name": "load_fragment", "input": {"path": %q, "media_type": "text/plain"}}`, file)
	cases := []struct {
		name     string
		args     []string
		requests []string
		allowed  []bool
	}{
		{"without", nil, []string{sideDevice}, []bool{false}},
		{"by-path", nil, []string{string(byPath), sideDevice}, []bool{true, true}},
		{"by-value", nil, []string{byValue, sideDevice}, []bool{true, true}},
		{"by-flag", []string{"--fragment", file}, []string{sideDevice}, []bool{true}},
		{"broken", nil, []string{broken, sideDevice}, []bool{false, false}},
		{"no-trust-list", nil, []string{asList, sideDevice}, []bool{false, false}},
		{"unknown-media-type", nil, []string{unknownType, sideDevice}, []bool{false, false}},
	}
	for _, c := range cases {
		for _, judge := range []string{"auto", "both"} {
			t.Run(c.name+"-"+judge, func(t *testing.T) {
				args := append([]string{"simulate", "--judge", judge, "--policy", policy, "-"}, c.args...)
				stdout, _, err := policyCommand(t, strings.Join(c.requests, "\n"), args...)
				if err != nil {
					t.Fatal(err)
				}
				lines := strings.Split(strings.TrimSpace(stdout), "\n")
				if len(lines) != len(c.allowed) {
					t.Fatalf("got %q", stdout)
				}
				for i, line := range lines {
					if got := strings.Contains(line, `"allowed":true`); got != c.allowed[i] || !got && !strings.Contains(line, `"reason":{"errors":["`) {
						t.Errorf("line %d: got %s, want allowed %v", i, line, c.allowed[i])
					}
				}
			})
		}
	}
	for flag, point := range map[string]string{"--fragment": "load_fragment", "--trust-list": "load_transparency_trust_list"} {
		_, _, err := policyCommand(t, sideDevice, "simulate", "--policy", policy, flag, policy, "-")
		if err == nil || !strings.Contains(err.Error(), point) || exitCode(err) != exitFailed {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}

// The nearest container can be one that a fragment brought.
func TestExplainComparesFragments(t *testing.T) {
	policy, file, _ := fragmentFiles(t, "")
	requests, err := os.ReadFile("testdata/policy/create.json")
	if err != nil {
		t.Fatal(err)
	}
	ofSide := strings.NewReplacer(strings.Repeat("b", 64), strings.Repeat("f", 64), `"/bin/web"`, `"/bin/side"`).Replace(string(requests))
	stdout, _, err := policyCommand(t, ofSide, "explain", "--fragment", file, policy, "-")
	if err != nil || !strings.Contains(stdout, `The nearest is containers[0] of fragment "example/side" "side", but for this:`) || strings.Contains(stdout, "before it") {
		t.Errorf("got %q, %v", stdout, err)
	}
	policy, file, _ = fragmentFiles(t, "platform_rules := [{\"env_rules\": [], \"mounts\": []}]\n")
	stdout, _, err = policyCommand(t, ofSide, "explain", "--fragment", file, policy, "-")
	if err != nil || !strings.Contains(stdout, "Not compared") || !strings.Contains(stdout, "example/side") {
		t.Errorf("got %q, %v", stdout, err)
	}
}
