package emulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"

	"github.com/cloister-cc/cloister/snp"
)

// TEEParams is what the launcher tells the software processor. Get one from Authority.Params, then set HostData and Measurement.
type TEEParams struct {
	Line          snp.Line        `cbor:"1,keyasint"`
	Key           []byte          `cbor:"2,keyasint"` // PKCS #8, the endorsement key
	Chain         [][]byte        `cbor:"3,keyasint"` // DER: endorsement key's certificate, intermediate, root
	VLEK          bool            `cbor:"4,keyasint"`
	HostData      [32]byte        `cbor:"5,keyasint"`
	Measurement   [48]byte        `cbor:"6,keyasint"`
	Policy        snp.GuestPolicy `cbor:"7,keyasint"`
	TCB           snp.TCBParts    `cbor:"8,keyasint"`
	ReportVersion uint32          `cbor:"9,keyasint"`
	GuestSVN      uint32          `cbor:"10,keyasint"`
	ChipID        [64]byte        `cbor:"11,keyasint"`
	VMPLFloor     uint32          `cbor:"12,keyasint"` // lowest level the guest holds a key for
	Faults        []Fault         `cbor:"13,keyasint"`
	CPU           snp.CPUID       `cbor:"14,keyasint"` // zero: the line's own processor
}

// Params endorses a processor of this identity and returns its parameters: SMT allowed, no debugging, no faults.
func (a *Authority) Params(id Identity) (TEEParams, error) {
	if err := id.check(); err != nil {
		return TEEParams{}, err
	}
	cert, err := a.endorse(id)
	if err != nil {
		return TEEParams{}, err
	}
	p := TEEParams{
		Line: id.Line, CPU: id.CPU, TCB: id.TCB, VLEK: id.VLEK,
		Policy:        snp.PolicySMT | snp.PolicyReservedOne,
		ReportVersion: id.version(),
	}
	key, by := a.vcek, a.ask
	if id.VLEK {
		key, by = a.vlek, a.asvk
	} else {
		copy(p.ChipID[:], hwid(id.Line, a.chipID))
	}
	if p.Key, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return TEEParams{}, fmt.Errorf("encode endorsement key: %w", err)
	}
	p.Chain = [][]byte{cert.Raw, by.cert.Raw, a.ark.cert.Raw}
	return p, nil
}

// check refuses parameters that no report can be made of.
func (p *TEEParams) check() (*ecdsa.PrivateKey, error) {
	if p.ReportVersion < 2 || p.ReportVersion > 5 {
		return nil, fmt.Errorf("tee parameters: got report version %d, want 2 to 5", p.ReportVersion)
	}
	if _, ok := lineCPU(p.Line); !ok {
		return nil, fmt.Errorf("tee parameters: got product line %.32q, want Milan, Genoa or Turin", p.Line)
	}
	if p.VMPLFloor > 3 {
		return nil, fmt.Errorf("tee parameters: got vmpl floor %d, want 0 to 3", p.VMPLFloor)
	}
	if p.Policy&snp.PolicyReservedOne == 0 {
		return nil, fmt.Errorf("tee parameters: got policy %s, want bit 17 set", p.Policy)
	}
	for i, f := range p.Faults {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("tee parameters: fault %d: %w", i, err)
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("tee parameters: endorsement key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P384() {
		return nil, fmt.Errorf("tee parameters: endorsement key: got %T, want ECDSA P-384", key)
	}
	return ec, nil
}

// cpu is the processor that reports name.
func (p *TEEParams) cpu() snp.CPUID {
	if p.CPU != (snp.CPUID{}) {
		return p.CPU
	}
	cpu, _ := lineCPU(p.Line)
	return cpu
}
