package verify_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-sev-guest/abi"
	gvalidate "github.com/google/go-sev-guest/validate"
	gverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// differences is every known case in which go-sev-guest v0.15.0 and this package answer differently, and why ours is wanted.
var differences = []struct {
	name, why string
	evidence  func(*published) verify.Evidence
	expect    func(*published, *verify.Expectations)
	ours      bool
	theirs    bool
}{
	{
		name: "siena", why: "family 19h models A0h to AFh have Genoa's root; there the processor is unknown",
		evidence: func(p *published) verify.Evidence {
			return p.evidence(3, false, func(b []byte) { copy(b[0x188:], []byte{0x19, 0xA0, 2}) })
		},
		ours: true, theirs: false,
	},
	{
		name: "masked chip id", why: "a CHIP_ID of zeros passes there; here it must be allowed (AllowMaskedChipID)",
		evidence: func(p *published) verify.Evidence {
			return p.evidence(3, false, func(b []byte) { clear(b[0x1a0:0x1e0]) })
		},
		ours: false, theirs: true,
	},
	{
		name: "chip key said to be masked", why: "firmware that masks the chip's key does not sign with it, so one of the two is not true; there only the signature counts",
		evidence: func(p *published) verify.Evidence { return p.evidence(3, false, setBit(0x48, 1)) },
		ours:     false, theirs: true,
	},
	{
		name: "page swap bit before version 5", why: "the bit got its meaning with version 5; before, it is reserved",
		evidence: func(p *published) verify.Evidence { return p.evidence(3, false, setBit(0x08, 25)) },
		ours:     false, theirs: true,
	},
	{
		name: "alias bit before version 3", why: "the bit got its meaning with version 3",
		evidence: func(p *published) verify.Evidence { return p.evidence(2, false, setBit(0x40, 5)) },
		expect:   func(_ *published, e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true} },
		ours:     false, theirs: true,
	},
	{
		name: "platform bit 6", why: "genuine reports of Turin have it set; there it is unrecognized",
		evidence: func(p *published) verify.Evidence { return p.evidence(5, false, setBit(0x40, 6)) },
		expect:   func(_ *published, e *verify.Expectations) { e.PlatformInfo = &verify.PlatformLimit{SMT: true} },
		ours:     true, theirs: false,
	},
	{
		name: "old committed firmware", why: "min firmware is held against what the firmware can be rolled back to as well",
		evidence: func(p *published) verify.Evidence { return p.evidence(3, false, put[uint8](0x1ec, 1)) },
		expect: func(_ *published, e *verify.Expectations) {
			e.MinFirmware = &snp.Firmware{Major: 1, Minor: 55, Build: 29}
		},
		ours: false, theirs: true,
	},
	{
		name: "newer minor version with a lower build", why: "a version is compared part after part; there the build is compared on its own",
		evidence: func(p *published) verify.Evidence {
			return p.evidence(3, false, func(b []byte) { copy(b[0x1e8:], []byte{1, 56, 1, 0, 1, 56, 1}) })
		},
		expect: func(_ *published, e *verify.Expectations) {
			e.MinFirmware = &snp.Firmware{Major: 1, Minor: 55, Build: 29}
		},
		ours: true, theirs: false,
	},
	{
		name: "mitigations before version 5", why: "a report without vectors does not have the mitigations wanted, even if none are; there it has a vector of zeros",
		evidence: func(p *published) verify.Evidence { return p.evidence(3, false, nil) },
		expect: func(_ *published, e *verify.Expectations) {
			e.MinMitigation = &verify.Mitigation{Launch: ptr[uint64](0)}
		},
		ours: false, theirs: true,
	},
	{
		name: "unpinned root in the table", why: "a root in the evidence that is not pinned is a stranger's; there it is not looked at",
		evidence: func(p *published) verify.Evidence {
			ev := p.evidence(3, false, nil)
			certs, err := snp.ParseCerts(ev.Table)
			if err != nil {
				p.t.Fatal(err)
			}
			certs = slices.DeleteFunc(certs, func(c snp.Cert) bool { return c.GUID == snp.GUIDARK })
			ev.Table = snp.MarshalCerts(append(certs, snp.Cert{GUID: snp.GUIDARK, Data: issuerCert(p.t, "ark").Raw}))
			return ev
		},
		ours: false, theirs: true,
	},
}

// TestDiffersFromGoSEVGuest keeps the list of differences true: one that goes away, there or here, fails it.
func TestDiffersFromGoSEVGuest(t *testing.T) {
	p := newPublished(t, snp.Genoa)
	v := newVerifier(t, p.roots(), verify.Options{})
	for _, d := range differences {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			p.t = t
			ev, exp := d.evidence(p), expectations()
			if d.expect != nil {
				d.expect(p, &exp)
			}
			ours := judge(t, v, ev, exp)
			if theirs := p.theirs(ev, exp); ours.OK != d.ours || theirs != d.theirs {
				t.Errorf("got ours %t, theirs %t, want %t and %t (%s): %+v", ours.OK, theirs, d.ours, d.theirs, d.why, ours.Failed())
			}
		})
	}
}

// TestGoSEVGuestPanicsOnHostileTable is why the table is parsed here: offset and length of 32 bits are added in 32 bits there.
func TestGoSEVGuestPanicsOnHostileTable(t *testing.T) {
	table := make([]byte, 64)
	binary.LittleEndian.PutUint32(table[16:], 0xFFFFFFF0)
	binary.LittleEndian.PutUint32(table[20:], 0x20)
	table[0] = 1
	defer func() {
		if recover() == nil {
			t.Error("go-sev-guest no longer panics: take this difference out of the list")
		}
	}()
	_ = new(abi.CertTable).Unmarshal(table)
}

// TestGenuineTurinDiffers: a Go verifier that does not know the FMC part cannot read a Turin's certificate at all.
func TestGenuineTurinDiffers(t *testing.T) {
	for _, g := range genuineEvidence(t) {
		ev := g.ev
		if ev.Table == nil {
			ev.Table = snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: ev.Certs[0]}})
		}
		att, err := abi.ReportCertsToProto(slices.Concat(ev.Report, ev.Table))
		if err != nil {
			t.Fatal(err)
		}
		roots := map[string][]*trust.AMDRootCerts{}
		for _, line := range []string{"Milan", "Genoa", "Turin"} {
			root, err := trust.GetDefaultRootCerts(line)
			if err != nil {
				t.Fatal(err)
			}
			roots[line] = []*trust.AMDRootCerts{root}
		}
		err = gverify.SnpAttestation(att, &gverify.Options{DisableCertFetching: true, Now: g.now, TrustedRoots: roots})
		if (err == nil) == (g.product == "Turin") {
			t.Errorf("%s: go-sev-guest: got %v, want an error for Turin only", g.name, err)
		}
		if err != nil {
			continue
		}
		err = gvalidate.SnpAttestation(att, &gvalidate.Options{GuestPolicy: abi.SnpPolicy{SMT: true, Debug: g.refused == "policy_debug"}, PermitProvisionalFirmware: true})
		if err != nil {
			t.Errorf("%s: go-sev-guest: validate: %v", g.name, err)
		}
	}
}

// TestDefaultRootsHoldASVKs: go-sev-guest's default roots refuse every VLEK, since they lack its issuer.
func TestDefaultRootsHoldASVKs(t *testing.T) {
	for _, line := range []string{"Milan", "Genoa", "Turin"} {
		root, err := trust.GetDefaultRootCerts(line)
		if err != nil {
			t.Fatal(err)
		}
		if root.ProductCerts.Asvk != nil {
			t.Errorf("%s: go-sev-guest's default roots have an ASVK now", line)
		}
	}
	p := newPublished(t, snp.Milan)
	v := newVerifier(t, p.roots(), verify.Options{})
	if got := judge(t, v, p.evidence(3, true, nil), expectations()); !got.OK {
		t.Errorf("a VLEK with its ASVK among the roots: refused: %+v", got.Failed())
	}
}
