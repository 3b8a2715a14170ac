package verify

import (
	"fmt"
	"strconv"

	"github.com/cloister-cc/cloister/snp"
)

func number[N ~uint32 | ~uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

// policy judges what the guest's policy permits. Debugging and migration agents hand the guest's memory to somebody else and are refused always; so are bits
// without a meaning, which could be permissions.
func (j judge) policy(r *snp.Report, exp *Expectations) {
	j.vmpl(r, exp)
	p, text := r.Policy, ""
	if bad := p.Reserved(r.Version); bad != 0 {
		text = p.String()
		j.set(checkPolicyReserved, false, "bit 17 set, and no bit unknown in "+versionText(r.Version), text)
	} else {
		j.set(checkPolicyReserved, true, "known bits", "known bits")
	}
	j.never(checkPolicyDebug, p&snp.PolicyDebug != 0)
	j.never(checkPolicyMigration, p&snp.PolicyMigrateMA != 0)
	limit := exp.GuestPolicy
	if limit == nil {
		j.notAsked(checkPolicySMT, checkPolicyCXL, checkPolicySingleSocket, checkPolicyAES256, checkPolicyRAPL, checkPolicyCiphertext, checkPolicyPageSwap, checkPolicyABI)
		return
	}
	j.tolerated(checkPolicySMT, p&snp.PolicySMT != 0, limit.SMT)
	j.tolerated(checkPolicyCXL, p&snp.PolicyCXL != 0, limit.CXL)
	j.wanted(checkPolicySingleSocket, p&snp.PolicySingleSocket != 0, limit.SingleSocket)
	j.wanted(checkPolicyAES256, p&snp.PolicyMemAES256XTS != 0, limit.AES256XTS)
	j.wanted(checkPolicyRAPL, p&snp.PolicyRAPLDisable != 0, limit.RAPLDisabled)
	j.wanted(checkPolicyCiphertext, p&snp.PolicyCiphertextHide != 0, limit.CiphertextHiding)
	j.wanted(checkPolicyPageSwap, p&snp.PolicyPageSwapDisable != 0, limit.PageSwapDisabled)
	if limit.MinABI == nil {
		j.notAsked(checkPolicyABI)
		return
	}
	major, minor := p.ABI()
	ok := major > limit.MinABI.Major || major == limit.MinABI.Major && minor >= limit.MinABI.Minor
	j.set(checkPolicyABI, ok, fmt.Sprintf("at least %d.%d", limit.MinABI.Major, limit.MinABI.Minor), fmt.Sprintf("%d.%d", major, minor))
}

// vmpl wants the level asked for. A report the host asked for has level 0xffffffff, which nobody can ask for here, and says nothing about who in the guest wanted it.
func (j judge) vmpl(r *snp.Report, exp *Expectations) {
	var want uint32
	if exp.VMPL != nil {
		want = *exp.VMPL
	}
	j.set(checkVMPL, r.VMPL == want, number(want), number(r.VMPL))
}

func setText(set bool) string {
	if set {
		return "set"
	}
	return "clear"
}

func (j judge) never(id checkID, set bool) { j.set(id, !set, "clear", setText(set)) }

// tolerated wants a bit to be clear unless the caller puts up with it.
func (j judge) tolerated(id checkID, set, allowed bool) {
	if allowed {
		j.set(id, true, "set or clear", setText(set))
		return
	}
	j.set(id, !set, "clear", setText(set))
}

// wanted wants a bit to be set if the caller does.
func (j judge) wanted(id checkID, set, want bool) {
	if !want {
		j.notAsked(id)
		return
	}
	j.set(id, set, "set", setText(set))
}

func (j judge) platform(r *snp.Report, exp *Expectations) {
	p, limit := snp.PlatformInfo(r.PlatformInfo), exp.PlatformInfo
	if limit == nil {
		j.notAsked(checkPlatformReserved, checkPlatformSMT, checkPlatformTIO, checkPlatformTSME, checkPlatformECC, checkPlatformRAPL, checkPlatformCiphertext, checkPlatformAlias)
		return
	}
	if p.Reserved(r.Version) != 0 {
		j.set(checkPlatformReserved, false, "no bit unknown in "+versionText(r.Version), p.String())
	} else {
		j.set(checkPlatformReserved, true, "known bits", "known bits")
	}
	j.tolerated(checkPlatformSMT, p&snp.PlatformSMT != 0, limit.SMT)
	j.tolerated(checkPlatformTIO, p&snp.PlatformTIO != 0, limit.TIO)
	j.wanted(checkPlatformTSME, p&snp.PlatformTSME != 0, limit.TSME)
	j.wanted(checkPlatformECC, p&snp.PlatformECC != 0, limit.ECC)
	j.wanted(checkPlatformRAPL, p&snp.PlatformRAPLDisabled != 0, limit.RAPLDisabled)
	j.wanted(checkPlatformCiphertext, p&snp.PlatformCiphertextHide != 0, limit.CiphertextHiding)
	j.wanted(checkPlatformAlias, p&snp.PlatformAliasCheck != 0, limit.AliasCheck)
}

// expected holds the report's fields against the caller's expectations.
func (j judge) expected(r *snp.Report, exp *Expectations) {
	optional(j, checkReportData, r.ReportData[:], exp.ReportData, func(w *[64]byte) []byte { return w[:] })
	optional(j, checkHostData, r.HostData[:], exp.HostData, func(w *[32]byte) []byte { return w[:] })
	optional(j, checkFamilyID, r.FamilyID[:], exp.FamilyID, func(w *[16]byte) []byte { return w[:] })
	optional(j, checkImageID, r.ImageID[:], exp.ImageID, func(w *[16]byte) []byte { return w[:] })
	optional(j, checkReportID, r.ReportID[:], exp.ReportID, func(w *[32]byte) []byte { return w[:] })
	optional(j, checkReportIDMA, r.ReportIDMA[:], exp.ReportIDMA, func(w *[32]byte) []byte { return w[:] })
	among(j, checkMeasurement, r.Measurement, exp.Measurements, func(d [48]byte) string { return hexText(d[:]) })
	among(j, checkChipAllowed, r.ChipID, exp.ChipIDs, func(d [64]byte) string { return hexText(d[:]) })
	j.keys(r, exp)
}

func optional[T any](j judge, id checkID, got []byte, want *T, bytes func(*T) []byte) {
	if want == nil {
		j.notAsked(id)
		return
	}
	j.equal(id, got, bytes(want))
}

func among[T comparable](j judge, id checkID, got T, set []T, text func(T) string) {
	if set == nil {
		j.notAsked(id)
		return
	}
	member(j, id, got, set, text)
}

// keys judges who signed the guest's ID block. Without one the digests are zero.
func (j judge) keys(r *snp.Report, exp *Expectations) {
	digest := func(d [48]byte) string { return hexText(d[:]) }
	if exp.RequireIDBlock {
		j.set(checkIDBlock, r.IDKeyDigest != [48]byte{}, "an ID key", "ID key "+digest(r.IDKeyDigest))
	} else {
		j.notAsked(checkIDBlock)
	}
	among(j, checkIDKey, r.IDKeyDigest, exp.IDKeyDigests, digest)
	if exp.AuthorKeyDigests != nil && !r.KeyInfo.AuthorKey() {
		j.set(checkAuthorKey, false, "an author key", "none")
		return
	}
	among(j, checkAuthorKey, r.AuthorDigest, exp.AuthorKeyDigests, digest)
}

// versions judges minimum versions, and what kind of processor and key it was.
func (j judge) versions(r *snp.Report, exp *Expectations) {
	j.atLeast(checkGuestSVN, r.GuestSVN, exp.MinGuestSVN)
	j.atLeast(checkMinVersion, r.Version, exp.MinVersion)
	if exp.MinFirmware == nil {
		j.notAsked(checkFirmware)
	} else {
		ok := r.Current.AtLeast(*exp.MinFirmware) && r.Committed.AtLeast(*exp.MinFirmware)
		j.set(checkFirmware, ok, "at least "+exp.MinFirmware.String(), r.Current.String()+", committed "+r.Committed.String())
	}
	var launch, current *uint64
	if exp.MinMitigation != nil {
		launch, current = exp.MinMitigation.Launch, exp.MinMitigation.Current
	}
	j.bits(checkLaunchMitigation, r.Version, r.LaunchMit, launch)
	j.bits(checkCurrentMitigation, r.Version, r.CurrentMit, current)
}

func (j judge) atLeast(id checkID, got uint32, floor *uint32) {
	if floor == nil {
		j.notAsked(id)
		return
	}
	j.set(id, got >= *floor, "at least "+number(*floor), number(got))
}

// bits wants each of some bits. Reports before version 5 have no vector: that is not one of zeros.
func (j judge) bits(id checkID, version uint32, got uint64, want *uint64) {
	switch {
	case want == nil:
		j.notAsked(id)
	case version < 5:
		j.set(id, false, fmt.Sprintf("bits %#x", *want), "no vector in "+versionText(version))
	default:
		j.set(id, got&*want == *want, fmt.Sprintf("bits %#x", *want), fmt.Sprintf("%#x", got))
	}
}
