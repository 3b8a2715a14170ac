package signature

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

var builder = images.Signer{Kind: "cosign", Identity: testIdentity + " via " + testIssuer}

// byIdentity is a requirement for the tests' builder with the authority's log.
func byIdentity(t *testing.T, a *authority, more ...string) string {
	t.Helper()
	roots, rekor, _ := a.files(t)
	return strings.Join(append([]string{"cosign:identity=" + testIdentity, "issuer=" + testIssuer, "roots=" + roots, "rekor=" + rekor}, more...), ",")
}

func TestIdentityLogged(t *testing.T) {
	a := newAuthority(t)
	v := demand(t, byIdentity(t, a))
	t.Run("tag", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		p.simple(digest, payloadOf(digest), a.identitySimple(t, testIdentity, testIssuer, payloadOf(digest), now))
		got, err := ask(t, v, p, digest)
		wantSigner(t, got, err, builder)
	})
	t.Run("bundle", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		b := a.identityBundle(t, testIdentity, testIssuer, statementOf(digest, signPredicate), now)
		p.bundle(b.raw(t), nil)
		got, err := ask(t, demand(t, byIdentityFull(t, a)), p, digest)
		wantSigner(t, got, err, builder)
	})
}

// byIdentityFull names roots that hold the intermediate too.
func byIdentityFull(t *testing.T, a *authority, more ...string) string {
	t.Helper()
	_, rekor, _ := a.files(t)
	roots := writeFile(t, "chain.pem", pemOf(a.middle, a.root))
	return strings.Join(append([]string{"cosign:identity=" + testIdentity, "issuer=" + testIssuer, "roots=" + roots, "rekor=" + rekor}, more...), ",")
}

// TestIdentityStamped judges the certificate at a time stamp, without a log.
func TestIdentityStamped(t *testing.T) {
	a := newAuthority(t)
	_, _, tsa := a.files(t)
	roots := writeFile(t, "chain.pem", pemOf(a.middle, a.root))
	v := demand(t, "cosign:identity="+testIdentity+",issuer="+testIssuer+",roots="+roots+",tsa="+tsa)
	p := newPlace()
	digest := p.image()
	for _, c := range []struct {
		name   string
		at     time.Time
		over   []byte
		refuse string
	}{
		{"in-time", now, nil, ""},
		{"late", now.Add(time.Hour), nil, "leaf certificate verification failed"},
		{"early", now.Add(-time.Hour), nil, "leaf certificate verification failed"},
		{"over-something-else", now, []byte("other"), "unable to verify signed timestamps"},
		{"none", time.Time{}, nil, "threshold not met for verified signed timestamps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.referrers = nil
			b := a.identityBundle(t, testIdentity, testIssuer, statementOf(digest, signPredicate), now)
			b.entries = nil
			over := b.signature
			if c.over != nil {
				over = c.over
			}
			if !c.at.IsZero() {
				b.stamps = []any{map[string]any{"signedTimestamp": a.stamp(t, over, c.at)}}
			}
			p.bundle(b.raw(t), nil)
			got, err := ask(t, v, p, digest)
			if c.refuse == "" {
				wantSigner(t, got, err, builder)
			} else {
				wantRefused(t, got, err, c.refuse)
			}
		})
	}
	t.Run("tag", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		annotations := a.identitySimple(t, testIdentity, testIssuer, payloadOf(digest), now)
		delete(annotations, logEntryKey)
		sig := mustBase64(t, annotations[signatureKey])
		annotations[timestampKey] = fmt.Sprintf(`{"SignedRFC3161Timestamp":%q}`, b64(a.stamp(t, sig, now)))
		p.simple(digest, payloadOf(digest), annotations)
		got, err := ask(t, v, p, digest)
		wantSigner(t, got, err, builder)
	})
}

// TestIdentitySimpleRefused has one mutant a check of the first format.
func TestIdentitySimpleRefused(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	v := demand(t, byIdentity(t, a))
	const elsewhere = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	good := func(d string) map[string]string {
		return a.identitySimple(t, testIdentity, testIssuer, payloadOf(d), now)
	}
	edit := func(change func(m map[string]string, d string)) func(string) map[string]string {
		return func(d string) map[string]string {
			m := good(d)
			change(m, d)
			return m
		}
	}
	for _, c := range []struct {
		name        string
		annotations func(digest string) map[string]string
		reason      string
	}{
		{"wrong-identity", func(d string) map[string]string {
			return a.identitySimple(t, "mallory@acme.example", testIssuer, payloadOf(d), now)
		}, "expected SAN value \"" + testIdentity + "\", got \"mallory@acme.example\""},
		{"wrong-issuer", func(d string) map[string]string {
			return a.identitySimple(t, testIdentity, "https://evil.example", payloadOf(d), now)
		}, "expected issuer value"},
		{"other-authority", func(d string) map[string]string {
			m := stranger.identitySimple(t, testIdentity, testIssuer, payloadOf(d), now)
			return relog(t, a, m, payloadOf(d), now)
		}, "leaf certificate verification failed"},
		{"other-log", func(d string) map[string]string {
			return relog(t, stranger, good(d), payloadOf(d), now)
		}, "not enough verified log entries"},
		{"no-log-entry", edit(func(m map[string]string, _ string) { delete(m, logEntryKey) }), "not enough verified log entries"},
		{"no-certificate", edit(func(m map[string]string, _ string) { delete(m, certificateKey) }), "no certificate"},
		{"no-chain", edit(func(m map[string]string, _ string) { delete(m, chainKey) }), "leaf certificate verification failed"},
		{"logged-too-late", func(d string) map[string]string {
			return relog(t, a, good(d), payloadOf(d), now.Add(time.Hour))
		}, "integrated time outside certificate validity"},
		{"log-time-changed", edit(func(m map[string]string, _ string) {
			m[logEntryKey] = strings.Replace(m[logEntryKey], fmt.Sprintf(`"integratedTime":%d`, now.Unix()), fmt.Sprintf(`"integratedTime":%d`, now.Unix()+1), 1)
		}), "not enough verified log entries"},
		{"log-entry-of-another", edit(func(m map[string]string, d string) {
			m[logEntryKey] = good(d)[logEntryKey]
		}), "transparency log signature does not match"},
		{"certificate-of-another", edit(func(m map[string]string, d string) {
			m[certificateKey] = good(d)[certificateKey]
		}), "transparency log certificate does not match"},
		{"signature-of-another", edit(func(m map[string]string, d string) {
			m[signatureKey] = good(d)[signatureKey]
		}), "transparency log signature does not match"},
		{"two-certificates", edit(func(m map[string]string, _ string) { m[certificateKey] += string(pemOf(a.root)) }), "got 2 certificates, want 1"},
		{"long-chain", edit(func(m map[string]string, _ string) {
			m[chainKey] = strings.Repeat(string(pemOf(a.middle)), maxChain+1)
		}), "got more than 16 certificates"},
		{"log-entry-garbage", edit(func(m map[string]string, _ string) { m[logEntryKey] = "{}" }), "annotation " + logEntryKey},
		{"log-entry-without-time", edit(func(m map[string]string, _ string) {
			m[logEntryKey] = strings.Replace(m[logEntryKey], `"integratedTime"`, `"x"`, 1)
		}), "integratedTime is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.simple(digest, payloadOf(digest), c.annotations(digest))
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, c.reason)
		})
	}
	t.Run("other-digest", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		p.simple(digest, payloadOf(elsewhere), good(elsewhere))
		got, err := ask(t, v, p, digest)
		wantRefused(t, got, err, "is of \""+elsewhere+"\"")
	})
	t.Run("payload-changed", func(t *testing.T) {
		p := newPlace()
		digest := p.image()
		p.simple(digest, payloadOf(digest), good(elsewhere))
		got, err := ask(t, v, p, digest)
		wantRefused(t, got, err, "does not match")
	})
}

// relog has a log take the annotations' signature at a time.
func relog(t *testing.T, a *authority, m map[string]string, payload []byte, at time.Time) map[string]string {
	t.Helper()
	m[logEntryKey] = a.annotationEntry(t, hashedrekord(payload, mustBase64(t, m[signatureKey]), []byte(m[certificateKey])), at)
	return m
}

// TestIdentityBundleRefused has one mutant a check of bundles.
func TestIdentityBundleRefused(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	v := demand(t, byIdentityFull(t, a))
	const elsewhere = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	entry := func(b *bundleParts) map[string]any { return b.entries[0].(map[string]any) }
	for _, c := range []struct {
		name   string
		change func(b *bundleParts, digest string) *bundleParts
		reason string
	}{
		{"other-digest", func(*bundleParts, string) *bundleParts {
			return a.identityBundle(t, testIdentity, testIssuer, statementOf(elsewhere, signPredicate), now)
		}, "digest does not match"},
		{"wrong-identity", func(_ *bundleParts, d string) *bundleParts {
			return a.identityBundle(t, "mallory@acme.example", testIssuer, statementOf(d, signPredicate), now)
		}, "expected SAN value"},
		{"wrong-issuer", func(_ *bundleParts, d string) *bundleParts {
			return a.identityBundle(t, testIdentity, "https://evil.example", statementOf(d, signPredicate), now)
		}, "expected issuer value"},
		{"other-authority", func(_ *bundleParts, d string) *bundleParts {
			b := stranger.identityBundle(t, testIdentity, testIssuer, statementOf(d, signPredicate), now)
			cert, _ := x509.ParseCertificate(b.material["certificate"].(map[string]any)["rawBytes"].([]byte))
			b.entries = []any{a.logEntry(t, dsseEntry([]byte("{}"), b.payload, b.signature, pemOf(cert)), "dsse", now)}
			return b
		}, "leaf certificate verification failed"},
		{"other-log", func(_ *bundleParts, d string) *bundleParts {
			b := a.identityBundle(t, testIdentity, testIssuer, statementOf(d, signPredicate), now)
			cert, _ := x509.ParseCertificate(b.material["certificate"].(map[string]any)["rawBytes"].([]byte))
			b.entries = []any{stranger.logEntry(t, dsseEntry([]byte("{}"), b.payload, b.signature, pemOf(cert)), "dsse", now)}
			return b
		}, "not enough verified log entries"},
		{"no-entry", func(b *bundleParts, _ string) *bundleParts { b.entries = nil; return b }, "not enough verified log entries"},
		{"attestation", func(_ *bundleParts, d string) *bundleParts {
			return a.identityBundle(t, testIdentity, testIssuer, statementOf(d, "https://cyclonedx.org/bom"), now)
		}, "is an attestation of type \"https://cyclonedx.org/bom\""},
		{"signature-changed", func(b *bundleParts, _ string) *bundleParts {
			b.signature[len(b.signature)-1] ^= 1
			return b
		}, "transparency log signature does not match"},
		{"logged-too-late", func(_ *bundleParts, d string) *bundleParts {
			return a.identityBundle(t, testIdentity, testIssuer, statementOf(d, signPredicate), now.Add(time.Hour))
		}, "integrated time outside certificate validity"},
		{"inclusion-root-changed", func(b *bundleParts, _ string) *bundleParts {
			entry(b)["inclusionProof"].(map[string]any)["rootHash"] = make([]byte, sha256.Size)
			return b
		}, "failed to verify log inclusion"},
		{"checkpoint-changed", func(b *bundleParts, _ string) *bundleParts {
			entry(b)["inclusionProof"].(map[string]any)["checkpoint"] = map[string]any{"envelope": "rekor.test - 42\n1\nAAAA\n\n\u2014 rekor.test AAAAAAAA\n"}
			return b
		}, "failed to verify log inclusion"},
		{"proof-missing", func(b *bundleParts, _ string) *bundleParts { delete(entry(b), "inclusionProof"); return b }, "inclusion proof missing"},
		{"promise-missing", func(b *bundleParts, _ string) *bundleParts { delete(entry(b), "inclusionPromise"); return b }, "threshold not met"},
		{"bare-key", func(_ *bundleParts, d string) *bundleParts {
			return keyBundle(t, p256(t), statementOf(d, signPredicate), crypto.SHA256)
		}, "not enough verified log entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			b := c.change(a.identityBundle(t, testIdentity, testIssuer, statementOf(digest, signPredicate), now), digest)
			p.bundle(b.raw(t), nil)
			got, err := ask(t, v, p, digest)
			wantRefused(t, got, err, c.reason)
		})
	}
}

// TestIdentityExpressions matches whole texts only.
func TestIdentityExpressions(t *testing.T) {
	a := newAuthority(t)
	roots, rekor, _ := a.files(t)
	rest := ",roots=" + roots + ",rekor=" + rekor
	for _, c := range []struct {
		requirement string
		takes       bool
	}{
		{`cosign:identity-regexp=.*@acme\.example,issuer=` + testIssuer, true},
		{`cosign:identity-regexp=.*@acme,issuer=` + testIssuer, false},
		{`cosign:identity=` + testIdentity + `,issuer-regexp=https://accounts\..*`, true},
		{`cosign:identity=` + testIdentity + `,issuer-regexp=accounts`, false},
	} {
		t.Run(c.requirement, func(t *testing.T) {
			p := newPlace()
			digest := p.image()
			p.simple(digest, payloadOf(digest), a.identitySimple(t, testIdentity, testIssuer, payloadOf(digest), now))
			v := demand(t, c.requirement+rest)
			got, err := ask(t, v, p, digest)
			if c.takes {
				wantSigner(t, got, err, builder)
			} else {
				wantRefused(t, got, err, "to match regex")
			}
			if took := v.checks[0].takes(builder); took != c.takes {
				t.Fatalf("recorded signer: got %t, want %t", took, c.takes)
			}
		})
	}
}

// TestIdentityAttestation takes an attestation where one is asked for, and then no signature in either format.
func TestIdentityAttestation(t *testing.T) {
	const provenance = "https://slsa.dev/provenance/v1"
	a := newAuthority(t)
	v := demand(t, byIdentityFull(t, a, "predicate="+provenance))
	p := newPlace()
	digest := p.image()
	p.bundle(a.identityBundle(t, testIdentity, testIssuer, statementOf(digest, provenance), now).raw(t), nil)
	got, err := ask(t, v, p, digest)
	wantSigner(t, got, err, images.Signer{Kind: "cosign", Identity: builder.Identity + " attesting " + provenance})

	p = newPlace()
	p.simple(p.image(), payloadOf(digest), a.identitySimple(t, testIdentity, testIssuer, payloadOf(digest), now))
	p.bundle(a.identityBundle(t, testIdentity, testIssuer, statementOf(digest, signPredicate), now).raw(t), nil)
	got, err = ask(t, v, p, digest)
	wantRefused(t, got, err, "is a signature, not an attestation of type")
	wantRefused(t, got, err, "is an attestation of type \""+signPredicate+"\", want \""+provenance)
}

// TestIdentityTrust refuses material with which nothing can be proved.
func TestIdentityTrust(t *testing.T) {
	a := newAuthority(t)
	roots, rekor, tsa := a.files(t)
	trusted := writeFile(t, "trusted_root.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	base := "cosign:identity=a,issuer=b,roots="
	for _, c := range []struct{ name, requirement, want string }{
		{"no-time", base + roots, "neither a transparency log nor a time stamper is trusted"},
		{"empty-trusted-root", base + trusted, "neither a transparency log nor a time stamper is trusted"},
		{"two-sources", base + trusted + ",rekor=" + rekor, "rekor= goes with PEM roots"},
		{"no-root", base + writeFile(t, "m.pem", pemOf(a.middle)) + ",rekor=" + rekor, "none of 1 certificates signed itself"},
		{"keys-for-roots", base + rekor + ",rekor=" + rekor, "want PEM blocks CERTIFICATE"},
		{"certificates-for-log", base + roots + ",rekor=" + roots, "got a certificate, want a public key"},
		{"empty-log", base + roots + ",rekor=" + writeFile(t, "e", nil), "holds no public key"},
		{"missing-file", base + "/nowhere/roots.pem,rekor=" + rekor, "no such file"},
		{"oversize", base + writeFile(t, "big", make([]byte, maxTrustFile+1)) + ",rekor=" + rekor, "got more than 4194304 bytes"},
		{"two-stampers", base + roots + ",tsa=" + writeFile(t, "t.pem", pemOf(a.stamper, a.certify(t, "x@y", "z", p256(t).Public()), a.stamperRoot)), "got two certificates of time stampers"},
		{"trusted-root-garbage", base + writeFile(t, "g.json", []byte("{]")) + ",tsa=" + tsa, "tsa= goes with PEM roots"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseRequirement(c.requirement)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := NewVerifier([]Requirement{r}, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}
