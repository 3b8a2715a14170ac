package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"net/http"

	"github.com/cloister-cc/cloister/snp"
)

// tcbArc is AMD's object identifier of the versions in a VCEK or VLEK certificate; one number more names the part.
var tcbArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3}

// endorsements turns the host's table into a PEM chain, signing key first, and compares the firmware version that the
// signing key's certificate was issued for with the one the report was signed under. When they differ the report cannot
// be verified with this chain, and better the workload learns that here than a relying party does later.
func endorsements(ev snp.Evidence) (chain []byte, tcb string, err error) {
	report, err := snp.ParseReport(ev.Report)
	if err != nil {
		return nil, "", err
	}
	certs, err := snp.ParseCerts(ev.Certs)
	if err != nil {
		return nil, "", refuse(http.StatusNotImplemented, "the host's certificates cannot be read: %v", err)
	}
	key := snp.GUIDVCEK
	if report.KeyInfo.Signer() == snp.SignerVLEK {
		key = snp.GUIDVLEK
	}
	var leaf []byte
	var out bytes.Buffer
	for _, kind := range []snp.GUID{key, snp.GUIDASK, snp.GUIDARK} {
		for _, c := range certs {
			if c.GUID != kind {
				continue
			}
			if kind == key && leaf == nil {
				leaf = c.Data
			}
			if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Data}); err != nil {
				return nil, "", fmt.Errorf("encode certificate: %w", err)
			}
			break
		}
	}
	if leaf == nil {
		return nil, "", refuse(http.StatusNotImplemented, "the host gave no certificate of the signing key, and this agent fetches none")
	}
	endorsed, err := endorsedTCB(leaf, lineOf(report))
	if err != nil {
		return nil, "", err
	}
	if endorsed != report.ReportedTCB {
		return nil, "", fmt.Errorf("SNP reported TCB value: %s doesn't match Certificate TCB value: %s", tcbText(report.ReportedTCB), tcbText(endorsed))
	}
	return out.Bytes(), tcbText(endorsed), nil
}

func tcbText(t snp.TCB) string { return fmt.Sprintf("%016x", binary.LittleEndian.Uint64(t[:])) }

// endorsedTCB reads the versions in the extensions of a signing key's certificate.
func endorsedTCB(der []byte, line snp.Line) (snp.TCB, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return snp.TCB{}, fmt.Errorf("certificate of the signing key: %w", err)
	}
	var p snp.TCBParts
	parts := map[int]*uint8{1: &p.BootLoader, 2: &p.TEE, 3: &p.SNP, 8: &p.Microcode, 9: &p.FMC}
	found := 0
	for _, ext := range cert.Extensions {
		n := len(tcbArc)
		if len(ext.Id) != n+1 || !ext.Id[:n].Equal(tcbArc) || parts[ext.Id[n]] == nil {
			continue
		}
		var v int
		if rest, err := asn1.Unmarshal(ext.Value, &v); err != nil || len(rest) != 0 || v < 0 || v > 255 {
			return snp.TCB{}, fmt.Errorf("certificate of the signing key: extension %s is not a version", ext.Id)
		}
		*parts[ext.Id[n]] = uint8(v)
		found++
	}
	if found < 4 {
		return snp.TCB{}, fmt.Errorf("certificate of the signing key: got %d versions, want 4 or more", found)
	}
	return p.Bytes(line), nil
}
