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
	FamilyID      [16]byte        `cbor:"15,keyasint"`
	ImageID       [16]byte        `cbor:"16,keyasint"`
	IDKeyDigest   [48]byte        `cbor:"17,keyasint"`
	AuthorDigest  [48]byte        `cbor:"18,keyasint"` // zero: no author key
	Root          [32]byte        `cbor:"19,keyasint"` // what keys derived from the chip begin with
	Upgrade       *Upgrade        `cbor:"20,keyasint"` // for the faults "tcb-upgrade" and "tcb-lag"
	Interface     Interface       `cbor:"21,keyasint"`
	Entries       uint32          `cbor:"22,keyasint"` // how many configfs entries there may be; zero: 4096. With 1, a client that leaves one behind gets no other
}

// Serves says whether an interface is to be offered.
func (p *TEEParams) Serves(i Interface) bool { return p.Interface == Both || p.Interface == i }

// Upgrade is what the processor becomes when its firmware is updated while the guest runs. Get one from Authority.Upgrade.
type Upgrade struct {
	TCB   snp.TCBParts `cbor:"1,keyasint"`
	Key   []byte       `cbor:"2,keyasint"` // PKCS #8, the endorsement key of that TCB
	Chain [][]byte     `cbor:"3,keyasint"` // DER, as TEEParams.Chain
}

// Interface names the kernel interfaces that a machine has.
type Interface string

// The interfaces to offer. Kernels before 6.7 have no configfs-tsm; that one without the other does not exist in nature, but a hardened machine may
// hide the device node.
const (
	Both         Interface = ""
	IoctlOnly    Interface = "ioctl"
	ConfigfsOnly Interface = "configfs"
)

// Params endorses a processor of this identity and returns its parameters: SMT allowed, no debugging, no faults.
func (a *Authority) Params(id Identity) (TEEParams, error) {
	if err := id.check(); err != nil {
		return TEEParams{}, err
	}
	key, chain, err := a.endorse(id)
	if err != nil {
		return TEEParams{}, err
	}
	p := TEEParams{
		Line: id.Line, CPU: id.CPU, TCB: id.TCB, VLEK: id.VLEK, Key: key, Chain: chain,
		Policy:        snp.PolicySMT | snp.PolicyReservedOne,
		ReportVersion: id.version(),
	}
	if !id.VLEK {
		copy(p.ChipID[:], hwid(id.Line, a.chipID))
	}
	if p.Root, err = a.chipRoot(); err != nil {
		return TEEParams{}, err
	}
	return p, nil
}

// Upgrade endorses the same processor with another TCB, for the fault script: what "tcb-upgrade" moves to.
func (a *Authority) Upgrade(p TEEParams, to snp.TCBParts) (*Upgrade, error) {
	key, chain, err := a.endorse(Identity{Line: p.Line, TCB: to, VLEK: p.VLEK})
	if err != nil {
		return nil, err
	}
	return &Upgrade{TCB: to, Key: key, Chain: chain}, nil
}

// endorse makes the key of a processor and its certificate.
func (a *Authority) endorse(id Identity) (pkcs8 []byte, chain [][]byte, err error) {
	key, err := a.endorsementKey(id)
	if err != nil {
		return nil, nil, err
	}
	if pkcs8, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, nil, fmt.Errorf("encode endorsement key: %w", err)
	}
	cert, err := a.certify(id)
	if err != nil {
		return nil, nil, err
	}
	return pkcs8, append([][]byte{cert}, a.Chain(id.VLEK)...), nil
}

// check refuses parameters that no report can be made of.
func (p *TEEParams) check() error {
	if p.ReportVersion < 2 || p.ReportVersion > 5 {
		return fmt.Errorf("tee parameters: got report version %d, want 2 to 5", p.ReportVersion)
	}
	if _, ok := lineCPU(p.Line); !ok {
		return fmt.Errorf("tee parameters: got product line %.32q, want Milan, Genoa or Turin", p.Line)
	}
	if p.VMPLFloor > 3 {
		return fmt.Errorf("tee parameters: got vmpl floor %d, want 0 to 3", p.VMPLFloor)
	}
	if p.Policy&snp.PolicyReservedOne == 0 {
		return fmt.Errorf("tee parameters: got policy %s, want bit 17 set", p.Policy)
	}
	switch p.Interface {
	case Both, IoctlOnly, ConfigfsOnly:
	default:
		return fmt.Errorf("tee parameters: got interface %.32q, want %q, %q or none", p.Interface, IoctlOnly, ConfigfsOnly)
	}
	if _, err := parseKey(p.Key); err != nil {
		return err
	}
	if p.Upgrade != nil {
		if _, err := parseKey(p.Upgrade.Key); err != nil {
			return err
		}
	}
	return p.checkFaults()
}

func (p *TEEParams) checkFaults() error {
	for i, f := range p.Faults {
		err := f.check()
		if err == nil && (f.Kind == FaultTCBUpgrade || f.Kind == FaultTCBLag) && p.Upgrade == nil {
			err = fmt.Errorf("got kind %q and no upgrade", f.Kind)
		}
		if err != nil {
			return fmt.Errorf("tee parameters: fault %d: %w", i, err)
		}
	}
	return nil
}

// parseKey reads an endorsement key.
func parseKey(pkcs8 []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
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
