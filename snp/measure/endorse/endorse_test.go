package endorse

import (
	"bytes"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/verify"
)

var (
	signedAt = cosetest.NotBefore.Add(24 * time.Hour)
	digest   = measure.Digest{0: 0xab, 47: 0xcd}
)

func signer(t *testing.T, key cosetest.KeyType) Signer {
	t.Helper()
	c := cosetest.NewChain(t, cosetest.ChainOptions{Key: key, Subject: pkix.Name{CommonName: "Images", Organization: []string{"Example"}}, EKUs: []string{"1.2.3.4"}})
	return Signer{Key: c.Signer(), Chain: c.Certs, Time: signedAt}
}

func TestSign(t *testing.T) {
	for name, c := range map[string]struct {
		key  cosetest.KeyType
		alg  int64
		same bool
	}{"P-384": {cosetest.P384, cose.ES384, true}, "RSA": {cosetest.RSA, cose.PS384, false}} {
		t.Run(name, func(t *testing.T) {
			s := signer(t, c.key)
			raw, err := s.Sign(digest, 104)
			if err != nil {
				t.Fatal(err)
			}
			d, err := cose.Open(raw, cose.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := `{"x-ms-sevsnpvm-guestsvn":"104","x-ms-sevsnpvm-guestsvn-int":104,"x-ms-sevsnpvm-launchmeasurement":"ab` + strings.Repeat("00", 46) + `cd"}`
			if string(d.Payload) != want || d.ContentType != "application/json" || d.Feed != DefaultFeed || d.Message.Algorithm != c.alg || d.SVN != nil {
				t.Errorf("got %s, %+v, algorithm %d, want %s", d.Payload, d.Claims, d.Message.Algorithm, want)
			}
			if !strings.HasPrefix(d.Issuer, "did:x509:0:sha256:") || !strings.HasSuffix(d.Issuer, "::subject:O:Example:CN:Images") {
				t.Errorf("got issuer %s", d.Issuer)
			}
			if at, ok, err := d.Message.SigningTime(); err != nil || !ok || !at.Equal(signedAt) {
				t.Errorf("signing time: got %v %v %v, want %v", at, ok, err, signedAt)
			}
			read, err := verify.ReadEndorsement(raw) // what relying parties use
			if err != nil || read.PayloadError != nil || read.SVN != 104 || read.Measurement != digest || !read.SignedAt.Equal(signedAt) {
				t.Errorf("the verifier reads %+v, %v", read, err)
			}
			again, err := s.Sign(digest, 104)
			if err != nil || bytes.Equal(raw, again) != c.same {
				t.Errorf("signed twice: same bytes %v (%v), want %v", bytes.Equal(raw, again), err, c.same)
			}
		})
	}
}

func TestSignForAnotherIssuer(t *testing.T) {
	s := signer(t, cosetest.P384)
	did, err := cose.DIDFor(s.Chain, "eku")
	if err != nil {
		t.Fatal(err)
	}
	s.Issuer, s.Feed = did, "Other"
	raw, err := s.Sign(digest, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := cose.Open(raw, cose.Options{}); err != nil || d.Issuer != did || d.Feed != "Other" {
		t.Errorf("got %+v %v, want issuer %s", d, err, did)
	}
}

func TestSignRefused(t *testing.T) {
	for name, c := range map[string]struct {
		key    cosetest.KeyType
		change func(s *Signer, d *measure.Digest, svn *uint64)
		want   string
	}{
		"P-256":        {cosetest.P256, func(*Signer, *measure.Digest, *uint64) {}, "P-256"},
		"Ed25519":      {cosetest.Ed25519, func(*Signer, *measure.Digest, *uint64) {}, "ed25519"},
		"no-key":       {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Key = nil }, "a key"},
		"no-chain":     {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Chain = nil }, "chain"},
		"leaf-alone":   {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Chain = s.Chain[:1] }, "issuer"},
		"no-time":      {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Time = time.Time{} }, "no time"},
		"too-early":    {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Time = cosetest.NotBefore.Add(-1) }, "is valid from"},
		"too-late":     {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Time = cosetest.NotAfter.Add(1) }, "is valid from"},
		"zeros":        {cosetest.P384, func(_ *Signer, d *measure.Digest, _ *uint64) { *d = measure.Digest{} }, "zeros"},
		"huge-svn":     {cosetest.P384, func(_ *Signer, _ *measure.Digest, svn *uint64) { *svn = 1 << 63 }, "svn"},
		"other-issuer": {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Issuer = "did:x509:0:sha256:AAAA::eku:1.2" }, "would be refused"},
		"other-key":    {cosetest.P384, func(s *Signer, _ *measure.Digest, _ *uint64) { s.Key = cosetest.NewKey(t, cosetest.P384, 9) }, "would be refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s, d, svn := signer(t, c.key), digest, uint64(1)
			c.change(&s, &d, &svn)
			if raw, err := s.Sign(d, svn); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d bytes, %v, want an error with %q", len(raw), err, c.want)
			}
		})
	}
}
