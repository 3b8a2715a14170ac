// Package endorse signs a launch digest as an endorsement of a utility VM's image, in the form that ACI's reference information has (attestation
// contract, section 3.2): a COSE_Sign1 message with the chain in x5chain, a did:x509 issuer, a feed and the time of signing, over a JSON
// document with the guest's SVN and one measurement.
//
// One document endorses one launch digest. An image that is launched with 1 to 64 processors has 64 digests and so 64 documents: every verifier of
// this form understands each of them, and the host, which hands a document to the guest, knows the number of processors.
//
// The package has no clock and no files. The same arguments give the same bytes with an ECDSA key; RSA-PSS signatures are salted at random.
// What fails closed: a key that is neither RSA nor on P-384, a chain of one certificate, a time of signing at which a certificate was not valid,
// an issuer that the chain does not resolve.
package endorse

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/snp/measure"
)

// DefaultFeed names our images among an issuer's documents.
const DefaultFeed = "Cloister-AMD-UVM"

// contentType is the payload's.
const contentType = "application/json"

// Signer is who endorses.
type Signer struct {
	Key crypto.Signer
	// Chain is leaf first and ends with the certificate that verifiers pin.
	Chain []*x509.Certificate
	// Issuer is a did:x509 that the chain resolves; if it is empty, the one of the leaf's subject.
	Issuer string
	// Feed is DefaultFeed if it is empty.
	Feed string
	// Time of signing, which verifiers judge the certificates at. Whole seconds count.
	Time time.Time
}

// payload has the names of ACI's reference information. Readers before October 2025 know only the SVN in text.
type payload struct {
	GuestSVN    string `json:"x-ms-sevsnpvm-guestsvn"`
	GuestSVNInt uint64 `json:"x-ms-sevsnpvm-guestsvn-int"`
	Measurement string `json:"x-ms-sevsnpvm-launchmeasurement"`
}

// Sign endorses a launch digest. The SVN is the image's security version: verifiers have a floor for it.
func (s Signer) Sign(digest measure.Digest, svn uint64) ([]byte, error) {
	if svn > math.MaxInt64 {
		return nil, fmt.Errorf("endorse: svn: got %d, want at most %d", svn, int64(math.MaxInt64))
	}
	if digest == (measure.Digest{}) {
		return nil, errors.New("endorse: launch digest: got zeros")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	issuer, feed := s.Issuer, s.Feed
	if feed == "" {
		feed = DefaultFeed
	}
	if issuer == "" {
		var err error
		if issuer, err = cose.DIDFor(s.Chain, "subject"); err != nil {
			return nil, fmt.Errorf("endorse: issuer: %w (give one that the chain resolves)", err)
		}
	}
	text, err := json.Marshal(payload{strconv.FormatUint(svn, 10), svn, digest.String()})
	if err != nil {
		return nil, err
	}
	return cose.Sign(text, cose.SignOptions{
		Signer: s.Key, Chain: s.Chain, Issuer: issuer, Feed: feed, ContentType: contentType, TextLabels: true, SigningTime: s.Time,
	})
}

func (s Signer) check() error {
	if s.Key == nil || len(s.Chain) == 0 {
		return errors.New("endorse: a key and its certificate chain are needed")
	}
	switch key := s.Key.Public().(type) {
	case *rsa.PublicKey: // PS384
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P384() {
			return fmt.Errorf("endorse: got a key on %s, want P-384 (ES384) or RSA (PS384)", key.Curve.Params().Name)
		}
	default:
		return fmt.Errorf("endorse: got a key of type %T, want P-384 (ES384) or RSA (PS384)", key)
	}
	if s.Time.IsZero() {
		return errors.New("endorse: no time of signing given")
	}
	for i, c := range s.Chain {
		if s.Time.Before(c.NotBefore) || s.Time.After(c.NotAfter) {
			return fmt.Errorf("endorse: certificate %d (%.64q) is valid from %s to %s, want it to be at %s", i, c.Subject, stamp(c.NotBefore), stamp(c.NotAfter), stamp(s.Time))
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
