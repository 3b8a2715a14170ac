package snp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Carriers of a policy: what HOST_DATA is the hash of.
const (
	CarrierPolicy   = "policy"   // SHA-256 of the policy's bytes
	CarrierInitdata = "initdata" // the declared digest of the initdata document, first 32 bytes
)

const (
	bundleVersion = 1
	bundleType    = "sev-snp"
	// maxBundle bounds a bundle before it is decoded: 64 MiB of initdata in base64, and the rest.
	maxBundle = 96 << 20
)

// Bundle is everything a relying party needs to verify a report offline, as one JSON document.
type Bundle struct {
	Version  int    `json:"version"`
	Type     string `json:"type"`
	Report   []byte `json:"report"`
	Certs    []byte `json:"certs"`
	Policy   []byte `json:"policy,omitempty"`
	Carrier  string `json:"carrier,omitempty"`
	Initdata []byte `json:"initdata,omitempty"`
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

// ParseBundle decodes a bundle. Unknown members are refused: one that a newer version gives a meaning must not be passed over.
func ParseBundle(data []byte) (*Bundle, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("parse bundle: got %d bytes, want at most %d", len(data), maxBundle)
	}
	var b Bundle
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return nil, fmt.Errorf("parse bundle: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse bundle: got more after the document, want nothing")
	}
	if b.Version != bundleVersion || b.Type != bundleType {
		return nil, fmt.Errorf("parse bundle: got version %d type %.32q, want %d %q", b.Version, b.Type, bundleVersion, bundleType)
	}
	switch b.Carrier {
	case "", CarrierPolicy, CarrierInitdata:
	default:
		return nil, fmt.Errorf("parse bundle: got carrier %.32q, want %q or %q", b.Carrier, CarrierPolicy, CarrierInitdata)
	}
	if len(b.Report) != ReportSize {
		return nil, fmt.Errorf("parse bundle: got a report of %d bytes, want %d", len(b.Report), ReportSize)
	}
	return &b, nil
}
