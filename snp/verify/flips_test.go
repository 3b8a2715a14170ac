package verify_test

import (
	"bytes"
	"testing"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// flipMachines are of both kinds of key, both TCB layouts and the three report versions.
var flipMachines = []machine{{"Milan", false, 2}, {"Siena", true, 3}, {"Turin", false, 5}}

// stride is 1, every byte. Where that takes minutes, under the race detector, it is a sample.
func stride() int {
	if testing.Short() || raceEnabled {
		return 97
	}
	return 1
}

// TestEveryReportByte flips every one of the 1184 bytes, in the lowest and in the highest bit.
func TestEveryReportByte(t *testing.T) {
	v := testVerifier(t)
	for _, m := range flipMachines {
		ev := m.sample(t, nil).evidence()
		exp := verify.Expectations{Now: expectations().Now} // nothing asked: only what is always checked
		if got := judge(t, v, ev, exp); !got.OK {
			t.Fatalf("%s: refused: %+v", m, got.Failed())
		}
		for i := 0; i < len(ev.Report); i += stride() {
			for _, bit := range []byte{0x01, 0x80} {
				ev.Report[i] ^= bit
				got := judge(t, v, ev, exp)
				if got.OK || got.ExitCode() == 0 {
					t.Fatalf("%s: byte %#x ^ %#x: accepted", m, i, bit)
				}
				if status(got, "signature") == verify.StatusPass && i < snp.SignedSize+snp.SignatureSize {
					t.Fatalf("%s: byte %#x ^ %#x: the signature verifies", m, i, bit)
				}
				ev.Report[i] ^= bit
			}
		}
	}
}

// TestEveryCertificateByte flips every byte of every certificate that comes with the evidence: endorsement key, intermediate, root.
func TestEveryCertificateByte(t *testing.T) {
	v := testVerifier(t)
	for _, m := range []machine{{"Turin", false, 5}, {"Milan", true, 3}} {
		s := m.sample(t, nil)
		exp := verify.Expectations{Now: expectations().Now}
		for n, der := range s.params.Chain {
			der = bytes.Clone(der)
			ev := verify.Evidence{Report: s.report, Certs: [][]byte{s.params.Chain[0], s.params.Chain[1], s.params.Chain[2]}}
			ev.Certs[n] = der
			if got := judge(t, v, ev, exp); !got.OK {
				t.Fatalf("%s: refused: %+v", m, got.Failed())
			}
			for i := 0; i < len(der); i += stride() {
				der[i] ^= 0x01
				if got := judge(t, v, ev, exp); got.OK {
					t.Fatalf("%s: certificate %d, byte %d of %d flipped: accepted", m, n, i, len(der))
				}
				der[i] ^= 0x01
			}
		}
	}
}

// TestEveryListByte flips every byte of a revocation list.
func TestEveryListByte(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	ev := s.evidence()
	list := currentList(t)
	ev.CRLs = [][]byte{list}
	exp := verify.Expectations{Now: expectations().Now, CRL: verify.CRLRequired}
	if got := judge(t, v, ev, exp); !got.OK {
		t.Fatalf("refused: %+v", got.Failed())
	}
	for i := 0; i < len(list); i += stride() {
		list[i] ^= 0x01
		got := judge(t, v, ev, exp)
		if got.OK || got.ExitCode() != int(verify.ClassRevocation) {
			t.Fatalf("byte %d of %d flipped: got ok %t, exit code %d", i, len(list), got.OK, got.ExitCode())
		}
		list[i] ^= 0x01
	}
}
