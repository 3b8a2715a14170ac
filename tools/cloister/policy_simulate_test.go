package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
)

// policyCommand runs "policy ARGS" with the given standard input.
func policyCommand(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{"policy"}, args...))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// exitCode is what main makes of an error.
func exitCode(err error) int {
	var usage *usageError
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// recordedCase is one file of tests/vectors/aci.
type recordedCase struct {
	Policy   string           `json:"policy"`
	Commands json.RawMessage  `json:"commands"`
	Expected []recordedAnswer `json:"expected"`
}

type recordedAnswer struct {
	Name       string                 `json:"name"`
	Allowed    bool                   `json:"allowed"`
	EnvList    []string               `json:"env_list"`
	CapsList   *enforcer.Capabilities `json:"caps_list"`
	AllowStdio *bool                  `json:"allow_stdio_access"`
	Errors     []string               `json:"errors"`
}

func recordedCases(t *testing.T) map[string]recordedCase {
	t.Helper()
	files, err := filepath.Glob("../../tests/vectors/aci/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded cases: %v", err)
	}
	cases := map[string]recordedCase{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c recordedCase
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		cases[filepath.Base(file)] = c
	}
	return cases
}

func TestSimulateAnswersRecordedCases(t *testing.T) {
	for name, c := range recordedCases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy, commands := writeFile(t, "policy.rego", c.Policy), writeFile(t, "commands.json", string(c.Commands))
			stdout, stderr, err := policyCommand(t, "", "simulate", "--judge", "both", "--policy", policy, commands)
			if err != nil || stderr != "" {
				t.Fatalf("got %v and %q", err, stderr)
			}
			lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
			if len(lines) != len(c.Expected) {
				t.Fatalf("got %d lines, want %d", len(lines), len(c.Expected))
			}
			for i, line := range lines {
				compareRecorded(t, i, line, c.Expected[i])
			}
		})
	}
}

func compareRecorded(t *testing.T, i int, line string, want recordedAnswer) {
	t.Helper()
	var a struct {
		recordedAnswer
		Index  int `json:"index"`
		Reason *struct {
			Errors []string `json:"errors"`
		} `json:"reason"`
	}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		t.Fatalf("line %d: %v", i, err)
	}
	if a.Index != i || (a.Reason == nil) != a.Allowed {
		t.Errorf("line %d: got index %d and reason %v for allowed %v", i, a.Index, a.Reason, a.Allowed)
	}
	got := a.recordedAnswer
	if a.Reason != nil {
		got.Errors = a.Reason.Errors
	}
	// The reference names these two of every refused exec, whatever the cause.
	if want.Name == "exec_in_container" && !got.Allowed {
		want.Errors = slices.DeleteFunc(want.Errors, func(s string) bool {
			return (s == "invalid noNewPrivileges" || s == "invalid user") && !slices.Contains(got.Errors, s)
		})
	}
	for _, r := range []*recordedAnswer{&got, &want} {
		sets := []*[]string{&r.EnvList, &r.Errors}
		if r.CapsList != nil {
			c := *r.CapsList
			r.CapsList = &c
			sets = append(sets, &c.Bounding, &c.Effective, &c.Inheritable, &c.Permitted, &c.Ambient)
		}
		for _, s := range sets {
			slices.Sort(*s)
			if *s = slices.Compact(*s); len(*s) == 0 {
				*s = nil
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("command %d (-want +got)\n%s", i, diff)
	}
}

const flagPolicy = `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
allow_dump_stacks := true
dump_stacks := data.framework.dump_stacks
runtime_logging := {"allowed": false}
get_properties := {"allowed": 1}
exec_external := {"allowed": true, "env_list": null, "allow_stdio_access": true}
reason := {"errors": data.framework.errors}
`

// Every form of COMMANDS gives the same lines.
func TestSimulateForms(t *testing.T) {
	policy := writeFile(t, "policy.rego", flagPolicy)
	requests := []string{
		`{"name": "dump_stacks", "input": {}}`,
		`{"name": "runtime_logging"}`,
		`{"name": "get_properties", "input": null}`,
		`{"name": "exec_external", "input": {"argList": ["/bin/true"], "envList": ["A=1", "A=1"]}}`,
		`{"name": "plan9_mount", "input": {"target": "/x"}}`,
		`{"name": "none", "input": {"x": 1}}`,
	}
	want := `{"index":0,"name":"dump_stacks","allowed":true}
{"index":1,"name":"runtime_logging","allowed":false,"reason":{"errors":[]}}
{"index":2,"name":"get_properties","allowed":false,"error":"decide get_properties: the rule's answer has no boolean \"allowed\""}
{"index":3,"name":"exec_external","allowed":true,"env_list":["A=1","A=1"],"allow_stdio_access":true}
{"index":4,"name":"plan9_mount","allowed":false,"reason":{"errors":["rule for plan9_mount is missing from policy"]}}
{"index":5,"name":"none","allowed":false,"error":"enforcement point rule \"none\" does not exist"}
`
	list := "[\n" + strings.Join(requests, ",\n") + "\n]\n"
	lines := strings.Join(requests, "\n\n") + "\n"
	forms := []struct {
		name, stdin string
		commands    string
	}{
		{"list", "", writeFile(t, "list.json", list)},
		{"lines", "", writeFile(t, "lines.json", lines)},
		{"list-on-stdin", list, "-"},
		{"lines-on-stdin", lines, "-"},
		{"no-newline-at-the-end", strings.TrimSuffix(lines, "\n"), "-"},
	}
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			got, _, err := policyCommand(t, f.stdin, "simulate", "--policy", policy, f.commands)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A program that asks one thing at a time must not wait for an answer that is waiting for its next question.
func TestSimulateAnswersAtOnce(t *testing.T) {
	policy := writeFile(t, "policy.rego", flagPolicy)
	in, ask := io.Pipe()
	answers, out := io.Pipe()
	root := newRoot()
	root.SetArgs([]string{"policy", "simulate", "--policy", policy, "-"})
	root.SetIn(in)
	root.SetOut(out)
	done := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(t.Context())
		out.CloseWithError(err)
		done <- err
	}()
	lines := bufio.NewScanner(answers)
	for i := range 3 {
		if _, err := io.WriteString(ask, `{"name": "dump_stacks", "input": {}}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), `"allowed":true`) {
			t.Fatalf("question %d: got %q, %v", i, lines.Text(), lines.Err())
		}
	}
	ask.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSimulateRefuses(t *testing.T) {
	policy := writeFile(t, "policy.rego", flagPolicy)
	ok := writeFile(t, "ok.json", "[]")
	list := func(text string) []string { return []string{"--policy", policy, writeFile(t, "c.json", text)} }
	cases := []struct {
		name string
		args []string
		want string
		code int
	}{
		{"no-policy", []string{ok}, "no policy given", exitUsage},
		{"no-commands", []string{"--policy", policy}, "want COMMANDS", exitUsage},
		{"stdin-twice", []string{"--policy", "-", "-"}, "once only", exitUsage},
		{"unknown-judge", []string{"--policy", policy, ok, "--judge", "rego"}, "want one of auto, opa, compiled, both", exitUsage},
		{"not-plain", []string{"--policy", policy, ok, "--judge", "compiled"}, "policy is not plain", exitFailed},
		{"unknown-flag", []string{"--policy", policy, ok, "--x"}, "unknown flag", exitUsage},
		{"policy-missing", []string{"--policy", policy + "x", ok}, "no such file", exitFailed},
		{"policy-broken", []string{"--policy", writeFile(t, "bad.rego", "package policy\nx := "), ok}, "load policy", exitFailed},
		{"policy-empty", []string{"--policy", writeFile(t, "empty.rego", ""), ok}, "is empty", exitFailed},
		{"fragment-missing", []string{"--policy", policy, "--fragment", policy + "x", ok}, "no such file", exitFailed},
		{"fragment-refused", []string{"--policy", policy, "--fragment", policy, ok}, "fragment", exitFailed},
		{"not-json", list("[\n{]"), `line 2: request 0: not JSON: invalid character ']'`, exitFailed},
		{"ends-early", list("[\n{\"name\": \"dump_stacks\"},\n"), "line 3: ", exitFailed},
		{"after-the-list", list("[]\n\n1"), "line 3: more data", exitFailed},
		{"a-number", list("[3]"), "line 1: request 0: got 3, want an object", exitFailed},
		{"no-name", list(`[{"input": {}}]`), "no name", exitFailed},
		{"unknown-key", list("[{\"name\": \"dump_stacks\",\n\"inputs\": {}}]"), "line 2: request 0: inputs: unknown field, want name, input", exitFailed},
		{
			"unknown-field",
			list("[{\"name\": \"dump_stacks\"},\n{\"name\": \"create_container\", \"input\": {\n\"mounts\": [{}, {\"destinaton\": \"/x\"}]}}]"),
			"line 3: request 1: input.mounts[1].destinaton: unknown field, want destination, source, options, type", exitFailed,
		},
		{"wrong-case", list(`[{"name": "mount_device", "input": {"Target": "/x"}}]`), "input.Target: unknown field", exitFailed},
		{"given-twice", list(`[{"name": "mount_device", "input": {"target": "/x", "target": "/y"}}]`), "input.target: given twice", exitFailed},
		{"wrong-type", list(`[{"name": "mount_device", "input": {"target": ["/x"]}}]`), "input.target: got a list, want a string", exitFailed},
		{"not-a-list", list(`[{"name": "exec_external", "input": {"argList": {"0": "x"}}}]`), "input.argList: got an object, want a list", exitFailed},
		{"fraction", list(`[{"name": "signal_container_process", "input": {"signal": 1.5}}]`), "input.signal: got 1.5, want a whole number", exitFailed},
		{"input-a-list", list(`[{"name": "mount_device", "input": []}]`), "input: got a list, want an object", exitFailed},
		{"fragment-both", list(`[{"name": "load_fragment", "input": {"path": "a", "fragment_base64": ""}}]`), "want one of path", exitFailed},
		{"fragment-nothing", list(`[{"name": "load_fragment", "input": {}}]`), "want one of path", exitFailed},
		{"fragment-base64", list(`[{"name": "load_fragment", "input": {"fragment_base64": "?"}}]`), "input.fragment_base64: not base64", exitFailed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, _, err := policyCommand(t, "", append([]string{"simulate"}, c.args...)...)
			if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != c.code || stdout != "" {
				t.Errorf("got %v, exit code %d and output %q, want %q and %d", err, exitCode(err), stdout, c.want, c.code)
			}
		})
	}
}

// Of JSON lines, those before the broken one are answered.
func TestSimulateStopsAtBrokenLine(t *testing.T) {
	policy := writeFile(t, "policy.rego", flagPolicy)
	stdout, _, err := policyCommand(t, "{\"name\": \"dump_stacks\"}\n{\"name\"\n{\"name\": \"dump_stacks\"}\n", "simulate", "--policy", policy, "-")
	if strings.Count(stdout, "\n") != 1 || err == nil || !strings.Contains(err.Error(), `"-" line 2: request 1: not JSON`) {
		t.Errorf("got %q, %v", stdout, err)
	}
}

func TestSimulateStrictAndAgentMounts(t *testing.T) {
	old := writeFile(t, "old.rego", "package policy\napi_version := \"0.1.0\"\nframework_version := \"0.5.0\"\n")
	for _, c := range []struct {
		args []string
		want bool
	}{{nil, true}, {[]string{"--strict-api"}, false}} {
		args := append([]string{"simulate", "--policy", old, "-"}, c.args...)
		stdout, _, err := policyCommand(t, `{"name": "dump_stacks"}`, args...)
		if got := strings.Contains(stdout, `"allowed":true`); err != nil || got != c.want {
			t.Errorf("%v: got %q, %v", args, stdout, err)
		}
	}
	policy := writeFile(t, "mounts.rego", `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
create_container := {"allowed": true} if count(data.defaultMounts) > 0
`)
	for _, c := range []struct {
		args []string
		want bool
	}{{nil, false}, {[]string{"--agent-mounts"}, true}} {
		args := append([]string{"simulate", "--policy", policy, "-"}, c.args...)
		stdout, _, err := policyCommand(t, `{"name": "create_container"}`, args...)
		if got := strings.Contains(stdout, `"allowed":true`); err != nil || got != c.want {
			t.Errorf("%v: got %q, %v", args, stdout, err)
		}
	}
}
