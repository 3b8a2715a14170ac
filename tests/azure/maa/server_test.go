package maa_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	client "github.com/cloister-cc/cloister/snp/azure/maa"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
	"github.com/cloister-cc/cloister/tests/azure/maa"
)

var keysDir string

func TestMain(m *testing.M) {
	// make test names a directory in which the keys are made once for all packages.
	if keysDir = os.Getenv("CLOISTER_TEST_AUTHORITY"); keysDir != "" {
		os.Exit(m.Run())
	}
	var err error
	if keysDir, err = os.MkdirTemp("", "cloister-keys-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(keysDir)
	os.Exit(code)
}

var keys = sync.OnceValues(func() (*emulator.Authority, error) { return emulator.LoadOrInit(filepath.Join(keysDir, "emulator")) })

// service is one that believes the software processor, and a client of it.
type service struct {
	*httptest.Server
	client   *client.Client
	verifier *client.Verifier
}

func newService(t *testing.T, roots *verify.Roots) *service {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	t.Cleanup(s.Close)
	emulated, err := maa.New(maa.Options{Issuer: s.URL, Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler = emulated
	c, err := client.New(s.URL, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	v := &client.Verifier{Issuers: []string{s.URL}}
	v.Call.HTTP = s.Client()
	return &service{s, c, v}
}

func testRoots(t *testing.T) *verify.Roots {
	t.Helper()
	a, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := verify.LoadRoots(a.RootsDir())
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

// evidence is a report over runtime data, by a guest as change makes it.
func evidence(t *testing.T, runtime []byte, change func(*emulator.TEEParams)) client.Evidence {
	t.Helper()
	a, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	p.HostData, p.Measurement, p.GuestSVN = [32]byte{0xaa, 1}, [48]byte{0xbb}, 7
	if change != nil {
		change(&p)
	}
	processor, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := processor.Device().Report(t.Context(), snp.HashedReportData(runtime))
	if err != nil {
		t.Fatal(err)
	}
	var chain bytes.Buffer
	for _, der := range p.Chain {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	return client.Evidence{Report: got.Report, Chain: chain.Bytes()}
}

func attest(t *testing.T, s *service, e client.Evidence, runtime []byte) (map[string]any, error) {
	t.Helper()
	r, err := client.NewRequest(e, runtime, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.client.Attest(t.Context(), r)
	if err != nil {
		return nil, err
	}
	verified, err := s.verifier.Verify(t.Context(), token)
	if err != nil {
		t.Fatalf("the token does not verify: %v", err)
	}
	var claims map[string]any
	if err := json.Unmarshal(verified.Payload, &claims); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(verified.Expires); left < 7*time.Hour || left > 9*time.Hour {
		t.Errorf("the token ends in %s, want 8 h", left)
	}
	return claims, nil
}

func TestGenuineEvidence(t *testing.T) {
	s := newService(t, testRoots(t))
	runtime := []byte(`{"keys":[{"kty":"RSA"}]}`)
	claims, err := attest(t, s, evidence(t, runtime, nil), runtime)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"iss": s.URL, "x-ms-ver": "1.0", "x-ms-attestation-type": "sevsnpvm", "nonce": float64(1 << 62), "x-ms-sevsnpvm-is-debuggable": false,
		"x-ms-sevsnpvm-hostdata": "aa01" + strings.Repeat("0", 60), "x-ms-sevsnpvm-launchmeasurement": "bb" + strings.Repeat("0", 94),
		"x-ms-sevsnpvm-guestsvn": 7.0, "x-ms-sevsnpvm-vmpl": 0.0, "x-ms-sevsnpvm-migration-allowed": false,
	} {
		if claims[name] != want {
			t.Errorf("%s: got %v, want %v", name, claims[name], want)
		}
	}
	if _, there := claims["x-ms-compliance-status"]; there {
		t.Error("a guest without endorsement is called compliant")
	}
	if runtime, err := json.Marshal(claims["x-ms-runtime"]); err != nil || string(runtime) != `{"keys":[{"kty":"RSA"}]}` {
		t.Errorf("got runtime %s, %v", runtime, err)
	}
	debug, err := attest(t, s, evidence(t, runtime, func(p *emulator.TEEParams) { p.Policy |= snp.PolicyDebug }), runtime)
	if err != nil || debug["x-ms-sevsnpvm-is-debuggable"] != true {
		t.Errorf("a guest that can be debugged: got %v, %v, want that its token says so", debug["x-ms-sevsnpvm-is-debuggable"], err)
	}
}

func TestEvidenceRefused(t *testing.T) {
	s, amd := newService(t, testRoots(t)), newService(t, verify.AMDRoots())
	runtime := []byte(`{"keys":[]}`)
	good := evidence(t, runtime, nil)
	flipped := client.Evidence{Report: bytes.Clone(good.Report), Chain: good.Chain}
	flipped.Report[192] ^= 1 // HOST_DATA
	for name, c := range map[string]struct {
		of      *service
		e       client.Evidence
		runtime string
		want    string
	}{
		"the software processor's root": {amd, good, string(runtime), "chain"},
		"another wrapping key":          {s, good, `{"keys":[{}]}`, "report_data"},
		"a changed report":              {s, flipped, string(runtime), "signature"},
		"no chain":                      {s, client.Evidence{Report: good.Report}, string(runtime), "InvalidParameter"},
		"a stale certificate":           {s, evidence(t, runtime, func(p *emulator.TEEParams) { p.TCB.Microcode-- }), string(runtime), "tcb"},
		"runtime that is no object":     {s, evidence(t, []byte(`[]`), nil), `[]`, "object"},
	} {
		if claims, err := attest(t, c.of, c.e, []byte(c.runtime)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "400") {
			t.Errorf("%s: got %v, %v, want 400 with %q", name, claims, err, c.want)
		}
	}
}

// TestForms asks as a client that is not ours would.
func TestForms(t *testing.T) {
	s := newService(t, testRoots(t))
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/attest/SevSnpVM?api-version=2022-08-01", `{}`, 400, `"code":"InvalidParameter"`},
		{"POST", "/attest/SevSnpVm?api-version=2019-01-01", `{}`, 400, "api-version"},
		{"POST", "/attest/SgxEnclave?api-version=2022-08-01", `{}`, 400, "InvalidOperation"},
		{"POST", "/attest/SevSnpVm?api-version=2022-08-01", strings.Repeat("x", 1<<20+1), 400, "larger"},
		{"GET", "/certs", "", 200, `"x5c"`},
		{"GET", "/.well-known/openid-configuration", "", 200, `"jwks_uri":"` + s.URL + `/certs"`},
		{"GET", "/policies/SevSnpVm", "", 200, `"token"`},
		{"PUT", "/policies/SevSnpVm", "x", 400, "InvalidOperation"},
		{"POST", "/policies/SevSnpVm:reset", "", 200, `"token"`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != c.status || !strings.Contains(string(body), c.want) || c.status == 400 && answer.Header.Get("x-ms-error-code") == "" {
			t.Errorf("%s %s: got %d %s, %v, want %d with %q", c.method, c.path, answer.StatusCode, body, err, c.status, c.want)
		}
	}
}
