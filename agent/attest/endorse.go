package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cloister-cc/cloister/snp"
)

// tcbArc is AMD's object identifier of the versions in a VCEK or VLEK certificate; one number more names the part.
var tcbArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3}

// errStale says that the certificate was issued for other firmware than the report was signed under.
var errStale = errors.New("the host's certificate is of other firmware than the report")

// endorsement is what the host's table holds for a report's signing key. Nothing of it is verified here: whoever relies on it does that.
type endorsement struct {
	key, by, root []byte  // DER; by and root may be missing
	tcb           snp.TCB // that the key's certificate was issued for
}

// endorsementOf reads the host's table, and compares the firmware version that the signing
// key's certificate was issued for with the one the report was signed under. When they differ the report cannot
// be verified with this chain, and better the workload learns that here than a relying party does later.
func endorsementOf(ev snp.Evidence) (*endorsement, error) {
	report, err := snp.ParseReport(ev.Report)
	if err != nil {
		return nil, err
	}
	certs, err := snp.ParseCerts(ev.Certs)
	if err != nil {
		return nil, refuse(http.StatusNotImplemented, "the host's certificates cannot be read: %v", err)
	}
	key := snp.GUIDVCEK
	if report.KeyInfo.Signer() == snp.SignerVLEK {
		key = snp.GUIDVLEK
	}
	e := &endorsement{key: certOf(certs, key), by: certOf(certs, snp.GUIDASK), root: certOf(certs, snp.GUIDARK)}
	if e.key == nil {
		return nil, refuse(http.StatusNotImplemented, "the host gave no certificate of the signing key, and this agent fetches none")
	}
	if e.tcb, err = endorsedTCB(e.key, lineOf(report)); err != nil {
		return nil, err
	}
	if e.tcb != report.ReportedTCB {
		return nil, fmt.Errorf("%w: SNP reported TCB value: %s doesn't match Certificate TCB value: %s", errStale, tcbText(report.ReportedTCB), tcbText(e.tcb))
	}
	return e, nil
}

func certOf(certs []snp.Cert, kind snp.GUID) []byte {
	for _, c := range certs {
		if c.GUID == kind {
			return c.Data
		}
	}
	return nil
}

// pem is the chain in PEM, signing key first.
func (e *endorsement) pem() []byte { return asPEM(e.key, e.by, e.root) }

func asPEM(certs ...[]byte) []byte {
	var out bytes.Buffer
	for _, der := range certs {
		if der != nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
		}
	}
	return out.Bytes()
}

// hostCertificates is the form of THIM's answer (Azure services, section 4.3).
type hostCertificates struct {
	VCEKCert         string `json:"vcekCert"`
	TCBM             string `json:"tcbm"`
	CertificateChain string `json:"certificateChain"`
	CacheControl     string `json:"cacheControl"`
}

// HostCertificates is the host's table as the JSON document that ACI's workloads find in their security context (Azure services, section 1.2). An error says that
// the host gave no certificate of the key that signs.
func HostCertificates(ev snp.Evidence) ([]byte, error) {
	e, err := endorsementOf(ev)
	if err != nil {
		return nil, fmt.Errorf("host certificates: %w", err)
	}
	b, err := json.Marshal(hostCertificates{
		VCEKCert: string(asPEM(e.key)), TCBM: strings.ToUpper(tcbText(e.tcb)), CertificateChain: string(asPEM(e.by, e.root)), CacheControl: "86400",
	})
	if err != nil {
		return nil, fmt.Errorf("host certificates: %w", err)
	}
	return b, nil
}

func tcbText(t snp.TCB) string { return fmt.Sprintf("%016x", binary.LittleEndian.Uint64(t[:])) }

// lineOf finds the layout of a report's TCB fields. Reports of version 2 do not name the processor; only lines with the
// older layout made them, as only that one is known where the processor is not.
func lineOf(r *snp.Report) snp.Line {
	line, err := snp.LineOf(r.CPU)
	if err != nil {
		return snp.Milan
	}
	return line
}

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
