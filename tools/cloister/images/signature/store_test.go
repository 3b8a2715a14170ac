package signature

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// place is a store in memory: an image's manifest and what lies beside it.
type place struct {
	manifests map[string][]byte // by tag and by digest
	media     map[string]types.MediaType
	blobs     map[string][]byte
	referrers []v1.Descriptor
	err       error          // answers everything with it
	asked     atomic.Int32   // for manifests
	read      atomic.Int32   // blobs
	subject   *v1.Descriptor // of the image that was put last
}

func newPlace() *place {
	return &place{manifests: map[string][]byte{}, media: map[string]types.MediaType{}, blobs: map[string][]byte{}}
}

func (p *place) Manifest(_ context.Context, reference string) (v1.Descriptor, []byte, error) {
	p.asked.Add(1)
	if p.err != nil {
		return v1.Descriptor{}, nil, p.err
	}
	raw, ok := p.manifests[reference]
	if !ok {
		return v1.Descriptor{}, nil, images.ErrNotFound
	}
	return v1.Descriptor{MediaType: p.media[reference], Size: int64(len(raw)), Digest: hash(digestOf(raw))}, raw, nil
}

func (p *place) Blob(_ context.Context, d v1.Descriptor) ([]byte, error) {
	p.read.Add(1)
	raw, ok := p.blobs[d.Digest.String()]
	if !ok {
		return nil, images.ErrNotFound
	}
	return raw, nil
}

func (p *place) Referrers(context.Context, string) ([]v1.Descriptor, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.referrers, nil
}

func digestOf(raw []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(raw)) }

func hash(digest string) v1.Hash {
	h, err := v1.NewHash(digest)
	if err != nil {
		panic(err)
	}
	return h
}

// image puts an image's manifest into the place and answers its digest.
func (p *place) image() string {
	raw := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"` +
		digestOf([]byte("{}")) + `"},"layers":[]}`)
	digest := p.put("", types.OCIManifestSchema1, raw)
	p.subject = &v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: hash(digest)}
	return digest
}

func (p *place) put(tag string, media types.MediaType, raw []byte) string {
	digest := digestOf(raw)
	for _, name := range []string{tag, digest} {
		p.manifests[name], p.media[name] = raw, media
	}
	return digest
}

// blob stores bytes and describes them.
func (p *place) blob(media types.MediaType, raw []byte, annotations map[string]string) v1.Descriptor {
	d := digestOf(raw)
	p.blobs[d] = raw
	return v1.Descriptor{MediaType: media, Size: int64(len(raw)), Digest: hash(d), Annotations: annotations}
}

// artifact stores a manifest of signatures, under a tag or as a referrer.
func (p *place) artifact(tag, artifactType string, annotations map[string]string, layers ...v1.Descriptor) {
	doc := map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": artifactType,
		"config": p.blob("application/vnd.oci.empty.v1+json", []byte("{}"), nil), "layers": layers, "annotations": annotations,
	}
	if tag == "" {
		doc["subject"] = p.subject
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	digest := p.put(tag, types.OCIManifestSchema1, raw)
	if tag == "" {
		p.referrers = append(p.referrers, v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: hash(digest), ArtifactType: artifactType, Annotations: annotations,
		})
	}
}

// sigTag is where cosign puts the signatures of a digest.
func sigTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".sig" }

// simple stores a signature in cosign's first format.
func (p *place) simple(digest string, payload []byte, annotations map[string]string) {
	p.artifact(sigTag(digest), "", nil, p.blob(simpleSigning, payload, annotations))
}

func (p *place) bundle(raw []byte, annotations map[string]string) {
	const media = "application/vnd.dev.sigstore.bundle.v0.3+json"
	p.artifact("", media, annotations, p.blob(media, raw, nil))
}

func (p *place) envelope(media string, raw []byte) {
	p.artifact("", notationArtifact, nil, p.blob(types.MediaType(media), raw, nil))
}

// now is the tests' clock. Certificates are made around it.
var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// demand makes a verifier of requirements.
func demand(t *testing.T, requirements ...string) *Verifier {
	t.Helper()
	return demandWith(t, Options{Now: func() time.Time { return now }}, requirements...)
}

func demandWith(t *testing.T, o Options, requirements ...string) *Verifier {
	t.Helper()
	var rs []Requirement
	for _, text := range requirements {
		r, err := ParseRequirement(text)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	v, err := NewVerifier(rs, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ask asks for the signers of an image in the place.
func ask(t *testing.T, v *Verifier, p *place, digest string) ([]images.Signer, error) {
	t.Helper()
	return v.Verify(t.Context(), images.SignatureRequest{Reference: "registry.example/app:1", Digest: digest, Store: p})
}

// wantSigner fails unless the one signer is there.
func wantSigner(t *testing.T, got []images.Signer, err error, want images.Signer) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != want {
		t.Fatalf("signers: got %v, want %v", got, want)
	}
}

// wantRefused fails unless the image was refused, for a reason that the text is part of.
func wantRefused(t *testing.T, got []images.Signer, err error, reason string) {
	t.Helper()
	var refused *NotSigned
	if !errors.As(err, &refused) || got != nil {
		t.Fatalf("got signers %v and error %v, want a refusal", got, err)
	}
	if !strings.Contains(err.Error(), reason) {
		t.Fatalf("refusal: got\n%v\nwant it to say\n%s", err, reason)
	}
	if strings.ContainsAny(err.Error(), "\n\r\x1b") {
		t.Fatalf("refusal: got %q, want one line", err)
	}
}

func writeFile(t *testing.T, name string, raw []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustBase64(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func hexOf(raw []byte) string { return hex.EncodeToString(raw) }
