package fragmentgen_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

// FuzzReadContainers reads JSON documents of containers: what is read is a list of objects, and writes the same text twice.
func FuzzReadContainers(f *testing.F) {
	f.Add([]byte(`[{"id": "a", "layers": []}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '[' && trimmed[0] != '{' {
			return // Rego, whose reader is the enforcer's
		}
		list, err := fragmentgen.ReadContainers(t.Context(), data)
		if err != nil {
			if list.Objects != nil {
				t.Errorf("got %q with an error", list.Objects)
			}
			return
		}
		for _, o := range list.Objects {
			var object map[string]any
			if err := json.Unmarshal(o, &object); err != nil || object == nil {
				t.Errorf("%q: %v", o, err)
			}
		}
		text := fragmentgen.Text{Namespace: "side", SVN: "1", Containers: list.Objects}
		first, err := text.Rego(false)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := text.Rego(false); err != nil || !bytes.Equal(first, second) || bytes.Count(first, []byte("\ncontainers := ")) < 1 {
			t.Errorf("got %q, then %q, %v", first, second, err)
		}
	})
}

// FuzzReadImport reads entries of fragments: those that are read can be written into a text that is read again as the same.
func FuzzReadImport(f *testing.F) {
	f.Add([]byte(`{"fragments": [{"issuer": "did:x509:0:sha256:AA::eku:1.2", "feed": "a/b", "minimum_svn": "1", "includes": ["containers"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := fragmentgen.ReadImport(data)
		if err != nil {
			return
		}
		raw, err := json.Marshal(fragmentgen.Import{Fragments: entries})
		if err != nil {
			t.Fatal(err)
		}
		again, err := fragmentgen.ReadImport(raw)
		if err != nil || len(again) != len(entries) {
			t.Errorf("got %v, %v of %q", again, err, data)
		}
	})
}
