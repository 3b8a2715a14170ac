package verify_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// The tests of this file are the pitfalls of the library that others build on (attestation contract, section 1.6), as far as a verifier can fall into them. Their
// numbers are the contract's. Those of clients, 10 to 12, and of maintenance, 16, have nothing here; 2 and 4 are TestGenuineEvidence, TestGenuineTurinDiffers and
// TestDefaultRootsHoldASVKs, 5 TestMistakeHostileLengthsCrash, 8 TestMistakeExpiredListAndWrongClock and the tests of revocation lists, 15
// TestMistakeOtherVMPLAccepted.

// 1: nil roots are AMD's, never none.
func TestPitfallNilRootsAreAMDs(t *testing.T) {
	for _, line := range []snp.Line{snp.Milan, snp.Genoa} {
		p := newPublished(t, line)
		for _, vlek := range []bool{false, true} {
			mustFail(t, newVerifier(t, nil, verify.Options{}), p.evidence(3, vlek, nil), expectations(), "chain")
		}
	}
}

// 3: processors of every model range have a product, and those outside have none.
func TestPitfallSienaAndTurinDense(t *testing.T) {
	v := testVerifier(t)
	for _, c := range []struct {
		m    machine
		cpu  []byte
		want string
	}{
		{machine{"Siena", false, 3}, []byte{0x19, 0xA0, 0}, "Siena"},
		{machine{"Siena", false, 3}, []byte{0x19, 0xAF, 0}, "Siena"},
		{machine{"Turin-Dense", false, 5}, []byte{0x1A, 0x11, 0}, "Turin-Dense"},
		{machine{"Turin-Dense", false, 5}, []byte{0x1A, 0x1F, 0}, "Turin-Dense"},
		{machine{"Siena", false, 3}, []byte{0x19, 0xB0, 0}, ""},
		{machine{"Siena", false, 3}, []byte{0x19, 0x9F, 0}, ""},
		{machine{"Turin-Dense", false, 5}, []byte{0x1A, 0x20, 0}, ""},
	} {
		s := c.m.sample(t, nil)
		got := judge(t, v, s.signed(func(b []byte) { copy(b[0x188:], c.cpu) }), expectations())
		if got.OK != (c.want != "") || got.Product != c.want {
			t.Errorf("processor %x: got product %q, ok %t, want %q", c.cpu, got.Product, got.OK, c.want)
		}
	}
}

// 6: verifying without comparing chip id and TCB is not possible; and a masked chip id passes only where that was allowed.
func TestPitfallMaskedChipID(t *testing.T) {
	v := testVerifier(t)
	for _, m := range []machine{{"Milan", false, 3}, {"Turin", false, 5}} {
		ev := m.sample(t, nil).signed(func(b []byte) { clear(b[0x1a0:0x1e0]) })
		exp := verify.Expectations{Now: expectations().Now}
		mustFail(t, v, ev, exp, "chip_id")
		exp.AllowMaskedChipID = true
		if got := judge(t, v, ev, exp); !got.OK || check(got, "chip_id").Got != "masked" {
			t.Errorf("allowed: got %+v", check(got, "chip_id"))
		}
		exp.ChipIDs = [][64]byte{{1}}
		mustFail(t, v, ev, exp, "chip_allowed")
		exp.ChipIDs = nil
		mustFail(t, v, m.sample(t, nil).signed(func(b []byte) { b[0x1a0] ^= 1 }), exp, "chip_id")
	}
}

// A provider that hands out VLEKs may mask the chip's own key; the report says so and is signed all the same.
func TestMaskedChipKeyWithVLEK(t *testing.T) {
	ev := machine{"Genoa", true, 3}.sample(t, nil).signed(setBit(0x48, 1))
	if got := judge(t, testVerifier(t), ev, expectations()); !got.OK {
		t.Errorf("refused: %+v", got.Failed())
	}
}

// 7: expectations of nothing refuse nothing that is not refused always; provisional firmware is the caller's to refuse.
func TestPitfallZeroExpectations(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	got := judge(t, v, s.signed(func(b []byte) { b[0x1e7]--; b[0x1ec]-- }), verify.Expectations{Now: expectations().Now})
	if !got.OK {
		t.Fatalf("refused: %+v", got.Failed())
	}
	asked := map[verify.Status]int{}
	for _, c := range got.Checks {
		asked[c.Status]++
	}
	if asked[verify.StatusPass] != 20 || asked[verify.StatusPass]+asked[verify.StatusNotAsked] != len(got.Checks) {
		t.Errorf("got %v, want 20 checks made and all others not asked", asked)
	}
}

// 9 and 14: the package brings no flags, no logger and no network with it.
func TestPitfallImports(t *testing.T) {
	for _, dir := range []string{".", "..", "../eventlog", "../identity", "../../cose"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %d files, %v", dir, len(files), err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				path, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if path == "flag" || path == "log" || path == "net" || strings.HasPrefix(path, "net/") || strings.Contains(path, "go-sev-guest") {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
}

// 13: the ioctl pads the table to pages and configfs does not; the verdict is the same.
func TestPitfallPaddedTable(t *testing.T) {
	v := testVerifier(t)
	ev := machine{"Genoa", false, 3}.sample(t, nil).evidence()
	want := judge(t, v, ev, expectations())
	ev.Table = append(ev.Table, make([]byte, 4096-len(ev.Table)%4096)...)
	got := judge(t, v, ev, expectations())
	if !got.OK || !slices.Equal(got.Checks, want.Checks) {
		t.Errorf("got %+v, want %+v", got.Checks, want.Checks)
	}
}

// 14: one verifier and one set of expectations serve many at once, and are not written to.
func TestPitfallSharedByGoroutines(t *testing.T) {
	v, exp := testVerifier(t), expectations()
	crl := currentList(t)
	var all []verify.Evidence
	for _, m := range []machine{{"Milan", false, 2}, {"Genoa", true, 3}, {"Turin", false, 5}} {
		ev := m.sample(t, nil).evidence()
		ev.CRLs = [][]byte{crl}
		all = append(all, ev)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 6 {
				got, err := v.Verify(all[(i+n)%len(all)], exp)
				if err != nil || !got.OK {
					t.Errorf("got %v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}
