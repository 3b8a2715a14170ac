package snp

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-sev-guest/abi"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
)

// patterned is a report in which each field has bytes of its own.
func patterned(version uint32) []byte {
	b := make([]byte, ReportSize)
	for _, f := range []struct{ from, to int }{
		{0x004, 0x008}, {0x010, 0x030}, {0x038, 0x048}, {0x050, 0x188}, {0x1A0, 0x1EB}, {0x1EC, 0x1EF}, {0x1F0, 0x1F8}, {SignedSize, SignedSize + SignatureSize},
	} {
		for i := f.from; i < f.to; i++ {
			b[i] = byte(i*7 + i>>8)
		}
	}
	le := binary.LittleEndian
	le.PutUint32(b, version)
	le.PutUint64(b[8:], uint64(PolicySMT|PolicyReservedOne)|1<<8|55)
	le.PutUint32(b[0x30:], 1)
	le.PutUint32(b[0x34:], 1)
	le.PutUint32(b[0x48:], SignerVLEK<<2|1)
	le.PutUint64(b[0x40:], 3)
	if version >= 3 {
		copy(b[0x188:], []byte{0x19, 0x11, 0x02})
	}
	if version >= 5 {
		le.PutUint64(b[0x1F8:], 0x1122)
		le.PutUint64(b[0x200:], 0x3344)
	}
	return b
}

// TestParseReportAgrees compares every field with go-sev-guest's reading.
func TestParseReportAgrees(t *testing.T) {
	for version := uint32(2); version <= 5; version++ {
		raw := patterned(version)
		r, err := ParseReport(raw)
		if err != nil {
			t.Fatal(err)
		}
		p, err := abi.ReportToProto(raw)
		if err != nil {
			t.Fatal(err)
		}
		le := func(t TCB) uint64 { return binary.LittleEndian.Uint64(t[:]) }
		for _, c := range []struct {
			name      string
			got, want uint64
		}{
			{"version", uint64(r.Version), uint64(p.Version)},
			{"guest svn", uint64(r.GuestSVN), uint64(p.GuestSvn)},
			{"policy", uint64(r.Policy), p.Policy},
			{"vmpl", uint64(r.VMPL), uint64(p.Vmpl)},
			{"algorithm", uint64(r.SignatureAlgo), uint64(p.SignatureAlgo)},
			{"current tcb", le(r.CurrentTCB), p.CurrentTcb},
			{"platform info", r.PlatformInfo, p.PlatformInfo},
			{"key info", uint64(r.KeyInfo), uint64(p.SignerInfo)},
			{"reported tcb", le(r.ReportedTCB), p.ReportedTcb},
			{"committed tcb", le(r.CommittedTCB), p.CommittedTcb},
			{"launch tcb", le(r.LaunchTCB), p.LaunchTcb},
			{"current build", uint64(r.Current.Build), uint64(p.CurrentBuild)},
			{"current minor", uint64(r.Current.Minor), uint64(p.CurrentMinor)},
			{"current major", uint64(r.Current.Major), uint64(p.CurrentMajor)},
			{"committed build", uint64(r.Committed.Build), uint64(p.CommittedBuild)},
			{"launch mitigations", r.LaunchMit, p.LaunchMitVector},
			{"current mitigations", r.CurrentMit, p.CurrentMitVector},
			{"cpu", uint64(abi.FmsToCpuid1Eax(r.CPU.Family, r.CPU.Model, r.CPU.Stepping)), uint64(p.Cpuid1EaxFms)},
		} {
			if c.got != c.want && (c.name != "cpu" || version >= 3) {
				t.Errorf("v%d %s: got %#x, want %#x", version, c.name, c.got, c.want)
			}
		}
		compareBytes(t, r, p)
		if r.KeyInfo.Signer() != SignerVLEK || !r.KeyInfo.AuthorKey() || r.KeyInfo.MaskChipKey() {
			t.Errorf("key info %#x is misread", uint32(r.KeyInfo))
		}
		if !bytes.Equal(r.Raw(), raw) || !bytes.Equal(r.Signed(), abi.SignedComponent(raw)) {
			t.Error("the raw report or its signed part is not what was parsed")
		}
	}
}

func compareBytes(t *testing.T, r *Report, p *spb.Report) {
	t.Helper()
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"family id", r.FamilyID[:], p.FamilyId},
		{"image id", r.ImageID[:], p.ImageId},
		{"report data", r.ReportData[:], p.ReportData},
		{"measurement", r.Measurement[:], p.Measurement},
		{"host data", r.HostData[:], p.HostData},
		{"id key digest", r.IDKeyDigest[:], p.IdKeyDigest},
		{"author digest", r.AuthorDigest[:], p.AuthorKeyDigest},
		{"report id", r.ReportID[:], p.ReportId},
		{"report id ma", r.ReportIDMA[:], p.ReportIdMa},
		{"chip id", r.ChipID[:], p.ChipId},
		{"signature", r.Signature[:], p.Signature[:SignatureSize]},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: got %x, want %x", c.name, c.got, c.want)
		}
	}
}

func TestParseReportRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		version uint32
		edit    func([]byte) []byte
		want    string
	}{
		{"short", 3, func(b []byte) []byte { return b[:ReportSize-1] }, "1183 bytes"},
		{"long", 3, func(b []byte) []byte { return append(b, 0) }, "1185 bytes"},
		{"empty", 3, func([]byte) []byte { return nil }, "0 bytes"},
		{"version 1", 1, nil, "version 1"},
		{"version 6", 6, nil, "version 6"},
		{"cpu in version 2", 2, func(b []byte) []byte { b[0x188] = 1; return b }, "0x188"},
		{"mitigations in version 4", 4, func(b []byte) []byte { b[0x1f8] = 1; return b }, "0x1f8"},
		{"after the key information", 3, func(b []byte) []byte { b[0x4c] = 1; return b }, "0x04c"},
		{"last signed byte", 5, func(b []byte) []byte { b[0x29f] = 1; return b }, "0x29f"},
		{"after the signature", 5, func(b []byte) []byte { b[ReportSize-1] = 1; return b }, "0x49f"},
		{"reserved signer", 3, func(b []byte) []byte { b[0x48] = 2 << 2; return b }, "signer 2"},
		{"unknown key information", 3, func(b []byte) []byte { b[0x48] |= 0x20; return b }, "bits 5 to 31"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := patterned(c.version)
			if c.edit != nil {
				b = c.edit(b)
			}
			r, err := ParseReport(b)
			if r != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestTCBLayouts(t *testing.T) {
	parts := TCBParts{FMC: 9, BootLoader: 1, TEE: 2, SNP: 3, Microcode: 4}
	for _, c := range []struct {
		line Line
		want TCB
	}{
		{Milan, TCB{1, 2, 0, 0, 0, 0, 3, 4}},
		{Genoa, TCB{1, 2, 0, 0, 0, 0, 3, 4}},
		{Turin, TCB{9, 1, 2, 3, 0, 0, 0, 4}},
	} {
		p := parts
		if c.line != Turin {
			p.FMC = 0
		}
		if got := p.Bytes(c.line); got != c.want {
			t.Errorf("%s: got %x, want %x", c.line, got, c.want)
		}
		back, err := c.want.Parts(c.line)
		if err != nil || back != p {
			t.Errorf("%s: got %v %v, want %v", c.line, back, err, p)
		}
	}
	if _, err := (TCB{4: 1}).Parts(Milan); err == nil {
		t.Error("a byte without meaning was accepted")
	}
}

func TestAtLeastIsPartByPart(t *testing.T) {
	floor := TCBParts{FMC: 1, BootLoader: 1, TEE: 1, SNP: 1, Microcode: 1}
	if !floor.AtLeast(floor) {
		t.Error("a version is not at least itself")
	}
	for i, p := range []TCBParts{{0, 9, 9, 9, 9}, {9, 0, 9, 9, 9}, {9, 9, 0, 9, 9}, {9, 9, 9, 0, 9}, {9, 9, 9, 9, 0}} {
		if p.AtLeast(floor) {
			t.Errorf("case %d: one old part was made up for by newer ones", i)
		}
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		cpu  CPUID
		want Line
	}{
		{CPUID{0x19, 0x01, 1}, Milan},
		{CPUID{0x19, 0x11, 1}, Genoa},
		{CPUID{0x19, 0xA0, 2}, Genoa},
		{CPUID{0x19, 0xAF, 0}, Genoa},
		{CPUID{0x1A, 0x02, 1}, Turin},
		{CPUID{0x1A, 0x11, 0}, Turin},
		{CPUID{0x19, 0x20, 0}, ""},
		{CPUID{0x1A, 0x1F, 0}, Turin},
		{CPUID{0x1A, 0x20, 0}, ""},
		{CPUID{0x17, 0x31, 0}, ""},
		{CPUID{}, ""},
	} {
		if got, err := LineOf(c.cpu); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %q %v, want %q", c.cpu, got, err, c.want)
		}
	}
	for _, c := range []struct {
		product string
		want    Line
	}{{"Milan-B0", Milan}, {"Genoa", Genoa}, {"Siena-B2", Genoa}, {"Bergamo-A1", Genoa}, {"Turin-B1", Turin}, {"Venice-A0", ""}, {"", ""}, {"milan", ""}} {
		if got, err := LineNamed(c.product); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: got %q %v, want %q", c.product, got, err, c.want)
		}
	}
}

func TestProducts(t *testing.T) {
	for _, c := range []struct {
		cpu  CPUID
		want Product
	}{
		{CPUID{0x19, 0x00, 0}, Product{"Milan", Milan}},
		{CPUID{0x19, 0x0F, 0}, Product{"Milan", Milan}},
		{CPUID{0x19, 0x10, 0}, Product{"Genoa", Genoa}},
		{CPUID{0x19, 0x1F, 0}, Product{"Genoa", Genoa}},
		{CPUID{0x19, 0xA0, 0}, Product{"Siena", Genoa}},
		{CPUID{0x19, 0xAF, 0}, Product{"Siena", Genoa}},
		{CPUID{0x1A, 0x00, 0}, Product{"Turin", Turin}},
		{CPUID{0x1A, 0x10, 0}, Product{"Turin-Dense", Turin}},
		{CPUID{0x1A, 0x1F, 0}, Product{"Turin-Dense", Turin}},
		{CPUID{0x19, 0x9F, 0}, Product{}},
		{CPUID{0x19, 0xB0, 0}, Product{}},
		{CPUID{0x1B, 0x00, 0}, Product{}},
	} {
		if got, err := ProductOf(c.cpu); got != c.want || (err == nil) != (c.want.Name != "") {
			t.Errorf("%s: got %v %v, want %v", c.cpu, got, err, c.want)
		}
		if got, err := ProductNamed(c.want.Name); got != c.want || (err == nil) != (c.want.Name != "") {
			t.Errorf("%q: got %v %v, want %v", c.want.Name, got, err, c.want)
		}
	}
	for alias, want := range map[string]string{"Bergamo": "Siena", "Turin Dense": "Turin-Dense"} {
		if got, err := ProductNamed(alias); err != nil || got.Name != want {
			t.Errorf("%q: got %v %v, want %s", alias, got, err, want)
		}
	}
}

// TestCPUIDOf agrees with go-sev-guest on every signature of the families that there are.
func TestCPUIDOf(t *testing.T) {
	for family := 0x0F; family <= 0x1F; family++ {
		for model := 0; model <= 0xFF; model++ {
			want := CPUID{uint8(family), uint8(model), uint8(model) & 0xF}
			if got := CPUIDOf(abi.FmsToCpuid1Eax(want.Family, want.Model, want.Stepping)); got != want {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
	}
}

// TestReservedBits: what has a meaning grows with the report's version.
func TestReservedBits(t *testing.T) {
	for _, c := range []struct {
		version          uint32
		policy, platform uint64 // reserved bits of all ones
	}{
		{2, ^uint64(1<<25 - 1), ^uint64(0x1F)},
		{3, ^uint64(1<<25 - 1), ^uint64(0x3F)},
		{4, ^uint64(1<<25 - 1), ^uint64(0x3F)},
		{5, ^uint64(1<<26 - 1), ^uint64(0xFF)},
	} {
		if got := GuestPolicy(^uint64(0)).Reserved(c.version); uint64(got) != c.policy {
			t.Errorf("version %d: policy: got %s, want %#x", c.version, got, c.policy)
		}
		if got := PlatformInfo(^uint64(0)).Reserved(c.version); uint64(got) != c.platform {
			t.Errorf("version %d: platform: got %s, want %#x", c.version, got, c.platform)
		}
		if got := GuestPolicy(0).Reserved(c.version); got != PolicyReservedOne {
			t.Errorf("version %d: policy of zeros: got %s, want %s", c.version, got, PolicyReservedOne)
		}
	}
	if major, minor := (GuestPolicy(1<<8|55) | PolicyReservedOne).ABI(); major != 1 || minor != 55 {
		t.Errorf("got abi %d.%d, want 1.55", major, minor)
	}
}

func TestFirmwareAtLeast(t *testing.T) {
	floor := Firmware{1, 55, 29}
	for f, want := range map[Firmware]bool{
		{1, 55, 29}: true, {1, 55, 30}: true, {1, 56, 0}: true, {2, 0, 0}: true, {1, 55, 28}: false, {1, 54, 99}: false, {0, 99, 99}: false,
	} {
		if got := f.AtLeast(floor); got != want {
			t.Errorf("%s: got %t, want %t", f, got, want)
		}
	}
}

// TestDecodeReportLeavesReserved: a verifier gets the fields of a report whose reserved bytes it refuses in a row of their own.
func TestDecodeReportLeavesReserved(t *testing.T) {
	b := patterned(3)
	b[0x29f] = 1
	r, err := DecodeReport(b)
	if err != nil || r.Version != 3 {
		t.Fatalf("got %v, %v", r, err)
	}
	if err := r.CheckReserved(); err == nil || !strings.Contains(err.Error(), "0x29f") {
		t.Errorf("got %v, want an error that names 0x29f", err)
	}
	if r, err := ParseReport(b); r != nil || err == nil {
		t.Errorf("got %v, want an error", r)
	}
}

func FuzzParseReport(f *testing.F) {
	for version := uint32(1); version <= 6; version++ {
		f.Add(patterned(version))
	}
	f.Add(make([]byte, ReportSize-1))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if err != nil {
			if r != nil {
				t.Fatal("an error came with a report")
			}
			return
		}
		if !bytes.Equal(r.Raw(), b) {
			t.Fatal("the report keeps other bytes than were parsed")
		}
		if _, err := abi.ReportToProto(b); err != nil && !strings.Contains(err.Error(), "policy") {
			t.Fatalf("go-sev-guest refuses what we read: %v", err)
		}
	})
}
