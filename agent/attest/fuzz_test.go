package attest

import (
	"encoding/json"
	"encoding/pem"
	"testing"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/coco"
)

// FuzzHostTable gives the two readers of the host's certificate table what a host could send.
func FuzzHostTable(f *testing.F) {
	f.Add(table(f), uint8(0))
	f.Add(table(f)[:100], uint8(1))
	f.Add(snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVLEK, Data: []byte{0x30, 0}}}), uint8(2))
	f.Fuzz(func(t *testing.T, table []byte, kind uint8) {
		raw := reportOf([]uint32{2, 3, 5}[kind%3], [64]byte{1})
		chain, err := endorsementOf(snp.Evidence{Report: raw, Certs: table})
		switch {
		case err != nil && chain != nil:
			t.Fatal("an error came with a result")
		case err == nil:
			if block, _ := pem.Decode(chain.pem()); block == nil || len(tcbText(chain.tcb)) != 16 {
				t.Fatalf("got no certificate, tcb %v", chain.tcb)
			}
		}
		report, err := snp.ParseReport(raw)
		if err != nil {
			t.Fatal(err)
		}
		evidence, err := coco.New(report, table)
		if err != nil {
			t.Fatalf("the table spoiled the report: %v", err)
		}
		if _, err := json.Marshal(evidence); err != nil {
			t.Fatal(err)
		}
	})
}
