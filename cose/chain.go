package cose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
)

// RSA keys below the lower bound are weak (RFC 8230 wants 2048 too); above the upper one a verification takes long enough to be a
// weapon, and nobody signs with such.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("got an RSA key of %d bits, want %d to %d", n, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fmt.Errorf("got a key on curve %s, want P-256, P-384 or P-521", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("got a key of type %T, want ECDSA, RSA or Ed25519", key)
	}
	return nil
}

// VerifyChain checks that each certificate is issued by the next and that the whole is a path of RFC 5280 whose trust anchor is the
// last certificate, at the time of the leaf's NotAfter. It says nothing of who the last certificate belongs to.
func VerifyChain(chain []*x509.Certificate) error {
	switch {
	case len(chain) == 0:
		return failf(ErrChain, "got no certificate, want 2 to %d", MaxCertificates)
	case len(chain) == 1:
		return failf(ErrChain, "got only the leaf certificate, want its issuers too (2 to %d certificates): did:x509 names an issuer", MaxCertificates)
	case len(chain) > MaxCertificates:
		return failf(ErrChain, "got %d certificates, want 2 to %d", len(chain), MaxCertificates)
	}
	for i, c := range chain {
		if err := checkKey(c.PublicKey); err != nil {
			return failf(ErrChain, "certificate %d: %w", i, err)
		}
		if err := checkExtensions(c); err != nil {
			return failf(ErrChain, "certificate %d: %w", i, err)
		}
		if i == 0 {
			continue
		}
		if err := checkIssuer(chain[i-1], c); err != nil {
			return failf(ErrChain, "certificate %d is not the issuer of certificate %d: %w", i, i-1, err)
		}
	}
	return checkPath(chain)
}

// checkIssuer is the rule that path building does not give: every certificate of the chain takes part in it, in the order given.
func checkIssuer(child, parent *x509.Certificate) error {
	if !bytes.Equal(child.RawIssuer, parent.RawSubject) {
		return fmt.Errorf("its subject is %q, the issuer named is %q", clip(parent.Subject.String()), clip(child.Issuer.String()))
	}
	// Without this a version 1 certificate, which cannot say whether it is a CA, would count as one.
	if !parent.BasicConstraintsValid || !parent.IsCA {
		return fmt.Errorf("its basic constraints do not make it a CA")
	}
	return child.CheckSignatureFrom(parent)
}

// oidExtension is the arc of RFC 5280's extensions.
var oidExtension = asn1.ObjectIdentifier{2, 5, 29}

// criticalAllowed are the last arcs of the extensions that may be critical, did:x509, DID resolution step 2: key usage, subject alternative
// name, basic constraints, name constraints, certificate policies, policy mappings, policy constraints, extended key usage,
// inhibit anyPolicy.
var criticalAllowed = []int{15, 17, 19, 30, 32, 33, 36, 37, 54}

func checkExtensions(c *x509.Certificate) error {
	for _, e := range c.Extensions {
		if !e.Critical {
			continue
		}
		n := len(oidExtension)
		if len(e.Id) != n+1 || !e.Id[:n].Equal(oidExtension) || !slices.Contains(criticalAllowed, e.Id[n]) {
			return fmt.Errorf("critical extension %s is not understood", e.Id)
		}
	}
	return nil
}

// checkPath has the standard library judge validity, path length, name constraints and policies, and insists that the path it found is
// the chain and not a part of it.
func checkPath(chain []*x509.Certificate) error {
	at := chain[0].NotAfter
	if at.IsZero() {
		// The library takes the zero time for "now", and there is no clock here.
		return failf(ErrChain, "the leaf's NotAfter is the year 1")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[len(chain)-1])
	for _, c := range chain[1 : len(chain)-1] {
		between.AddCert(c)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return failf(ErrChain, "at %s: %w", at.UTC().Format("2006-01-02T15:04:05Z"), err)
	}
	same := func(a, b *x509.Certificate) bool { return bytes.Equal(a.Raw, b.Raw) }
	for _, p := range paths {
		if slices.EqualFunc(p, chain, same) {
			return nil
		}
	}
	return failf(ErrChain, "the %d certificates are not one path", len(chain))
}
