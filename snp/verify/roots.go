package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

const (
	maxRootFile  = 256 << 10
	maxRootFiles = 256
	minRSABits   = 4096 // AMD's roots and intermediates
)

// Roots are the certificates a relying party trusts: self-signed ones as anchors, others as helpers that still have to chain to an anchor.
type Roots struct {
	anchors []*x509.Certificate
	helpers []*x509.Certificate
}

// LoadRoots reads every *.pem, *.crt, *.cer and *.der file of a directory, one or more certificates each: ark.pem and ask.pem, or the
// cert_chain file of AMD's key server. At least one must be self-signed.
func LoadRoots(dir string) (*Roots, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("load roots: %w", err)
	}
	if len(entries) > maxRootFiles {
		return nil, fmt.Errorf("load roots %q: got %d files, want at most %d", dir, len(entries), maxRootFiles)
	}
	r := &Roots{}
	for _, e := range entries {
		if !slices.Contains([]string{".pem", ".crt", ".cer", ".der"}, filepath.Ext(e.Name())) {
			continue
		}
		b, err := readLimited(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("load roots: %w", err)
		}
		if err := r.Add(b); err != nil {
			return nil, fmt.Errorf("load roots %q: %w", filepath.Join(dir, e.Name()), err)
		}
	}
	if len(r.anchors) == 0 {
		return nil, fmt.Errorf("load roots %q: got no self-signed certificate, want an ARK", dir)
	}
	return r, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRootFile+1))
	if err == nil && len(b) > maxRootFile {
		err = fmt.Errorf("read %q: got more than %d bytes", path, maxRootFile)
	}
	return b, err
}

// Add adds certificates, PEM or one DER.
func (r *Roots) Add(data []byte) error {
	ders, err := split(data)
	if err != nil {
		return err
	}
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) && signedBy(cert, cert) == nil {
			r.anchors = append(r.anchors, cert)
			continue
		}
		r.helpers = append(r.helpers, cert)
	}
	return nil
}

func split(data []byte) ([][]byte, error) {
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		return [][]byte{data}, nil
	}
	var ders [][]byte
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			if len(ders) == 0 {
				return nil, errors.New("got no certificate")
			}
			return ders, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("got a PEM block %.32q, want only certificates", block.Type)
		}
		ders, data = append(ders, block.Bytes), rest
	}
}

// signedBy checks that an authority of AMD's shape (RSA-4096, PSS with SHA-384, allowed to sign certificates) signed cert.
func signedBy(cert, by *x509.Certificate) error {
	key, ok := by.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits {
		return fmt.Errorf("issuer %q: got a key that is not RSA of %d bits or more", by.Subject.CommonName, minRSABits)
	}
	if cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return fmt.Errorf("certificate %q: got signature algorithm %s, want %s", cert.Subject.CommonName, cert.SignatureAlgorithm, x509.SHA384WithRSAPSS)
	}
	if !bytes.Equal(cert.RawIssuer, by.RawSubject) {
		return fmt.Errorf("certificate %q: its issuer is not %q", cert.Subject.CommonName, by.Subject.CommonName)
	}
	return cert.CheckSignatureFrom(by) // also: by is a CA and may sign certificates
}
