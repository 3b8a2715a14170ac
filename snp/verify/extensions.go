package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/snp"
)

// AMD's extension arc, 1.3.6.1.4.1.3704.1.
var amdArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

// The kinds of endorsement key.
const (
	kindVCEK = "VCEK"
	kindVLEK = "VLEK"
)

// endorsement is what an endorsement key's certificate says of the processor.
type endorsement struct {
	key     *ecdsa.PublicKey
	product string
	line    snp.Line
	tcb     snp.TCBParts
	chipID  *[64]byte // VCEK: the hardware id as it stands in a report
	csp     string    // VLEK
}

// hasAMDExtension tells an endorsement key's certificate from an authority's.
func hasAMDExtension(cert *x509.Certificate) bool {
	for _, e := range cert.Extensions {
		if len(e.Id) > len(amdArc) && e.Id[:len(amdArc)].Equal(amdArc) {
			return true
		}
	}
	return false
}

// parseEndorsement reads AMD's extensions. Every part of the TCB that the line has must be there: a part that is absent would otherwise compare equal to
// a version of zero.
func parseEndorsement(cert *x509.Certificate) (*endorsement, error) {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return nil, fmt.Errorf("endorsement certificate: got a key of type %T, want ECDSA P-384", cert.PublicKey)
	}
	if cert.IsCA {
		return nil, errors.New("endorsement certificate: got an authority's, want a key's")
	}
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
	e := endorsement{key: key}
	var err error
	if e.product, err = ia5(ext, "2"); err != nil {
		return nil, err
	}
	if e.line, err = snp.LineNamed(e.product); err != nil {
		return nil, fmt.Errorf("endorsement certificate: %w", err)
	}
	if err := e.readTCB(ext); err != nil {
		return nil, err
	}
	if v, ok := ext["4"]; ok {
		id, err := hardwareID(v, e.line)
		if err != nil {
			return nil, err
		}
		e.chipID = new([64]byte)
		copy(e.chipID[:], id)
	}
	if _, ok := ext["5"]; ok {
		if e.csp, err = ia5(ext, "5"); err != nil {
			return nil, err
		}
	}
	return &e, nil
}

// readTCB reads the versions that the certificate was issued for. Those without a meaning on the line must be absent or zero.
func (e *endorsement) readTCB(ext map[string][]byte) error {
	parts := []struct {
		oid string
		to  *uint8
	}{{"3.1", &e.tcb.BootLoader}, {"3.2", &e.tcb.TEE}, {"3.3", &e.tcb.SNP}, {"3.8", &e.tcb.Microcode}, {"3.9", &e.tcb.FMC}}
	unused := []string{"3.4", "3.5", "3.6", "3.7"}
	if e.line != snp.Turin {
		parts, unused = parts[:4], append(unused, "3.9")
	}
	var err error
	for _, p := range parts {
		if *p.to, err = spl(ext, p.oid); err != nil {
			return err
		}
	}
	for _, oid := range unused {
		if _, ok := ext[oid]; !ok {
			continue
		}
		if n, err := spl(ext, oid); err != nil || n != 0 {
			return fmt.Errorf("endorsement certificate: extension %s.%s: got %d %v, want 0 on %s", amdArc, oid, n, err, e.line)
		}
	}
	return nil
}

// kind says what the certificate is for: a chip has a hardware id, a cloud provider has a name, and no certificate has both.
func (e *endorsement) kind() string {
	switch {
	case e.chipID != nil && e.csp == "":
		return kindVCEK
	case e.chipID == nil && e.csp != "":
		return kindVLEK
	}
	return "neither VCEK nor VLEK"
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

// ia5 reads a text. The decoder takes any kind of string there, so the tag is looked at first.
func ia5(ext map[string][]byte, oid string) (string, error) {
	if v := ext[oid]; len(v) > 0 && v[0] != asn1.TagIA5String {
		return "", fmt.Errorf("endorsement certificate: extension %s.%s: got tag %d, want an IA5 string", amdArc, oid, v[0])
	}
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
