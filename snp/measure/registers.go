package measure

import "fmt"

// VMM is a virtual machine monitor, by how it launches a guest.
type VMM string

// The monitors whose launches can be predicted.
const (
	QEMU VMM = "qemu"
	EC2  VMM = "ec2"
	GCE  VMM = "gce"
)

// bspEntry is where the first processor starts: the reset vector.
const bspEntry uint32 = 0xFFFFFFF0

// Values of control registers that every launch has: the reset state, as KVM changes it (EFER.SVME, CR4.MCE).
const (
	resetEFER   = 0x1000
	resetCR4    = 0x40
	resetCR0    = 0x10
	resetDR7    = 0x400
	resetDR6    = 0xFFFF0FF0
	resetRFLAGS = 0x2
	resetXCR0   = 0x1
	resetLimit  = 0xFFFF
)

// Attributes of segments: present and accessed data, code, LDT, TSS in their 16-bit forms.
const (
	attrData     = 0x93
	attrDataIdle = 0x92 // not accessed yet
	attrCode     = 0x9B
	attrCodeIdle = 0x9A
	attrLDT      = 0x82
	attrTSS      = 0x8B
	attrTSSIdle  = 0x83
)

// Page attribute tables, and FPU state after reset.
const (
	patReset   = 0x0007040600070406
	patGCE     = 0x00070106
	resetMXCSR = 0x1F80
	resetFCW   = 0x37F
)

// initial is what the monitors differ in.
type initial struct {
	cs, ss, tr uint16 // attributes
	rdx, pat   uint64
	fpu        bool
}

// registers looks up how a monitor starts a processor at an address.
func (l Launch) registers(entry uint32) (initial, error) {
	switch l.VMM {
	case QEMU:
		return initial{cs: attrCode, ss: attrData, tr: attrTSS, rdx: uint64(l.CPU), pat: patReset, fpu: !l.NoFPUState}, nil
	case EC2:
		r := initial{cs: attrCode, ss: attrDataIdle, tr: attrTSSIdle, pat: patReset}
		if entry == bspEntry {
			r.cs = attrCodeIdle
		}
		return r, nil
	case GCE:
		return initial{cs: attrCode, ss: attrData, tr: attrTSS, rdx: 0x600, pat: patGCE}, nil
	}
	return initial{}, fmt.Errorf("vmm: got %.32q, want %q, %q or %q", string(l.VMM), QEMU, EC2, GCE)
}

// saveArea is the state of a processor that starts in real mode at an address: its upper half is the base of CS, its lower half RIP.
func (l Launch) saveArea(entry uint32) (*SaveArea, error) {
	r, err := l.registers(entry)
	if err != nil {
		return nil, err
	}
	data := Segment{Attributes: attrData, Limit: resetLimit}
	s := l.commonArea(r)
	s.ES, s.DS, s.FS, s.GS = data, data, data, data
	s.CS = Segment{Selector: 0xF000, Attributes: r.cs, Limit: resetLimit, Base: uint64(entry &^ 0xFFFF)}
	s.SS = Segment{Attributes: r.ss, Limit: resetLimit}
	s.CR0, s.RIP = resetCR0, uint64(entry&0xFFFF)
	return s, nil
}

// commonArea is what a start in real mode and one in an SVSM have in common.
func (l Launch) commonArea(r initial) *SaveArea {
	s := &SaveArea{
		GDTR: Segment{Limit: resetLimit},
		IDTR: Segment{Limit: resetLimit},
		LDTR: Segment{Attributes: attrLDT, Limit: resetLimit},
		TR:   Segment{Attributes: r.tr, Limit: resetLimit},
		EFER: resetEFER, CR4: resetCR4, DR7: resetDR7, DR6: resetDR6, RFLAGS: resetRFLAGS, XCR0: resetXCR0,
		GPAT: r.pat, RDX: r.rdx, SEVFeatures: l.GuestFeatures,
	}
	if r.fpu {
		s.MXCSR, s.X87FCW = resetMXCSR, resetFCW
	}
	return s
}
