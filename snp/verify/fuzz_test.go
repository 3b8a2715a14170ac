package verify_test

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// addEvidence seeds a target with evidence of each machine, so that mutants reach behind the first checks. The corpus below testdata has no samples of the
// emulator, whose keys are new each time: its entries are the genuine ones, and what fuzzing found worth keeping.
func addEvidence(f *testing.F, add func(verify.Evidence)) {
	f.Helper()
	for _, m := range flipMachines {
		ev := m.sample(f, nil).evidence()
		ev.CRLs = [][]byte{currentList(f)}
		add(ev)
	}
	for _, g := range genuineEvidence(f) {
		ev := g.ev
		if ev.Table == nil {
			ev.Table = snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: ev.Certs[0]}})
		}
		add(ev)
	}
}

// impossible wants what no evidence has: a verdict that is good is a bug.
func impossible() verify.Expectations {
	exp := expectations()
	exp.ReportData = &[64]byte{0xfe, 0xed}
	return exp
}

// FuzzVerify is everything that a host can send, under its own roots and under AMD's.
func FuzzVerify(f *testing.F) {
	addEvidence(f, func(ev verify.Evidence) {
		crl, cert := []byte(nil), []byte(nil)
		if len(ev.CRLs) > 0 {
			crl = ev.CRLs[0]
		}
		if len(ev.Certs) > 0 {
			cert = ev.Certs[0]
		}
		f.Add(ev.Report, ev.Table, cert, crl, ev.Preimage, ev.EventLog, ev.Endorsement)
	})
	verifiers := []*verify.Verifier{testVerifier(f), newVerifier(f, nil, verify.Options{})}
	exp := impossible()
	exp.Endorsement = &verify.EndorsementPolicy{Issuers: []string{"did:x509:0:sha256:x"}, Feed: "x"}
	f.Fuzz(func(t *testing.T, report, table, cert, crl, preimage, log, endorsement []byte) {
		ev := verify.Evidence{Report: report, Table: table, Preimage: preimage, EventLog: log, Endorsement: endorsement}
		if len(cert) > 0 {
			ev.Certs = [][]byte{cert}
		}
		if len(crl) > 0 {
			ev.CRLs = [][]byte{crl}
		}
		for _, v := range verifiers {
			if got := judge(t, v, ev, exp); got.OK {
				t.Fatal("accepted")
			}
		}
	})
}

// fuzzed is genuine evidence of a Turin, which is the same in every process of a fuzzing run, and a verifier that accepts it.
func fuzzed(f *testing.F) (genuine, *verify.Verifier, verify.Expectations) {
	f.Helper()
	all := genuineEvidence(f)
	g := all[len(all)-1]
	v, exp := newVerifier(f, nil, verify.Options{}), verify.Expectations{Now: g.now}
	if got := judge(f, v, g.ev, exp); !got.OK || g.product != "Turin" {
		f.Fatalf("%s: refused: %+v", g.name, got.Failed())
	}
	return g, v, exp
}

// FuzzReport keeps the certificates good and changes the report: no change of a byte may pass, and the verdict is always whole.
func FuzzReport(f *testing.F) {
	g, v, exp := fuzzed(f)
	f.Add(g.ev.Report)
	f.Fuzz(func(t *testing.T, report []byte) {
		ev := g.ev
		ev.Report = report
		if got := judge(t, v, ev, exp); got.OK && !bytes.Equal(report, g.ev.Report) {
			t.Fatal("another report than the signed one was accepted")
		}
	})
}

// FuzzCertificate changes the endorsement key's certificate, and puts it to both readers: as the evidence's, where only the signed one may pass, and beside the
// roots, where it must load or be an error.
func FuzzCertificate(f *testing.F) {
	g, v, exp := fuzzed(f)
	f.Add(g.ev.Certs[0])
	f.Fuzz(func(t *testing.T, cert []byte) {
		ev := verify.Evidence{Report: g.ev.Report, Certs: [][]byte{cert}}
		if got := judge(t, v, ev, exp); got.OK && !bytes.Equal(cert, g.ev.Certs[0]) {
			t.Fatal("another certificate than the signed one was accepted")
		}
		_ = new(verify.Roots).Add(cert)
	})
}

// FuzzTable changes the certificate table: where it passes, the certificate in it is the signed one.
func FuzzTable(f *testing.F) {
	g, v, exp := fuzzed(f)
	cert := g.ev.Certs[0]
	f.Add(snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: cert}}))
	f.Fuzz(func(t *testing.T, table []byte) {
		ev := verify.Evidence{Report: g.ev.Report, Table: table}
		if got := judge(t, v, ev, exp); got.OK && !bytes.Contains(table, cert) {
			t.Fatal("accepted without the certificate")
		}
	})
}

// FuzzCRL changes the revocation list: where it passes, the root signed it.
func FuzzCRL(f *testing.F) {
	s := machine{"Genoa", false, 3}.sample(f, nil)
	f.Add(currentList(f))
	v := testVerifier(f)
	ark := issuerCert(f, "ark")
	exp := verify.Expectations{Now: expectations().Now, CRL: verify.CRLRequired}
	f.Fuzz(func(t *testing.T, crl []byte) {
		ev := s.evidence()
		ev.CRLs = [][]byte{crl}
		if got := judge(t, v, ev, exp); !got.OK {
			return
		}
		list, err := x509.ParseRevocationList(crl)
		if err != nil || list.CheckSignatureFrom(ark) != nil {
			t.Fatal("a list that the root did not sign was accepted")
		}
	})
}
