package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each command's output for people and for programs, with its exit code, on small policies.
func TestPolicyCommandsGolden(t *testing.T) {
	cases := []struct {
		name string
		args []string
		code int
	}{
		{"show-web", []string{"show", "web.rego"}, 0},
		{"show-changed", []string{"show", "changed.rego"}, 0},
		{"show-own", []string{"show", "own.rego"}, 0},
		{"show-own-json", []string{"show", "--json", "own.rego"}, 0},
		{"lint-web", []string{"lint", "web.rego"}, 0},
		{"lint-changed", []string{"lint", "changed.rego"}, 0},
		{"lint-changed-strict", []string{"lint", "--strict", "changed.rego"}, 1},
		{"lint-bad", []string{"lint", "bad.rego"}, 1},
		{"lint-bad-json", []string{"lint", "--json", "bad.rego"}, 1},
		{"lint-own", []string{"lint", "own.rego"}, 1},
		{"diff-same-text", []string{"diff", "web.rego", "web.rego"}, 0},
		{"diff-same", []string{"diff", "web.rego", "web-again.rego"}, 0},
		{"diff-same-json", []string{"diff", "--json", "web.rego", "web-again.rego"}, 0},
		{"diff-changed", []string{"diff", "web.rego", "changed.rego"}, 2},
		{"diff-changed-json", []string{"diff", "--json", "web.rego", "changed.rego"}, 2},
		{"diff-own", []string{"diff", "web.rego", "own.rego"}, 2},
		{"explain-allowed", []string{"explain", "web.rego", "allowed.json"}, 0},
		{"explain-create", []string{"explain", "web.rego", "create.json"}, 0},
		{"explain-create-json", []string{"explain", "--json", "web.rego", "create.json"}, 0},
		{"explain-exec", []string{"explain", "web.rego", "exec.json"}, 0},
		{"explain-alone", []string{"explain", "web.rego", "alone.json"}, 0},
		{"explain-overlay", []string{"explain", "web.rego", "overlay.json"}, 0},
		{"explain-device", []string{"explain", "web.rego", "device.json"}, 0},
		{"explain-setup-refused", []string{"explain", "web.rego", "setup-refused.json"}, 0},
		{"explain-flag", []string{"explain", "web.rego", "stacks.json"}, 0},
		{"explain-unknown-point", []string{"explain", "web.rego", "unknown.json"}, 0},
		{"explain-twins", []string{"explain", "twins.rego", "allowed.json"}, 0},
		{"explain-own-rule", []string{"explain", "own.rego", "own-create.json"}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir("testdata/policy")
			stdout, stderr, err := policyCommand(t, "", c.args...)
			if got := exitCode(err); got != c.code || stderr != "" {
				t.Errorf("got exit code %d, %v and %q on standard error, want %d", got, err, stderr, c.code)
			}
			if strings.Contains(stdout, "hunter2") {
				t.Errorf("a value is repeated:\n%s", stdout)
			}
			if strings.HasSuffix(c.name, "-json") && !json.Valid([]byte(stdout)) {
				t.Errorf("not JSON:\n%s", stdout)
			}
			golden := filepath.Join("golden", c.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), stdout); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A policy on standard input is read as one in a file.
func TestPolicyFromStdin(t *testing.T) {
	text, err := os.ReadFile("testdata/policy/web.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"show", "-"}, {"lint", "-"}, {"diff", "-", "testdata/policy/web.rego"}, {"explain", "-", "testdata/policy/create.json"},
	} {
		stdout, _, err := policyCommand(t, string(text), args...)
		if err != nil || stdout == "" {
			t.Errorf("%v: got %q, %v", args, stdout, err)
		}
	}
	requests, err := os.ReadFile("testdata/policy/create.json")
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	var list []json.RawMessage
	if err := json.Unmarshal(requests, &list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if err := json.Compact(&lines, r); err != nil {
			t.Fatal(err)
		}
		lines.WriteByte('\n')
	}
	fromList, _, err := policyCommand(t, string(requests), "explain", "testdata/policy/web.rego", "-")
	if err != nil {
		t.Fatal(err)
	}
	fromLines, _, err := policyCommand(t, lines.String(), "explain", "testdata/policy/web.rego", "-")
	if err != nil || fromLines != fromList {
		t.Errorf("got %q of lines and %q of a list, %v", fromLines, fromList, err)
	}
}

func TestPolicyCommandsRefuse(t *testing.T) {
	web := "testdata/policy/web.rego"
	kata := writeFile(t, "kata.rego", "package agent_policy\ndefault AllowRequestsFailingPolicy := false\n")
	cases := []struct {
		name string
		args []string
		want string
		code int
	}{
		{"show-nothing", []string{"show"}, "want POLICY", exitUsage},
		{"show-missing", []string{"show", "none.rego"}, "no such file", exitFailed},
		{"show-kata", []string{"show", kata}, "Kata policy", exitFailed},
		{"lint-nothing", []string{"lint"}, "want POLICY", exitUsage},
		{"lint-missing", []string{"lint", "none.rego"}, "no such file", exitFailed},
		{"lint-kata", []string{"lint", kata}, "", exitFailed},
		{"lint-codes-argument", []string{"lint", "--codes", web}, "unexpected argument", exitUsage},
		// For diff, 2 says that the policies differ, so nothing else may have it.
		{"diff-one", []string{"diff", web}, "want A B", exitFailed},
		{"diff-flag", []string{"diff", web, web, "--x"}, "unknown flag", exitFailed},
		{"diff-stdin-twice", []string{"diff", "-", "-"}, "once only", exitFailed},
		{"diff-missing", []string{"diff", web, "none.rego"}, "no such file", exitFailed},
		{"diff-kata", []string{"diff", kata, web}, "Kata policy", exitFailed},
		{"explain-one", []string{"explain", web}, "want POLICY REQUEST", exitUsage},
		{"explain-judge", []string{"explain", web, "testdata/policy/create.json", "--judge", "x"}, "--judge", exitUsage},
		{"explain-no-request", []string{"explain", web, writeFile(t, "empty.json", "[]")}, "no request", exitFailed},
		{"explain-broken-request", []string{"explain", web, writeFile(t, "b.json", "{\n\"name\": 1}")}, `line 2: request 0: name: got 1, want a string`, exitFailed},
		{"explain-kata", []string{"explain", kata, "testdata/policy/create.json"}, "Kata policy", exitFailed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := policyCommand(t, "", c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != c.code {
				t.Errorf("got %v and exit code %d, want %q and %d", err, exitCode(err), c.want, c.code)
			}
		})
	}
}
