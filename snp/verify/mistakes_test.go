package verify_test

import (
	"crypto/x509"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

// The tests of this file are the mistakes that other verifiers were found to make (attestation contract, section 6), one by one.

// mustFail verifies and wants exactly the named checks to fail.
func mustFail(t *testing.T, v *verify.Verifier, ev verify.Evidence, exp verify.Expectations, want string) *verify.Verdict {
	t.Helper()
	got := judge(t, v, ev, exp)
	if failed(got) != want || got.OK {
		t.Errorf("got failed checks %q, want %q: %+v", failed(got), want, got.Failed())
	}
	return got
}

// A chain that is whole in itself, every certificate signed by the next: only the pinned root tells.
func TestMistakeChainWithoutPinnedRoot(t *testing.T) {
	p := newPublished(t, snp.Genoa)
	ev := p.evidence(3, false, nil)
	mustFail(t, newVerifier(t, nil, verify.Options{}), ev, expectations(), "chain")
	ev.Table = nil
	for _, cert := range []*x509.Certificate{p.signer.Vcek, p.signer.Ask, p.signer.Ark} {
		ev.Certs = append(ev.Certs, cert.Raw)
	}
	mustFail(t, newVerifier(t, nil, verify.Options{}), ev, expectations(), "chain")
	if v := judge(t, newVerifier(t, p.roots(), verify.Options{}), ev, expectations()); !v.OK {
		t.Errorf("with its own root given: refused: %+v", v.Failed())
	}
}

// A VLEK passed off as a VCEK would have no hardware id to compare, and so go for any chip.
func TestMistakeVLEKPassesAsVCEK(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", true, 3}.sample(t, nil)
	ev := s.signed(put[uint32](0x48, snp.SignerVCEK<<2))
	mustFail(t, v, ev, expectations(), "certificates") // no VCEK in the table
	ev.Table = snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: s.params.Chain[0]}})
	mustFail(t, v, ev, expectations(), "signer")
	ev.Table, ev.Certs = nil, append(ev.Certs, s.params.Chain[0])
	mustFail(t, v, ev, expectations(), "signer")

	// A certificate that is neither: a chip's with its hardware id left out.
	c := machine{"Genoa", false, 3}.sample(t, nil)
	mustFail(t, v, c.with(c.reissued("ask", func(x *x509.Certificate) { setExtension(x, nil, 4) })), expectations(), "signer")
}

// The comparison must be reached whatever the certificate is called.
func TestMistakeChipIDNeverCompared(t *testing.T) {
	v := testVerifier(t)
	for _, name := range []string{"VCEK", "SEV-VCEK", ""} {
		s := machine{"Milan", false, 3}.sample(t, nil)
		named := s.reissued("ask", func(c *x509.Certificate) { c.Subject.CommonName = name })
		if got := judge(t, v, s.with(named), expectations()); !got.OK {
			t.Fatalf("named %q: refused: %+v", name, got.Failed())
		}
		ev := s.signed(func(b []byte) { b[0x1c0] ^= 0x80 })
		ev.Table = s.table(snp.GUIDVCEK, named)
		mustFail(t, v, ev, expectations(), "chip_id")
	}
}

// One chip in 128 has an id that begins with the tag of an integer or an octet string.
func TestMistakeChipIDTakenForDER(t *testing.T) {
	v := testVerifier(t)
	for _, m := range []machine{{"Milan", false, 3}, {"Turin", false, 5}} {
		for _, first := range []byte{0x02, 0x04, 0x30} {
			n := 64
			if m.turin() {
				n = 8
			}
			id := slices.Repeat([]byte{0x3e}, n)
			id[0], id[1] = first, byte(n-2) // even the length would fit
			s := m.sample(t, func(p *emulator.TEEParams) { clear(p.ChipID[:]); copy(p.ChipID[:], id) })
			raw := s.with(s.reissued("ask", func(c *x509.Certificate) { setExtension(c, id, 4) }))
			if got := judge(t, v, raw, expectations()); !got.OK {
				t.Errorf("%s: id %x: refused: %+v", m, id, got.Failed())
			}
			wrapped := s.with(s.reissued("ask", func(c *x509.Certificate) { setExtension(c, append([]byte{0x04, byte(n)}, id...), 4) }))
			if got := judge(t, v, wrapped, expectations()); !got.OK {
				t.Errorf("%s: id %x in an octet string: refused: %+v", m, id, got.Failed())
			}
			id[n-1] ^= 1
			mustFail(t, v, s.with(s.reissued("ask", func(c *x509.Certificate) { setExtension(c, id, 4) })), expectations(), "chip_id")
		}
	}
}

// A certificate of another version of the firmware, of the same chip, is signed by AMD as well.
func TestMistakeTCBNotTiedToCertificate(t *testing.T) {
	v := testVerifier(t)
	for _, m := range []machine{{"Milan", false, 2}, {"Genoa", true, 3}, {"Turin", false, 5}} {
		s := m.sample(t, nil)
		oids := [][]int{{3, 1}, {3, 2}, {3, 3}, {3, 8}}
		if m.turin() {
			oids = append(oids, []int{3, 9})
		}
		for _, oid := range oids {
			other := s.reissued(s.issuer(), func(c *x509.Certificate) { setExtension(c, der(t, 99, ""), oid...) })
			mustFail(t, v, s.with(other), expectations(), "reported_tcb")
		}
	}
}

// The report is genuine and says something else: that must be fatal, in every form of the answer.
func TestMistakeMismatchNotFatal(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	for want, f := range map[string]func(*verify.Expectations){
		"report_data": func(e *verify.Expectations) { e.ReportData = &[64]byte{1} },
		"measurement": func(e *verify.Expectations) { e.Measurements = [][48]byte{{1}, {2}, {3}, {4}, {5}} },
		"host_data":   func(e *verify.Expectations) { e.HostData = &[32]byte{} },
	} {
		exp := expectations()
		f(&exp)
		if got := mustFail(t, v, s.evidence(), exp, want); got.ExitCode() != int(verify.ClassPolicy) {
			t.Errorf("%s: got exit code %d, want %d", want, got.ExitCode(), verify.ClassPolicy)
		}
	}
}

// HOST_DATA that parses is not HOST_DATA that is true: the fields of an unsigned report look as wanted, and the verdict is no.
func TestMistakeUnverifiedHostData(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, func(p *emulator.TEEParams) { p.HostData = [32]byte{0xbb} })
	ev := s.evidence()
	copy(ev.Report[0xC0:], hostData[:])
	got := mustFail(t, v, ev, expectations(), "signature")
	if status(got, "host_data") != verify.StatusPass || got.ExitCode() != int(verify.ClassSignature) || got.Identity != "" {
		t.Errorf("got host_data %s, exit code %d, identity %q", status(got, "host_data"), got.ExitCode(), got.Identity)
	}
	// Nor is there a wish that stands for "any": what was not asked says so.
	exp := expectations()
	exp.HostData = nil
	if got := judge(t, v, s.evidence(), exp); !got.OK || status(got, "host_data") != verify.StatusNotAsked {
		t.Errorf("not asked: got host_data %s: %+v", status(got, "host_data"), got.Failed())
	}
}

// Level 0 is the default, not any level; and nobody can ask for the host's.
func TestMistakeOtherVMPLAccepted(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	for _, level := range []uint32{1, 2, 3, 4, 0xFFFFFFFF} {
		ev := s.signed(put(0x30, level))
		mustFail(t, v, ev, expectations(), "vmpl")
		exp := expectations()
		exp.VMPL = &level
		got, err := v.Verify(ev, exp)
		switch {
		case level <= 3 && (err != nil || !got.OK):
			t.Errorf("level %d wanted: got %v, %v", level, got, err)
		case level > 3 && err == nil:
			t.Errorf("level %#x may be wanted", level)
		}
	}
}

func TestMistakeDebugMigrationReservedBits(t *testing.T) {
	v := testVerifier(t)
	for _, m := range []machine{{"Milan", false, 2}, {"Genoa", false, 3}, {"Turin", false, 5}} {
		s := m.sample(t, nil)
		exp := expectations()
		exp.GuestPolicy = nil // even when nothing of the policy was asked
		mustFail(t, v, s.signed(setBit(0x08, 19)), exp, "policy_debug")
		mustFail(t, v, s.signed(setBit(0x08, 18)), exp, "policy_migration")
		for bit := uint(26); bit < 64; bit++ {
			mustFail(t, v, s.signed(setBit(0x08, bit)), exp, "policy_reserved")
		}
		page := judge(t, v, s.signed(setBit(0x08, 25)), exp)
		if page.OK != (m.version >= 5) {
			t.Errorf("%s: page swap bit: got ok %t, want it from version 5 on", m, page.OK)
		}
	}
}

func TestMistakeExpiredListAndWrongClock(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	ev, exp := s.evidence(), expectations()
	ev.CRLs = [][]byte{currentList(t)}
	if got := judge(t, v, ev, exp); !got.OK || status(got, "crl_time") != verify.StatusPass {
		t.Fatalf("current list: crl_time %s: %+v", status(got, "crl_time"), got.Failed())
	}
	exp.Now = time.Now().AddDate(0, 1, 0) // the list expired meanwhile; it is in the cache now
	mustFail(t, v, ev, exp, "crl_time")
	exp.Now = time.Now().AddDate(0, -1, 0)
	mustFail(t, v, ev, exp, "validity,crl_time")
	exp.Now = time.Time{} // no clock is not the machine's clock
	if got, err := v.Verify(ev, exp); got != nil || err == nil {
		t.Errorf("no time: got %v, %v, want an error", got, err)
	}
}

func TestMistakeHostileLengthsCrash(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	good := s.evidence()
	for _, field := range []int{16, 20, 40, 44} {
		for _, value := range []uint32{0, 1, 23, 0x20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF} {
			ev := good
			ev.Table = slices.Clone(good.Table)
			binary.LittleEndian.PutUint32(ev.Table[field:], value)
			if got := judge(t, v, ev, expectations()); got.OK && field != 40 && field != 44 {
				t.Errorf("field %d of %#x: accepted", field, value)
			}
		}
	}
	for n := range len(good.Table) {
		ev := good
		ev.Table = good.Table[:n]
		if got := judge(t, v, ev, expectations()); got.OK {
			t.Fatalf("table cut at %d: accepted", n)
		}
	}
	for n := range snp.ReportSize {
		ev := good
		ev.Report = good.Report[:n]
		mustFail(t, v, ev, expectations(), "report")
	}
	long := good
	long.Report = append(slices.Clone(good.Report), 0)
	mustFail(t, v, long, expectations(), "report")
}

// Two certificates of one Turin chip that differ in the FMC version only: what is remembered of one must not answer for the other.
func TestMistakeCacheKeyWithoutFMC(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Turin", false, 5}.sample(t, nil)
	older := s.with(s.reissued("ask", func(c *x509.Certificate) { setExtension(c, der(t, 0, ""), 3, 9) }))
	for range 3 {
		if got := judge(t, v, s.evidence(), expectations()); !got.OK {
			t.Fatalf("refused: %+v", got.Failed())
		}
		mustFail(t, v, older, expectations(), "reported_tcb")
	}
}
