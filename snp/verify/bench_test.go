package verify_test

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-sev-guest/abi"
	gvalidate "github.com/google/go-sev-guest/validate"
	gverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// The benchmarks are of one report, so that their ratios mean something: BenchmarkVerifyCached over BenchmarkBareVerify is what everything besides the
// processor's signature costs, and BenchmarkGoSEVGuest is the other library's verify and validate.

// benched is evidence that both libraries can judge, with every expectation that both know.
func benched(b *testing.B) (*published, verify.Evidence, verify.Expectations) {
	b.Helper()
	p := newPublished(b, snp.Genoa)
	ev, exp := p.evidence(3, false, nil), expectations()
	r, err := snp.ParseReport(ev.Report)
	if err != nil {
		b.Fatal(err)
	}
	exp.PlatformInfo = &verify.PlatformLimit{SMT: true}
	exp.MinTCB, exp.MinLaunchTCB, exp.MinFirmware = &p.tcb, &p.tcb, &snp.Firmware{Major: 1, Minor: 55, Build: 29}
	exp.FamilyID, exp.ImageID, exp.ReportID, exp.ReportIDMA = &r.FamilyID, &r.ImageID, &r.ReportID, &r.ReportIDMA
	exp.ChipIDs, exp.Products, exp.Signer, exp.MinVersion = [][64]byte{r.ChipID}, []string{"Genoa"}, verify.SignerVCEK, ptr[uint32](3)
	exp.RefuseProvisional = true
	return p, ev, exp
}

// BenchmarkVerifyCached is all checks with a chain seen before, revocation list included.
func BenchmarkVerifyCached(b *testing.B) {
	p, ev, exp := benched(b)
	ev.CRLs = [][]byte{revocationListBy(b, p.signer.Ark, p.signer.Keys.Ark, exp.Now.AddDate(0, 0, -1), exp.Now.AddDate(0, 0, 1), nil)}
	exp.CRL = verify.CRLRequired
	v := newVerifier(b, p.roots(), verify.Options{})
	b.ReportAllocs()
	for b.Loop() {
		got, err := v.Verify(ev, exp)
		if err != nil || !got.OK {
			b.Fatal(err, got.Failed())
		}
	}
}

// BenchmarkVerifyFirst is all checks with a chain never seen before.
func BenchmarkVerifyFirst(b *testing.B) {
	p, ev, exp := benched(b)
	own := p.roots()
	b.ReportAllocs()
	for b.Loop() {
		got, err := newVerifier(b, own, verify.Options{}).Verify(ev, exp)
		if err != nil || !got.OK {
			b.Fatal(err, got.Failed())
		}
	}
}

// BenchmarkBareVerify is one ECDSA P-384 verification of the same signature over a digest made before.
func BenchmarkBareVerify(b *testing.B) {
	p, ev, _ := benched(b)
	sum := sha512.Sum384(ev.Report[:snp.SignedSize])
	number := func(le []byte) *big.Int {
		be := slices.Clone(le)
		slices.Reverse(be)
		return new(big.Int).SetBytes(be)
	}
	r, s := number(ev.Report[snp.SignedSize:][:72]), number(ev.Report[snp.SignedSize+72:][:72])
	key := &p.signer.Keys.Vcek.PublicKey
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.Verify(key, sum[:], r, s) {
			b.Fatal("does not verify")
		}
	}
}

// BenchmarkGoSEVGuest is the other library's whole judgement, parsing included, with its roots made once.
func BenchmarkGoSEVGuest(b *testing.B) {
	p, ev, exp := benched(b)
	root := trust.AMDRootCertsProduct(string(p.line))
	root.ProductCerts = &trust.ProductCerts{Ark: p.signer.Ark, Ask: p.signer.Ask, Asvk: p.signer.Asvk}
	raw, opt := slices.Concat(ev.Report, ev.Table), theirOptions(exp)
	b.ReportAllocs()
	for b.Loop() {
		att, err := abi.ReportCertsToProto(raw)
		if err != nil {
			b.Fatal(err)
		}
		err = gverify.SnpAttestation(att, &gverify.Options{
			DisableCertFetching: true, Now: exp.Now, TrustedRoots: map[string][]*trust.AMDRootCerts{string(p.line): {root}},
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := gvalidate.SnpAttestation(att, opt); err != nil {
			b.Fatal(err)
		}
	}
}
