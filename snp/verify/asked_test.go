package verify_test

import (
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
)

// TestPolicyIsAskedOfGenuineReportsOnly: what an unauthenticated sender's policy would cost to read, nobody pays.
func TestPolicyIsAskedOfGenuineReportsOnly(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	resign := func(edit func([]byte)) func(*verify.Evidence) {
		return func(ev *verify.Evidence) {
			ev.Report = s.signed(func(b []byte) { copy(b, ev.Report); edit(b) }).Report
		}
	}
	for _, c := range []struct {
		name   string
		edit   func(*verify.Evidence)
		expect func(*verify.Expectations)
		asked  bool
		failed string
	}{
		{"genuine", func(*verify.Evidence) {}, nil, true, ""},
		{"genuine, level not wanted", resign(func(b []byte) { b[0x30] = 1 }), nil, true, "vmpl"},
		{"signature forged", func(ev *verify.Evidence) { ev.Report = flipped(ev.Report, 0x2a0) }, nil, false, "signature"},
		{"report edited", func(ev *verify.Evidence) { ev.Report = flipped(ev.Report, 0x140) }, nil, false, "signature,report_id"},
		{"no certificates", func(ev *verify.Evidence) { ev.Table, ev.Certs = nil, nil }, nil, false, "certificates"},
		{"certificate forged", func(ev *verify.Evidence) {
			leaf := s.params.Chain[0]
			ev.Table = s.table(s.guid(), flipped(leaf, len(leaf)-1))
		}, nil, false, "chain"},
		{"certificate expired", func(*verify.Evidence) {}, func(e *verify.Expectations) { e.Now = time.Now().AddDate(50, 0, 0) }, false, "validity"},
		{"no list where one is required", func(*verify.Evidence) {}, func(e *verify.Expectations) { e.CRL = verify.CRLRequired }, false, "crl"},
		{"another policy", func(ev *verify.Evidence) { ev.Policy = []byte("package other\n") }, nil, false, "preimage_entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev, exp := s.identified(nil), expectations()
			identityExpectations(&exp)
			c.edit(&ev)
			if c.expect != nil {
				c.expect(&exp)
			}
			if c.name == "report edited" {
				exp.ReportID = &[32]byte{1}
			}
			for _, bound := range []bool{false, true} {
				if bound && c.name == "another policy" {
					continue // the caller's word for it
				}
				asked := 0
				exp.PolicyBound = bound
				exp.ContainerIdentity = func([]byte) bool { asked++; return true }
				exp.PolicyEntries = func([]byte, *identity.Preimage) error { asked++; return nil }
				got := judge(t, v, ev, exp)
				if (asked > 0) != c.asked {
					t.Errorf("bound %t: the policy was asked %d times, want it asked: %t", bound, asked, c.asked)
				}
				if failed(got) != c.failed {
					t.Errorf("bound %t: got failed checks %q, want %q", bound, failed(got), c.failed)
				}
				if !c.asked && c.name != "another policy" && status(got, "preimage_entries") != verify.StatusNotJudged {
					t.Errorf("bound %t: got preimage_entries %s, want %s", bound, status(got, "preimage_entries"), verify.StatusNotJudged)
				}
			}
		})
	}
}
