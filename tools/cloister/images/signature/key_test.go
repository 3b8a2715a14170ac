package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

func keySigner(t *testing.T, key crypto.PublicKey) images.Signer {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return images.Signer{Kind: "cosign", Identity: fmt.Sprintf("key:sha256:%x", sha256.Sum256(der))}
}

// TestKeyEachKind signs with each kind of key as cosign's versions do, in both formats.
func TestKeyEachKind(t *testing.T) {
	curve := func(c elliptic.Curve) crypto.Signer {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384 := curve(elliptic.P384())
	for _, c := range []struct {
		name string
		key  crypto.Signer
		hash crypto.Hash
	}{
		{"p256", p256(t), crypto.SHA256},
		{"p384-sha256", p384, crypto.SHA256},
		{"p384-sha384", p384, crypto.SHA384},
		{"p521-sha512", curve(elliptic.P521()), crypto.SHA512},
		{"rsa-2048", rsaKey(t, 2048), crypto.SHA256},
		{"ed25519", ed, 0},
	} {
		v := demand(t, writeFile(t, "cosign.pub", pemKey(t, c.key.Public())))
		t.Run(c.name+"/tag", func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.simple(digest, payloadOf(digest), map[string]string{signatureKey: b64(signWith(t, c.key, payloadOf(digest), c.hash))})
			got, err := ask(t, v, p, digest)
			wantSigner(t, got, err, keySigner(t, c.key.Public()))
		})
		t.Run(c.name+"/bundle", func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.bundle(keyBundle(t, c.key, statementOf(digest, signPredicate), c.hash).raw(t), nil)
			got, err := ask(t, v, p, digest)
			wantSigner(t, got, err, keySigner(t, c.key.Public()))
		})
	}
}

// TestKeySimpleRefused has one mutant a check of the first format.
func TestKeySimpleRefused(t *testing.T) {
	key, other := p256(t), p256(t)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
	sign := func(payload []byte) map[string]string {
		return map[string]string{signatureKey: b64(signWith(t, key, payload, crypto.SHA256))}
	}
	const elsewhere = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	good := func(d string) string { return string(payloadOf(d)) }
	for _, c := range []struct {
		name        string
		payload     func(digest string) string
		annotations func(payload []byte) map[string]string
		reason      string
	}{
		{"other-digest", func(string) string { return good(elsewhere) }, sign, "is of \"" + elsewhere + "\", not of sha256:"},
		{"other-key", good, func(p []byte) map[string]string {
			return map[string]string{signatureKey: b64(signWith(t, other, p, crypto.SHA256))}
		}, "does not verify with key:sha256:"},
		{"payload-changed", good, func(p []byte) map[string]string { return sign(append([]byte(" "), p...)) }, "does not verify with"},
		{"type", func(d string) string {
			return strings.Replace(good(d), "cosign container image signature", "atomic container signature", 1)
		}, sign, "critical.type: got \"atomic container signature\""},
		{"type-missing", func(d string) string {
			return strings.Replace(good(d), `,"type":"cosign container image signature"`, "", 1)
		}, sign, "critical.type: got \"\""},
		{"critical-unknown", func(d string) string { return strings.Replace(good(d), `"critical":{`, `"critical":{"expires":1,`, 1) }, sign, "unknown field \"expires\""},
		{"critical-twice", func(d string) string {
			return strings.Replace(good(d), `{"critical":`, `{"critical":{},"critical":`, 1)
		}, sign, "duplicate field"},
		{"critical-case", func(d string) string {
			return strings.Replace(good(d), `docker-manifest-digest`, `Docker-Manifest-Digest`, 1)
		}, sign, "unknown field"},
		{"digest-missing", func(d string) string {
			return strings.Replace(good(d), `"docker-manifest-digest":"`+d+`"`, "", 1)
		}, sign, "docker-manifest-digest is missing"},
		{"not-json", func(string) string { return "signed" }, sign, "payload:"},
		{"no-signature", good, func([]byte) map[string]string { return nil }, "annotation " + signatureKey + " is missing"},
		{"signature-not-base64", good, func([]byte) map[string]string { return map[string]string{signatureKey: "%%"} }, "illegal base64"},
		{"oversize-payload", func(d string) string { return good(d) + strings.Repeat(" ", maxPayload) }, sign, "want at most 65536"},
		{"oversize-annotation", good, func(p []byte) map[string]string {
			a := sign(p)
			a[chainKey] = strings.Repeat("x", maxAnnotation+1)
			return a
		}, "want at most 262144"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			payload := []byte(c.payload(digest))
			p.simple(digest, payload, c.annotations(payload))
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, c.reason)
		})
	}
}

// TestKeyBundleRefused has one mutant a check of the bundle.
func TestKeyBundleRefused(t *testing.T) {
	key, other := p256(t), p256(t)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
	const elsewhere = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for _, c := range []struct {
		name   string
		bundle func(digest string) []byte
		reason string
	}{
		{"other-digest", func(string) []byte {
			return keyBundle(t, key, statementOf(elsewhere, signPredicate), crypto.SHA256).raw(t)
		}, "digest does not match"},
		{"other-key", func(d string) []byte {
			return keyBundle(t, other, statementOf(d, signPredicate), crypto.SHA256).raw(t)
		}, "does not verify with key:sha256:"},
		{"attestation", func(d string) []byte {
			return keyBundle(t, key, statementOf(d, "https://slsa.dev/provenance/v1"), crypto.SHA256).raw(t)
		}, "is an attestation of type \"https://slsa.dev/provenance/v1\", want \"" + signPredicate + "\""},
		{"payload-type", func(d string) []byte {
			b := keyBundle(t, key, statementOf(d, signPredicate), crypto.SHA256)
			b.payloadType = "application/json"
			b.signature = signWith(t, key, pae(b.payloadType, b.payload), crypto.SHA256)
			return b.raw(t)
		}, "unsupported DSSE payload type"},
		{"payload-type-relabelled", func(d string) []byte {
			b := keyBundle(t, key, statementOf(d, signPredicate), crypto.SHA256)
			b.signature = signWith(t, key, pae("application/json", b.payload), crypto.SHA256)
			return b.raw(t)
		}, "could not verify envelope"},
		{"statement-type", func(d string) []byte {
			s := strings.Replace(string(statementOf(d, signPredicate)), "in-toto.io/Statement/v1", "in-toto.io/Statement/v9", 1)
			return keyBundle(t, key, []byte(s), crypto.SHA256).raw(t)
		}, "statement: got type"},
		{"payload-changed", func(d string) []byte {
			b := keyBundle(t, key, statementOf(elsewhere, signPredicate), crypto.SHA256)
			b.payload = statementOf(d, signPredicate)
			return b.raw(t)
		}, "could not verify envelope"},
		{"with-certificate", func(d string) []byte {
			return newAuthority(t).identityBundle(t, testIdentity, testIssuer, statementOf(d, signPredicate), now).raw(t)
		}, "expected key signature, not certificate"},
		{"not-a-bundle", func(string) []byte { return []byte(`{"mediaType":"text/plain"}`) }, "not a bundle"},
		{"empty", func(string) []byte { return []byte(`{}`) }, "not a bundle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.bundle(c.bundle(digest), nil)
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, c.reason)
		})
	}
}

// TestKeyAlgorithmConfusion signs with other algorithms of the right key: the key's kind decides, not the signature.
func TestKeyAlgorithmConfusion(t *testing.T) {
	key := rsaKey(t, 2048)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
	p := newPlace()
	digest := p.image()
	sum := crypto.SHA1.New()
	sum.Write(payloadOf(digest))
	weak, err := key.Sign(rand.Reader, sum.Sum(nil), crypto.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	p.simple(digest, payloadOf(digest), map[string]string{signatureKey: b64(weak)})
	got, err := ask(t, v, p, digest)
	wantRefused(t, got, err, "does not verify")
}

// TestKeyAttestationOnRequest takes an attestation where one is asked for, and then no signature.
func TestKeyAttestationOnRequest(t *testing.T) {
	const provenance = "https://slsa.dev/provenance/v1"
	key := p256(t)
	v := demand(t, "cosign:key="+writeFile(t, "cosign.pub", pemKey(t, key.Public()))+",predicate="+provenance)
	p := newPlace()
	digest := p.image()
	p.bundle(keyBundle(t, key, statementOf(digest, provenance), crypto.SHA256).raw(t), map[string]string{predicateTypeNote: provenance})
	got, err := ask(t, v, p, digest)
	signer := keySigner(t, key.Public())
	signer.Identity += " attesting " + provenance
	wantSigner(t, got, err, signer)

	p = newPlace()
	p.simple(p.image(), payloadOf(digest), map[string]string{signatureKey: b64(signWith(t, key, payloadOf(digest), crypto.SHA256))})
	got, err = ask(t, v, p, digest)
	wantRefused(t, got, err, "is a signature, not an attestation")
}

// TestKeyIndex takes a signature over the index that names the manifest.
func TestKeyIndex(t *testing.T) {
	key := p256(t)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
	p := newPlace()
	digest := p.image()
	index := p.put("", "application/vnd.oci.image.index.v1+json", []byte(`{"manifests":[]}`))
	p.simple(index, payloadOf(index), map[string]string{signatureKey: b64(signWith(t, key, payloadOf(index), crypto.SHA256))})
	got, err := v.Verify(t.Context(), images.SignatureRequest{Reference: "app", Digest: digest, Index: index, Store: p})
	wantSigner(t, got, err, keySigner(t, key.Public()))

	got, err = ask(t, v, p, digest)
	wantRefused(t, got, err, "found nothing")
}

// TestKeyFiles refuses files that are no key for this.
func TestKeyFiles(t *testing.T) {
	small := rsaKey(t, 1024)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	for _, c := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"rsa-1024", pemKey(t, small.Public()), "got an RSA key of 1024 bits"},
		{"p224", pemKey(t, p224.Public()), "want P-256, P-384 or P-521"},
		{"certificate", pemOf(a.root), "got a certificate, want a public key"},
		{"two-keys", append(pemKey(t, p256(t).Public()), pemKey(t, p256(t).Public())...), "got 2 keys, want 1"},
		{"empty", nil, "got 0 keys, want 1"},
		{"garbage", []byte("key"), "want a PEM block PUBLIC KEY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseRequirement(writeFile(t, "key.pem", c.raw))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := NewVerifier([]Requirement{r}, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}
