package emulator

import (
	"testing"

	"github.com/cloister-cc/cloister/snp"
)

// TestProductsReportThemselves: each processor, kind of key and report version makes a report that names the processor and its TCB in its line's
// layout.
func TestProductsReportThemselves(t *testing.T) {
	for _, name := range Products() {
		for _, vlek := range []bool{false, true} {
			for version := uint32(2); version <= 5; version++ {
				id, err := IdentityOf(name)
				if err != nil {
					t.Fatal(err)
				}
				id.VLEK, id.ReportVersion = vlek, version
				proc, err := NewProcessor(testParams(t, id))
				if err != nil {
					t.Fatal(err)
				}
				ev, err := proc.Device().Report(t.Context(), [64]byte{1})
				if err != nil {
					t.Fatal(err)
				}
				r, err := snp.ParseReport(ev.Report)
				if err != nil {
					t.Fatal(err)
				}
				if want := map[bool]snp.CPUID{true: id.CPU}[version > 2]; r.CPU != want || r.Version != version {
					t.Errorf("%s v%d: got version %d of processor %s, want %s", name, version, r.Version, r.CPU, want)
				}
				if parts, err := r.ReportedTCB.Parts(id.Line); err != nil || parts != id.TCB {
					t.Errorf("%s v%d: got tcb %s (%v), want %s", name, version, parts, err, id.TCB)
				}
				signer, chip := uint32(snp.SignerVCEK), false
				if vlek {
					signer, chip = snp.SignerVLEK, true
				}
				if r.KeyInfo.Signer() != signer || (r.ChipID == [64]byte{}) != chip {
					t.Errorf("%s v%d: got signer %d and chip id %x", name, version, r.KeyInfo.Signer(), r.ChipID)
				}
			}
		}
	}
}

func TestIdentitiesThatNoProcessorHas(t *testing.T) {
	for name, id := range map[string]Identity{
		"other line":             {Line: "Venice"},
		"processor of no line":   {Line: snp.Turin, CPU: snp.CPUID{Family: 0x1B}},
		"processor of another":   {Line: snp.Milan, CPU: snp.CPUID{Family: 0x19, Model: 0x11}},
		"siena is not its own":   {Line: "Siena"},
		"turin's in genoa's row": {Line: snp.Genoa, CPU: snp.CPUID{Family: 0x1A, Model: 0x02}},
	} {
		if _, err := testAuthority(t).Params(id); err == nil {
			t.Errorf("%s: endorsed", name)
		}
	}
	if _, err := IdentityOf("Rome"); err == nil {
		t.Error("a processor without SNP was found")
	}
}
