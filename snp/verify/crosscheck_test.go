package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	gtest "github.com/google/go-sev-guest/testing"
	gvalidate "github.com/google/go-sev-guest/validate"
	gverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

// published is a chain made of the private keys that are in go-sev-guest's repository for everybody to use.
type published struct {
	t      testing.TB
	line   snp.Line
	tcb    snp.TCBParts
	chipID [64]byte
	signer *gtest.AmdSigner
}

func newPublished(t testing.TB, line snp.Line) *published {
	t.Helper()
	p := &published{t: t, line: line, tcb: snp.TCBParts{BootLoader: 10, SNP: 23, Microcode: 84}, chipID: [64]byte{0x04, 63: 0x40}}
	now := time.Now().Add(-time.Hour)
	tcb := kds.TCBParts{BlSpl: p.tcb.BootLoader, SnpSpl: p.tcb.SNP, UcodeSpl: p.tcb.Microcode}
	b := &gtest.AmdSignerBuilder{
		Keys: gtest.DefaultAmdKeys(), ProductName: string(line) + "-B1", CSPID: "go-sev-guest",
		ArkCreationTime: now, AskCreationTime: now, AsvkCreationTime: now, VcekCreationTime: now, VlekCreationTime: now,
		VcekCustom: gtest.CertOverride{Extensions: gtest.CustomExtensions(tcb, p.chipID[:], "", string(line)+"-B1")},
		VlekCustom: gtest.CertOverride{Extensions: gtest.CustomExtensions(tcb, nil, "go-sev-guest", string(line))},
	}
	var err error
	if p.signer, err = b.TestOnlyCertChain(); err != nil {
		t.Fatal(err)
	}
	return p
}

// roots are the chain's own.
func (p *published) roots() *verify.Roots {
	p.t.Helper()
	r := &verify.Roots{}
	for _, cert := range [][]byte{p.signer.Ark.Raw, p.signer.Ask.Raw, p.signer.Asvk.Raw} {
		if err := r.Add(cert); err != nil {
			p.t.Fatal(err)
		}
	}
	return r
}

func (p *published) evidence(version uint32, vlek bool, edit func([]byte)) verify.Evidence {
	p.t.Helper()
	id := emulator.Identity{Line: p.line, TCB: p.tcb, VLEK: vlek, ReportVersion: version}
	s := newSample(p.t, id, func(q *emulator.TEEParams) {
		if !vlek {
			q.ChipID = p.chipID
		}
	})
	ev := s.evidence()
	if edit != nil {
		edit(ev.Report)
	}
	p.sign(ev.Report, vlek)
	table, err := p.signer.CertTableBytes()
	if err != nil {
		p.t.Fatal(err)
	}
	ev.Table, ev.Certs = table, nil
	return ev
}

func (p *published) sign(report []byte, vlek bool) {
	p.t.Helper()
	key := p.signer.Keys.Vcek
	if vlek {
		key = p.signer.Keys.Vlek
	}
	signReport(p.t, report, key)
}

// theirs is go-sev-guest's verdict, verify and validate together, with our expectations.
func (p *published) theirs(ev verify.Evidence, exp verify.Expectations) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			p.t.Logf("go-sev-guest panics: %v", r)
			ok = false
		}
	}()
	att, err := abi.ReportCertsToProto(slices.Concat(ev.Report, ev.Table))
	if err != nil {
		p.t.Logf("go-sev-guest: parse: %v", err)
		return false
	}
	root := trust.AMDRootCertsProduct(string(p.line))
	root.ProductCerts = &trust.ProductCerts{Ark: p.signer.Ark, Ask: p.signer.Ask, Asvk: p.signer.Asvk}
	opt := &gverify.Options{DisableCertFetching: true, Now: exp.Now, TrustedRoots: map[string][]*trust.AMDRootCerts{string(p.line): {root}}}
	if att.Report.Version == 2 {
		names := map[snp.Line]spb.SevProduct_SevProductName{snp.Milan: spb.SevProduct_SEV_PRODUCT_MILAN, snp.Genoa: spb.SevProduct_SEV_PRODUCT_GENOA}
		opt.Product = &spb.SevProduct{Name: names[p.line]}
	}
	if err := gverify.SnpAttestation(att, opt); err != nil {
		p.t.Logf("go-sev-guest: verify: %v", err)
		return false
	}
	if err := gvalidate.SnpAttestation(att, theirOptions(exp)); err != nil {
		p.t.Logf("go-sev-guest: validate: %v", err)
		return false
	}
	return true
}

func theirOptions(exp verify.Expectations) *gvalidate.Options {
	o := &gvalidate.Options{
		ReportData: exp.ReportData[:], HostData: exp.HostData[:], Measurement: exp.Measurements[0][:], VMPL: new(int), PermitProvisionalFirmware: !exp.RefuseProvisional,
		MinimumGuestSvn: *exp.MinGuestSVN,
	}
	if exp.VMPL != nil {
		*o.VMPL = int(*exp.VMPL)
	}
	g := exp.GuestPolicy
	o.GuestPolicy = abi.SnpPolicy{
		SMT: g.SMT, CXLAllowed: g.CXL, SingleSocket: g.SingleSocket, MemAES256XTS: g.AES256XTS, RAPLDis: g.RAPLDisabled,
		CipherTextHidingDRAM: g.CiphertextHiding, PageSwapDisable: g.PageSwapDisabled,
	}
	if g.MinABI != nil {
		o.GuestPolicy.ABIMajor, o.GuestPolicy.ABIMinor = g.MinABI.Major, g.MinABI.Minor
	}
	if l := exp.PlatformInfo; l != nil {
		o.PlatformInfo = &abi.SnpPlatformInfo{
			SMTEnabled: l.SMT, TIOEnabled: l.TIO, TSMEEnabled: true, ECCEnabled: l.ECC, RAPLDisabled: l.RAPLDisabled,
			CiphertextHidingDRAMEnabled: l.CiphertextHiding, AliasCheckComplete: l.AliasCheck,
		}
	}
	theirVersions(o, exp)
	if exp.FamilyID != nil {
		o.FamilyID = exp.FamilyID[:]
	}
	if exp.ImageID != nil {
		o.ImageID = exp.ImageID[:]
	}
	if exp.ReportID != nil {
		o.ReportID = exp.ReportID[:]
	}
	if exp.ReportIDMA != nil {
		o.ReportIDMA = exp.ReportIDMA[:]
	}
	if exp.ChipIDs != nil {
		o.ChipID = exp.ChipIDs[0][:]
	}
	for _, d := range exp.IDKeyDigests {
		o.RequireIDBlock, o.TrustedIDKeyHashes = true, append(o.TrustedIDKeyHashes, d[:])
	}
	for _, d := range exp.AuthorKeyDigests {
		o.RequireAuthorKey, o.TrustedAuthorKeyHashes = true, append(o.TrustedAuthorKeyHashes, d[:])
	}
	return o
}

func theirVersions(o *gvalidate.Options, exp verify.Expectations) {
	parts := func(p *snp.TCBParts) (out kds.TCBParts) {
		if p != nil {
			out = kds.TCBParts{BlSpl: p.BootLoader, TeeSpl: p.TEE, SnpSpl: p.SNP, UcodeSpl: p.Microcode}
		}
		return out
	}
	o.MinimumTCB, o.MinimumLaunchTCB = parts(exp.MinTCB), parts(exp.MinLaunchTCB)
	if exp.MinFirmware != nil {
		o.MinimumBuild, o.MinimumVersion = exp.MinFirmware.Build, uint16(exp.MinFirmware.Major)<<8|uint16(exp.MinFirmware.Minor)
	}
	if m := exp.MinMitigation; m != nil {
		if m.Launch != nil {
			o.MinimumLaunchMitigationVector = *m.Launch
		}
		if m.Current != nil {
			o.MinimumCurrentMitigationVector = *m.Current
		}
	}
}

// both are the cases that the two verifiers can be asked alike; each must be refused by both, but for the first.
var both = []struct {
	name   string
	edit   func([]byte) // before signing
	after  func(*verify.Evidence)
	expect func(*verify.Expectations)
	only   uint32 // report version, 0 for all
}{
	{name: "untouched"},
	{name: "nonce", edit: func(b []byte) { b[0x50] ^= 1 }},
	{name: "measurement", edit: func(b []byte) { b[0x90] ^= 1 }},
	{name: "host data", edit: func(b []byte) { b[0xc0] ^= 1 }},
	{name: "debug", edit: setBit(0x08, 19)},
	{name: "migration", edit: setBit(0x08, 18)},
	{name: "cxl", edit: setBit(0x08, 21)},
	{name: "policy bit 26", edit: setBit(0x08, 26)},
	{name: "policy bit 17 clear", edit: func(b []byte) { b[0x0a] &^= 2 }},
	{name: "smt not wanted", expect: func(e *verify.Expectations) { e.GuestPolicy.SMT = false }},
	{name: "single socket wanted", expect: func(e *verify.Expectations) { e.GuestPolicy.SingleSocket = true }},
	{name: "ciphertext hiding wanted", expect: func(e *verify.Expectations) { e.GuestPolicy.CiphertextHiding = true }},
	{name: "newer abi wanted", expect: func(e *verify.Expectations) { e.GuestPolicy.MinABI = &verify.ABI{Major: 1, Minor: 51} }},
	{name: "vmpl 1", edit: put[uint32](0x30, 1)},
	{name: "vmpl of the host", edit: put[uint32](0x30, 0xFFFFFFFF)},
	{name: "chip id", edit: func(b []byte) { b[0x1a0] ^= 1 }, expect: func(e *verify.Expectations) { e.ChipIDs = [][64]byte{{0x04, 63: 0x40}} }},
	{name: "reported tcb", edit: func(b []byte) { b[0x180]-- }},
	{name: "reported microcode", edit: func(b []byte) { b[0x187]-- }},
	{name: "committed newer than current", edit: func(b []byte) { b[0x1e7]++ }},
	{name: "provisional tcb", edit: func(b []byte) { b[0x1e7]-- }, expect: func(e *verify.Expectations) { e.RefuseProvisional = true }},
	{name: "provisional firmware", edit: func(b []byte) { b[0x1ec]-- }, expect: func(e *verify.Expectations) { e.RefuseProvisional = true }},
	{name: "min tcb", expect: func(e *verify.Expectations) { e.MinTCB = &snp.TCBParts{SNP: 24} }},
	{name: "min launch tcb", expect: func(e *verify.Expectations) { e.MinLaunchTCB = &snp.TCBParts{SNP: 24} }},
	{name: "min guest svn", expect: func(e *verify.Expectations) { e.MinGuestSVN = ptr[uint32](1) }},
	{name: "min firmware", expect: func(e *verify.Expectations) { e.MinFirmware = &snp.Firmware{Major: 1, Minor: 56} }},
	{name: "family id", expect: func(e *verify.Expectations) { e.FamilyID = &[16]byte{1} }},
	{name: "image id", expect: func(e *verify.Expectations) { e.ImageID = &[16]byte{1} }},
	{name: "report id", expect: func(e *verify.Expectations) { e.ReportID = &[32]byte{1} }},
	{name: "report id ma", expect: func(e *verify.Expectations) { e.ReportIDMA = &[32]byte{1} }},
	{name: "id key", expect: func(e *verify.Expectations) { e.IDKeyDigests = [][48]byte{{1}} }},
	{name: "author key", expect: func(e *verify.Expectations) { e.AuthorKeyDigests = [][48]byte{{1}} }},
	{name: "platform smt", expect: func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{} }},
	{name: "platform ecc", expect: func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true, ECC: true} }},
	{name: "platform bit 8", edit: setBit(0x40, 8), expect: func(e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true} }},
	{name: "launch mitigation", only: 5, expect: func(e *verify.Expectations) { e.MinMitigation = &verify.Mitigation{Launch: ptr[uint64](1)} }},
	{name: "current mitigation", only: 5, expect: func(e *verify.Expectations) { e.MinMitigation = &verify.Mitigation{Current: ptr[uint64](1)} }},
	{name: "algorithm", edit: put[uint32](0x34, 2)},
	{name: "reserved byte", edit: put[uint8](0x4c, 1)},
	{name: "reserved end", edit: put[uint8](0x29f, 1)},
	{name: "reserved signer", edit: put[uint32](0x48, 3<<2)},
	{name: "masked chip key", edit: func(b []byte) { b[0x48] |= 2 }, after: func(ev *verify.Evidence) { clear(ev.Report[snp.SignedSize:]) }},
	{name: "version 6", edit: put[uint32](0, 6)},
	{name: "signature", after: func(ev *verify.Evidence) { ev.Report[snp.SignedSize] ^= 1 }},
	{name: "signature of zeros", after: func(ev *verify.Evidence) { clear(ev.Report[snp.SignedSize:]) }},
	{name: "after signature", after: func(ev *verify.Evidence) { ev.Report[snp.ReportSize-1] = 1 }},
	{name: "garbage table", after: func(ev *verify.Evidence) { ev.Table = slices.Repeat([]byte{0xA5}, 3000) }},
	{name: "expired", expect: func(e *verify.Expectations) { e.Now = e.Now.AddDate(30, 0, 0) }},
	{name: "not yet", expect: func(e *verify.Expectations) { e.Now = e.Now.AddDate(-1, 0, 0) }},
}

// TestAgreesWithGoSEVGuest holds the other verifier against ours wherever both can answer: Milan and Genoa, VCEK and VLEK with explicit roots.
func TestAgreesWithGoSEVGuest(t *testing.T) {
	lines, versions := []snp.Line{snp.Milan, snp.Genoa}, []uint32{2, 3, 5}
	if raceEnabled {
		lines, versions = lines[:1], versions[1:2]
	}
	for _, line := range lines {
		p := newPublished(t, line)
		v := newVerifier(t, p.roots(), verify.Options{})
		for _, version := range versions {
			for _, vlek := range []bool{false, true} {
				for _, c := range both {
					if c.only != 0 && c.only != version {
						continue
					}
					t.Run(fmt.Sprintf("%s-v%d-vlek-%t/%s", line, version, vlek, strings.ReplaceAll(c.name, " ", "-")), func(t *testing.T) {
						p.t = t
						ev, exp := p.evidence(version, vlek, c.edit), expectations()
						if c.after != nil {
							c.after(&ev)
						}
						if c.expect != nil {
							c.expect(&exp)
						}
						want := c.name == "untouched"
						ours := judge(t, v, ev, exp)
						if theirs := p.theirs(ev, exp); ours.OK != want || theirs != want {
							t.Errorf("got ours %t, theirs %t, want %t twice: %+v", ours.OK, theirs, want, ours.Failed())
						}
					})
				}
			}
		}
	}
}
