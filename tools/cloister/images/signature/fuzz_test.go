package signature

import (
	"bytes"
	"context"
	"crypto"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

var update = flag.Bool("update", false, "make testdata/seeds anew")

// TestSeeds checks that the fuzz targets begin with signatures that are taken; with -update it makes them.
func TestSeeds(t *testing.T) {
	if *update {
		writeSeeds(t)
	}
	s := readSeeds(t)
	for name, raw := range map[string][]byte{"bundle": s.bundle, "logged bundle": s.logged} {
		if err := s.judge(candidate{bundle: raw}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for media, raw := range map[string][]byte{envelopeJWS: s.jws, envelopeCOSE: s.cose} {
		if err := s.judge(candidate{envelope: &envelope{media, raw}}); err != nil {
			t.Errorf("%s: %v", media, err)
		}
	}
}

func writeSeeds(t *testing.T) {
	key, a, co := p256(t), newAuthority(t), newCompany(t)
	p := newPlace()
	digest := p.image()
	e := co.parts(manifestOf(p, digest))
	for name, raw := range map[string][]byte{
		"cosign.pub": pemKey(t, key.Public()), "fulcio.pem": pemOf(a.middle, a.root), "rekor.pub": pemKey(t, a.rekor.Public()), "acme.pem": pemOf(co.root),
		"key.bundle.json":    keyBundle(t, key, statementOf(digest, signPredicate), crypto.SHA256).raw(t),
		"logged.bundle.json": a.identityBundle(t, testIdentity, testIssuer, statementOf(digest, signPredicate), now).raw(t),
		"notation.jws.json":  e.jws(t), "notation.cose": e.cose(t, nil),
	} {
		if err := os.MkdirAll("testdata/seeds", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata/seeds", name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// seeds are signatures of one image, and the verifier that takes them.
type seeds struct {
	bundle, logged, jws, cose []byte
	verifier                  *Verifier
	target                    *target
}

func readSeeds(t testing.TB) *seeds {
	t.Helper()
	p := newPlace()
	s := &seeds{
		bundle: read(t, "seeds/key.bundle.json"), logged: read(t, "seeds/logged.bundle.json"),
		jws: read(t, "seeds/notation.jws.json"), cose: read(t, "seeds/notation.cose"),
		target: &target{digests: []string{p.image()}, store: p},
	}
	var rs []Requirement
	for _, text := range []string{
		"testdata/seeds/cosign.pub",
		"testdata/genuine/dangerzone.pub",
		"cosign:identity=" + testIdentity + ",issuer=" + testIssuer + ",roots=testdata/seeds/fulcio.pem,rekor=testdata/seeds/rekor.pub",
		"cosign:" + bazelBy + google,
		"notation:subject=" + companySubject + ",roots=testdata/seeds/acme.pem",
	} {
		r, err := ParseRequirement(text)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	var err error
	if s.verifier, err = NewVerifier(rs, Options{Now: clock}); err != nil {
		t.Fatal(err)
	}
	return s
}

// judge is the last reason why a candidate is refused, nil if some check takes it.
func (s *seeds) judge(c candidate) error {
	var last error
	for _, check := range s.verifier.checks {
		if _, err := check.judge(context.Background(), c, s.target); err == nil {
			return nil
		} else if last == nil || strings.Contains(last.Error(), errOther.Error()) {
			last = err
		}
	}
	return last
}

// FuzzSimple changes genuine signatures of cosign's first format. Whatever is taken has the payload that was signed.
func FuzzSimple(f *testing.F) {
	s := readSeeds(f)
	signed := map[string]bool{}
	var digests []string
	for name, digest := range map[string]string{"dangerzone": dangerzone, "bazel": bazel} {
		payload := read(f, "genuine/"+name+".payload.json")
		signed[string(payload)] = true
		digests = append(digests, digest)
		m, err := v1.ParseManifest(bytes.NewReader(read(f, "genuine/"+name+".manifest.json")))
		if err != nil {
			f.Fatal(err)
		}
		for _, l := range m.Layers {
			a := l.Annotations
			f.Add(payload, a[signatureKey], a[certificateKey], a[chainKey], a[logEntryKey], a[timestampKey])
		}
	}
	s.target.digests = digests
	f.Fuzz(func(t *testing.T, payload []byte, sig, cert, chain, entry, stamp string) {
		parsed, err := parseSimple(payload, map[string]string{
			signatureKey: sig, certificateKey: cert, chainKey: chain, logEntryKey: entry, timestampKey: stamp,
		})
		if err != nil {
			return
		}
		if s.judge(candidate{simple: parsed}) == nil && !signed[string(payload)] {
			t.Fatalf("a payload that nobody signed was taken: %q", payload)
		}
	})
}

// FuzzPayload reads payloads: a digest comes from critical.image, or there is an error.
func FuzzPayload(f *testing.F) {
	for _, name := range []string{"dangerzone", "bazel"} {
		f.Add(read(f, "genuine/"+name+".payload.json"))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		digest, err := signedDigest(payload)
		if (digest == "") != (err != nil) {
			t.Fatalf("got digest %q with error %v", digest, err)
		}
		if err == nil && !bytes.Contains(payload, []byte("critical")) {
			t.Fatalf("got digest %q from a payload without critical", digest)
		}
	})
}

// FuzzBundle changes bundles by a key and by an identity. Whatever is taken names the image in what was signed.
func FuzzBundle(f *testing.F) {
	s := readSeeds(f)
	for _, raw := range [][]byte{s.bundle, s.logged, read(f, "genuine/sigstore-js.bundle.json")} {
		f.Add(raw)
	}
	other := &seeds{verifier: s.verifier, target: &target{digests: []string{digestOf([]byte("another image"))}, store: newPlace()}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if other.judge(candidate{bundle: raw}) == nil {
			t.Fatalf("taken for an image that nobody signed: %q", raw)
		}
		_ = s.judge(candidate{bundle: raw})
	})
}

// FuzzEnvelope changes envelopes of the Notary Project in both forms. None is taken for another image.
func FuzzEnvelope(f *testing.F) {
	s := readSeeds(f)
	f.Add(false, s.jws)
	f.Add(true, s.cose)
	p := newPlace()
	elsewhere := p.put("", types.OCIManifestSchema1, []byte(`{"schemaVersion":2}`))
	other := &seeds{verifier: s.verifier, target: &target{digests: []string{elsewhere}, store: p}}
	f.Fuzz(func(t *testing.T, binary bool, raw []byte) {
		media := envelopeJWS
		if binary {
			media = envelopeCOSE
		}
		c := candidate{envelope: &envelope{media, raw}}
		if other.judge(c) == nil {
			t.Fatalf("taken for an image that nobody signed: %q", raw)
		}
		content, err := openEnvelope(c.envelope)
		if (content == nil) == (err == nil) {
			t.Fatalf("got content %v with error %v", content, err)
		}
	})
}

// FuzzManifest reads manifests of signatures: bounded, and everything in them is a candidate, a note or ignored.
func FuzzManifest(f *testing.F) {
	for _, name := range []string{"dangerzone", "bazel"} {
		f.Add(read(f, "genuine/"+name+".manifest.json"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := newPlace()
		p.blob(simpleSigning, []byte("{}"), nil)
		var g gathered
		err := g.manifest(t.Context(), "seed", raw, p)
		if len(g.candidates) > maxSignatures || len(g.notes) > maxSignatures {
			t.Fatalf("got %d candidates and %d notes", len(g.candidates), len(g.notes))
		}
		if err != nil && len(g.candidates) < maxSignatures {
			t.Fatalf("got error %v with %d candidates", err, len(g.candidates))
		}
		for _, n := range g.notes {
			if strings.ContainsAny(n, "\n\r\x1b") {
				t.Fatalf("note: got %q, want one line", n)
			}
		}
	})
}

// FuzzRequirement parses requirements: what is taken has what its kind needs.
func FuzzRequirement(f *testing.F) {
	for _, text := range []string{
		"cosign.pub", "cosign:key=a", `cosign:identity=a\,roots=b,issuer=i, roots=r,tsa=t`,
		`notation:subject=C=US, ST=WA, O=a\, b,roots=certs`, "notation:subject=*,roots=r,authorities=a",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRequirement(text)
		if err != nil {
			if r.values != nil {
				t.Fatalf("got values %v with error %v", r.values, err)
			}
			return
		}
		if !r.has("key") && !r.has("roots") {
			t.Fatalf("%q: got %v, which trusts nothing", text, r.values)
		}
		for _, name := range slices.Sorted(maps.Keys(r.values)) {
			if !slices.Contains(members[r.kind], name) || r.values[name] == "" {
				t.Fatalf("%q: got %s=%q", text, name, r.values[name])
			}
		}
	})
}

// FuzzSubject reads names: what is read is written so that it is read the same, and matches itself.
func FuzzSubject(f *testing.F) {
	for _, text := range []string{companySubject, companySigner, `C=US,ST=\ a\ ,O=x\\y\;`, "2.5.4.3=a, UID=b", "S=a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseDN(text)
		if err != nil {
			return
		}
		again, err := parseDN(s.String())
		if err != nil || !slices.Equal(s, again) {
			t.Fatalf("%q: got %q, then %q, %v", text, s, again, err)
		}
		if !s.matches(again) {
			t.Fatalf("%q does not match itself", s)
		}
	})
}

// FuzzLockedSigner compares recorded signers: only exactly what is required is taken.
func FuzzLockedSigner(f *testing.F) {
	s := readSeeds(f)
	f.Add("cosign", testIdentity+via+testIssuer)
	f.Add("notation", companySigner)
	f.Fuzz(func(t *testing.T, kind, identity string) {
		for _, c := range s.verifier.checks[:4] {
			if c.takes(images.Signer{Kind: kind, Identity: identity}) && !strings.Contains(c.String(), identity) {
				t.Fatalf("%s takes %q", c, identity)
			}
		}
	})
}
