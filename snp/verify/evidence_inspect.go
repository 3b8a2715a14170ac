package verify

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// Certificate is what a certificate says of itself, for people to read. Nothing of it is checked.
type Certificate struct {
	Subject, Issuer     string
	Serial              string // hex
	NotBefore, NotAfter time.Time
	Key                 string // kind and size
	SignatureAlgorithm  string
	Authority           bool // by its basic constraints
	// Kind is VCEK or VLEK for an endorsement key's certificate, and what follows is then set.
	Kind    string
	Product string
	TCB     snp.TCBParts
	ChipID  *[64]byte // VCEK
	CSP     string    // VLEK
	// Unreadable says why a certificate with AMD's extensions is not of AMD's form.
	Unreadable error
}

// InspectCertificate reads a certificate, DER.
func InspectCertificate(der []byte) (*Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	c := &Certificate{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Serial: fmt.Sprintf("%x", cert.SerialNumber),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Key: keyText(cert.PublicKey),
		SignatureAlgorithm: cert.SignatureAlgorithm.String(), Authority: cert.BasicConstraintsValid && cert.IsCA,
	}
	if !hasAMDExtension(cert) {
		return c, nil
	}
	says, err := parseEndorsement(cert)
	if err != nil {
		c.Unreadable = err
		return c, nil
	}
	c.Kind, c.Product, c.TCB, c.ChipID, c.CSP = says.kind(), says.product, says.tcb, says.chipID, says.csp
	return c, nil
}

func keyText(key any) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d bits", k.N.BitLen())
	}
	return fmt.Sprintf("%T", key)
}

// List is what a revocation list says of itself.
type List struct {
	Issuer                 string
	Number                 string // hex, empty if it has none
	ThisUpdate, NextUpdate time.Time
	Revoked                []string // serial numbers, hex
}

// InspectCRL reads a revocation list, DER.
func InspectCRL(der []byte) (*List, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	l := &List{Issuer: list.Issuer.String(), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate}
	if list.Number != nil {
		l.Number = fmt.Sprintf("%x", list.Number)
	}
	for _, e := range list.RevokedCertificateEntries {
		l.Revoked = append(l.Revoked, fmt.Sprintf("%x", e.SerialNumber))
	}
	return l, nil
}
