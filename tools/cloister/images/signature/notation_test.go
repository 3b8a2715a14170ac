package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-containerregistry/pkg/v1/types"
	gocose "github.com/veraison/go-cose"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

var acme = images.Signer{Kind: "notation", Identity: companySigner}

// manifestOf is the descriptor's part of the image in the place.
func manifestOf(p *place, digest string) []byte {
	return notaryPayload(string(types.OCIManifestSchema1), digest, len(p.manifests[digest]))
}

func TestNotationEachKind(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		key  crypto.Signer
		alg  string
		hash crypto.Hash
	}{
		{"es256", p256(t), "ES256", crypto.SHA256},
		{"es384", p384, "ES384", crypto.SHA384},
		{"ps256", rsaKey(t, 2048), "PS256", crypto.SHA256},
	} {
		t.Run(c.name, func(t *testing.T) {
			co := newCompanyWith(t, c.key, nil)
			p := newPlace()
			digest := p.image()
			e := co.parts(manifestOf(p, digest))
			e.header["alg"], e.hash = c.alg, c.hash
			p.envelope(envelopeJWS, e.jws(t))
			got, err := ask(t, demand(t, co.requirement(t)), p, digest)
			wantSigner(t, got, err, acme)
		})
	}
	t.Run("cose", func(t *testing.T) {
		co := newCompany(t)
		p := newPlace()
		digest := p.image()
		p.envelope(envelopeCOSE, co.parts(manifestOf(p, digest)).cose(t, nil))
		got, err := ask(t, demand(t, co.requirement(t)), p, digest)
		wantSigner(t, got, err, acme)
	})
}

// TestNotationRefused has one mutant a check.
func TestNotationRefused(t *testing.T) {
	co, stranger := newCompany(t), newCompany(t)
	v := demand(t, co.requirement(t))
	const elsewhere = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	header := func(name string, value any, crit ...any) func(*envelopeParts) {
		return func(e *envelopeParts) {
			e.header[name] = value
			e.header["crit"] = append(e.header["crit"].([]any), crit...)
		}
	}
	without := func(name string) func(*envelopeParts) {
		return func(e *envelopeParts) { delete(e.header, name) }
	}
	payload := func(f func(digest string, size int) string) func(*envelopeParts) {
		return func(e *envelopeParts) {
			p := newPlace()
			d := p.image()
			e.payload = []byte(f(d, len(p.manifests[d])))
		}
	}
	manifest := string(types.OCIManifestSchema1)
	for _, c := range []struct {
		name   string
		change func(e *envelopeParts)
		reason string
	}{
		{"other-digest", payload(func(_ string, n int) string { return string(notaryPayload(manifest, elsewhere, n)) }), "is of \"" + elsewhere},
		{"other-size", payload(func(d string, n int) string { return string(notaryPayload(manifest, d, n+1)) }), "payload: size: got"},
		{"other-media-type", payload(func(d string, n int) string { return string(notaryPayload("text/plain", d, n)) }), "payload: mediaType: got \"text/plain\""},
		{"no-target", payload(func(string, int) string { return `{}` }), "targetArtifact is missing"},
		{"target-twice", payload(func(d string, n int) string {
			return strings.Replace(string(notaryPayload(manifest, d, n)), `{"targetArtifact"`, `{"targetArtifact":null,"targetArtifact"`, 1)
		}), "duplicate field"},
		{"content-type", header("cty", "text/plain"), "payload: got content type \"text/plain\""},
		{"other-roots", func(e *envelopeParts) {
			e.chain, e.key = []*x509.Certificate{stranger.leaf, stranger.root}, stranger.key
		}, "which is not among the roots"},
		{"chain-swapped", func(e *envelopeParts) { e.chain[1] = stranger.root }, "is not issued by"},
		{"chain-short", func(e *envelopeParts) { e.chain = e.chain[:1] }, "invalid self-signed certificate"},
		{"no-chain", func(e *envelopeParts) { e.chain = nil }, "certificate chain is not present"},
		{"other-key", func(e *envelopeParts) { e.key = stranger.key }, "verification error"},
		{"payload-changed", func(e *envelopeParts) {
			e.signature = func(m []byte) []byte { return joseSignature(t, co.key, append(m, 'A'), crypto.SHA256) }
		}, "verification error"},
		{"expired", header("io.cncf.notary.expiry", now.Add(-time.Second).Format(time.RFC3339), "io.cncf.notary.expiry"), "expiry cannot be equal or before the signing time"},
		{"expired-since", func(e *envelopeParts) {
			header("io.cncf.notary.signingTime", now.Add(-time.Hour).Format(time.RFC3339))(e)
			header("io.cncf.notary.expiry", now.Format(time.RFC3339), "io.cncf.notary.expiry")(e)
		}, "expired at 2026-05-04T12:00:00Z"},
		{"expiry-not-critical", header("io.cncf.notary.expiry", now.Add(time.Hour).Format(time.RFC3339)), "not marked as critical"},
		{"unknown-critical", header("io.acme.only-for", "staging", "io.acme.only-for"), "attribute \"io.acme.only-for\" is critical and not understood"},
		{"verification-plugin", header("io.cncf.notary.verificationPlugin", "acme", "io.cncf.notary.verificationPlugin"), "is critical and not understood"},
		{"critical-missing", header("x", 1, "io.acme.absent"), "marked critical but not present"},
		{"no-critical", without("crit"), "crit"},
		{"scheme-unknown", header("io.cncf.notary.signingScheme", "acme.mine"), "unsupported SigningScheme"},
		{"scheme-authority", func(e *envelopeParts) {
			delete(e.header, "io.cncf.notary.signingTime")
			header("io.cncf.notary.signingScheme", "notary.x509.signingAuthority")(e)
			header("io.cncf.notary.authenticSigningTime", now.Format(time.RFC3339), "io.cncf.notary.authenticSigningTime")(e)
		}, "names no authorities="},
		{"no-signing-time", without("io.cncf.notary.signingTime"), "signing-time not present"},
		{"alg-none", func(e *envelopeParts) {
			e.header["alg"] = "none"
			e.signature = func([]byte) []byte { return []byte{} }
		}, "signing method none is invalid"},
		{"alg-hmac-with-the-public-key", func(e *envelopeParts) {
			e.header["alg"] = "HS256"
			e.signature = func(m []byte) []byte {
				h := hmac.New(sha256.New, co.leaf.RawSubjectPublicKeyInfo)
				h.Write(m)
				return h.Sum(nil)
			}
		}, "signing method HS256 is invalid"},
		{"alg-other-family", func(e *envelopeParts) { e.header["alg"] = "PS256" }, "key is invalid"},
		{"long-chain", func(e *envelopeParts) {
			for len(e.chain) <= maxChain {
				e.chain = append(e.chain, co.root)
			}
		}, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			e := co.parts(manifestOf(p, digest))
			c.change(e)
			p.envelope(envelopeJWS, e.jws(t))
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, c.reason)
		})
	}
	for _, c := range []struct{ name, media, raw, reason string }{
		{"jws-garbage", envelopeJWS, "{", "unexpected end of JSON"},
		{"jws-empty", envelopeJWS, "{}", "certificate chain is not present"},
		{"cose-garbage", envelopeCOSE, "\xff", "invalid"},
		{"oversize", envelopeJWS, strings.Repeat(" ", maxEnvelope+1), "want at most 1048576"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.envelope(c.media, []byte(c.raw))
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, c.reason)
		})
	}
}

// TestNotationCOSERefused has the checks that COSE does by code of its own.
func TestNotationCOSERefused(t *testing.T) {
	co := newCompany(t)
	v := demand(t, co.requirement(t))
	scheme := "io.cncf.notary.signingScheme"
	for _, c := range []struct {
		name   string
		more   gocose.ProtectedHeader
		reason string
	}{
		{"unknown-critical", gocose.ProtectedHeader{"io.acme.x": "1", gocose.HeaderLabelCritical: []any{scheme, "io.acme.x"}}, "is critical and not understood"},
		{"expired", gocose.ProtectedHeader{
			"io.cncf.notary.signingTime": cbor.Tag{Number: 1, Content: now.Unix() - 100},
			"io.cncf.notary.expiry":      cbor.Tag{Number: 1, Content: now.Unix() - 50}, gocose.HeaderLabelCritical: []any{scheme, "io.cncf.notary.expiry"},
		}, "expired at"},
		{"scheme-not-critical", gocose.ProtectedHeader{gocose.HeaderLabelCritical: []any{"io.cncf.notary.signingTime"}}, "not marked as critical"},
		{"scheme-unknown", gocose.ProtectedHeader{scheme: "acme"}, "unsupported signingScheme"},
		{"content-type", gocose.ProtectedHeader{gocose.HeaderLabelContentType: "text/plain"}, "got content type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.envelope(envelopeCOSE, co.parts(manifestOf(p, digest)).cose(t, c.more))
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, c.reason)
		})
	}
	t.Run("every-byte", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		raw := co.parts(manifestOf(p, digest)).cose(t, nil)
		for i := range raw {
			mutant := append([]byte(nil), raw...)
			mutant[i] ^= 0x20
			if s, err := v.checks[0].judge(t.Context(), candidate{envelope: &envelope{envelopeCOSE, mutant}}, &target{[]string{digest}, p}); err == nil {
				t.Fatalf("byte %d of %d changed: got signer %v, want an error", i, len(raw), s)
			}
		}
	})
}

// TestNotationSubject compares the certificate's subject with what is wanted.
func TestNotationSubject(t *testing.T) {
	co := newCompany(t)
	for _, c := range []struct {
		subject string
		takes   bool
	}{
		{companySubject, true},
		{companySubject + ", CN=builds", true},
		{"x509.subject: " + companySubject, true},
		{"*", true},
		{`CN=builds, O=Acme\, Inc., S=Berlin, C=DE`, true},
		{companySubject + ", CN=other", false},
		{`C=DE, ST=Berlin, O=Acme`, false},
		{companySubject + ", OU=dev", false},
		{`C=DE, ST=berlin, O=Acme\, Inc.`, false},
	} {
		t.Run(c.subject, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.envelope(envelopeJWS, co.parts(manifestOf(p, digest)).jws(t))
			v := demand(t, "notation:subject="+c.subject+",roots="+co.roots(t))
			got, err := ask(t, v, p, digest)
			if c.takes {
				wantSigner(t, got, err, acme)
			} else {
				wantRefused(t, got, err, "is by \"C=DE, ST=Berlin")
			}
			if took := v.checks[0].takes(acme); took != c.takes {
				t.Fatalf("recorded signer: got %t, want %t", took, c.takes)
			}
		})
	}
	for _, other := range []string{"Mallory", "Mallory and Sons Limited"} { // DER sorts by length: before and after the right one
		t.Run("two-organisations/"+other, func(t *testing.T) {
			co := newCompanyWith(t, p256(t), func(c *x509.Certificate) {
				c.Subject = pkix.Name{Country: []string{"DE"}, Province: []string{"Berlin"}, Organization: []string{"Acme, Inc.", other}}
			})
			p := newPlace()
			digest := p.image()
			p.envelope(envelopeJWS, co.parts(manifestOf(p, digest)).jws(t))
			got, err := ask(t, demand(t, co.requirement(t)), p, digest)
			wantRefused(t, got, err, "want C=DE")
		})
	}
}

// TestNotationTime judges certificates at the time that the scheme and the stamps give.
func TestNotationTime(t *testing.T) {
	old := newCompanyWith(t, p256(t), func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(0, -3, 0), now.AddDate(0, -2, 0) })
	then := old.leaf.NotBefore.Add(time.Hour)
	a, stranger := newAuthority(t), newAuthority(t)
	_, _, tsa := a.files(t)
	lax := newAuthorityWith(t, false)
	_, _, laxTSA := lax.files(t)
	plain := old.requirement(t)
	authorities := plain + ",authorities=" + old.roots(t)
	byAuthority := func(at time.Time) func(*envelopeParts) {
		return func(e *envelopeParts) {
			delete(e.header, "io.cncf.notary.signingTime")
			e.header["io.cncf.notary.signingScheme"] = "notary.x509.signingAuthority"
			e.header["io.cncf.notary.authenticSigningTime"] = at.Format(time.RFC3339)
			e.header["crit"] = []any{"io.cncf.notary.signingScheme", "io.cncf.notary.authenticSigningTime"}
		}
	}
	stamped := func(by *authority, at time.Time, over []byte) func(*envelopeParts) {
		return func(e *envelopeParts) {
			e.stamp = func(sig []byte) []byte {
				if over != nil {
					sig = over
				}
				return by.stampToken(t, sig, at)
			}
		}
	}
	for _, c := range []struct {
		name        string
		requirement string
		change      func(*envelopeParts)
		reason      string // "" is taken
	}{
		{"lapsed", plain, func(*envelopeParts) {}, "was not valid now"},
		{"stamped", plain + ",tsa=" + tsa, stamped(a, then, nil), ""},
		{"stamped-but-no-stamper-trusted", plain, stamped(a, then, nil), "its time stamp does not count"},
		{"stamped-too-late", plain + ",tsa=" + tsa, stamped(a, now, nil), "was not valid at the time stamp"},
		{"stamped-over-something-else", plain + ",tsa=" + tsa, stamped(a, then, []byte("other")), "time stamp:"},
		{"stamped-by-a-stranger", plain + ",tsa=" + tsa, stamped(stranger, then, nil), "time stamp:"},
		{"stamped-by-somebody-lax", plain + ",tsa=" + laxTSA, stamped(lax, then, nil), "time stamp:"},
		{"stamp-garbage", plain + ",tsa=" + tsa, func(e *envelopeParts) { e.stamp = func([]byte) []byte { return []byte{0x30, 0} } }, "time stamp:"},
		{"authority", authorities, byAuthority(then), ""},
		{"authority-too-late", authorities, byAuthority(now), "was not valid at the authentic signing time"},
		{"authority-not-trusted-for-it", plain, byAuthority(then), "names no authorities="},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			e := old.parts(manifestOf(p, digest))
			c.change(e)
			p.envelope(envelopeJWS, e.jws(t))
			got, err := ask(t, demand(t, c.requirement), p, digest)
			if c.reason == "" {
				wantSigner(t, got, err, acme)
			} else {
				wantRefused(t, got, err, c.reason)
			}
		})
	}
}

// TestNotationLyingStore answers another manifest than was asked for.
func TestNotationLyingStore(t *testing.T) {
	co := newCompany(t)
	p := newPlace()
	digest := p.image()
	p.envelope(envelopeJWS, co.parts(manifestOf(p, digest)).jws(t))
	p.manifests[digest] = append(p.manifests[digest], ' ')
	got, err := ask(t, demand(t, co.requirement(t)), p, digest)
	wantRefused(t, got, err, "manifest: its bytes have the digest")
}

// TestNotationRootsDirectory reads a trust store: a directory of PEM and DER files.
func TestNotationRootsDirectory(t *testing.T) {
	co := newCompany(t)
	dir := t.TempDir()
	for name, raw := range map[string][]byte{"other.pem": pemOf(newCompany(t).root), "acme.crt": co.root.Raw, "README": []byte("not a certificate")} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := newPlace()
	digest := p.image()
	p.envelope(envelopeJWS, co.parts(manifestOf(p, digest)).jws(t))
	got, err := ask(t, demand(t, "notation:subject="+companySubject+",roots="+dir), p, digest)
	wantSigner(t, got, err, acme)

	for name, path := range map[string]string{"no certificate": t.TempDir(), "neither PEM nor DER": writeFile(t, "x.pem", []byte("x")), "no such file": dir + "/none"} {
		r, err := ParseRequirement("notation:subject=*,roots=" + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewVerifier([]Requirement{r}, Options{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Fatalf("roots %s: got %v, want it to say %q", path, err, name)
		}
	}
}
