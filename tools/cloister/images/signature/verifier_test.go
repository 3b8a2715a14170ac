package signature

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

func clock() time.Time { return now }

// TestUnsigned says what was looked for.
func TestUnsigned(t *testing.T) {
	key, a, co := p256(t), newAuthority(t), newCompany(t)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())), byIdentity(t, a), co.requirement(t))
	p := newPlace()
	digest := p.image()
	got, err := ask(t, v, p, digest)
	wantRefused(t, got, err, "found nothing")
	for _, want := range []string{
		"cosign with " + keySigner(t, key.Public()).Identity, "cosign by " + testIdentity + " via " + testIssuer, "notation by " + companySubject,
		`image "registry.example/app:1" (` + digest + `) has no required signature`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("refusal: got %v, want it to say %s", err, want)
		}
	}
}

// TestOneOfSeveral takes an image that satisfies one requirement, and names everybody whose signature counts.
func TestOneOfSeveral(t *testing.T) {
	key, other, co := p256(t), p256(t), newCompany(t)
	v := demand(t, writeFile(t, "a.pub", pemKey(t, other.Public())), writeFile(t, "b.pub", pemKey(t, key.Public())), co.requirement(t))
	p := newPlace()
	digest := p.image()
	sign := func(k crypto.Signer) v1.Descriptor {
		return p.blob(simpleSigning, payloadOf(digest), map[string]string{signatureKey: b64(signWith(t, k, payloadOf(digest), crypto.SHA256))})
	}
	p.artifact(sigTag(digest), "", nil, sign(p256(t)), sign(key), sign(key))
	got, err := ask(t, v, p, digest)
	wantSigner(t, got, err, keySigner(t, key.Public()))

	p.envelope(envelopeJWS, co.parts(manifestOf(p, digest)).jws(t))
	got, err = ask(t, v, p, digest)
	if err != nil || len(got) != 2 || got[0] != keySigner(t, key.Public()) || got[1] != acme {
		t.Fatalf("signers: got %v, %v; want the key and the company", got, err)
	}
}

// TestBrokenNeighbours leaves a good signature standing beside broken ones: who may write there must not be able to break it.
func TestBrokenNeighbours(t *testing.T) {
	key := p256(t)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
	p := newPlace()
	digest := p.image()
	missing := v1.Descriptor{MediaType: simpleSigning, Size: 10, Digest: hash(digestOf([]byte("nowhere")))}
	p.artifact(sigTag(digest), "", nil, missing,
		p.blob(simpleSigning, []byte("{}"), nil),
		v1.Descriptor{MediaType: simpleSigning, Size: -1, Digest: missing.Digest},
		v1.Descriptor{MediaType: simpleSigning, Size: 1 << 40, Digest: missing.Digest},
		p.blob(simpleSigning, payloadOf(digest), map[string]string{signatureKey: b64(signWith(t, key, payloadOf(digest), crypto.SHA256))}))
	p.referrers = append(p.referrers, v1.Descriptor{Digest: missing.Digest, ArtifactType: notationArtifact}, v1.Descriptor{Digest: missing.Digest})
	p.bundle([]byte("{}"), nil)
	p.envelope(envelopeCOSE, []byte("\x00"))
	got, err := ask(t, v, p, digest)
	wantSigner(t, got, err, keySigner(t, key.Public()))
}

// TestUnwantedAttestationsAreNotRead does not fetch what nobody asked for.
func TestUnwantedAttestationsAreNotRead(t *testing.T) {
	key := p256(t)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
	p := newPlace()
	digest := p.image()
	p.bundle([]byte("{}"), map[string]string{predicateTypeNote: "https://spdx.dev/Document"})
	p.referrers = append(p.referrers, v1.Descriptor{Digest: hash(digest), ArtifactType: "application/vnd.acme.chart"})
	p.asked.Store(0)
	got, err := ask(t, v, p, digest)
	wantRefused(t, got, err, "is an attestation of type \"https://spdx.dev/Document\", which nobody asked for")
	if p.asked.Load() != 1 {
		t.Fatalf("manifests asked for: got %d, want 1 (the tag)", p.asked.Load())
	}
}

func TestBounds(t *testing.T) {
	key := p256(t)
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, key.Public())))
	t.Run("signatures", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		one := p.blob(simpleSigning, []byte("{}"), map[string]string{signatureKey: "AAAA"})
		layers := make([]v1.Descriptor, maxSignatures+1)
		for i := range layers {
			layers[i] = one
		}
		p.artifact(sigTag(digest), "", nil, layers...)
		if got, err := ask(t, v, p, digest); !errors.Is(err, errTooMany) {
			t.Fatalf("got %v, %v; want too many", got, err)
		}
		p.artifact(sigTag(digest), "", nil, layers[1:]...)
		got, err := ask(t, v, p, digest)
		wantRefused(t, got, err, "and 248 more")
	})
	t.Run("referrers", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		p.referrers = make([]v1.Descriptor, maxReferrers+1)
		if got, err := ask(t, v, p, digest); err == nil || !strings.Contains(err.Error(), "got 1001 manifests") {
			t.Fatalf("got %v, %v; want too many", got, err)
		}
	})
	t.Run("manifest", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		p.put(sigTag(digest), "", []byte(`{"layers":[`+strings.Repeat(" ", maxManifest)+`]}`))
		got, err := ask(t, v, p, digest)
		wantRefused(t, got, err, "want at most 1048576")
	})
	t.Run("total", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		one := p.blob(bundlePrefix, make([]byte, maxBundle), nil)
		p.artifact("", bundlePrefix, nil, one, one, one, one, one, one, one, one)
		if got, err := ask(t, v, p, digest); !errors.Is(err, errTooMany) {
			t.Fatalf("got %v, %v; want too many", got, err)
		}
	})
	t.Run("bundle", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		p.bundle(make([]byte, maxBundle+1), nil)
		got, err := ask(t, v, p, digest)
		wantRefused(t, got, err, "want at most 8388608")
		if p.read.Load() != 0 {
			t.Fatalf("blobs read: got %d, want 0: the descriptor said how large it is", p.read.Load())
		}
	})
}

// TestStoreFails is an error of its own: an unreachable place is not an unsigned image.
func TestStoreFails(t *testing.T) {
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, p256(t).Public())))
	p := newPlace()
	digest := p.image()
	p.err = errors.New("connection refused")
	got, err := ask(t, v, p, digest)
	var refused *NotSigned
	if !errors.Is(err, p.err) || errors.As(err, &refused) || got != nil {
		t.Fatalf("got %v, %v; want the store's error", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.err = nil
	p.simple(digest, payloadOf(digest), map[string]string{signatureKey: "AAAA"})
	if _, err := v.Verify(ctx, images.SignatureRequest{Digest: digest, Store: p}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's error", err)
	}
}

// TestLocked takes the signers of the lock file that a requirement would take, and a bundle all the same.
func TestLocked(t *testing.T) {
	key, co, a := p256(t), newCompany(t), newAuthority(t)
	keyFile := writeFile(t, "cosign.pub", pemKey(t, key.Public()))
	me := keySigner(t, key.Public())
	p := newPlace()
	digest := p.image()
	locked := newPlace()
	locked.err = images.ErrLocked
	attests := images.Signer{Kind: "cosign", Identity: me.Identity + " attesting https://slsa.dev/provenance/v1"}
	anyIssuer := strings.Replace(byIdentity(t, a), "issuer="+testIssuer, "issuer-regexp=.*", 1)
	mallory := images.Signer{Kind: "cosign", Identity: "mallory@acme.example via " + testIssuer}
	for _, c := range []struct {
		name        string
		requirement string
		recorded    []images.Signer
		want        *images.Signer
		reason      string
	}{
		{"key", keyFile, []images.Signer{mallory, me}, &me, ""},
		{"identity", byIdentity(t, a), []images.Signer{builder, mallory}, &builder, ""},
		{"notation", co.requirement(t), []images.Signer{acme, me}, &acme, ""},
		{"other-key", keyFile, []images.Signer{keySigner(t, p256(t).Public())}, nil, "in the lock file: \"cosign\" by \"key:sha256:"},
		{"other-identity", byIdentity(t, a), []images.Signer{mallory}, nil, "in the lock file"},
		{"subject-in-identity", byIdentity(t, a), []images.Signer{{Kind: "cosign", Identity: testIdentity + " via " + testIssuer + " via https://evil.example"}}, nil, "in the lock file"},
		{"other-kind", keyFile, []images.Signer{{Kind: "notation", Identity: me.Identity}}, nil, "in the lock file"},
		{"attestation-wanted", "cosign:key=" + keyFile + ",predicate=https://slsa.dev/provenance/v1", []images.Signer{me}, nil, "in the lock file"},
		{"attestation", "cosign:key=" + keyFile + ",predicate=https://slsa.dev/provenance/v1", []images.Signer{attests}, &attests, ""},
		{"attestation-of-another-type", "cosign:key=" + keyFile + ",predicate=https://slsa.dev/provenance/v2", []images.Signer{attests}, nil, "in the lock file"},
		{"attestation-is-no-signature", keyFile, []images.Signer{attests}, nil, "in the lock file"},
		{"attestation-of-an-identity", anyIssuer, []images.Signer{{Kind: "cosign", Identity: builder.Identity + " attesting https://x"}}, nil, "in the lock file"},
		{"any-issuer", anyIssuer, []images.Signer{builder}, &builder, ""},
		{"notation-other", co.requirement(t), []images.Signer{{Kind: "notation", Identity: "C=DE, ST=Berlin, O=Mallory"}}, nil, "in the lock file"},
		{"none", keyFile, nil, nil, "in the lock file: no signer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := demand(t, c.requirement).Verify(t.Context(), images.SignatureRequest{Reference: "app", Digest: digest, Store: locked, Recorded: c.recorded})
			if c.want != nil {
				wantSigner(t, got, err, *c.want)
			} else {
				wantRefused(t, got, err, c.reason)
			}
		})
	}
	t.Run("bundle", func(t *testing.T) {
		file := writeFile(t, "b.json", keyBundle(t, key, statementOf(digest, signPredicate), crypto.SHA256).raw(t))
		v := demandWith(t, Options{Bundles: []string{file}}, keyFile)
		got, err := v.Verify(t.Context(), images.SignatureRequest{Reference: "app", Digest: digest, Store: locked})
		wantSigner(t, got, err, me)
	})
	t.Run("recorded-does-not-count-unlocked", func(t *testing.T) {
		got, err := demand(t, keyFile).Verify(t.Context(), images.SignatureRequest{Reference: "app", Digest: digest, Store: p})
		wantRefused(t, got, err, "found nothing")
	})
}

// TestNoManifest refuses what no signature can name, whatever a bundle holds.
func TestNoManifest(t *testing.T) {
	v := demand(t, writeFile(t, "cosign.pub", pemKey(t, p256(t).Public())))
	got, err := v.Verify(t.Context(), images.SignatureRequest{Reference: "app", Store: newPlace()})
	wantRefused(t, got, err, "an archive without manifest")
	for _, digest := range []string{"sha512:00", "sha256:00", "sha256:" + strings.Repeat("A", 64), "x"} {
		if got, err := ask(t, v, newPlace(), digest); err == nil || !strings.Contains(err.Error(), "want sha256:") {
			t.Fatalf("digest %s: got %v, %v; want an error", digest, got, err)
		}
	}
}

// TestBundleFiles reads bundles from files and directories without asking the place.
func TestBundleFiles(t *testing.T) {
	key := p256(t)
	keyFile := writeFile(t, "cosign.pub", pemKey(t, key.Public()))
	p := newPlace()
	digest := p.image()
	good := keyBundle(t, key, statementOf(digest, signPredicate), crypto.SHA256).raw(t)
	bad := keyBundle(t, p256(t), statementOf(digest, signPredicate), crypto.SHA256).raw(t)
	dir := t.TempDir()
	for name, raw := range map[string][]byte{"a.json": bad, "b.jsonl": fmt.Appendf(nil, "%s\n%s\n", bad, good), "c.txt": []byte("not read")} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range map[string]string{"file": writeFile(t, "x.json", good), "directory": dir} {
		t.Run(name, func(t *testing.T) {
			v := demandWith(t, Options{Bundles: []string{path}}, keyFile)
			p.asked.Store(0)
			got, err := ask(t, v, p, digest)
			wantSigner(t, got, err, keySigner(t, key.Public()))
			if p.asked.Load() != 0 {
				t.Fatalf("the place was asked %d times, want 0", p.asked.Load())
			}
		})
	}
	r, err := ParseRequirement(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	many := strings.Repeat("{}\n", maxSignatures+1)
	for _, c := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "none"), "no such file"},
		{"empty-directory", t.TempDir(), "has neither an index.json nor a file"},
		{"empty-file", writeFile(t, "e.json", nil), "document 1: EOF"},
		{"not-json", writeFile(t, "n.json", []byte("{")), "document 1: unexpected EOF"},
		{"too-many", writeFile(t, "m.json", []byte(many)), "got more than 256 signatures"},
		{"too-large", writeFile(t, "l.json", make([]byte, maxBundle+1)), "got more than 8388608 bytes"},
		{"index-garbage", layoutWith(t, "{"), "index: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewVerifier([]Requirement{r}, Options{Bundles: []string{c.path}}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

// layoutWith is a directory with that index.json.
func layoutWith(t *testing.T, index string) string {
	t.Helper()
	return filepath.Dir(writeFile(t, "index.json", []byte(index)))
}

// TestBundleLayoutWrongBytes does not take a blob that has another digest than its name.
func TestBundleLayoutWrongBytes(t *testing.T) {
	s := samples(t)[0]
	dir := s.place.layout(t)
	name := filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(s.digest, "sha256:"))
	if err := os.WriteFile(name, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ParseRequirement(s.requirement)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewVerifier([]Requirement{r}, Options{Bundles: []string{dir}}); err == nil || !strings.Contains(err.Error(), "its bytes have the digest") {
		t.Fatalf("got %v, want another digest", err)
	}
}

// TestSideBySide judges one bundle for several images at a time.
func TestSideBySide(t *testing.T) {
	for _, s := range samples(t) {
		bundles := Options{Now: clock, Bundles: []string{s.place.layout(t)}}
		v := demandWith(t, bundles, s.requirement)
		var group errgroup.Group
		for range 8 {
			group.Go(func() error {
				_, err := v.Verify(t.Context(), images.SignatureRequest{Reference: s.name, Digest: s.digest, Store: s.place})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

func TestNothingRequired(t *testing.T) {
	if v, err := NewVerifier(nil, Options{}); err == nil {
		t.Fatalf("got %v, want an error: a verifier without requirement would take everything or nothing", v)
	}
	if v, err := NewVerifier([]Requirement{{}}, Options{}); err == nil {
		t.Fatalf("got %v, want an error: the requirement was not parsed", v)
	}
}
