package emulator

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// Processor is the software SNP processor: what the firmware and the host would answer. Requests are taken one at a time, as the kernel
// sends them.
type Processor struct {
	mu       sync.Mutex
	params   TEEParams
	key      *ecdsa.PrivateKey
	certs    []byte
	reportID [32]byte // one a launch, as the firmware makes it
	requests uint64   // report requests so far: what the fault script counts
}

// NewProcessor starts a processor.
func NewProcessor(p TEEParams) (*Processor, error) {
	key, err := p.check()
	if err != nil {
		return nil, err
	}
	proc := &Processor{params: p, key: key, certs: hostCerts(p)}
	if _, err := rand.Read(proc.reportID[:]); err != nil {
		return nil, fmt.Errorf("make report id: %w", err)
	}
	return proc, nil
}

// hostCerts is the table the host has: the endorsement key's certificate and what follows it. There is no GUID for the intermediate of VLEKs,
// so a host cannot send that one.
func hostCerts(p TEEParams) []byte {
	guids := []snp.GUID{snp.GUIDVCEK, snp.GUIDASK, snp.GUIDARK}
	if p.VLEK {
		guids = []snp.GUID{snp.GUIDVLEK, {}, snp.GUIDARK}
	}
	var certs []snp.Cert
	for i, der := range p.Chain {
		if i < len(guids) && guids[i] != (snp.GUID{}) {
			certs = append(certs, snp.Cert{GUID: guids[i], Data: der})
		}
	}
	return snp.MarshalCerts(certs)
}

// answer is what one report request comes to: a report and the host's certificates, or the fault that was in the script.
type answer struct {
	report []byte
	certs  []byte
	status uint32 // the firmware's
	busy   Fault  // the host's, zero if it was willing
	wiped  bool
	huge   bool // the certificates do not fit into what the kernel allows
	race   bool
}

// report serves one report request.
func (p *Processor) report(data [64]byte, vmpl uint32) (answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := answer{certs: p.certs}
	n := p.requests
	p.requests++
	tampered := false
	for _, f := range p.params.Faults {
		if !f.holds(n) && !(f.Kind == FaultWiped && n >= uint64(f.After)) {
			continue
		}
		switch f.Kind {
		case FaultBusy:
			a.busy = f
		case FaultWiped:
			a.wiped = true
		case FaultTampered:
			tampered = true
		case FaultRace:
			a.race = true
		default:
			a.certs, a.huge = faultyCerts(f.Kind, p.certs)
		}
	}
	if vmpl > 3 || vmpl < p.params.VMPLFloor {
		a.status = sevguest.StatusInvalid
		return a, nil
	}
	var err error
	if a.report, err = p.sign(p.fill(data, vmpl)); err == nil && tampered {
		a.report[0x090] ^= 1
	}
	return a, err
}

// faultyCerts are the tables of a hostile or careless host.
func faultyCerts(kind FaultKind, good []byte) (table []byte, huge bool) {
	switch kind {
	case FaultCertsWrap:
		table = slices.Clone(good)
		binary.LittleEndian.PutUint32(table[16:], 0xFFFFFFF0)
		binary.LittleEndian.PutUint32(table[20:], 0x20)
		return table, false
	case FaultCertsGarbage:
		return slices.Repeat([]byte{0xA5}, 3000), false
	case FaultCertsHuge:
		return good, true
	}
	return nil, false
}

// fill makes an unsigned report.
func (p *Processor) fill(data [64]byte, vmpl uint32) []byte {
	b := make([]byte, snp.ReportSize)
	le, q := binary.LittleEndian, &p.params
	tcb := q.TCB.Bytes(q.Line)
	le.PutUint32(b[0x000:], q.ReportVersion)
	le.PutUint32(b[0x004:], q.GuestSVN)
	le.PutUint64(b[0x008:], uint64(q.Policy))
	le.PutUint32(b[0x030:], vmpl)
	le.PutUint32(b[0x034:], 1) // ECDSA P-384 with SHA-384
	copy(b[0x038:], tcb[:])
	if q.Policy&snp.PolicySMT != 0 {
		le.PutUint64(b[0x040:], 1) // SMT is on
	}
	if q.VLEK {
		le.PutUint32(b[0x048:], snp.SignerVLEK<<2)
	}
	copy(b[0x050:], data[:])
	copy(b[0x090:], q.Measurement[:])
	copy(b[0x0C0:], q.HostData[:])
	copy(b[0x140:], p.reportID[:])
	copy(b[0x160:], slices.Repeat([]byte{0xff}, 32)) // no migration agent
	copy(b[0x180:], tcb[:])
	if q.ReportVersion >= 3 {
		cpu := q.cpu()
		copy(b[0x188:], []byte{cpu.Family, cpu.Model, cpu.Stepping})
	}
	copy(b[0x1A0:], q.ChipID[:])
	copy(b[0x1E0:], tcb[:])
	firmware := []byte{29, 55, 1, 0} // build, minor, major: 1.55.29
	copy(b[0x1E8:], firmware)
	copy(b[0x1EC:], firmware)
	copy(b[0x1F0:], tcb[:])
	return b
}

// sign fills in the signature: R and S little endian in 72 bytes each.
func (p *Processor) sign(b []byte) ([]byte, error) {
	sum := sha512.Sum384(b[:snp.SignedSize])
	r, s, err := ecdsa.Sign(rand.Reader, p.key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign report: %w", err)
	}
	for i, v := range []*big.Int{r, s} {
		field := b[snp.SignedSize+i*72:][:72]
		v.FillBytes(field)
		slices.Reverse(field)
	}
	return b, nil
}

// The fields a derived key can depend on.
const (
	keyFieldPolicy = 1 << iota
	keyFieldImageID
	keyFieldFamilyID
	keyFieldMeasurement
	keyFieldGuestSVN
	keyFieldTCB

	keyFieldsKnown = keyFieldTCB<<1 - 1
)

// derivedKey serves MSG_KEY_REQ. As in the firmware the key depends on the root, the level and the selected fields, and a request for a newer version
// than the guest's own is refused.
func (p *Processor) derivedKey(req sevguest.DerivedKeyReq) (key [32]byte, status uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &p.params
	var asked snp.TCB
	binary.LittleEndian.PutUint64(asked[:], req.TCBVersion)
	parts, err := asked.Parts(q.Line)
	if err != nil || !q.TCB.AtLeast(parts) || req.GuestSVN > q.GuestSVN || req.RootKeySelect > 1 ||
		req.GuestFieldSelect&^keyFieldsKnown != 0 || req.VMPL > 3 || req.VMPL < q.VMPLFloor {
		return key, sevguest.StatusInvalid
	}
	scalar, err := p.key.Bytes()
	if err != nil {
		return key, sevguest.StatusInvalid
	}
	le := binary.LittleEndian
	mac := hmac.New(sha256.New, scalar)
	mac.Write([]byte("cloister emulator derived key"))
	msg := le.AppendUint32(nil, req.RootKeySelect)
	if req.RootKeySelect == 1 {
		msg = append(msg, p.reportID[:]...) // the VMRK is the launch's own
	}
	msg = le.AppendUint64(msg, req.GuestFieldSelect)
	msg = le.AppendUint32(msg, req.VMPL)
	if req.GuestFieldSelect&keyFieldPolicy != 0 {
		msg = le.AppendUint64(msg, uint64(q.Policy))
	}
	if req.GuestFieldSelect&keyFieldMeasurement != 0 {
		msg = append(msg, q.Measurement[:]...)
	}
	if req.GuestFieldSelect&keyFieldGuestSVN != 0 {
		msg = le.AppendUint32(msg, req.GuestSVN)
	}
	if req.GuestFieldSelect&keyFieldTCB != 0 {
		msg = le.AppendUint64(msg, req.TCBVersion)
	}
	mac.Write(msg)
	return [32]byte(mac.Sum(nil)), 0
}
