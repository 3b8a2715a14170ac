package cose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"io"
	"time"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"
)

// SignOptions say how a document is made.
type SignOptions struct {
	// Signer is the leaf's private key, here or in a device.
	Signer crypto.Signer
	// Chain is leaf first and ends with the certificate that is to be the trust anchor.
	Chain []*x509.Certificate
	// Algorithm is chosen by the key if it is 0: ES256, ES384 or ES512 by curve, PS384 for RSA, EdDSA.
	Algorithm int64
	// Issuer is a did:x509 that the chain resolves, see DIDFor.
	Issuer, Feed string
	SVN          *int64
	ContentType  string
	// TextLabels puts issuer and feed under the labels "iss" and "feed" instead of CWT claims, as older readers want. Such a
	// document has no SVN in its header.
	TextLabels bool
	// Thumbprint adds x5t.
	Thumbprint bool
	// SigningTime, if it is not zero, is put under the label "signingtime", in whole seconds. It is the caller's: this package has no clock.
	SigningTime time.Time
}

// Sign makes a document and opens it again: what this package would refuse is not handed out. The header is encoded deterministically. With an
// *ecdsa.PrivateKey or an Ed25519 key the whole document is: the same arguments give the same bytes (RFC 6979). RSA-PSS signatures are salted at
// random, and a device's are what the device makes them.
func Sign(payload []byte, o SignOptions) ([]byte, error) {
	protected, err := o.header()
	if err != nil {
		return nil, err
	}
	if payload == nil {
		payload = []byte{}
	}
	signer, err := gocose.NewSigner(gocose.Algorithm(o.algorithm()), o.repeatable())
	if err != nil {
		return nil, failf(ErrSign, "%w", err)
	}
	content, err := toBeSigned(protected, payload)
	if err != nil {
		return nil, failf(ErrSign, "%w", err)
	}
	signature, err := signer.Sign(rand.Reader, content)
	if err != nil {
		return nil, failf(ErrSign, "%w", err)
	}
	raw, err := deterministic.Marshal(cbor.Tag{Number: 18, Content: []any{protected, map[int]any{}, payload, signature}})
	if err != nil {
		return nil, failf(ErrSign, "%w", err)
	}
	if _, err := Open(raw, Options{}); err != nil {
		return nil, failf(ErrSign, "the result would be refused: %w", err)
	}
	return raw, nil
}

func (o SignOptions) header() ([]byte, error) {
	if o.Signer == nil || len(o.Chain) == 0 {
		return nil, failf(ErrSign, "a signer and its certificate chain are needed")
	}
	header := map[any]any{labelAlgorithm: o.algorithm()}
	if o.ContentType != "" {
		header[labelContentType] = o.ContentType
	}
	var certs [][]byte
	for _, c := range o.Chain {
		certs = append(certs, c.Raw)
	}
	header[labelX5Chain] = certs
	if !o.SigningTime.IsZero() {
		header[labelSigningTime] = cbor.Tag{Number: tagTimeEpoch, Content: o.SigningTime.Unix()}
	}
	if o.Thumbprint {
		sum := sha256.Sum256(o.Chain[0].Raw)
		header[labelX5T] = []any{-16, sum[:]}
	}
	switch {
	case o.TextLabels && o.SVN != nil:
		return nil, failf(ErrSign, "a document with text labels has no place for an svn in its header")
	case o.TextLabels:
		header["iss"], header["feed"] = o.Issuer, o.Feed
	default:
		claims := map[any]any{claimIssuer: o.Issuer, claimSubject: o.Feed}
		if o.SVN != nil {
			claims["svn"] = *o.SVN
		}
		header[labelCWTClaims] = claims
	}
	raw, err := deterministic.Marshal(header)
	if err != nil {
		return nil, failf(ErrSign, "%w", err)
	}
	return raw, nil
}

func (o SignOptions) algorithm() int64 {
	if o.Algorithm != 0 {
		return o.Algorithm
	}
	return algorithmFor(o.Signer.Public())
}

func algorithmFor(key crypto.PublicKey) int64 {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			return ES384
		case elliptic.P521():
			return ES512
		}
		return ES256
	case ed25519.PublicKey:
		return EdDSA
	case *rsa.PublicKey:
		return PS384
	}
	return 0
}

// repeatable is the signer without its randomness, where it is ours to take away.
func (o SignOptions) repeatable() crypto.Signer {
	if key, ok := o.Signer.(*ecdsa.PrivateKey); ok {
		if hash, ok := ecdsaHashes[o.algorithm()]; ok {
			return repeatableECDSA{key, hash}
		}
	}
	return o.Signer
}

var ecdsaHashes = map[int64]crypto.Hash{ES256: crypto.SHA256, ES384: crypto.SHA384, ES512: crypto.SHA512}

// repeatableECDSA signs with the nonce of RFC 6979.
type repeatableECDSA struct {
	key  *ecdsa.PrivateKey
	hash crypto.Hash
}

func (r repeatableECDSA) Public() crypto.PublicKey { return r.key.Public() }

func (r repeatableECDSA) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return r.key.Sign(nil, digest, r.hash)
}

// WithReceipts returns the message with these receipts, and no others, in its unprotected header.
func WithReceipts(raw []byte, receipts ...[]byte) ([]byte, error) {
	w, err := cut(raw, MaxMessage)
	if err != nil {
		return nil, err
	}
	have, err := readTable(w.unprotected, "unprotected header")
	if err != nil {
		return nil, err
	}
	header := map[any]any{}
	for label, value := range have.ints {
		header[label] = value
	}
	for label, value := range have.texts {
		header[label] = value
	}
	delete(header, int64(labelReceipts))
	if len(receipts) > 0 {
		header[int64(labelReceipts)] = receipts
	}
	unprotected, err := deterministic.Marshal(header)
	if err != nil {
		return nil, failf(ErrSign, "%w", err)
	}
	return w.join(unprotected), nil
}

// DIDFor returns the did:x509 of a chain, with the SHA-256 fingerprint of its last certificate. A policy is given by name, and its value is
// then taken from the leaf ("subject": all attributes, "san": the first name, "eku": the longest OID, "fulcio-issuer"), or as
// "name:value" with the value percent-encoded. What it returns resolves against the chain.
func DIDFor(chain []*x509.Certificate, policies ...string) (string, error) {
	if err := VerifyChain(chain); err != nil {
		return "", err
	}
	if len(policies) == 0 {
		return "", failf(ErrDID, "no policy, want at least one of subject, san, eku, fulcio-issuer")
	}
	out := didPrefix + "sha256:" + base64.RawURLEncoding.EncodeToString(fingerprints["sha256"](chain[len(chain)-1].Raw))
	for _, p := range policies {
		if k, ok := kinds[p]; ok {
			fields, err := k.derive(chain[0])
			if err != nil {
				return "", failf(ErrDID, "policy %s: %w", p, err)
			}
			for _, f := range fields {
				p += ":" + escape(f)
			}
		}
		out += "::" + p
	}
	return out, resolve(out, chain)
}
