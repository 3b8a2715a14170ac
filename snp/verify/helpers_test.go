package verify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

// authority is made once for all tests: its RSA keys take seconds.
var authority = sync.OnceValues(func() (*emulator.Authority, error) {
	return emulator.LoadOrInit(filepath.Join(authorityDir, "emulator"))
})

var authorityDir string

func testAuthority(t testing.TB) *emulator.Authority {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// authorityEnv tells the workers of a fuzzing run, which are processes of their own, where the keys are.
const authorityEnv = "CLOISTER_TEST_AUTHORITY"

func TestMain(m *testing.M) {
	if authorityDir = os.Getenv(authorityEnv); authorityDir != "" {
		os.Exit(m.Run())
	}
	var err error
	if authorityDir, err = os.MkdirTemp("", "cloister-authority-"); err != nil {
		panic(err)
	}
	os.Setenv(authorityEnv, authorityDir)
	code := m.Run()
	os.RemoveAll(authorityDir)
	os.Exit(code)
}

var (
	policyText  = []byte("package policy\n")
	hostData    = sha256.Sum256(policyText)
	measurement = [48]byte{0x4d, 47: 0x01}
	nonce       = [64]byte{0x6e, 31: 0x02}
)

// sample is evidence of a software processor, with the key that signed it, so that tests can sign what no processor would.
type sample struct {
	t      testing.TB
	params emulator.TEEParams
	report []byte
	certs  []snp.Cert
}

// newSample makes evidence over the nonce on a processor whose parameters edit may change.
func newSample(t testing.TB, id emulator.Identity, edit func(*emulator.TEEParams)) *sample {
	t.Helper()
	p, err := testAuthority(t).Params(id)
	if err != nil {
		t.Fatal(err)
	}
	p.HostData, p.Measurement = hostData, measurement
	if edit != nil {
		edit(&p)
	}
	proc, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := proc.Device().Report(context.Background(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := snp.ParseCerts(ev.Certs)
	if err != nil {
		t.Fatal(err)
	}
	return &sample{t: t, params: p, report: ev.Report, certs: certs}
}

// evidence is the sample as a relying party gets it. There is no GUID for a VLEK's issuer: that one comes beside the table.
func (s *sample) evidence() verify.Evidence {
	ev := verify.Evidence{Report: slices.Clone(s.report), Table: snp.MarshalCerts(s.certs)}
	if s.params.VLEK {
		ev.Certs = [][]byte{s.params.Chain[1]}
	}
	return ev
}

// signed is the sample with its report edited and signed anew with the same key.
func (s *sample) signed(edit func([]byte)) verify.Evidence {
	s.t.Helper()
	ev := s.evidence()
	edit(ev.Report)
	key, err := x509.ParsePKCS8PrivateKey(s.params.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	signReport(s.t, ev.Report, key.(*ecdsa.PrivateKey))
	return ev
}

func signReport(t testing.TB, b []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	sum := sha512.Sum384(b[:snp.SignedSize])
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range []interface{ FillBytes([]byte) []byte }{r, s} {
		field := b[snp.SignedSize+i*72:][:72]
		v.FillBytes(field)
		slices.Reverse(field)
	}
}

// issuerKey is the private key of the software processor's "ark", "ask" or "asvk".
func issuerKey(t testing.TB, name string) *rsa.PrivateKey {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(pemFile(t, filepath.Join(testAuthority(t).Dir(), name+".key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

func issuerCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(pemFile(t, filepath.Join(testAuthority(t).RootsDir(), name+".pem")))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pemFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s: no PEM", path)
	}
	return block.Bytes
}

func roots(t testing.TB) *verify.Roots {
	t.Helper()
	r, err := verify.LoadRoots(testAuthority(t).RootsDir())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newVerifier(t testing.TB, r *verify.Roots, opt verify.Options) *verify.Verifier {
	t.Helper()
	v, err := verify.New(r, opt)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func testVerifier(t testing.TB) *verify.Verifier {
	t.Helper()
	return newVerifier(t, roots(t), verify.Options{})
}

func ptr[T any](v T) *T { return &v }

// expectations are met by every sample.
func expectations() verify.Expectations {
	return verify.Expectations{
		Now: time.Now(), ReportData: &nonce, HostData: &hostData, Measurements: [][48]byte{measurement},
		GuestPolicy: &verify.PolicyLimit{SMT: true}, MinTCB: &snp.TCBParts{}, MinGuestSVN: new(uint32),
	}
}

// judge verifies and holds the verdict to what every verdict is.
func judge(t testing.TB, v *verify.Verifier, ev verify.Evidence, exp verify.Expectations) *verify.Verdict {
	t.Helper()
	got, err := v.Verify(ev, exp)
	if err != nil {
		t.Fatal(err)
	}
	checkVerdict(t, got)
	return got
}

func checkVerdict(t testing.TB, v *verify.Verdict) {
	t.Helper()
	infos := verify.Codes()
	if len(v.Checks) != len(infos) {
		t.Fatalf("got %d rows, want %d", len(v.Checks), len(infos))
	}
	ok := true
	for i, c := range v.Checks {
		if c.Name != infos[i].Name || c.Code != infos[i].Code || c.Class != infos[i].Class {
			t.Fatalf("row %d: got %s %s, want %s %s", i, c.Code, c.Name, infos[i].Code, infos[i].Name)
		}
		switch c.Status {
		case verify.StatusPass, verify.StatusNotAsked:
		case verify.StatusFail, verify.StatusNotJudged:
			ok = false
		default:
			t.Fatalf("row %s: got status %q", c.Name, c.Status)
		}
	}
	if v.OK != ok || v.OK != (v.ExitCode() == 0) {
		t.Fatalf("got ok %t and exit code %d, want ok %t", v.OK, v.ExitCode(), ok)
	}
	if !v.OK && len(v.Failed()) == 0 {
		t.Fatalf("refused, and no row failed: %+v", v.Checks)
	}
}

// failed are the names of the checks that failed, in order.
func failed(v *verify.Verdict) string {
	var names []string
	for _, c := range v.Failed() {
		names = append(names, c.Name)
	}
	return strings.Join(names, ",")
}

func status(v *verify.Verdict, name string) verify.Status { return check(v, name).Status }

func check(v *verify.Verdict, name string) verify.Check {
	for _, c := range v.Checks {
		if c.Name == name {
			return c
		}
	}
	return verify.Check{}
}
