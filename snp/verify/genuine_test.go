package verify_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// genuine is evidence of a real processor; see testdata/genuine/README.md.
type genuine struct {
	name, product string
	ev            verify.Evidence
	now           time.Time
	tcb           snp.TCBParts
	firmware      snp.Firmware
	refused       string
}

func genuineEvidence(t testing.TB) []genuine {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", "genuine", name))
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(b); block != nil {
			return block.Bytes
		}
		return b
	}
	on := func(year int) time.Time { return time.Date(year, 10, 1, 0, 0, 0, 0, time.UTC) }
	table := func(vcek []byte) []byte { return snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: vcek}}) }
	return []genuine{
		{
			"milan-v2", "Milan",
			verify.Evidence{Report: testdata.AttestationBytes, Certs: [][]byte{testdata.VcekBytes}},
			on(2023),
			snp.TCBParts{BootLoader: 2, SNP: 5, Microcode: 68},
			snp.Firmware{Major: 1, Minor: 49, Build: 3},
			"policy_debug", // a guest that may be debugged, and so says nothing: the one row that is wrong
		},
		{
			"milan-v3", "Milan",
			verify.Evidence{Report: read("milan-v3.report.bin"), Table: table(read("milan-v3.vcek.pem"))},
			on(2025),
			snp.TCBParts{BootLoader: 4, SNP: 24, Microcode: 219},
			snp.Firmware{Major: 1, Minor: 55, Build: 29},
			"",
		},
		{
			"genoa-v3", "Genoa",
			verify.Evidence{Report: read("genoa-v3.report.bin"), Table: table(read("genoa-v3.vcek.pem"))},
			on(2025),
			snp.TCBParts{BootLoader: 10, SNP: 23, Microcode: 84},
			snp.Firmware{Major: 1, Minor: 55, Build: 40},
			"",
		},
		{
			"turin-v5", "Turin",
			verify.Evidence{Report: read("turin-v5.report.bin"), Certs: [][]byte{read("turin-v5.vcek.der")}},
			on(2025),
			snp.TCBParts{BootLoader: 1, SNP: 2, Microcode: 71},
			snp.Firmware{Major: 1, Minor: 55, Build: 61},
			"",
		},
	}
}

// TestGenuineEvidence: AMD's own processors pass with AMD's own roots, and nothing else needed. The intermediates come with the roots.
func TestGenuineEvidence(t *testing.T) {
	v := newVerifier(t, nil, verify.Options{})
	for _, g := range genuineEvidence(t) {
		t.Run(g.name, func(t *testing.T) {
			r, err := snp.ParseReport(g.ev.Report)
			if err != nil {
				t.Fatal(err)
			}
			exp := verify.Expectations{
				Now: g.now, ReportData: &r.ReportData, HostData: &r.HostData, Measurements: [][48]byte{r.Measurement},
				GuestPolicy: &verify.PolicyLimit{SMT: true}, PlatformInfo: &verify.PlatformLimit{SMT: true},
				MinTCB: &g.tcb, MinLaunchTCB: &g.tcb, MinFirmware: &g.firmware, ChipIDs: [][64]byte{r.ChipID}, Products: []string{g.product}, Signer: verify.SignerVCEK,
			}
			got := judge(t, v, g.ev, exp)
			if failed(got) != g.refused || status(got, "signature") != verify.StatusPass || got.Product != g.product || got.TestOnly {
				t.Fatalf("got product %q test only %t, refused: %+v", got.Product, got.TestOnly, got.Failed())
			}
			newer := g.tcb
			newer.Microcode++
			exp.MinTCB = &newer
			if got := judge(t, v, g.ev, exp); status(got, "min_tcb") != verify.StatusFail {
				t.Errorf("newer microcode wanted: got failed checks %q, want min_tcb", failed(got))
			}
		})
	}
}

// TestGenuineEvidenceWithWholeChain: services hand out the intermediate and the root too, those of the right line or of all.
func TestGenuineEvidenceWithWholeChain(t *testing.T) {
	v := newVerifier(t, nil, verify.Options{})
	var all [][]byte
	for _, line := range []string{"milan", "genoa", "turin"} {
		for _, role := range []string{"ask", "asvk", "ark"} {
			all = append(all, pemFile(t, filepath.Join("roots", role+"-"+line+".pem")))
		}
	}
	for _, g := range genuineEvidence(t) {
		ev := g.ev
		ev.Certs = append(slices.Clip(ev.Certs), all...)
		if got := judge(t, v, ev, verify.Expectations{Now: g.now}); failed(got) != g.refused {
			t.Errorf("%s: got failed checks %q, want %q", g.name, failed(got), g.refused)
		}
	}
}

// TestGenuineEvidenceEveryByte flips every byte of genuine reports: AMD's signature covers all that counts, and the rest must be zero.
func TestGenuineEvidenceEveryByte(t *testing.T) {
	v := newVerifier(t, nil, verify.Options{})
	for _, g := range genuineEvidence(t) {
		ev := g.ev
		ev.Report = bytes.Clone(g.ev.Report)
		for i := 0; i < len(ev.Report); i += stride() {
			ev.Report[i] ^= 0x01
			if judge(t, v, ev, verify.Expectations{Now: g.now}).OK {
				t.Fatalf("%s: byte %#x flipped: accepted", g.name, i)
			}
			ev.Report[i] ^= 0x01
		}
	}
}
