package measure

import (
	"strings"
	"testing"
)

const svsmVars = 0x84000

// TestDigestsUnderSVSM spells the launch out: firmware, SVSM below it and the variables, the SVSM's sections, equal VMSAs.
func TestDigestsUnderSVSM(t *testing.T) {
	fw, svsm := amdSev().parse(t), svsmImage().parse(t)
	l := launchQEMU()
	l.Kernel = nil
	got, err := l.DigestsUnderSVSM(fw, SVSM{svsm, svsmVars}, 3)
	if err != nil {
		t.Fatal(err)
	}
	var c Context
	base := uint64(fourGiB - PageSize - svsmVars - 2*PageSize)
	area := SaveArea{
		ES: Segment{16, 0xc93, 0xffffffff, 0}, CS: Segment{8, 0xc9b, 0xffffffff, 0}, SS: Segment{16, 0xc93, 0xffffffff, 0},
		DS: Segment{16, 0xc93, 0xffffffff, 0}, FS: Segment{16, 0xc93, 0xffffffff, 0}, GS: Segment{0, 0x93, 0xffff, 0},
		GDTR: Segment{Limit: 0xffff}, IDTR: Segment{Limit: 0xffff}, LDTR: Segment{0, 0x82, 0xffff, 0}, TR: Segment{0, 0x8b, 0xffff, 0},
		EFER: 0x1000, CR4: 0x40, CR0: 0x11, DR7: 0x400, DR6: 0xffff0ff0, RFLAGS: 2, RIP: base + 0x40, GPAT: 0x7040600070406,
		RDX: 0x800f12, SEVFeatures: 1, XCR0: 1, MXCSR: 0x1f80, X87FCW: 0x37f,
	}
	for _, p := range []struct {
		kind PageType
		at   uint64
		data []byte
	}{
		{PageNormal, fourGiB - PageSize, fw.image},
		{PageNormal, base, svsm.image},
		{PageCPUID, 0x8000, make([]byte, PageSize)},
		{PageSecrets, 0x9000, make([]byte, PageSize)},
		{PageZero, 0xa000, make([]byte, 2*PageSize)},
	} {
		if err := c.Update(p.kind, p.at, p.data); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range got {
		if err := c.Update(PageVMSA, 0xFFFFFFFFF000, area.Page()); err != nil {
			t.Fatal(err)
		}
		if d != c.Digest() {
			t.Errorf("%d processors: got %s, want %s", i+1, d, c.Digest())
		}
	}
}

func TestSVSMRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(l *Launch, fw, svsm *testImage, vars *uint32)
		want   string
	}{
		{"ec2", func(l *Launch, _, _ *testImage, _ *uint32) { l.VMM = EC2 }, `vmm "ec2"`},
		{"kernel", func(l *Launch, _, _ *testImage, _ *uint32) { l.Kernel = &Hashes{} }, "kernel hashes"},
		{"features", func(l *Launch, _, _ *testImage, _ *uint32) { l.GuestFeatures = 0 }, "bit 0"},
		{"no-entry", func(_ *Launch, _, svsm *testImage, _ *uint32) { svsm.SVSMEntry = nil }, "no SVSM info block"},
		{"two-svsm", func(_ *Launch, fw, _ *testImage, _ *uint32) { fw.SVSMEntry = fw.ResetEIP }, "is an SVSM"},
		{"entry-outside", func(_ *Launch, _, svsm *testImage, _ *uint32) { *svsm.SVSMEntry = 2 * PageSize }, "entry 0x2000"},
		{"vars-unaligned", func(_ *Launch, _, _ *testImage, vars *uint32) { *vars++ }, "variables"},
		{"vars-large", func(_ *Launch, _, _ *testImage, vars *uint32) { *vars = MaxFirmware + PageSize }, "variables"},
		{"no-metadata", func(_ *Launch, _, svsm *testImage, _ *uint32) { svsm.Sections = nil }, "no SEV metadata"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, fw, svsm, vars := launchQEMU(), amdSev(), svsmImage(), uint32(svsmVars)
			l.Kernel = nil
			c.change(&l, &fw, &svsm, &vars)
			if d, err := l.DigestsUnderSVSM(fw.parse(t), SVSM{svsm.parse(t), vars}, 1); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want an error with %q", d, err, c.want)
			}
		})
	}
}
