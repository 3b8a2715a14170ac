package main

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"time"

	"github.com/google/go-sev-guest/abi"
	gvalidate "github.com/google/go-sev-guest/validate"
	gverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// perRound is how many verifications are timed together: one is shorter than what a scheduler takes away now and then.
const perRound = 20

// genuine is where a report of a real Genoa lies, with its key's certificate. The program is run from the repository's root.
const genuine = "snp/verify/testdata/genuine/genoa-v3."

// judged is one piece of evidence and what is wanted of it.
type judged struct {
	evidence verify.Evidence
	report   *snp.Report
	key      *x509.Certificate
	expected verify.Expectations
}

func newJudged() (*judged, error) {
	raw, err := os.ReadFile(genuine + "report.bin")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(genuine + "vcek.pem")
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%svcek.pem holds no certificate", genuine)
	}
	j := &judged{evidence: verify.Evidence{Report: raw, Table: snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: block.Bytes}})}}
	if j.key, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, err
	}
	if j.report, err = snp.ParseReport(raw); err != nil {
		return nil, err
	}
	r := j.report
	tcb, err := r.ReportedTCB.Parts(snp.Genoa)
	if err != nil {
		return nil, err
	}
	version := uint32(2)
	j.expected = verify.Expectations{
		Now: time.Date(2025, 10, 1, 0, 0, 0, 0, time.UTC), ReportData: &r.ReportData, HostData: &r.HostData, Measurements: [][48]byte{r.Measurement},
		GuestPolicy: &verify.PolicyLimit{SMT: true}, PlatformInfo: &verify.PlatformLimit{SMT: true},
		MinTCB: &tcb, MinLaunchTCB: &tcb, MinFirmware: &r.Current, MinGuestSVN: &r.GuestSVN, MinVersion: &version,
		FamilyID: &r.FamilyID, ImageID: &r.ImageID, ReportID: &r.ReportID, ReportIDMA: &r.ReportIDMA, ChipIDs: [][64]byte{r.ChipID}, Products: []string{"Genoa"}, Signer: verify.SignerVCEK,
	}
	return j, nil
}

// measureVerify compares one verdict on evidence whose chain was seen before, every check asked for, with one bare signature check.
func (b *bench) measureVerify(j *judged) error {
	v, err := verify.New(verify.AMDRoots(), verify.Options{})
	if err != nil {
		return err
	}
	ours := func() error {
		verdict, err := v.Verify(j.evidence, j.expected)
		if err == nil && !verdict.OK {
			err = errors.New("our verifier refuses")
		}
		return err
	}
	bare, err := j.bareCheck()
	if err != nil {
		return err
	}
	var own, one, theirs sample
	for range b.runs.verify {
		for _, way := range []struct {
			to *sample
			do func() error
		}{{&one, bare}, {&own, ours}, {&theirs, j.goSEVGuest}} {
			took, err := timed(way.do)
			if err != nil {
				return err
			}
			way.to.addDuration(took)
		}
	}
	b.addRatio("snp_verify_ratio", own, one, "ecdsa.Verify on P-384 "+brief(one.median()), atMost(1.1))
	b.addRatio("snp_verify_to_go_sev_guest_ratio", own, theirs, "go-sev-guest verify and validate "+brief(theirs.median()), target{})
	return nil
}

// timed is how long one of perRound calls takes.
func timed(do func() error) (time.Duration, error) {
	begin := time.Now()
	for range perRound {
		if err := do(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin) / perRound, nil
}

// bareCheck is one ecdsa.Verify of the report's signature, with everything made ready.
func (j *judged) bareCheck() (func() error, error) {
	key, ok := j.key.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the endorsement key is a %T", j.key.PublicKey)
	}
	report := j.evidence.Report
	sum := sha512.Sum384(report[:snp.SignedSize])
	number := func(le []byte) *big.Int {
		le = slices.Clone(le)
		slices.Reverse(le)
		return new(big.Int).SetBytes(le)
	}
	r, s := number(report[snp.SignedSize:][:72]), number(report[snp.SignedSize+72:][:72])
	return func() error {
		if !ecdsa.Verify(key, sum[:], r, s) {
			return errors.New("the signature does not verify")
		}
		return nil
	}, nil
}

// goSEVGuest is what a user of that library does with the same evidence and expectations. It has no cache of chains.
func (j *judged) goSEVGuest() error {
	att, err := abi.ReportCertsToProto(slices.Concat(j.evidence.Report, j.evidence.Table))
	if err != nil {
		return err
	}
	root, err := trust.GetDefaultRootCerts("Genoa")
	if err != nil {
		return err
	}
	err = gverify.SnpAttestation(att, &gverify.Options{
		DisableCertFetching: true, Now: j.expected.Now, TrustedRoots: map[string][]*trust.AMDRootCerts{"Genoa": {root}},
	})
	if err != nil {
		return err
	}
	policy, err := abi.ParseSnpPolicy(uint64(j.report.Policy))
	if err != nil {
		return err
	}
	platform, err := abi.ParseSnpPlatformInfo(j.report.PlatformInfo)
	if err != nil {
		return err
	}
	vmpl, e := 0, &j.expected
	return gvalidate.SnpAttestation(att, &gvalidate.Options{
		ReportData: e.ReportData[:], HostData: e.HostData[:], Measurement: e.Measurements[0][:], VMPL: &vmpl, GuestPolicy: policy, PlatformInfo: &platform,
		ChipID: e.ChipIDs[0][:], FamilyID: e.FamilyID[:], ImageID: e.ImageID[:], ReportID: e.ReportID[:], ReportIDMA: e.ReportIDMA[:], PermitProvisionalFirmware: true,
	})
}
