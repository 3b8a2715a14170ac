package verify_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
)

var identityNonce = slices.Repeat([]byte{0x5a}, 32)

// eventLog is a log of two entries, encoded, and its head.
func eventLog(t testing.TB) ([]byte, [32]byte) {
	t.Helper()
	log := eventlog.New(eventlog.Entry{Kind: eventlog.KindStart}, eventlog.Limits{})
	log.Append(eventlog.Entry{Kind: eventlog.KindDecision, Point: "exec_in_container", Verdict: eventlog.Refused})
	return log.Excerpt().Encode(), log.Head()
}

// preimage is a container's, of the sample's policy.
func preimage(t testing.TB, head [32]byte, edit func(*identity.Preimage)) []byte {
	t.Helper()
	p := &identity.Preimage{
		PolicyDigest: hostData, Entries: []identity.Entry{{Index: 1}}, Layers: [][32]byte{{1}, {2}}, Args: identity.ArgsDigest([]string{"/bin/app"}),
		EventHead: head, Nonce: identityNonce, Claimed: identity.Claimed{ID: "c1", Names: []string{"app"}, Image: "app:1"},
	}
	if edit != nil {
		edit(p)
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// identified is evidence of a container: REPORT_DATA is over the preimage.
func (s *sample) identified(edit func(*identity.Preimage)) verify.Evidence {
	log, head := eventLog(s.t)
	pre := preimage(s.t, head, edit)
	data := identity.ReportData(pre)
	ev := s.signed(func(b []byte) { copy(b[0x50:], data[:]) })
	ev.Preimage, ev.EventLog, ev.Policy = pre, log, policyText
	return ev
}

func identityExpectations(e *verify.Expectations) {
	e.ReportData, e.Nonce, e.RequireEventLog = nil, identityNonce, true
	e.ContainerIdentity = func(policy []byte) bool { return string(policy) == string(policyText) }
	e.PolicyEntries = func(_ []byte, p *identity.Preimage) error {
		if len(p.Entries) != 1 || p.Entries[0].Index != 1 {
			return fmt.Errorf("got entries %v", p.Entries)
		}
		return nil
	}
}

func identityMutants() []mutant {
	change := func(check, name string, f func(*verify.Evidence)) mutant {
		return mutant{check: check, name: name, evidence: func(s *sample) verify.Evidence {
			ev := s.identified(nil)
			f(&ev)
			return ev
		}}.wanting(identityExpectations)
	}
	return []mutant{
		change("preimage", "", func(ev *verify.Evidence) { ev.Preimage = nil }),
		change("preimage_hash", "", func(ev *verify.Evidence) { ev.Preimage = flipped(ev.Preimage, len(ev.Preimage)-1) }),
		mutant{check: "preimage_hash", name: "malformed", evidence: func(s *sample) verify.Evidence {
			data := identity.ReportData([]byte("hello"))
			ev := s.signed(func(b []byte) { copy(b[0x50:], data[:]) })
			ev.Preimage = []byte("hello")
			return ev
		}}.wanting(identityExpectations),
		mutant{check: "preimage_policy", evidence: func(s *sample) verify.Evidence {
			return s.identified(func(p *identity.Preimage) { p.PolicyDigest[0] ^= 1 })
		}}.wanting(identityExpectations),
		mutant{check: "preimage_nonce", evidence: func(s *sample) verify.Evidence {
			return s.identified(func(p *identity.Preimage) { p.Nonce = slices.Repeat([]byte{1}, 32) })
		}}.wanting(identityExpectations),
		mutant{check: "preimage_entries", evidence: func(s *sample) verify.Evidence {
			return s.identified(func(p *identity.Preimage) { p.Entries[0].Index = 2 })
		}}.wanting(identityExpectations),
		change("preimage_entries", "another policy", func(ev *verify.Evidence) { ev.Policy = []byte("package policy") }),
		change("identity", "of the pod", func(*verify.Evidence) {}).wanting(func(e *verify.Expectations) {
			identityExpectations(e)
			e.Identity, e.ContainerIdentity = verify.IdentityContainer, nil
		}),
		change("event_log", "missing", func(ev *verify.Evidence) { ev.EventLog = nil }),
		change("event_log", "garbage", func(ev *verify.Evidence) { ev.EventLog = []byte("hello") }),
		mutant{check: "event_log", name: "another", evidence: func(s *sample) verify.Evidence {
			return s.identified(func(p *identity.Preimage) { p.EventHead[0] ^= 1 })
		}}.wanting(identityExpectations),
	}
}

// TestIdentity: evidence names a container only if the policy that HOST_DATA binds lets nobody else get a report.
func TestIdentity(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	for _, c := range []struct {
		name   string
		edit   func(*verify.Evidence)
		expect func(*verify.Expectations)
		want   verify.Identity
	}{
		{"container", nil, nil, verify.IdentityContainer},
		{"nobody says", nil, func(e *verify.Expectations) { e.ContainerIdentity = nil }, verify.IdentityPod},
		{"policy gives reports to all", nil, func(e *verify.Expectations) { e.ContainerIdentity = func([]byte) bool { return false } }, verify.IdentityPod},
		{"no policy", func(ev *verify.Evidence) { ev.Policy = nil }, nil, verify.IdentityPod},
		{"another policy", func(ev *verify.Evidence) { ev.Policy = []byte("package other\n") }, func(e *verify.Expectations) {
			e.ContainerIdentity, e.PolicyEntries = func([]byte) bool { return true }, nil
		}, verify.IdentityPod},
		{"policy bound another way", func(ev *verify.Evidence) { ev.Policy = []byte("package other\n") }, func(e *verify.Expectations) {
			e.PolicyBound, e.ContainerIdentity = true, func(p []byte) bool { return string(p) == "package other\n" }
		}, verify.IdentityContainer},
		{"without its event log", func(ev *verify.Evidence) { ev.EventLog = nil }, func(e *verify.Expectations) { e.RequireEventLog = false }, verify.IdentityContainer},
		{"nothing asked", nil, func(e *verify.Expectations) {
			e.Nonce, e.RequireEventLog, e.ContainerIdentity = nil, false, nil
		}, verify.IdentityPod},
		{"no preimage", func(ev *verify.Evidence) { ev.Preimage = nil }, func(e *verify.Expectations) { e.Nonce, e.RequireEventLog = nil, false }, ""},
		{"signature wrong", func(ev *verify.Evidence) { ev.Report[0x2a0] ^= 1 }, nil, ""},
		{"nonce wrong", nil, func(e *verify.Expectations) { e.Nonce = []byte("another nonce, as long") }, ""},
		{"something else wrong", nil, func(e *verify.Expectations) { e.HostData = &[32]byte{} }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev, exp := s.identified(nil), expectations()
			identityExpectations(&exp)
			if c.edit != nil {
				c.edit(&ev)
			}
			if c.expect != nil {
				c.expect(&exp)
			}
			got := judge(t, v, ev, exp)
			if got.Identity != c.want || got.OK != (c.want != "" || c.name == "no preimage") {
				t.Errorf("got identity %q, ok %t, want %q: %+v", got.Identity, got.OK, c.want, got.Failed())
			}
		})
	}
}

// TestIdentityRequired: who wants identity evidence gets none from a report without a preimage, however good.
func TestIdentityRequired(t *testing.T) {
	v := testVerifier(t)
	exp := expectations()
	exp.RequireIdentity = true
	got := mustFail(t, v, machine{"Genoa", false, 3}.sample(t, nil).evidence(), exp, "preimage")
	if got.ExitCode() != int(verify.ClassMissing) {
		t.Errorf("got exit code %d, want %d", got.ExitCode(), verify.ClassMissing)
	}
}

// TestRawReportIsNoIdentity: 64 bytes that a workload chose are never the SHA-512 of a preimage, whatever text it sends along.
func TestRawReportIsNoIdentity(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	ev := s.evidence()
	_, head := eventLog(t)
	ev.Preimage = preimage(t, head, nil)
	mustFail(t, v, ev, expectations(), "preimage_hash")
}
