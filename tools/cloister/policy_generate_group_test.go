package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
)

const groupTemplate = `{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {"image": {"type": "string"}, "zone": {"type": "string"}},
  "resources": [
    {
      "type": "Microsoft.ContainerInstance/containerGroups", "apiVersion": "2023-05-01", "name": "first", "location": "here",
      "properties": {
        "osType": "Linux", "sku": "Confidential", "confidentialComputeProperties": {"ccePolicy": ""},
        "containers": [{"name": "app", "properties": {
          "image": "[parameters('image')]", "command": ["/bin/app"],
          "environmentVariables": [{"name": "ZONE", "value": "[parameters('zone')]"}, {"name": "TOKEN", "secureValue": "hunter2"}],
          "resources": {"requests": {"cpu": 1, "memoryInGB": 1}}
        }}]
      }
    }%s
  ]
}
`

const secondGroup = `,
    {
      "type": "Microsoft.ContainerInstance/containerGroups", "apiVersion": "2023-05-01", "name": "second", "location": "here",
      "properties": {
        "osType": "Linux", "sku": "Confidential",
        "containers": [{"name": "other", "properties": {"image": "registry.example/app:1", "resources": {"requests": {"cpu": 1, "memoryInGB": 1}}}}]
      }
    }`

const groupParameters = `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#", "contentVersion": "1.0.0.0",
 "parameters": {"image": {"value": "registry.example/app:1"}%s}}`

const groupLock = `{
  "registry.example/app:1": {
    "config": {"Env": ["PATH=/bin"], "Entrypoint": ["/entry"], "StopSignal": "SIGQUIT"},
    "layers": ["1111111111111111111111111111111111111111111111111111111111111111"],
    "erofs_layers": ["2222222222222222222222222222222222222222222222222222222222222222"]
  }
}
`

// groupFiles are a template, its parameters and a lock file, and the flags that name them.
type groupFiles struct{ template, parameters, lock string }

func newGroupFiles(t *testing.T, more, parameters string) groupFiles {
	return groupFiles{
		writeFile(t, "template.json", fmt.Sprintf(groupTemplate, more)), writeFile(t, "parameters.json", fmt.Sprintf(groupParameters, parameters)),
		writeFile(t, "lock.json", groupLock),
	}
}

const zone = `, "zone": {"value": "west"}`

func (f groupFiles) flags(more ...string) []string {
	return append([]string{"generate", "-a", f.template, "-p", f.parameters, "--lock", f.lock, "--offline"}, more...)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGroupReplaysFromTheLockFile(t *testing.T) {
	f := newGroupFiles(t, "", zone)
	before := read(t, f.template)
	for _, level := range defaults.Levels() {
		t.Run(level, func(t *testing.T) {
			// As it is documented, and nothing else: no flag forbids the network, and none is needed.
			text, stderr, err := policyCommand(t, "", "generate", "--lock", f.lock, "--compat", level, "-a", f.template, "-p", f.parameters, "--outraw")
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("HOST_DATA %x\n", sha256.Sum256([]byte(text))); !strings.HasSuffix(stderr, want) {
				t.Errorf("got %q, want the digest of standard output", stderr)
			}
			p, err := policydoc.Read(t.Context(), []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if c := p.Containers[0]; len(c.Layers) != 1 || c.Layers[0] != strings.Repeat("1", 64) || !strings.Contains(text, `"command":["/bin/app"]`) {
				t.Errorf("got container %+v", c)
			}
			again, _, err := policyCommand(t, "", "generate", "--lock", f.lock, "--locked", "--compat", level, "-a", f.template, "-p", f.parameters, "--outraw")
			if err != nil || again != text {
				t.Errorf("a second run: %v, same text: %t", err, again == text)
			}
		})
	}
	if read(t, f.template) != before {
		t.Error("the template was changed")
	}
}

func TestGroupOutputs(t *testing.T) {
	f := newGroupFiles(t, "", zone)
	raw, _, err := policyCommand(t, "", f.flags("--outraw")...)
	if err != nil {
		t.Fatal(err)
	}
	encoded, _, err := policyCommand(t, "", f.flags("--base64")...)
	if decoded, bad := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded)); err != nil || bad != nil || string(decoded) != raw {
		t.Errorf("--base64: got %q, %v, %v", encoded, err, bad)
	}
	pretty, stderr, err := policyCommand(t, "", f.flags("--outraw-pretty-print")...)
	if err != nil || !strings.Contains(pretty, "\n    \"allow_elevated\": false,\n") {
		t.Errorf("--outraw-pretty-print: got %v and\n%s", err, pretty)
	}
	if want := fmt.Sprintf("HOST_DATA %x\n", sha256.Sum256([]byte(pretty))); !strings.HasSuffix(stderr, want) {
		t.Errorf("pretty: got %q, want the digest of the text that was printed", stderr)
	}
	out := filepath.Join(t.TempDir(), "policy.rego")
	if stdout, _, err := policyCommand(t, "", f.flags("-o", out)...); err != nil || stdout != "" || read(t, out) != raw {
		t.Errorf("-o: got %v and %q", err, stdout)
	}
	printed, _, err := policyCommand(t, "", f.flags("--json", "--explain")...)
	if err != nil {
		t.Fatal(err)
	}
	var result struct{ Policies []groupResult }
	if err := json.Unmarshal([]byte(printed), &result); err != nil {
		t.Fatal(err)
	}
	r := result.Policies[0]
	if r.Group != "first" || r.SHA256 != fmt.Sprintf("%x", sha256.Sum256([]byte(raw))) || r.Compat != acigen.Latest || r.Policy != base64.StdEncoding.EncodeToString([]byte(raw)) || len(r.Rules) == 0 {
		t.Errorf("--json: got %+v", r)
	}
	if strings.Contains(printed, "hunter2") {
		t.Error("--json shows a secret outside the policy")
	}
}

func TestGroupWritesInPlace(t *testing.T) {
	f := newGroupFiles(t, secondGroup, zone)
	before := read(t, f.template)
	if err := os.Chmod(f.template, 0o640); err != nil {
		t.Fatal(err)
	}
	_, stderr, err := policyCommand(t, "", f.flags()...)
	if err != nil {
		t.Fatal(err)
	}
	after := read(t, f.template)
	for line := range strings.Lines(before) {
		// The lines that have no policy stand as they were.
		if !strings.Contains(line, "ccePolicy") && !strings.Contains(after, strings.TrimSuffix(line, "\n")) {
			t.Errorf("line %q is gone", line)
		}
	}
	if info, err := os.Stat(f.template); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got mode %v, %v, want it as it was", info.Mode(), err)
	}
	if !strings.Contains(stderr, "wrote "+f.template+"\n") {
		t.Errorf("got %q, want the file that was written", stderr)
	}
	if strings.Count(stderr, "HOST_DATA ") != 2 || !strings.Contains(stderr, " second\n") {
		t.Errorf("got %q, want a line for each group", stderr)
	}
	existing, _, err := policyCommand(t, "", f.flags("--print-existing-policy", "--group", "second")...)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("HOST_DATA %x second\n", sha256.Sum256([]byte(existing))); !strings.Contains(stderr, want) {
		t.Errorf("the policy in the template is not the one whose digest was printed: %q", stderr)
	}

	_, stderr, err = policyCommand(t, "", f.flags()...)
	if err != nil || read(t, f.template) != after || !strings.Contains(stderr, "has this policy already: nothing was written") {
		t.Errorf("the same policies again: %v, %q, changed: %t", err, stderr, read(t, f.template) != after)
	}
	_, _, err = policyCommand(t, "", f.flags("--compat", "confcom-2")...)
	if err == nil || !strings.Contains(err.Error(), "has another policy; replace it with --yes") || read(t, f.template) != after {
		t.Errorf("other policies, nobody to ask: got %v, changed: %t", err, read(t, f.template) != after)
	}
	if _, _, err = policyCommand(t, "", f.flags("--compat", "confcom-2", "--yes")...); err != nil || read(t, f.template) == after {
		t.Errorf("--yes: got %v, changed: %t", err, read(t, f.template) != after)
	}
}

// A policy that comes from a parameter at deployment time is somebody's choice: it is not replaced by the way.
func TestGroupKeepsAnExpression(t *testing.T) {
	f := newGroupFiles(t, "", zone)
	for value, kept := range map[string]bool{`"[parameters('zone')]"`: true, "null": false, `""`: false} {
		text := strings.Replace(fmt.Sprintf(groupTemplate, ""), `"ccePolicy": ""`, `"ccePolicy": `+value, 1)
		text = strings.Replace(text, `{"name": "ZONE", "value": "[parameters('zone')]"}, `, "", 1)
		if err := os.WriteFile(f.template, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		flags := []string{"generate", "-a", f.template, "-p", writeFile(t, "p.json", fmt.Sprintf(groupParameters, "")), "--lock", f.lock, "--offline"}
		_, _, err := policyCommand(t, "", flags...)
		if refused := err != nil && strings.Contains(err.Error(), "from an expression"); refused != kept || (read(t, f.template) == text) != kept {
			t.Errorf("%s: got %v, changed: %t", value, err, read(t, f.template) != text)
		}
		if _, _, err := policyCommand(t, "", append(flags, "--yes")...); err != nil || read(t, f.template) == text {
			t.Errorf("%s with --yes: got %v", value, err)
		}
	}
}

func TestGroupsOfOneTemplate(t *testing.T) {
	f := newGroupFiles(t, secondGroup, zone)
	both, _, err := policyCommand(t, "", f.flags("--outraw")...)
	if err != nil || strings.Count(both, "package policy\n") != 2 {
		t.Errorf("got %v and %d policies, want 2", err, strings.Count(both, "package policy\n"))
	}
	one, _, err := policyCommand(t, "", f.flags("--outraw", "--group", "1")...)
	if err != nil || !strings.Contains(one, `"name":"other"`) || strings.Contains(one, `"name":"app"`) {
		t.Errorf("--group 1: got %v and\n%s", err, one)
	}
	for group, want := range map[string]string{"2": `"first", "second", or 0 to 1`, "third": `"first", "second"`} {
		if _, _, err := policyCommand(t, "", f.flags("--outraw", "--group", group)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--group %s: got %v, want %q", group, err, want)
		}
	}
	if _, _, err := policyCommand(t, "", f.flags("-o", filepath.Join(t.TempDir(), "x"))...); err == nil || !strings.Contains(err.Error(), "choose one with --group") {
		t.Errorf("-o: got %v", err)
	}
}

func TestGroupWildcards(t *testing.T) {
	f := newGroupFiles(t, "", "")
	stdout, _, err := policyCommand(t, "", f.flags("--outraw")...)
	if err == nil || stdout != "" || exitCode(err) != exitFailed {
		t.Fatalf("got %v and %q, want an error", err, stdout)
	}
	for _, want := range []string{"container app: ZONE=.*", "template.json:", "environmentVariables[0]", "-y", "-p"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	text, _, err := policyCommand(t, "", f.flags("--outraw", "-y")...)
	if err != nil || !strings.Contains(text, `{"pattern":"ZONE=.*","required":false,"strategy":"re2"}`) {
		t.Errorf("-y: got %v and\n%s", err, text)
	}
}

func TestReadYes(t *testing.T) {
	for in, want := range map[string]bool{"y\n": true, "YES\n": true, " yes ": true, "\n": false, "": false, "no\n": false, "yep\n": false} {
		var out bytes.Buffer
		got, err := readYes(strings.NewReader(in), &out, "Sure?")
		if err != nil || got != want || out.String() != "Sure? [y/N] " {
			t.Errorf("%q: got %t, %v, want %t", in, got, err, want)
		}
	}
}

func TestGroupExplain(t *testing.T) {
	f := newGroupFiles(t, "", zone)
	before := read(t, f.template)
	table, _, err := policyCommand(t, "", f.flags("--explain")...)
	if err != nil || read(t, f.template) != before {
		t.Fatalf("got %v, template changed: %t", err, read(t, f.template) != before)
	}
	for _, want := range []string{"TOKEN=<secret>", "env_rules[0]", "template.json:", "registry.example/app:1: Env", "defaults aci-2026-09 version 1: aci.env_rules[0]", "level latest"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in the table:\n%s", want, table)
		}
	}
	raw, onStderr, err := policyCommand(t, "", f.flags("--explain", "--outraw")...)
	if err != nil || !strings.HasPrefix(raw, "package policy\n") || !strings.Contains(onStderr, "env_rules[0]") {
		t.Errorf("with --outraw: %v", err)
	}
	out := filepath.Join(t.TempDir(), "policy.rego")
	printed, onStderr, err := policyCommand(t, "", f.flags("--explain", "-o", out)...)
	if err != nil || printed != "" || read(t, out) != raw || !strings.Contains(onStderr, table) || read(t, f.template) != before {
		t.Errorf("with -o: got %v, %q and\n%s", err, printed, onStderr)
	}
	if strings.Contains(table+onStderr, "hunter2") {
		t.Error("the table shows a secret")
	}
}

// TestGroupExplainHidesSecrets: no output but the policy has the value of a secure parameter.
func TestGroupExplainHidesSecrets(t *testing.T) {
	f := newGroupFiles(t, "", zone+`, "s": {"value": "correct horse"}`)
	text := strings.NewReplacer(
		`"zone": {"type": "string"}`, `"zone": {"type": "string"}, "s": {"type": "secureString"}`,
		`"command": ["/bin/app"]`, `"command": ["/bin/app", "[parameters('s')]"], "livenessProbe": {"exec": {"command": ["/bin/live", "[parameters('s')]"]}}`,
	).Replace(read(t, f.template))
	if err := os.WriteFile(f.template, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	table, notes, err := policyCommand(t, "", f.flags("--explain")...)
	if err != nil {
		t.Fatal(err)
	}
	document, _, err := policyCommand(t, "", f.flags("--explain", "--json", "-o", filepath.Join(t.TempDir(), "policy"))...)
	if err != nil {
		t.Fatal(err)
	}
	if all := table + notes + document; strings.Contains(all, "correct horse") || !strings.Contains(all, "[/bin/app <secret>]") {
		t.Errorf("the secret is shown, or its command is not:\n%s", all)
	}
	for _, what := range []string{"command[1]", "exec_processes[0]", "TOKEN"} {
		if want := "the value of " + what + " is written into the policy"; !strings.Contains(notes, want) {
			t.Errorf("got %q, want %q", notes, want)
		}
	}
	raw, _, err := policyCommand(t, "", f.flags("--outraw")...)
	if err != nil || !strings.Contains(raw, "correct horse") {
		t.Errorf("the policy has no secret: %v", err)
	}
}

// TestGroupExplainKeepsValues: values are cut for terminals only.
func TestGroupExplainKeepsValues(t *testing.T) {
	long := strings.Repeat("west", 40)
	f := newGroupFiles(t, "", `, "zone": {"value": "`+long+`"}`)
	table, _, err := policyCommand(t, "", f.flags("--explain")...)
	if err != nil || !strings.Contains(table, "ZONE="+long+" ") {
		t.Errorf("got %v and\n%s", err, table)
	}
}

func TestGroupUsage(t *testing.T) {
	f := newGroupFiles(t, "", zone)
	a := []string{"generate", "-a", f.template}
	cases := []struct {
		name string
		args []string
		want string
	}{
		{"two-sources", append(a, "--image", "x"), "-a and --image are given, want one source"},
		{"pod-and-template", append(a, "-f", "x"), "want one source"},
		{"two-outputs", append(a, "--outraw", "--base64"), "want one output"},
		{"json-and-raw", append(a, "--outraw", "--json"), "want one output"},
		{"existing-and-raw", append(a, "--outraw", "--print-existing-policy"), "want one output"},
		{"stdio", append(a, "--enable-stdio", "--disable-stdio"), "contradict"},
		{"svn-and-none", append(a, "--infrastructure-svn", "3", "-e"), "contradict"},
		{"svn", append(a, "--infrastructure-svn", "1.0"), "whole number"},
		{"svn-negative", append(a, "--infrastructure-svn=-1"), "whole number"},
		{"parameters-alone", []string{"generate", "--image", "x", "-p", f.parameters}, "--parameters needs --template-file"},
		{"existing-of-image", []string{"generate", "--image", "x", "--print-existing-policy"}, "need --template-file"},
		{"compat", append(a, "--compat", "confcom-0"), "--compat is"},
		{"format", append(a, "--layer-format", "xfs"), "--layer-format is"},
		{"locked-and-tar", append(a, "--locked", "--tar", "x"), "--locked looks nothing up"},
		{"locked-and-save", append(a, "--locked", "--save-lock"), "--locked changes no lock file"},
		{"bundle-alone", append(a, "--signature-bundle", "x"), "--signature-bundle needs"},
		{"signature", append(a, "--require-signature", "cosign:identity=x"), "--require-signature"},
		{"pod-flag", append(a, "--no-stdio"), "--no-stdio does nothing with -a"},
		{"group-flag", []string{"generate", "-f", "x", "--compat", "latest"}, "--compat does nothing with -f"},
		{"existing-to-file", append(a, "--print-existing-policy", "-o", "x"), "--output goes with a policy"},
		{"template-as-pod", []string{"generate", "-f", f.template}, "is a deployment template: use -a"},
		{"template-as-config", []string{"generate", "-i", f.template}, "is a deployment template: use -a"},
		{"yaml-as-template", []string{"generate", "-a", writeFile(t, "pod.yaml", policyPod)}, "use -f or --virtual-node-yaml"},
		{"positional", []string{"generate", f.template}, "give a deployment template with -a FILE, a Kubernetes document with -f FILE"},
		{"argument", append(a, "x"), "unexpected argument"},
		{"digest-and-tar", []string{"generate", "--image", "x@sha256:" + strings.Repeat("0", 64), "--tar", f.lock}, "named by its digest"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, _, err := policyCommand(t, "", c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || stdout != "" || exitCode(err) != exitUsage {
				t.Errorf("got %v (exit code %d), want %q and %d", err, exitCode(err), c.want, exitUsage)
			}
		})
	}
}

func TestGroupFailures(t *testing.T) {
	f := newGroupFiles(t, "", zone)
	cases := []struct {
		name string
		args []string
		want string
	}{
		{"template-missing", []string{"generate", "-a", filepath.Join(t.TempDir(), "none.json")}, "no such file"},
		{"lock-missing", []string{"generate", "-a", f.template, "-p", f.parameters, "--lock", filepath.Join(t.TempDir(), "none.json")}, "no such file"},
		{"not-locked", []string{"generate", "--image", "registry.example/other", "--lock", f.lock, "--locked"}, "no entry for it"},
		{"no-existing", f.flags("--print-existing-policy"), "has no policy in its document"},
		{"defaults", f.flags("--outraw", "--defaults", f.lock), "unknown field"},
		{"image-wildcard", []string{"generate", "-a", f.template, "--lock", f.lock, "--outraw", "-y"}, "must give it"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdout, _, err := policyCommand(t, "", c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || stdout != "" || exitCode(err) != exitFailed {
				t.Errorf("got %v (exit code %d), want %q and %d", err, exitCode(err), c.want, exitFailed)
			}
		})
	}
}

func TestGroupSources(t *testing.T) {
	lock := writeFile(t, "lock.json", groupLock)
	image, _, err := policyCommand(t, "", "generate", "--image", "registry.example/app:1", "--lock", lock, "--locked", "--layer-format", "both", "--omit-id")
	if err != nil || !strings.Contains(image, strings.Repeat("2", 64)) || strings.Contains(image, `"id":`) {
		t.Fatalf("--image: got %v and\n%s", err, image)
	}
	p, err := policydoc.Read(t.Context(), []byte(image))
	if err != nil || len(p.Containers) != 3 {
		t.Fatalf("got %v, want a container for each format, and the pause container", err)
	}
	// What was made once can be put together again, from the command line and from a file.
	_, rest, _ := strings.Cut(image, "containers := ")
	line, _, _ := strings.Cut(rest, "\n")
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(line), &list); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "container.json", "["+string(list[1])+"]")
	with, _, err := policyCommand(t, "", "generate", "--with-containers", string(list[0]), "--with-containers", file)
	if err != nil || with != image {
		t.Errorf("--with-containers: got %v and\n%s\nwant\n%s", err, with, image)
	}
}

func TestGroupDefaultsOfTheUser(t *testing.T) {
	f := newGroupFiles(t, "", zone)
	own, _, err := policyCommand(t, "", "defaults")
	if err != nil {
		t.Fatal(err)
	}
	changed := writeFile(t, "defaults.json", strings.Replace(own, `"IMDS_ENDPOINT=.+"`, `"NEW_ENDPOINT=.+"`, 1))
	text, _, err := policyCommand(t, "", f.flags("--outraw", "--defaults", changed)...)
	if err != nil || !strings.Contains(text, `"NEW_ENDPOINT=.+"`) || strings.Contains(text, `"IMDS_ENDPOINT=.+"`) {
		t.Errorf("got %v and\n%s", err, text)
	}
	old, _, err := policyCommand(t, "", "defaults", "--compat", "confcom-2")
	if err != nil || strings.Contains(old, "IMDS_ENDPOINT") || !strings.Contains(old, "aci-2023") {
		t.Errorf("--compat confcom-2: got %v and %.200q", err, old)
	}
	level, _, err := policyCommand(t, "", "defaults", "--compat", "confcom-2", "--level")
	if err != nil || !strings.Contains(level, `"api_version": "0.11.0"`) {
		t.Errorf("--level: got %v and %.200q", err, level)
	}
	if _, _, err := policyCommand(t, "", "defaults", "--compat", "x"); err == nil || exitCode(err) != exitUsage {
		t.Errorf("--compat x: got %v", err)
	}
}

func TestGroupSavesTheLock(t *testing.T) {
	pod := policyFiles(t) // -f FILE --images DIR --cache DIR
	lock := filepath.Join(t.TempDir(), "new.json")
	save := []string{"generate", "--image", "app", "--images", filepath.Join(pod[3]), "--offline", "--cache", pod[5], "--lock", lock, "--save-lock", "--layer-format", "both"}
	first, stderr, err := policyCommand(t, "", save...)
	if err != nil || !strings.Contains(stderr, "wrote "+lock+"\n") {
		t.Fatalf("got %v and %q, want the lock file's name", err, stderr)
	}
	if _, stderr, err := policyCommand(t, "", save...); err != nil || !strings.Contains(stderr, lock+" has these images already: nothing was written\n") {
		t.Errorf("the same again: got %v and %q", err, stderr)
	}
	again, _, err := policyCommand(t, "", "generate", "--image", "app", "--lock", lock, "--locked", "--layer-format", "both")
	if err != nil || again != first {
		t.Errorf("from the lock file: got %v and\n%s\nwant\n%s", err, again, first)
	}
}

func TestGroupFragments(t *testing.T) {
	f := newGroupFiles(t, secondGroup, zone)
	text, _, err := policyCommand(t, "", f.flags("--outraw", "--group", "second", "--compat", "confcom-2")...)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "containers := ")
	line, _, _ := strings.Cut(rest, "\n")
	chain, err := fragmentgen.NewTestChain("p384", "side", time.Now(), 2)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := fragmentgen.Sign(t.Context(), []byte("package side\n\nsvn := \"3\"\nframework_version := \"0.2.3\"\n\ncontainers := "+line+"\n"),
		fragmentgen.SignOptions{Key: chain.Key, Chain: chain.Chain, Feed: "registry.example/side", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "side.cose"), signed.Raw, 0o644); err != nil {
		t.Fatal(err)
	}
	document := func(change func(*defaults.Fragment)) string {
		r := struct {
			defaults.Fragment
			Path string `json:"path"`
		}{defaults.Fragment{Feed: signed.Feed, Issuer: signed.Issuer, MinimumSVN: "3", Includes: []string{"containers"}}, "side.cose"}
		change(&r.Fragment)
		text, err := json.Marshal(map[string]any{"fragments": []any{r}})
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "fragments.json")
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	// The pause container stays: a policy without it would depend on the fragment for every start.
	got, stderr, err := policyCommand(t, "", f.flags("--outraw", "--group", "second", "--compat", "confcom-2", "-j", document(func(*defaults.Fragment) {}))...)
	if err != nil || strings.Contains(got, `"name":"other"`) || !strings.Contains(got, "/pause") || !strings.Contains(got, "registry.example/side") {
		t.Errorf("got %v and\n%s", err, got)
	}
	if !strings.Contains(stderr, "container other is left out") {
		t.Errorf("got %q, want it said", stderr)
	}
	// A fragment for the other group's containers leaves nothing out, nor does one whose containers are not taken over.
	for name, args := range map[string][]string{
		"other-container": {"--group", "first", "-j", document(func(*defaults.Fragment) {})},
	} {
		if got, _, err := policyCommand(t, "", f.flags(append(args, "--outraw", "--compat", "confcom-2")...)...); err != nil || !strings.Contains(got, `"name":"app"`) {
			t.Errorf("%s: got %v and\n%s", name, err, got)
		}
	}
	notTaken := document(func(r *defaults.Fragment) { r.Includes = []string{"fragments"} })
	if got, _, err := policyCommand(t, "", f.flags("--outraw", "--group", "second", "--compat", "confcom-2", "-j", notTaken)...); err != nil || !strings.Contains(got, `"name":"other"`) {
		t.Errorf("not taken over: got %v and\n%s", err, got)
	}
	for want, change := range map[string]func(*defaults.Fragment){
		"its svn is 3, want at least 4": func(r *defaults.Fragment) { r.MinimumSVN = "4" },
		"it is feed":                    func(r *defaults.Fragment) { r.Feed = "registry.example/other" },
		"want a whole number":           func(r *defaults.Fragment) { r.MinimumSVN = "1.0" },
	} {
		if _, _, err := policyCommand(t, "", f.flags("--outraw", "-j", document(change))...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestDiffOfADocument(t *testing.T) {
	f := newGroupFiles(t, secondGroup, zone)
	diff := func(more ...string) (string, error) {
		stdout, _, err := policyCommand(t, "", append([]string{"diff", "-a", f.template, "-p", f.parameters, "--lock", f.lock, "--offline"}, more...)...)
		return stdout, err
	}
	if _, err := diff(); err == nil || exitCode(err) != exitFailed || !strings.Contains(err.Error(), "has no policy") {
		t.Errorf("nothing there: got %v, exit code %d", err, exitCode(err))
	}
	if _, _, err := policyCommand(t, "", f.flags()...); err != nil {
		t.Fatal(err)
	}
	if out, err := diff(); err != nil || strings.Count(out, "the same text") != 2 {
		t.Errorf("same: got %v and %q", err, out)
	}
	if out, err := diff("--compat", "confcom-2", "--group", "first"); exitCode(err) != exitDiffers || !strings.Contains(out, "~ api_version: 0.12.0 -> 0.11.0") {
		t.Errorf("other level: got %v (exit code %d) and %q", err, exitCode(err), out)
	}
	out, err := diff("--json", "--omit-id")
	var result struct{ Groups []groupDiff }
	if bad := json.Unmarshal([]byte(out), &result); err != nil || bad != nil || len(result.Groups) != 2 || !result.Groups[0].Same || result.Groups[0].SameBytes {
		t.Errorf("ids only: got %v, %v and %s", err, bad, out)
	}
	var exit *exitError
	for _, args := range [][]string{{"x"}, {"--virtual-node-yaml", "x"}, {"--compat", "x"}, {"--locked", "--tar", "x"}} {
		if _, err := diff(args...); !errors.As(err, &exit) || exitCode(err) != exitFailed {
			t.Errorf("%v: got %v with exit code %d, want %d: 2 would say that they differ", args, err, exitCode(err), exitFailed)
		}
	}
	if _, _, err := policyCommand(t, "", "diff", "a", "b", "--compat", "latest"); exitCode(err) != exitFailed || !strings.Contains(err.Error(), "does nothing without -a") {
		t.Errorf("a flag that does nothing: got %v", err)
	}
}
