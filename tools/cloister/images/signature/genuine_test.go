package signature

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// genuine puts signatures that cosign itself made into a place; testdata/genuine/README.md says where they are from. The image
// is not there: key and identity signatures need none.
func genuine(t *testing.T, name, digest string) *place {
	t.Helper()
	p := newPlace()
	manifest, payload := read(t, "genuine/"+name+".manifest.json"), read(t, "genuine/"+name+".payload.json")
	p.put(sigTag(digest), types.OCIManifestSchema1, manifest)
	p.blob(simpleSigning, payload, nil)
	return p
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const (
	dangerzone = "sha256:7396780b5862cf8b37527854a2a2331e5c746b6a71aa1f424258c3bfaf3a1bd7"
	bazel      = "sha256:5ce2d8cd8e366d76ce012edc346daeb15a5643c26b9b24a2b731e97a99c6de52"
	// bazelBy signed it with a certificate of the public Fulcio, logged in the public Rekor.
	bazelBy = "identity=cosign@cosign-test-bazel-1-384518.iam.gserviceaccount.com"
	google  = ",issuer=https://accounts.google.com,roots=testdata/genuine/trusted_root.json"
)

func TestGenuineKey(t *testing.T) {
	v := demand(t, "testdata/genuine/dangerzone.pub")
	got, err := ask(t, v, genuine(t, "dangerzone", dangerzone), dangerzone)
	wantSigner(t, got, err, images.Signer{Kind: "cosign", Identity: v.checks[0].(*keyCheck).identity})

	got, err = ask(t, v, genuine(t, "bazel", bazel), bazel)
	wantRefused(t, got, err, "does not verify with")
}

// TestGenuineIdentity checks certificate, its transparency (SCT), log entry and payload with the public instance's trusted root.
func TestGenuineIdentity(t *testing.T) {
	p := genuine(t, "bazel", bazel)
	got, err := ask(t, demand(t, "cosign:"+bazelBy+google), p, bazel)
	wantSigner(t, got, err, images.Signer{
		Kind: "cosign", Identity: "cosign@cosign-test-bazel-1-384518.iam.gserviceaccount.com via https://accounts.google.com",
	})
	got, err = ask(t, demand(t, "cosign:identity=somebody@else.example"+google), p, bazel)
	wantRefused(t, got, err, "expected SAN value")
}

// TestGenuineIdentityWithoutTransparency has no log for certificates in its trusted root, or another one.
func TestGenuineIdentityWithoutTransparency(t *testing.T) {
	p := genuine(t, "bazel", bazel)
	var m *v1.Manifest
	m, err := v1.ParseManifest(strings.NewReader(string(p.manifests[sigTag(bazel)])))
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseSimple(read(t, "genuine/bazel.payload.json"), m.Layers[1].Annotations)
	if err != nil {
		t.Fatal(err)
	}
	roots := writeFile(t, "fulcio.pem", pemOf(s.chain...))
	rekor := writeFile(t, "rekor.pub", read(t, "genuine/rekor.pub"))
	with := func(more string) string {
		return "cosign:" + bazelBy + ",issuer=https://accounts.google.com,roots=" + roots + ",rekor=" + rekor + more
	}
	got, err := ask(t, demand(t, with("")), p, bazel)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v; want one signer", got, err)
	}
	got, err = ask(t, demand(t, with(",ctlog="+rekor)), p, bazel)
	wantRefused(t, got, err, "only able to verify 0 SCT entries")
}

// TestGenuineAttestation refuses a provenance that is genuine, but of an npm package.
func TestGenuineAttestation(t *testing.T) {
	p := newPlace()
	digest := p.image()
	p.bundle(read(t, "genuine/sigstore-js.bundle.json"), nil)
	got, err := ask(t, demand(t, "cosign:identity-regexp=.*,issuer-regexp=.*,predicate=https://slsa.dev/provenance/v1,roots=testdata/genuine/trusted_root.json"), p, digest)
	wantRefused(t, got, err, "does not match digests in statement")
}
