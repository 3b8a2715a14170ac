package snp

import (
	"encoding/json"
	"fmt"

	kjson "sigs.k8s.io/json"
)

// Carriers of a policy: what HOST_DATA is the hash of.
const (
	CarrierPolicy   = "policy"   // SHA-256 of the policy's bytes
	CarrierInitdata = "initdata" // the declared digest of the initdata document, first 32 bytes
)

const (
	bundleVersion = 1
	bundleType    = "sev-snp"
)

// Bounds of a bundle, the whole before it is decoded: 64 MiB of initdata in base64, and the rest.
const (
	maxBundle         = 96 << 20
	maxBundleCerts    = 256 << 10 // the kernel's own limit on the host's table is 32 KiB
	maxBundleSigned   = 4 << 20   // a COSE message
	maxBundleCRLs     = 16
	maxBundleCRL      = 1 << 20
	maxBundleEvents   = 16 << 20
	maxBundlePreimage = 1 << 20
)

// Bundle is everything a relying party needs to verify a report offline, as one JSON document. Nothing in it is trusted for being there.
type Bundle struct {
	Version int    `json:"version"`
	Type    string `json:"type"`
	// Report is the report, 1184 bytes.
	Report []byte `json:"report"`
	// Certs is the host's certificate table, see ParseCerts; empty when the host gave none.
	Certs []byte `json:"certs"`
	// CRLs are revocation lists, DER.
	CRLs [][]byte `json:"crls,omitempty"`
	// Policy is the policy's text, Carrier what HOST_DATA is the hash of, Initdata the document for that carrier.
	Policy   []byte `json:"policy,omitempty"`
	Carrier  string `json:"carrier,omitempty"`
	Initdata []byte `json:"initdata,omitempty"`
	// UVMEndorsement is what the maker of the guest image says of its measurement, a COSE_Sign1 message.
	UVMEndorsement []byte `json:"uvm_endorsement,omitempty"`
	// EventLog is an excerpt of the guest's event log; see package eventlog.
	EventLog []byte `json:"event_log,omitempty"`
	// Preimage is what REPORT_DATA is the SHA-512 of in evidence of a container's identity; see package identity.
	Preimage []byte `json:"preimage,omitempty"`
}

// NewBundle wraps evidence.
func NewBundle(ev Evidence) *Bundle {
	return &Bundle{Version: bundleVersion, Type: bundleType, Report: ev.Report, Certs: ev.Certs}
}

// Evidence returns the report and certificates inside.
func (b *Bundle) Evidence() Evidence { return Evidence{Report: b.Report, Certs: b.Certs} }

// Marshal encodes the bundle.
func (b *Bundle) Marshal() ([]byte, error) {
	out, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	return append(out, '\n'), nil
}

// ParseBundle decodes a bundle. Members that are unknown, there twice, or spelt in another case are refused: one that a newer version gives a meaning
// must not be passed over, and no two readers may see different evidence in one document.
func ParseBundle(data []byte) (*Bundle, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("parse bundle: got %d bytes, want at most %d", len(data), maxBundle)
	}
	var b Bundle
	strict, err := kjson.UnmarshalStrict(data, &b)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return nil, fmt.Errorf("parse bundle: %.300s", err) // the sender's words are in it
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("parse bundle: %w", err)
	}
	return &b, nil
}

func (b *Bundle) check() error {
	if b.Version != bundleVersion || b.Type != bundleType {
		return fmt.Errorf("got version %d type %.32q, want %d %q", b.Version, b.Type, bundleVersion, bundleType)
	}
	switch b.Carrier {
	case "", CarrierPolicy, CarrierInitdata:
	default:
		return fmt.Errorf("got carrier %.32q, want %q or %q", b.Carrier, CarrierPolicy, CarrierInitdata)
	}
	if len(b.Report) != ReportSize {
		return fmt.Errorf("got a report of %d bytes, want %d", len(b.Report), ReportSize)
	}
	if len(b.CRLs) > maxBundleCRLs {
		return fmt.Errorf("got %d revocation lists, want at most %d", len(b.CRLs), maxBundleCRLs)
	}
	for _, m := range []struct {
		name      string
		got, most int
	}{
		{"certs", len(b.Certs), maxBundleCerts},
		{"uvm_endorsement", len(b.UVMEndorsement), maxBundleSigned},
		{"event_log", len(b.EventLog), maxBundleEvents},
		{"preimage", len(b.Preimage), maxBundlePreimage},
	} {
		if m.got > m.most {
			return fmt.Errorf("%s: got %d bytes, want at most %d", m.name, m.got, m.most)
		}
	}
	for i, crl := range b.CRLs {
		if len(crl) == 0 || len(crl) > maxBundleCRL {
			return fmt.Errorf("crls: entry %d: got %d bytes, want 1 to %d", i, len(crl), maxBundleCRL)
		}
	}
	return nil
}
