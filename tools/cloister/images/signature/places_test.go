package signature

import (
	"archive/tar"
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// runnable puts an image with a layer into the place.
func (p *place) runnable(t *testing.T) string {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: 2}), second(w.Write([]byte("hi"))), w.Close()); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Cmd": []string{"/hello"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer.Bytes())}},
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: p.blob(types.OCIConfigJSON, config, nil),
		Layers: []v1.Descriptor{p.blob(types.OCIUncompressedLayer, layer.Bytes(), nil)},
	})
	if err != nil {
		t.Fatal(err)
	}
	digest := p.put("1", types.OCIManifestSchema1, raw)
	p.subject = &v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: hash(digest)}
	return digest
}

func second(_ int, err error) error { return err }

// rawManifest is something that remote.Put takes.
type rawManifest struct {
	raw   []byte
	media types.MediaType
}

func (m rawManifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return m.media, nil }

// push puts everything of the place into a registry.
func (p *place) push(t *testing.T, repo string) {
	t.Helper()
	r, err := name.NewRepository(repo)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range p.blobs {
		if err := remote.WriteLayer(r, static.NewLayer(raw, types.OCILayer)); err != nil {
			t.Fatal(err)
		}
	}
	for key, raw := range p.manifests {
		ref := repo + ":" + key
		if key == "" {
			continue
		}
		if strings.HasPrefix(key, "sha256:") {
			ref = repo + "@" + key
		}
		to, err := name.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Put(to, rawManifest{raw, p.media[key]}); err != nil {
			t.Fatal(err)
		}
	}
}

// layout writes everything of the place as an OCI layout.
func (p *place) layout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path string, raw []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for digest, raw := range p.blobs {
		write(filepath.Join(blobs, strings.TrimPrefix(digest, "sha256:")), raw)
	}
	var list []v1.Descriptor
	for key, raw := range p.manifests {
		digest := digestOf(raw)
		write(filepath.Join(blobs, strings.TrimPrefix(digest, "sha256:")), raw)
		d := v1.Descriptor{MediaType: p.media[key], Size: int64(len(raw)), Digest: hash(digest)}
		if key != "" && !strings.HasPrefix(key, "sha256:") {
			d.Annotations = map[string]string{"org.opencontainers.image.ref.name": key}
		} else if p.tagged(digest) {
			continue
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.Hex, b.Digest.Hex) })
	list = slices.CompactFunc(list, func(a, b v1.Descriptor) bool { return a.Digest == b.Digest })
	raw, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: list})
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "index.json"), raw)
	write(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

// tagged tells whether a manifest has a tag.
func (p *place) tagged(digest string) bool {
	for key, raw := range p.manifests {
		if key != "" && !strings.HasPrefix(key, "sha256:") && digestOf(raw) == digest {
			return true
		}
	}
	return false
}

// sample is an image signed in one of the ways, and the requirement that takes it.
type sample struct {
	name, requirement string
	place             *place
	digest            string
	signer            images.Signer
}

func samples(t *testing.T) []sample {
	t.Helper()
	key, a, co := p256(t), newAuthority(t), newCompany(t)
	keyFile := writeFile(t, "cosign.pub", pemKey(t, key.Public()))
	var list []sample
	add := func(name, requirement string, signer images.Signer, sign func(p *place, digest string)) {
		p := newPlace()
		digest := p.runnable(t)
		sign(p, digest)
		list = append(list, sample{name, requirement, p, digest, signer})
	}
	add("key-tag", keyFile, keySigner(t, key.Public()), func(p *place, d string) {
		p.simple(d, payloadOf(d), map[string]string{signatureKey: b64(signWith(t, key, payloadOf(d), crypto.SHA256))})
	})
	add("key-bundle", keyFile, keySigner(t, key.Public()), func(p *place, d string) {
		p.bundle(keyBundle(t, key, statementOf(d, signPredicate), crypto.SHA256).raw(t), map[string]string{predicateTypeNote: signPredicate})
	})
	add("key-referrer", keyFile, keySigner(t, key.Public()), func(p *place, d string) {
		p.artifact("", cosignArtifact, nil, p.blob(simpleSigning, payloadOf(d), map[string]string{signatureKey: b64(signWith(t, key, payloadOf(d), crypto.SHA256))}))
	})
	add("identity-tag", byIdentity(t, a), builder, func(p *place, d string) {
		p.simple(d, payloadOf(d), a.identitySimple(t, testIdentity, testIssuer, payloadOf(d), now))
	})
	add("identity-bundle", byIdentityFull(t, a), builder, func(p *place, d string) {
		p.bundle(a.identityBundle(t, testIdentity, testIssuer, statementOf(d, signPredicate), now).raw(t), nil)
	})
	add("notation", co.requirement(t), acme, func(p *place, d string) {
		p.envelope(envelopeJWS, co.parts(manifestOf(p, d)).jws(t))
	})
	return list
}

// resolve finds the image and its signers through the images package.
func resolve(t *testing.T, o images.Options, reference string) (*images.Image, error) {
	t.Helper()
	o.Cache = "-"
	r, err := images.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Image(t.Context(), reference)
}

// TestPlaces finds each signature in a registry, in a layout, and in bundles beside a layout that has none.
func TestPlaces(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	stranger := demand(t, writeFile(t, "cosign.pub", pemKey(t, p256(t).Public())))
	for _, s := range samples(t) {
		check := func(t *testing.T, v *Verifier, o images.Options, reference string) {
			t.Helper()
			o.Verify = v.Verify
			img, err := resolve(t, o, reference)
			if err != nil {
				t.Fatal(err)
			}
			wantSigner(t, img.Signers, nil, s.signer)
			o.Verify = stranger.Verify
			var refused *NotSigned
			if img, err := resolve(t, o, reference); !errors.As(err, &refused) {
				t.Fatalf("with another key: got %v, %v; want a refusal", img, err)
			}
		}
		t.Run(s.name+"/registry", func(t *testing.T) {
			repo := host + "/" + s.name
			s.place.push(t, repo)
			check(t, demand(t, s.requirement), images.Options{Registry: true}, repo+":1")
		})
		t.Run(s.name+"/layout", func(t *testing.T) {
			check(t, demand(t, s.requirement), images.Options{Archives: map[string]string{"registry.example/app:1": s.place.layout(t)}}, "registry.example/app:1")
		})
		t.Run(s.name+"/bundle-layout", func(t *testing.T) {
			bare := newPlace()
			if bare.runnable(t) != s.digest {
				t.Fatal("the image is not the same twice")
			}
			now := Options{Now: clock, Bundles: []string{s.place.layout(t)}}
			check(t, demandWith(t, now, s.requirement), images.Options{Archives: map[string]string{"registry.example/app:1": bare.layout(t)}}, "registry.example/app:1")
		})
	}
}
