package verify_test

import (
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/snp/verify"
)

// TestOrderAndRepetitionChangeNothing: the verdict on the same certificates is the same, and a certificate that leads nowhere is found wherever it stands.
func TestOrderAndRepetitionChangeNothing(t *testing.T) {
	s := machine{"Genoa", false, 3}.sample(t, nil)
	stranger := newPublished(t, "Genoa").signer.Ask.Raw
	certs := slices.Clone(s.params.Chain)
	for i := range 8 {
		list := slices.Repeat(certs, 1+i/2)
		if i%2 == 1 {
			slices.Reverse(list)
		}
		v := testVerifier(t)
		for _, c := range []struct {
			certs [][]byte
			want  string
		}{{list, ""}, {append([][]byte{stranger}, list...), "chain"}, {append(slices.Clone(list), stranger), "chain"}} {
			ev := verify.Evidence{Report: s.report, Certs: c.certs}
			if got := judge(t, v, ev, expectations()); failed(got) != c.want {
				t.Errorf("%d certificates: got failed checks %q, want %q", len(c.certs), failed(got), c.want)
			}
		}
	}
}
