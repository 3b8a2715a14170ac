package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"github.com/cloister-cc/cloister/snp"
)

// AMD's extension arc, 1.3.6.1.4.1.3704.1.
var amdArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

// endorsement is what an endorsement key's certificate says of the processor.
type endorsement struct {
	product string
	line    snp.Line
	tcb     snp.TCBParts
	hwid    []byte // VCEK
	csp     string // VLEK
}

// parseEndorsement reads AMD's extensions. Every part of the TCB that the line has must be there: a part that is absent would otherwise compare equal to
// a version of zero.
func parseEndorsement(cert *x509.Certificate) (*endorsement, error) {
	ext := map[string][]byte{}
	for _, e := range cert.Extensions {
		if len(e.Id) <= len(amdArc) || !e.Id[:len(amdArc)].Equal(amdArc) {
			continue
		}
		tail := e.Id[len(amdArc):].String()
		if _, twice := ext[tail]; twice {
			return nil, fmt.Errorf("endorsement certificate: got extension %s twice", e.Id)
		}
		ext[tail] = e.Value
	}
	var e endorsement
	var err error
	if e.product, err = ia5(ext, "2"); err != nil {
		return nil, err
	}
	if e.line, err = snp.LineNamed(e.product); err != nil {
		return nil, fmt.Errorf("endorsement certificate: %w", err)
	}
	parts := map[string]*uint8{"3.1": &e.tcb.BootLoader, "3.2": &e.tcb.TEE, "3.3": &e.tcb.SNP, "3.8": &e.tcb.Microcode}
	if e.line == snp.Turin {
		parts["3.9"] = &e.tcb.FMC
	}
	for oid, to := range parts {
		if *to, err = spl(ext, oid); err != nil {
			return nil, err
		}
	}
	if v, ok := ext["4"]; ok {
		if e.hwid, err = hardwareID(v, e.line); err != nil {
			return nil, err
		}
	}
	if _, ok := ext["5"]; ok {
		if e.csp, err = ia5(ext, "5"); err != nil {
			return nil, err
		}
	}
	return &e, nil
}

func unmarshal[T any](ext map[string][]byte, oid, params string) (v T, err error) {
	der, ok := ext[oid]
	if !ok {
		return v, fmt.Errorf("endorsement certificate: extension %s.%s is missing", amdArc, oid)
	}
	rest, err := asn1.UnmarshalWithParams(der, &v, params)
	if err != nil || len(rest) != 0 {
		return v, fmt.Errorf("endorsement certificate: extension %s.%s: got %d bytes that do not parse: %v", amdArc, oid, len(der), err)
	}
	return v, nil
}

func ia5(ext map[string][]byte, oid string) (string, error) {
	return unmarshal[string](ext, oid, "ia5")
}

func spl(ext map[string][]byte, oid string) (uint8, error) {
	n, err := unmarshal[int](ext, oid, "")
	if err == nil && (n < 0 || n > 255) {
		err = fmt.Errorf("endorsement certificate: extension %s.%s: got %d, want 0 to 255", amdArc, oid, n)
	}
	return uint8(n), err
}

// hardwareID reads the chip's identity: raw bytes as AMD writes them, or a proper octet string. Length decides, never the first byte: one chip in 256
// begins with the tag of something.
func hardwareID(v []byte, line snp.Line) ([]byte, error) {
	want := 64
	if line == snp.Turin {
		want = 8
	}
	if len(v) == want {
		return v, nil
	}
	if header := []byte{asn1.TagOctetString, byte(want)}; len(v) == want+len(header) && bytes.HasPrefix(v, header) {
		return v[len(header):], nil
	}
	return nil, fmt.Errorf("endorsement certificate: got a hardware id of %d bytes, want %d on %s", len(v), want, line)
}
