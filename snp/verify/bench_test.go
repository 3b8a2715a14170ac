package verify_test

import (
	"testing"

	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

func BenchmarkEvidence(b *testing.B) {
	ev, trusted, exp := report(b, emulator.DefaultIdentity(), nil), roots(b), expectations()
	b.ReportAllocs()
	for b.Loop() {
		v, err := verify.Evidence(ev, trusted, exp)
		if err != nil || !v.OK {
			b.Fatal(err, v)
		}
	}
}
