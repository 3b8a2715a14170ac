package verify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/snp/verify"
)

// TestRememberedIsJudgedAnew: a verifier that has seen everything before still judges times, policies and fields each time.
func TestRememberedIsJudgedAnew(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	u := newUVM(t, cosetest.P384)
	good := s.evidence()
	good.Endorsement, good.CRLs = u.sign(t), [][]byte{currentList(t)}
	wanted := func() verify.Expectations {
		exp := expectations()
		exp.Endorsement = &verify.EndorsementPolicy{Issuers: []string{u.issuer}, Feed: uvmFeed, MinSVN: 100}
		return exp
	}
	for _, c := range []struct {
		name     string
		evidence func(*verify.Evidence)
		expect   func(*verify.Expectations)
		want     string
	}{
		{"good", nil, nil, ""},
		{"after the list", nil, func(e *verify.Expectations) { e.Now = e.Now.AddDate(0, 1, 0) }, "crl_time"},
		{"after the certificate", nil, func(e *verify.Expectations) { e.Now = e.Now.AddDate(10, 0, 0) }, "validity,crl_time"},
		{"before the endorsement", nil, func(e *verify.Expectations) { e.Now = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }, "validity,crl_time,endorsement_signature"},
		{"another issuer", nil, func(e *verify.Expectations) { e.Endorsement.Issuers = []string{"did:x509:0:sha256:x"} }, "endorsement_issuer"},
		{"another feed", nil, func(e *verify.Expectations) { e.Endorsement.Feed = "other" }, "endorsement_feed"},
		{"a newer image", nil, func(e *verify.Expectations) { e.Endorsement.MinSVN = 105 }, "endorsement_svn"},
		{"another report", func(ev *verify.Evidence) { ev.Report = flipped(ev.Report, 0x90) }, nil, "signature,measurement,endorsement_measurement"},
		{"a flipped endorsement", func(ev *verify.Evidence) { ev.Endorsement = flipped(ev.Endorsement, len(ev.Endorsement)-1) }, nil, "endorsement_signature"},
		{"a flipped list", func(ev *verify.Evidence) { ev.CRLs = [][]byte{flipped(ev.CRLs[0], len(ev.CRLs[0])-1)} }, nil, "crl_signature"},
		{"a flipped certificate", func(ev *verify.Evidence) {
			leaf := s.params.Chain[0]
			ev.Table = s.with(flipped(leaf, len(leaf)-1)).Table
		}, nil, "chain"},
		{"good again", nil, nil, ""},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			ev, exp := good, wanted()
			if c.evidence != nil {
				c.evidence(&ev)
			}
			if c.expect != nil {
				c.expect(&exp)
			}
			mustFailOrPass(t, v, ev, exp, c.want)
		})
	}
}
