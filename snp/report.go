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
	PlatformInfo  uint64 // see type PlatformInfo
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

// AtLeast says that f is not older than floor.
func (f Firmware) AtLeast(floor Firmware) bool {
	if f.Major != floor.Major {
		return f.Major > floor.Major
	}
	if f.Minor != floor.Minor {
		return f.Minor > floor.Minor
	}
	return f.Build >= floor.Build
}

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
	r, err := DecodeReport(b)
	if err != nil {
		return nil, err
	}
	if err := r.CheckReserved(); err != nil {
		return nil, err
	}
	return r, nil
}

// DecodeReport reads a report of version 2 to 5 and leaves the reserved bytes to CheckReserved: a verifier has a check of its own for them.
func DecodeReport(b []byte) (*Report, error) {
	if len(b) != ReportSize {
		return nil, fmt.Errorf("parse report: got %d bytes, want %d", len(b), ReportSize)
	}
	le := binary.LittleEndian
	r := &Report{Version: le.Uint32(b)}
	if r.Version < minReportVersion || r.Version > maxReportVersion {
		return nil, fmt.Errorf("parse report: got version %d, want %d to %d", r.Version, minReportVersion, maxReportVersion)
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

// reservedGaps are the ranges without a meaning, by report version.
var reservedGaps = func() (byVersion [maxReportVersion + 1][]gap) {
	for version := minReportVersion; version <= maxReportVersion; version++ {
		cpu, mitigation := 0x188, 0x1F8
		if version >= 3 {
			cpu = 0x18B
		}
		if version >= 5 {
			mitigation = 0x208
		}
		byVersion[version] = []gap{
			{0x04C, 0x050}, {cpu, 0x1A0}, {0x1EB, 0x1EC}, {0x1EF, 0x1F0}, {mitigation, SignedSize}, {SignedSize + SignatureSize, ReportSize},
		}
	}
	return byVersion
}()

type gap struct{ from, to int }

// CheckReserved refuses bytes, key information bits and signers that the report's version gives no meaning.
func (r *Report) CheckReserved() error {
	for _, g := range reservedGaps[r.Version] {
		for i, b := range r.raw[g.from:g.to] {
			if b != 0 {
				return fmt.Errorf("parse report: version %d: got %#02x at reserved offset %#03x, want 0", r.Version, b, g.from+i)
			}
		}
	}
	if r.KeyInfo>>5 != 0 {
		return fmt.Errorf("parse report: got key information %#x, want bits 5 to 31 zero", uint32(r.KeyInfo))
	}
	switch signer := r.KeyInfo.Signer(); signer {
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

// ABI is the oldest firmware interface that the guest may run on.
func (p GuestPolicy) ABI() (major, minor uint8) { return uint8(p >> 8), uint8(p) }

// Reserved returns the bits that have no meaning in reports of a version, and bit 17 if it is clear, which always must be set. Page swap came with
// version 5.
func (p GuestPolicy) Reserved(version uint32) GuestPolicy {
	known := PolicyPageSwapDisable - 1
	if version >= 5 {
		known |= PolicyPageSwapDisable
	}
	return p&^known | ^p&PolicyReservedOne
}

// PlatformInfo is what the firmware says of the machine.
type PlatformInfo uint64

// Bits of the platform information.
const (
	PlatformSMT            PlatformInfo = 1 << 0 // other threads run on the cores
	PlatformTSME           PlatformInfo = 1 << 1 // all memory is encrypted
	PlatformECC            PlatformInfo = 1 << 2 // memory has error correction
	PlatformRAPLDisabled   PlatformInfo = 1 << 3 // no power readings
	PlatformCiphertextHide PlatformInfo = 1 << 4 // the host does not see ciphertext in DRAM
	PlatformAliasCheck     PlatformInfo = 1 << 5 // memory was searched for aliases since the last reset; version 3 on
	PlatformTIO            PlatformInfo = 1 << 7 // trusted devices are enabled; version 5 on
	// platformBit6 has no meaning that is public, and genuine reports of Turin have it set.
	platformBit6 PlatformInfo = 1 << 6
)

// Reserved returns the bits that have no meaning in reports of a version.
func (p PlatformInfo) Reserved(version uint32) PlatformInfo {
	known := PlatformSMT | PlatformTSME | PlatformECC | PlatformRAPLDisabled | PlatformCiphertextHide
	if version >= 3 {
		known |= PlatformAliasCheck
	}
	if version >= 5 {
		known |= PlatformTIO | platformBit6
	}
	return p &^ known
}

func (p PlatformInfo) String() string { return fmt.Sprintf("%#x", uint64(p)) }

// CPUID names the processor that a report of version 3 or later comes from.
type CPUID struct{ Family, Model, Stepping uint8 }

func (c CPUID) String() string {
	return hex.EncodeToString([]byte{c.Family}) + "h/" + hex.EncodeToString([]byte{c.Model}) + "h"
}

// CPUIDOf reads the processor's signature, EAX of CPUID leaf 1.
func CPUIDOf(eax uint32) CPUID {
	return CPUID{
		Family:   uint8(eax>>8&0xF) + uint8(eax>>20),
		Model:    uint8(eax>>12&0xF0) | uint8(eax>>4&0xF),
		Stepping: uint8(eax & 0xF),
	}
}
