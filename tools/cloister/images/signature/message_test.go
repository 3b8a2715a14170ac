package signature

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// messageBundle is a bundle with a bare signature over bytes, and the digest that it says they have.
func messageBundle(t testing.TB, sig []byte, digest []byte) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}},
		"messageSignature": map[string]any{
			"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": digest}, "signature": sig,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestMessageSignature takes a signature over the manifest's bytes, and no other.
func TestMessageSignature(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"p256": p256(t), "rsa": rsaKey(t, 2048), "ed25519": ed} {
		v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
		p := newPlace()
		digest := p.image()
		manifest := p.manifests[digest]
		sum := sha256.Sum256(manifest)
		for _, c := range []struct {
			name    string
			message []byte
			reason  string
		}{
			{"manifest", manifest, ""},
			{"something-else", []byte("something else"), "does not verify with"},
			// sigstore-go v1.3.0, given a digest only, verifies pure Ed25519 over an empty message: whoever has the key's signature
			// over an empty file could sign any image with it.
			{"empty-message", nil, "does not verify with"},
			{"digest", sum[:], "does not verify with"},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				p.referrers = nil
				p.bundle(messageBundle(t, signWith(t, key, c.message, crypto.SHA256), sum[:]), nil)
				got, err := ask(t, v, p, digest)
				if c.reason == "" {
					wantSigner(t, got, err, keySigner(t, key.Public()))
				} else {
					wantRefused(t, got, err, c.reason)
				}
			})
		}
		t.Run(name+"/other-digest-named", func(t *testing.T) {
			p.referrers = nil
			p.bundle(messageBundle(t, signWith(t, key, manifest, crypto.SHA256), make([]byte, 32)), nil)
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, "does not verify with")
		})
	}
}

// TestMessageSignatureIsNoAttestation refuses it where an attestation is wanted, and where the manifest is out of reach.
func TestMessageSignatureIsNoAttestation(t *testing.T) {
	key := p256(t)
	file := writeFile(t, "cosign.pub", pemKey(t, key.Public()))
	p := newPlace()
	digest := p.image()
	sum := sha256.Sum256(p.manifests[digest])
	raw := messageBundle(t, signWith(t, key, p.manifests[digest], crypto.SHA256), sum[:])
	p.bundle(raw, nil)
	got, err := ask(t, demand(t, "cosign:key="+file+",predicate=https://slsa.dev/provenance/v1"), p, digest)
	wantRefused(t, got, err, "is a signature, not an attestation")

	locked := newPlace()
	locked.err = images.ErrLocked
	v := demandWith(t, Options{Bundles: []string{writeFile(t, "b.json", raw)}}, file)
	got, err = v.Verify(t.Context(), images.SignatureRequest{Reference: "app", Digest: digest, Store: locked})
	wantRefused(t, got, err, "read the manifest that is signed")
}
