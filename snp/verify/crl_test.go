package verify_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

func TestRevocationModes(t *testing.T) {
	s := machine{"Genoa", false, 3}.sample(t, nil)
	now := time.Now()
	current, old := currentList(t), revocationList(t, now.AddDate(0, -2, 0), now.AddDate(0, -1, 0))
	revoking, oldRevoking := currentList(t, s.leaf().SerialNumber), revocationList(t, now.AddDate(0, -2, 0), now.AddDate(0, -1, 0), issuerCert(t, "ask").SerialNumber)
	milan := newPublished(t, snp.Milan)
	foreign := revocationListBy(t, milan.signer.Ark, milan.signer.Keys.Ark, now.AddDate(0, 0, -1), now.AddDate(0, 0, 1), nil)
	forged := revocationListBy(t, issuerCert(t, "ark"), milan.signer.Keys.Ark, now.AddDate(0, 0, -1), now.AddDate(0, 0, 1), nil)
	byASK := revocationListBy(t, issuerCert(t, "ask"), issuerKey(t, "ask"), now.AddDate(0, 0, -1), now.AddDate(0, 0, 1), nil)
	list := func(edit func(*x509.RevocationList)) []byte {
		return revocationListBy(t, issuerCert(t, "ark"), issuerKey(t, "ark"), now.AddDate(0, 0, -1), now.AddDate(0, 0, 1), edit)
	}
	pkcs1 := list(func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.SHA384WithRSA })
	delta := list(func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	})
	point := list(func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
	})
	for _, c := range []struct {
		name             string
		evidence, caller [][]byte
		table            []byte
		required         bool
		want             string // failed checks
		status           verify.Status
	}{
		{name: "none", status: verify.StatusNotAsked},
		{name: "none, required", required: true, want: "crl"},
		{name: "in the evidence", evidence: [][]byte{current}, required: true, status: verify.StatusPass},
		{name: "in the table", table: current, required: true, status: verify.StatusPass},
		{name: "the caller's", caller: [][]byte{current}, required: true, status: verify.StatusPass},
		{name: "with a distribution point", evidence: [][]byte{point}, required: true, status: verify.StatusPass},
		{name: "revoked in the table", table: revoking, want: "revocation"},
		{name: "revoked by the caller's", caller: [][]byte{revoking}, want: "revocation"},
		{name: "revoked by one of two", evidence: [][]byte{current, revoking}, want: "revocation"},
		{name: "host's good list does not outdo the caller's", evidence: [][]byte{current}, caller: [][]byte{revoking}, want: "revocation"},
		{name: "old, and a current one", evidence: [][]byte{old, current}, required: true, status: verify.StatusPass},
		{name: "revoked by the old one", evidence: [][]byte{oldRevoking, current}, want: "revocation"},
		{name: "old only", evidence: [][]byte{old}, want: "crl_time"},
		{name: "the caller's is old", caller: [][]byte{old}, want: "crl_time"},
		{name: "old and revoked", evidence: [][]byte{oldRevoking}, want: "crl_time,revocation"},
		{name: "another root's", evidence: [][]byte{foreign}, want: "crl"},
		{name: "another root's in the table", table: foreign, want: "crl"},
		{name: "another root's beside the right one", evidence: [][]byte{foreign, current}, required: true, status: verify.StatusPass},
		{name: "another root's, of the caller", caller: [][]byte{foreign}, status: verify.StatusNotAsked},
		{name: "another root's, of the caller, required", caller: [][]byte{foreign}, required: true, want: "crl"},
		{name: "an intermediate's", evidence: [][]byte{byASK}, want: "crl"},
		{name: "another key", evidence: [][]byte{forged}, want: "crl_signature"},
		{name: "pkcs 1", evidence: [][]byte{pkcs1}, want: "crl_signature"},
		{name: "a delta list", evidence: [][]byte{delta}, want: "crl_signature"},
		{name: "garbage beside the right one", evidence: [][]byte{current, []byte("hello")}, want: "crl_signature"},
		{name: "too many", evidence: slices.Repeat([][]byte{current}, 17), want: "crl_signature"},
		{name: "too long", evidence: [][]byte{make([]byte, 1<<20+1)}, want: "crl_signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVerifier(t, roots(t), verify.Options{CRLs: c.caller})
			ev, exp := s.evidence(), expectations()
			ev.CRLs = c.evidence
			if c.table != nil {
				ev.Table = s.table(snp.GUIDCRL, c.table)
			}
			if c.required {
				exp.CRL = verify.CRLRequired
			}
			for range 2 { // the second time from memory
				got := mustFailOrPass(t, v, ev, exp, c.want)
				if c.status != "" && status(got, "revocation") != c.status {
					t.Errorf("got revocation %s, want %s", status(got, "revocation"), c.status)
				}
				if c.want != "" && got.ExitCode() != int(verify.ClassRevocation) {
					t.Errorf("got exit code %d, want %d", got.ExitCode(), verify.ClassRevocation)
				}
			}
		})
	}
}

func mustFailOrPass(t *testing.T, v *verify.Verifier, ev verify.Evidence, exp verify.Expectations, want string) *verify.Verdict {
	t.Helper()
	got := judge(t, v, ev, exp)
	if failed(got) != want {
		t.Errorf("got failed checks %q, want %q: %+v", failed(got), want, got.Failed())
	}
	return got
}

// TestCallersListsAreChecked: a list that the caller gives must be good, or nothing works: it would not do to go on without it.
func TestCallersListsAreChecked(t *testing.T) {
	list := currentList(t)
	for _, bad := range [][]byte{flipped(list, len(list)-1), list[:20], nil} {
		if v, err := verify.New(roots(t), verify.Options{CRLs: [][]byte{bad}}); v != nil || err == nil {
			t.Errorf("got %v, %v, want an error", v, err)
		}
	}
}
