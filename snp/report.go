package snp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

const (
	// ReportSize is the size of an attestation report, whatever its version.
	ReportSize = sevguest.ReportSize
	// SignedSize is how many of its first bytes are signed.
	SignedSize = 0x2A0
	// SignatureSize is the used part of the signature field: R and S, little endian, 72 bytes each.
	SignatureSize = 144

	minReportVersion = 2
	maxReportVersion = 5
)

// Report is an attestation report, field by field. Parsing one says nothing about who made it.
type Report struct {
	Version       uint32
	GuestSVN      uint32
	Policy        GuestPolicy
	FamilyID      [16]byte
	ImageID       [16]byte
	VMPL          uint32
	SignatureAlgo uint32
	CurrentTCB    TCB
	PlatformInfo  uint64
	KeyInfo       KeyInfo
	ReportData    [64]byte
	Measurement   [48]byte
	HostData      [32]byte
	IDKeyDigest   [48]byte
	AuthorDigest  [48]byte
	ReportID      [32]byte
	ReportIDMA    [32]byte
	ReportedTCB   TCB
	CPU           CPUID // zero in version 2
	ChipID        [64]byte
	CommittedTCB  TCB
	Current       Firmware
	Committed     Firmware
	LaunchTCB     TCB
	LaunchMit     uint64 // version 5
	CurrentMit    uint64 // version 5
	Signature     [SignatureSize]byte

	raw [ReportSize]byte
}

// Firmware is a firmware version.
type Firmware struct{ Major, Minor, Build uint8 }

func (f Firmware) String() string { return fmt.Sprintf("%d.%d.%d", f.Major, f.Minor, f.Build) }

// KeyInfo is the word at 0x48.
type KeyInfo uint32

// Signers of a report.
const (
	SignerVCEK = 0
	SignerVLEK = 1
	SignerNone = 7
)

// Signer says which kind of key signed.
func (k KeyInfo) Signer() uint32 { return uint32(k>>2) & 7 }

// MaskChipKey says that the firmware does not sign with the chip's key: the signature is zero.
func (k KeyInfo) MaskChipKey() bool { return k&2 != 0 }

// AuthorKey says that the author digest is present.
func (k KeyInfo) AuthorKey() bool { return k&1 != 0 }

// Signed returns the bytes that the signature covers.
func (r *Report) Signed() []byte { return r.raw[:SignedSize:SignedSize] }

// Raw returns the whole report.
func (r *Report) Raw() []byte { return r.raw[:] }

// ParseReport reads a report of version 2 to 5. Reserved bytes must be zero: they are signed, so that a meaning added later would otherwise be
// carried along unread.
func ParseReport(b []byte) (*Report, error) {
	if len(b) != ReportSize {
		return nil, fmt.Errorf("parse report: got %d bytes, want %d", len(b), ReportSize)
	}
	le := binary.LittleEndian
	r := &Report{Version: le.Uint32(b)}
	if r.Version < minReportVersion || r.Version > maxReportVersion {
		return nil, fmt.Errorf("parse report: got version %d, want %d to %d", r.Version, minReportVersion, maxReportVersion)
	}
	if err := checkReserved(b, r.Version); err != nil {
		return nil, err
	}
	copy(r.raw[:], b)
	r.GuestSVN = le.Uint32(b[0x004:])
	r.Policy = GuestPolicy(le.Uint64(b[0x008:]))
	r.FamilyID = [16]byte(b[0x010:])
	r.ImageID = [16]byte(b[0x020:])
	r.VMPL = le.Uint32(b[0x030:])
	r.SignatureAlgo = le.Uint32(b[0x034:])
	r.CurrentTCB = TCB(b[0x038:])
	r.PlatformInfo = le.Uint64(b[0x040:])
	r.KeyInfo = KeyInfo(le.Uint32(b[0x048:]))
	r.ReportData = [64]byte(b[0x050:])
	r.Measurement = [48]byte(b[0x090:])
	r.HostData = [32]byte(b[0x0C0:])
	r.IDKeyDigest = [48]byte(b[0x0E0:])
	r.AuthorDigest = [48]byte(b[0x110:])
	r.ReportID = [32]byte(b[0x140:])
	r.ReportIDMA = [32]byte(b[0x160:])
	r.ReportedTCB = TCB(b[0x180:])
	if r.Version >= 3 {
		r.CPU = CPUID{Family: b[0x188], Model: b[0x189], Stepping: b[0x18A]}
	}
	r.ChipID = [64]byte(b[0x1A0:])
	r.CommittedTCB = TCB(b[0x1E0:])
	r.Current = Firmware{Build: b[0x1E8], Minor: b[0x1E9], Major: b[0x1EA]}
	r.Committed = Firmware{Build: b[0x1EC], Minor: b[0x1ED], Major: b[0x1EE]}
	r.LaunchTCB = TCB(b[0x1F0:])
	if r.Version >= 5 {
		r.LaunchMit = le.Uint64(b[0x1F8:])
		r.CurrentMit = le.Uint64(b[0x200:])
	}
	r.Signature = [SignatureSize]byte(b[SignedSize:])
	return r, nil
}

// checkReserved refuses bytes that the report's version gives no meaning.
func checkReserved(b []byte, version uint32) error {
	gaps := []struct{ from, to int }{
		{0x04C, 0x050},
		{0x188, 0x1A0},
		{0x1EB, 0x1EC},
		{0x1EF, 0x1F0},
		{0x1F8, SignedSize},
		{SignedSize + SignatureSize, ReportSize},
	}
	if version >= 3 {
		gaps[1].from = 0x18B
	}
	if version >= 5 {
		gaps[4].from = 0x208
	}
	for _, g := range gaps {
		for i := g.from; i < g.to; i++ {
			if b[i] != 0 {
				return fmt.Errorf("parse report: version %d: got %#02x at reserved offset %#03x, want 0", version, b[i], i)
			}
		}
	}
	if info := binary.LittleEndian.Uint32(b[0x048:]); info>>5 != 0 {
		return fmt.Errorf("parse report: got key information %#x, want bits 5 to 31 zero", info)
	}
	switch signer := KeyInfo(binary.LittleEndian.Uint32(b[0x048:])).Signer(); signer {
	case SignerVCEK, SignerVLEK, SignerNone:
	default:
		return fmt.Errorf("parse report: got signer %d, which is reserved", signer)
	}
	return nil
}

// GuestPolicy is the launch policy that the guest's owner or host set and the firmware enforces.
type GuestPolicy uint64

// Bits of the guest policy.
const (
	PolicySMT             GuestPolicy = 1 << 16
	PolicyReservedOne     GuestPolicy = 1 << 17 // always set
	PolicyMigrateMA       GuestPolicy = 1 << 18
	PolicyDebug           GuestPolicy = 1 << 19
	PolicySingleSocket    GuestPolicy = 1 << 20
	PolicyCXL             GuestPolicy = 1 << 21
	PolicyMemAES256XTS    GuestPolicy = 1 << 22
	PolicyRAPLDisable     GuestPolicy = 1 << 23
	PolicyCiphertextHide  GuestPolicy = 1 << 24
	PolicyPageSwapDisable GuestPolicy = 1 << 25
)

func (p GuestPolicy) String() string { return fmt.Sprintf("%#x", uint64(p)) }

// CPUID names the processor that a report of version 3 or later comes from.
type CPUID struct{ Family, Model, Stepping uint8 }

func (c CPUID) String() string {
	return hex.EncodeToString([]byte{c.Family}) + "h/" + hex.EncodeToString([]byte{c.Model}) + "h"
}
