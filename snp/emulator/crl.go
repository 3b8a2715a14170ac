package emulator

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// CRL says what revocation list to make.
type CRL struct {
	ThisUpdate, NextUpdate time.Time
	// Revoked are the certificates on it, in DER.
	Revoked [][]byte
}

// SignCRL makes a revocation list, signed by the root as AMD's are, in DER. An expired one is one whose NextUpdate lies in the past.
func (a *Authority) SignCRL(c CRL) ([]byte, error) {
	if !c.NextUpdate.After(c.ThisUpdate) {
		return nil, errors.New("make revocation list: want NextUpdate after ThisUpdate")
	}
	t := &x509.RevocationList{
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
		Number:             big.NewInt(c.ThisUpdate.Unix()),
		ThisUpdate:         c.ThisUpdate,
		NextUpdate:         c.NextUpdate,
	}
	for _, der := range c.Revoked {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("make revocation list: %w", err)
		}
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: cert.SerialNumber, RevocationTime: c.ThisUpdate,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, t, a.ark.cert, a.ark.key)
	if err != nil {
		return nil, fmt.Errorf("make revocation list: %w", err)
	}
	return der, nil
}
