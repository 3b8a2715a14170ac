package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/kube"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// TestDiffOfKubernetesDocuments compares what is in a document with what would be written into it, in both carriers.
func TestDiffOfKubernetesDocuments(t *testing.T) {
	for _, carrier := range []string{carrierPolicy, carrierInitdata} {
		t.Run(carrier, func(t *testing.T) {
			file, flags := kubeFiles(t)
			diff := func(more ...string) (string, error) {
				stdout, _, err := policyCommand(t, "", append(append([]string{"diff"}, flags...), more...)...)
				return stdout, err
			}
			if _, err := diff(); exitCode(err) != exitFailed || !strings.Contains(err.Error(), "deployment/web has no policy") {
				t.Errorf("got %v, want that there is no policy", err)
			}
			if _, _, err := runPolicy(t, append(flags, "--annotate", carrier, "--in-place")...); err != nil {
				t.Fatal(err)
			}
			if out, err := diff(); err != nil || strings.Count(out, "the same text") != 2 {
				t.Errorf("got %q, %v, want two that are the same", out, err)
			}
			if out, err := diff("--workload", "job/once", "--no-stdio"); exitCode(err) != exitDiffers || !strings.Contains(out, "allow_stdio_access") {
				t.Errorf("got %q, %v, want the difference", out, err)
			}
			changeArgument(t, file)
			out, err := diff("--json")
			if exitCode(err) != exitDiffers {
				t.Fatalf("got %v, want a difference", err)
			}
			var result struct {
				Groups []groupDiff `json:"groups"`
			}
			if err := json.Unmarshal([]byte(out), &result); err != nil {
				t.Fatal(err)
			}
			if g := result.Groups; len(g) != 2 || !g[0].Same || g[1].Same || g[1].Group != "job/once" || !strings.Contains(g[1].Differences[0].Path, "command") {
				t.Errorf("got %+v, want the command of job/once", g)
			}
		})
	}
}

func changeArgument(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "[/bin/once]", "[/bin/twice]", 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil || changed == string(text) {
		t.Fatal("the command was not changed", err)
	}
}

func TestDiffOfKubernetesDocumentsUsage(t *testing.T) {
	file, flags := kubeFiles(t)
	for _, more := range [][]string{
		{"--in-place"}, {"--annotate", "policy"}, {"--target", "run"}, {"-a", file}, {"--compat", "latest"}, {file, file}, {"--workload", "job/none"},
	} {
		_, _, err := policyCommand(t, "", append(append([]string{"diff"}, flags...), more...)...)
		if err == nil || exitCode(err) != exitFailed || !strings.Contains(err.Error(), "--help") {
			t.Errorf("%v: got %v with exit code %d, want a usage error with %d", more, err, exitCode(err), exitFailed)
		}
	}
}

// TestPolicyOfAnAnnotation reads the value of either annotation, and an initdata document, wherever a policy is wanted.
func TestPolicyOfAnAnnotation(t *testing.T) {
	file, flags := kubeFiles(t)
	policy, _, err := runPolicy(t, append(flags, "--workload", "job/once")...)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := runPolicy(t, append(flags, "--annotate", carrierInitdata, "--in-place")...); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	read, err := kube.Read(workload.Document{Name: "written", Data: written}, []workload.Document{{Name: "settings", Data: []byte(kubeMap)}}, kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	packed := read.Workloads[1].Annotations[kube.InitdataAnnotation]
	document, err := kube.ReadInitdata(packed)
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := policyCommand(t, policy, "show", "--json", "-")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"base64": base64.StdEncoding.EncodeToString([]byte(policy)), "packed": packed + "\n", "document": string(document.Raw),
	} {
		got, stderr, err := policyCommand(t, text, "show", "--json", "-")
		if err != nil || got != want || stderr == "" {
			t.Errorf("%s: got %v and another answer than of the text; said %q", name, err, stderr)
		}
	}
	ofDocument, _, err := policyCommand(t, string(document.Raw), "hash", "--initdata", "-")
	if err != nil {
		t.Fatal(err)
	}
	if ofPacked, _, err := policyCommand(t, packed, "hash", "--initdata", "-"); err != nil || ofPacked != ofDocument {
		t.Errorf("hash of the annotation's value: got %q, %v, want %q", ofPacked, err, ofDocument)
	}
	if _, stderr, err := policyCommand(t, packed, "hash", "-"); err != nil || !strings.Contains(stderr, "--initdata") {
		t.Errorf("hash without --initdata: said %q, %v, want the flag's name", stderr, err)
	}
}
