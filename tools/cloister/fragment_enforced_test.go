package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

// What a fragment brings is allowed as it says and not otherwise, by both judges.
func TestFragmentEnforced(t *testing.T) {
	var texts []string
	for _, f := range []string{"testdata/policy/allowed.json", "testdata/policy/web.rego"} {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(raw))
	}
	requests := strings.ReplaceAll(texts[0], "/bin/web", "/bin/side")
	head, rest, _ := strings.Cut(texts[1], "containers := [")
	_, tail, _ := strings.Cut(rest, "\n]\n")
	fragmentDir(t)
	makeFragment(t, "side", "1")
	var doc fragmentgen.Import
	if err := json.Unmarshal([]byte(mustFragment(t, "generate", "--generate-import", "-p", "side.cose")), &doc); err != nil {
		t.Fatal(err)
	}
	entries, err := json.Marshal(doc.Fragments)
	if err != nil {
		t.Fatal(err)
	}
	writeHere(t, "policy.rego", head+"containers := []\nfragments := "+string(entries)+"\n"+tail)
	// last is whether the last request, the container's creation, was allowed.
	last := func(judge, requests string, fragments ...string) bool {
		t.Helper()
		stdout, _, err := rootCommand(t, requests, append([]string{"policy", "simulate", "--judge", judge, "--policy", "policy.rego", "-"}, fragments...)...)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		return len(lines) == 4 && strings.Contains(lines[3], `"allowed":true`)
	}
	if !last("both", requests, "--fragment", "side.cose") {
		t.Fatal("the container is not allowed")
	}
	if last("both", requests) {
		t.Fatal("the container is allowed without its fragment")
	}
	for _, change := range [][2]string{
		{`"-p",`, `"-q",`},
		{"MODE=fast", "MODE=slow"},
		{"NONCE=01ef", "NONCE=01eg"},
		{`"/srv"`, `"/"`},
		{`"id": "33",`, `"id": "0",`},
		{`"0022"`, `"0000"`},
		{"CAP_KILL", "CAP_CHOWN"},
		{`"ro"`, `"rw"`},
		{`"/data"`, `"/etc"`},
		{"sandboxMounts/data/1", "sandboxMounts/other/1"},
		{`"noNewPrivileges": true`, `"noNewPrivileges": false`},
		{`"privileged": false`, `"privileged": true`},
		{`"seccompProfileSHA256": ""`, `"seccompProfileSHA256": "aa"`},
		{strings.Repeat("b", 64), strings.Repeat("d", 64)},
		{"\"/run/mounts/scsi/m1\",\n    \"/run/mounts/scsi/m0\"", "\"/run/mounts/scsi/m0\",\n    \"/run/mounts/scsi/m1\""},
	} {
		changed := strings.Replace(requests, change[0], change[1], 1)
		if changed == requests {
			t.Fatalf("%q is not in the requests", change[0])
		}
		if last("auto", changed, "--fragment", "side.cose") {
			t.Errorf("%q for %q is allowed", change[1], change[0])
		}
	}
}
