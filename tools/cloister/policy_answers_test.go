package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

const webPolicy = "testdata/policy/web.rego"

func readTestFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A wrong layer hash leaves no candidates: what refused everything after it is named, and nothing that the request does not ask.
func TestExplainNamesTheFirstCause(t *testing.T) {
	requests := strings.Replace(readTestFile(t, "testdata/policy/allowed.json"), strings.Repeat("b", 64), strings.Repeat("e", 64), 1)
	stdout, _, err := policyCommand(t, requests, "explain", webPolicy, "-")
	_, answer, _ := strings.Cut(stdout, "\ncreate_container: refused\n")
	const want = "The policy refused create_container (containerID). No root file system is mounted for this container: request 1, mount_device, was refused: "
	if err != nil || !strings.HasPrefix(answer, want) || strings.Contains(stdout, "privileged") {
		t.Errorf("got %q, %v", stdout, err)
	}
	stdout, _, err = policyCommand(t, requests, "explain", "--json", webPolicy, "-")
	var x explanation
	if json.Unmarshal([]byte(stdout), &x) != nil || err != nil || x.Field != "containerID" || x.Rule != "" || x.State == "" || len(x.Earlier) != 2 {
		t.Errorf("got %s, %v", stdout, err)
	}
	if !strings.Contains(x.Earlier[1].Sentence, `layerPaths[0], "/run/mounts/scsi/m1", is not a mounted disk: request 1, mount_device, was refused`) {
		t.Errorf("got %q", x.Earlier[1].Sentence)
	}
}

// An allowed request says by name what it loses.
func TestExplainSaysWhatIsDropped(t *testing.T) {
	policy := writeFile(t, "p.rego", readTestFile(t, webPolicy)+"allow_environment_variable_dropping := true\nallow_capability_dropping := true\n")
	requests := strings.NewReplacer(`"MODE=fast"`, `"MODE=fast", "EXTRA=hunter2", "EXTRA=hunter3"`, `"CAP_KILL"`, `"CAP_KILL", "CAP_SYS_ADMIN"`).
		Replace(readTestFile(t, "testdata/policy/allowed.json"))
	stdout, _, err := policyCommand(t, requests, "explain", policy, "-")
	if want := "create_container: allowed\ndropped variables: EXTRA\ndropped capabilities: CAP_SYS_ADMIN\n"; err != nil || stdout != want {
		t.Errorf("got %q, %v, want %q", stdout, err, want)
	}
	stdout, _, err = policyCommand(t, requests, "explain", "--json", policy, "-")
	var x explanation
	if json.Unmarshal([]byte(stdout), &x) != nil || err != nil || x.Dropped == nil || len(x.Dropped.Env) != 1 || len(x.Dropped.Capabilities) != 1 {
		t.Errorf("got %s, %v", stdout, err)
	}
}

// Commands that read a policy decode one in base64, in one line or several, and say so.
func TestPolicyInBase64(t *testing.T) {
	text := base64.StdEncoding.EncodeToString([]byte(readTestFile(t, webPolicy)))
	for _, encoded := range []string{text + "\n", text[:76] + "\r\n" + text[76:]} {
		policy := writeFile(t, "policy.b64", encoded)
		for _, args := range [][]string{
			{"show", policy},
			{"lint", policy},
			{"diff", policy, webPolicy},
			{"explain", policy, "testdata/policy/allowed.json"},
			{"simulate", "--policy", policy, "testdata/policy/allowed.json"},
		} {
			_, stderr, err := policyCommand(t, "", args...)
			if err != nil || strings.Count(stderr, "is a policy in base64; what it decodes to was read") != 1 {
				t.Errorf("%v: got %q, %v", args, stderr, err)
			}
		}
		stdout, _, err := policyCommand(t, "", "hash", "--json", policy)
		var h hashResult
		if json.Unmarshal([]byte(stdout), &h) != nil || err != nil || !h.PolicyInBase64 || h.Bytes != len(encoded) {
			t.Errorf("got %s, %v", stdout, err)
		}
	}
}

// One request over several lines is one request, and what is not complete at its end is told with its line.
func TestSimulateReadsPrettyRequests(t *testing.T) {
	policy := writeFile(t, "policy.rego", flagPolicy)
	const pretty = "{\n  \"name\": \"dump_stacks\",\n  \"input\": {}\n}\n"
	for _, c := range []struct {
		name, stdin, stdout, stderr, fails string
		lines                              int
	}{
		{name: "one", stdin: pretty, lines: 1},
		{name: "one-without-newline", stdin: strings.TrimSpace(pretty), lines: 1},
		{name: "several", stdin: pretty + "\n" + `{"name": "dump_stacks"}` + "\n" + pretty, lines: 3},
		{name: "empty", stdin: "\n", stderr: `"-" has no request in it`},
		{name: "empty-list", stdin: "[]", stderr: `"-" has no request in it`},
		{name: "broken-inside", stdin: pretty + "{\n\"name\": \"dump_stacks\",\n\"input\": x\n}\n", lines: 1, fails: "line 7: request 1: not JSON: invalid character 'x'"},
		{name: "ends-early", stdin: "{\n\"name\": \"x\",\n", fails: "line 2: request 0: not JSON: it ends early"},
		{name: "two-in-a-line", stdin: `{"name": "dump_stacks"} {"name": "dump_stacks"}`, fails: "more data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, err := policyCommand(t, c.stdin, "simulate", "--policy", policy, "-")
			if strings.Count(stdout, "\n") != c.lines || !strings.Contains(stderr, c.stderr) || c.stderr == "" && stderr != "" {
				t.Errorf("got %q and %q", stdout, stderr)
			}
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got %v, want %q", err, c.fails)
			}
		})
	}
}

// A document is named whole; what is said of it beside must be its own.
func TestSimulateNamesDocuments(t *testing.T) {
	policy, file, _ := fragmentFiles(t, "")
	quoted, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	request := func(input string) string { return `{"name": "load_fragment", "input": ` + input + `}` }
	for _, c := range []struct{ name, input, fails string }{
		{"local-path", `{"local_path": ` + string(quoted) + `, "feed": "example/side", "namespace": "side"}`, ""},
		{"no-document", `{"issuer": "did:x509:x", "feed": "f"}`, "want one of path and fragment_base64"},
		{"both-paths", `{"path": "a", "local_path": "b"}`, "local_path: it is another name of path"},
		{"another-feed", `{"path": ` + string(quoted) + `, "feed": "x"}`, `input.feed: got "x", and the document says "example/side"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, _, err := policyCommand(t, request(c.input), "simulate", "--policy", policy, "-")
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got %v, want %q", err, c.fails)
			}
			if c.fails == "" && stdout != "{\"index\":0,\"name\":\"load_fragment\",\"allowed\":true}\n" {
				t.Errorf("got %q", stdout)
			}
		})
	}
	load := request(`{"path": ` + string(quoted) + `}`)
	stdout, _, err := policyCommand(t, load, "simulate", "--policy", webPolicy, "-")
	if err != nil || !strings.Contains(stdout, `"fragment":{"issuer":"did:x509:`) || !strings.Contains(stdout, `"feed":"example/side","svn":1}`) {
		t.Errorf("got %q, %v", stdout, err)
	}
	other := writeFile(t, "other.rego", strings.Replace(readTestFile(t, policy), `"feed": "example/side"`, `"feed": "example/other"`, 1))
	stdout, _, err = policyCommand(t, load, "explain", other, "-")
	if err != nil || !strings.Contains(stdout, "the document  example/side     1 ") || !strings.Contains(stdout, "fragments[0]  example/other    at least 1") {
		t.Errorf("got %q, %v", stdout, err)
	}
}

func TestPolicyHelp(t *testing.T) {
	stdout, _, err := policyCommand(t, "", "help", "lint")
	if err != nil || !strings.Contains(stdout, "policy lint POLICY") {
		t.Errorf("got %q, %v", stdout, err)
	}
	if _, _, err := policyCommand(t, "", "help", "lnt"); err == nil || !strings.Contains(err.Error(), "did you mean lint?") || exitCode(err) != exitUsage {
		t.Errorf("got %v", err)
	}
	if _, _, err := policyCommand(t, "", "diff", "a"); err == nil || !strings.Contains(err.Error(), "Run 'cloister policy diff --help' for usage.") {
		t.Errorf("got %v", err)
	}
	if _, stderr, err := policyCommand(t, "\n\n", "hash", "-"); err != nil || !strings.Contains(stderr, "white space only") {
		t.Errorf("got %q, %v", stderr, err)
	}
}
