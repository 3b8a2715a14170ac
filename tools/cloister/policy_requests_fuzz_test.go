package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
)

// FuzzReadRequests: every file is read or refused with its line, and what is read means the same written anew.
func FuzzReadRequests(f *testing.F) {
	f.Add(`[{"name": "mount_device", "input": {"target": "/x"}}, {"name": "none"}]`)
	f.Add("{\"name\": \"dump_stacks\"}\n\n{\"name\": \"exec_external\", \"input\": {\"argList\": [\"\\u0000\"], \"envList\": null}}")
	f.Add(`{"name": "load_fragment", "input": {"fragment_base64": "AAAA"}}`)
	f.Add("[\n{\"name\": \"create_container\", \"input\": {\"Mounts\": [], \"mounts\": [{\"x\": 1e400}]}}")
	f.Add(`{"name": "registry_changes", "input": {"registryChanges": {"a": [[[1]]]}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "path") {
			t.Skip("would read files")
		}
		list, err := readRequests("-", strings.NewReader(text))
		if err != nil {
			if !strings.Contains(err.Error(), "line ") {
				t.Errorf("got %q, which names no line", err)
			}
			return
		}
		for _, r := range list {
			if r.Input == nil {
				continue
			}
			doc, err := json.Marshal(r.Input)
			if err != nil {
				t.Fatal(err)
			}
			again, err := enforcer.DecodeInput(r.Name, doc)
			if err != nil {
				t.Fatal(err)
			}
			if twice, err := json.Marshal(again); err != nil || !bytes.Equal(doc, twice) {
				t.Errorf("got %s, then %s, %v", doc, twice, err)
			}
		}
	})
}
