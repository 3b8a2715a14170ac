package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

// machine is one kind of processor, key and report.
type machine struct {
	product string
	vlek    bool
	version uint32
}

func (m machine) String() string {
	return fmt.Sprintf("%s-%s-v%d", m.product, map[bool]string{false: "vcek", true: "vlek"}[m.vlek], m.version)
}

func machines() []machine {
	var out []machine
	for _, product := range []string{"Milan", "Genoa", "Siena", "Turin", "Turin-Dense"} {
		for _, vlek := range []bool{false, true} {
			for _, version := range []uint32{2, 3, 5} {
				out = append(out, machine{product, vlek, version})
			}
		}
	}
	return out
}

func (m machine) sample(t testing.TB, edit func(*emulator.TEEParams)) *sample {
	t.Helper()
	id, err := emulator.IdentityOf(m.product)
	if err != nil {
		t.Fatal(err)
	}
	id.VLEK, id.ReportVersion = m.vlek, m.version
	return newSample(t, id, edit)
}

// turin says whether the TCB has Turin's layout.
func (m machine) turin() bool { return strings.HasPrefix(m.product, "Turin") }

// TestMachines: on every kind of machine the good evidence passes, and each mutant is found by the check that is there for it, and by no other.
func TestMachines(t *testing.T) {
	v := testVerifier(t)
	for i, m := range machines() {
		if raceEnabled && i%7 != 0 {
			continue // one of each product
		}
		t.Run(m.String(), func(t *testing.T) {
			s := m.sample(t, nil)
			good := judge(t, v, s.evidence(), expectations())
			if !good.OK {
				t.Fatalf("refused: %+v", good.Failed())
			}
			wantProduct := m.product
			if m.version == 2 {
				wantProduct = string(s.params.Line)
			}
			if good.Product != wantProduct || good.Line != s.params.Line || !good.TestOnly {
				t.Errorf("got product %q line %q test only %t, want %q %q true", good.Product, good.Line, good.TestOnly, wantProduct, s.params.Line)
			}
			for _, c := range append(append(evidenceMutants(), reportMutants()...), identityMutants()...) {
				t.Run(strings.TrimSuffix(c.check+"/"+c.name, "/"), func(t *testing.T) { c.run(t, v, m, s) })
			}
		})
	}
}

func (m mutant) run(t *testing.T, v *verify.Verifier, on machine, s *sample) {
	if m.impossible != nil {
		if why := m.impossible(on); why != "" {
			t.Skip("cannot be on this machine: " + why)
		}
	}
	ev, exp := s.evidence(), expectations()
	if m.evidence != nil {
		ev = m.evidence(s)
	}
	if m.expect != nil {
		m.expect(s, &exp)
	}
	got := judge(t, v, ev, exp)
	if failed(got) != m.check || got.OK {
		t.Errorf("got failed checks %q, want %q: %+v", failed(got), m.check, got.Failed())
	}
}

// TestEveryCodeHasAMutant: a check that nothing can fail checks nothing.
func TestEveryCodeHasAMutant(t *testing.T) {
	have := map[string]bool{}
	for _, c := range append(append(evidenceMutants(), reportMutants()...), identityMutants()...) {
		have[c.check] = true
	}
	for _, c := range verify.Codes() {
		if !have[c.Name] && !strings.HasPrefix(c.Name, "endorsement") {
			t.Errorf("%s %s: no mutant", c.Code, c.Name)
		}
	}
}
