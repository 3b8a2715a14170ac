package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/snp"
)

// Types of PEM blocks.
const (
	pemCertificate = "CERTIFICATE"
	pemCRL         = "X509 CRL"
)

// maxPEMBlocks bounds the blocks of one file: chains have three, and a host's cache a few of them.
const maxPEMBlocks = 64

// ReadCertificates reads a file of certificates and revocation lists: PEM, one DER, the host's certificate table, or the JSON document of Azure's THIM service,
// the last also in base64, as it lies in a guest's security context directory.
func ReadCertificates(data []byte) (*File, error) {
	if len(data) > MaxForeign {
		return nil, fmt.Errorf("read certificates: got %d bytes, want at most %d", len(data), MaxForeign)
	}
	f, err := readCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	return f, nil
}

var errNoCertificates = errors.New("not certificates or revocation lists of a known shape: want PEM, DER, a host's certificate table, or THIM's JSON")

func readCertificates(data []byte) (*File, error) {
	switch {
	case isJSON(data):
		return readTHIM(data)
	case bytes.Contains(data, []byte("-----BEGIN ")):
		certs, crls, err := splitPEM(data)
		if err != nil {
			return nil, err
		}
		return &File{Format: FormatPEM, Evidence: Evidence{Certs: certs, CRLs: crls}}, nil
	case bytes.HasPrefix(data, []byte{0x30}):
		return readDER(data)
	}
	if certs, err := snp.ParseCerts(data); err == nil && len(certs) > 0 {
		return &File{Format: FormatTable, Evidence: Evidence{Table: data}}, nil
	}
	if inner, err := decodeBase64(squeeze(data)); err == nil && isJSON(inner) {
		return readTHIM(inner)
	}
	return nil, errNoCertificates
}

// readDER tells a certificate from a revocation list: both begin with a sequence.
func readDER(der []byte) (*File, error) {
	_, errCert := x509.ParseCertificate(der)
	if errCert == nil {
		return &File{Format: FormatDER, Evidence: Evidence{Certs: [][]byte{der}}}, nil
	}
	if _, err := x509.ParseRevocationList(der); err == nil {
		return &File{Format: FormatCRL, Evidence: Evidence{CRLs: [][]byte{der}}}, nil
	}
	return nil, fmt.Errorf("neither a certificate nor a revocation list: %w", errCert)
}

// splitPEM takes PEM blocks apart. Each has to parse, so that a file given by mistake is an error and not a certificate missing later.
func splitPEM(data []byte) (certs, crls [][]byte, err error) {
	for n := 1; ; n++ {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if n > maxPEMBlocks {
			return nil, nil, fmt.Errorf("got more than %d PEM blocks", maxPEMBlocks)
		}
		switch block.Type {
		case pemCertificate:
			_, err = x509.ParseCertificate(block.Bytes)
			certs = append(certs, block.Bytes)
		case pemCRL:
			_, err = x509.ParseRevocationList(block.Bytes)
			crls = append(crls, block.Bytes)
		default:
			err = fmt.Errorf("got type %.32q, want %s or %s", block.Type, pemCertificate, pemCRL)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		data = rest
	}
	if len(certs)+len(crls) == 0 {
		return nil, nil, errors.New("got no PEM block, want certificates")
	}
	return certs, crls, nil
}

// readTHIM reads THIM's certification document (Azure services, section 4.3). Members it may gain later are passed over: all that counts of it are certificates,
// and each of these speaks for itself.
func readTHIM(data []byte) (*File, error) {
	var doc struct {
		VCEK  string `json:"vcekCert"`
		TCBM  string `json:"tcbm"`
		Chain string `json:"certificateChain"`
	}
	more, err := kjson.UnmarshalStrict(data, &doc, kjson.DisallowDuplicateFields)
	if err == nil && len(more) > 0 {
		err = more[0]
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %.300s", FormatTHIM, err)
	}
	if doc.VCEK == "" {
		return nil, fmt.Errorf("%s: vcekCert: missing", FormatTHIM)
	}
	f := &File{Format: FormatTHIM}
	for _, m := range []struct{ name, pem string }{{"vcekCert", doc.VCEK}, {"certificateChain", doc.Chain}} {
		if m.pem == "" {
			continue
		}
		certs, crls, err := splitPEM([]byte(m.pem))
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", FormatTHIM, m.name, err)
		}
		f.Evidence.Certs, f.Evidence.CRLs = append(f.Evidence.Certs, certs...), append(f.Evidence.CRLs, crls...)
	}
	if f.ClaimedTCB, err = claimedTCB(doc.TCBM); err != nil {
		return nil, fmt.Errorf("%s: tcbm: %w", FormatTHIM, err)
	}
	return f, nil
}
