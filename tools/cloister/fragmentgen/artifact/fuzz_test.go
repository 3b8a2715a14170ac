package artifact

import (
	"encoding/json"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// FuzzDocuments reads manifests that anybody may have written: what is found has a bounded size and the type of a fragment.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`{"artifactType":"application/x-ms-ccepolicy-frag","layers":[{"mediaType":"application/cose-x509+rego","digest":"sha256:00","size":8}]}`))
	f.Add([]byte(`{"config":{"mediaType":"application/x-ms-ccepolicy-frag"},"subject":{"digest":"x"},"layers":[{"mediaType":"application/cose-x509+rego","size":-1}]}`))
	f.Add([]byte(`{"manifests":[{"platform":{"os":"linux"}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m manifest
		if json.Unmarshal(raw, &m) != nil {
			return
		}
		found, err := documents(nil, ocispec.Descriptor{}, &m)
		if err != nil {
			if found != nil {
				t.Errorf("got %+v with an error", found)
			}
			return
		}
		if len(found) == 0 || len(found) > MaxFragments {
			t.Errorf("got %d documents", len(found))
		}
		for _, d := range found {
			if d.Size > fragment.MaxSize || d.layer.MediaType != fragment.MediaTypeRego {
				t.Errorf("got %+v", d)
			}
		}
	})
}
