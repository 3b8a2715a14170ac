package kds

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	gkds "github.com/google/go-sev-guest/kds"
	"go.uber.org/goleak"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
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

var keys = sync.OnceValues(func() (*emulator.Authority, error) {
	return emulator.LoadOrInit(filepath.Join(keysDir, "emulator"))
})

func authority(t *testing.T) *emulator.Authority {
	t.Helper()
	a, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// get asks a handler from an address.
func get(t *testing.T, h http.Handler, target string, edit func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rebase turns an address of AMD's server into one of ours.
func rebase(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if u.Host != "kdsintf.amd.com" {
		t.Fatalf("got %q, want an address of AMD's key server", address)
	}
	return u.RequestURI()
}

// TestAddressesOfAnIndependentClient: go-sev-guest builds the addresses, and reads what is there.
func TestAddressesOfAnIndependentClient(t *testing.T) {
	a := authority(t)
	h := Handler(a, Options{})
	for _, line := range []snp.Line{snp.Milan, snp.Genoa} {
		version, err := gkds.ComposeTCBParts(gkds.TCBParts{BlSpl: 3, TeeSpl: 1, SnpSpl: 20, UcodeSpl: 200})
		if err != nil {
			t.Fatal(err)
		}
		leaf := get(t, h, rebase(t, gkds.VCEKCertURL(string(line), a.HWID(line), version)), nil)
		if leaf.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s: %s", line, leaf.Status, body(t, leaf))
		}
		checkLeaf(t, body(t, leaf), version, a.HWID(line))
		for kind, signer := range map[string]abi.ReportSigner{"vcek": abi.VcekReportSigner, "vlek": abi.VlekReportSigner} {
			chain := get(t, h, rebase(t, gkds.ProductCertChainURL(signer, string(line))), nil)
			by, root, err := gkds.ParseProductCertChain(body(t, chain))
			if err != nil {
				t.Fatalf("%s %s: %v", line, kind, err)
			}
			if want := a.Chain(kind == "vlek"); string(by) != string(want[0]) || string(root) != string(want[1]) {
				t.Errorf("%s %s: another chain", line, kind)
			}
			crl := get(t, h, rebase(t, gkds.CrlLinkByKey(string(line), signer)), nil)
			list, err := x509.ParseRevocationList(body(t, crl))
			if err != nil {
				t.Fatalf("%s %s: %v", line, kind, err)
			}
			if ark, err := x509.ParseCertificate(root); err != nil || list.CheckSignatureFrom(ark) != nil || !list.NextUpdate.After(time.Now()) {
				t.Errorf("%s %s: the list is not the root's, or has expired (%v)", line, kind, err)
			}
		}
	}
}

func checkLeaf(t *testing.T, der []byte, version gkds.TCBVersion, hwid []byte) {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := gkds.VcekCertificateExtensions(cert)
	if err != nil {
		t.Fatal(err)
	}
	if ext.TCBVersion != version || string(ext.HWID) != string(hwid) {
		t.Errorf("got tcb %x and hwid %x, want %x and %x", ext.TCBVersion, ext.HWID, version, hwid)
	}
	if !strings.Contains(cert.Subject.CommonName, emulator.Subject) {
		t.Errorf("common name: got %q", cert.Subject.CommonName)
	}
}

// TestServedKeyIsTheProcessors: the certificate that is fetched belongs to the key that signs reports.
func TestServedKeyIsTheProcessors(t *testing.T) {
	a := authority(t)
	h := Handler(a, Options{})
	for _, name := range emulator.Products() {
		id, err := emulator.IdentityOf(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.Params(id)
		if err != nil {
			t.Fatal(err)
		}
		q := fmt.Sprintf("blSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", id.TCB.BootLoader, id.TCB.TEE, id.TCB.SNP, id.TCB.Microcode)
		if id.Line == snp.Turin {
			q += fmt.Sprintf("&fmcSPL=%d", id.TCB.FMC)
		}
		target := fmt.Sprintf("/vcek/v1/%s/%x?%s", id.Line, a.HWID(id.Line), q)
		first, second := body(t, get(t, h, target, nil)), body(t, get(t, h, target, nil))
		served, err := x509.ParseCertificate(first)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		own, err := x509.ParseCertificate(p.Chain[0])
		if err != nil {
			t.Fatal(err)
		}
		if string(served.RawSubjectPublicKeyInfo) != string(own.RawSubjectPublicKeyInfo) {
			t.Errorf("%s: the served certificate is another key's", name)
		}
		if string(first) != string(second) {
			t.Errorf("%s: the second answer is another certificate", name)
		}
		if want := map[bool]int{true: 8, false: 64}[id.Line == snp.Turin]; len(a.HWID(id.Line)) != want {
			t.Errorf("%s: hwid of %d bytes, want %d", name, len(a.HWID(id.Line)), want)
		}
	}
}

func TestKeyServerRefuses(t *testing.T) {
	a := authority(t)
	h := Handler(a, Options{})
	chip, spl := hex.EncodeToString(a.HWID(snp.Genoa)), "blSPL=1&teeSPL=0&snpSPL=2&ucodeSPL=3"
	for target, want := range map[string]int{
		"/vcek/v1/Genoa/" + chip + "?" + spl:                       200,
		"/vcek/v1/Genoa/" + strings.ToUpper(chip) + "?" + spl:      200,
		"/vcek/v1/Rome/" + chip + "?" + spl:                        404,
		"/vcek/v1/genoa/" + chip + "?" + spl:                       404,
		"/vcek/v1/Genoa/" + chip[:16] + "?" + spl:                  404, // Turin's length
		"/vcek/v1/Genoa/" + strings.Repeat("0", 128) + "?" + spl:   404,
		"/vlek/v1/Genoa/" + chip + "?" + spl:                       404, // VLEKs are for cloud providers
		"/vcek/v1/Genoa/" + chip:                                   400,
		"/vcek/v1/Genoa/" + chip + "?" + spl + "&fmcSPL=1":         400, // Turin's
		"/vcek/v1/Genoa/" + chip + "?" + spl + "&blSPL=1":          400,
		"/vcek/v1/Genoa/" + chip + "?blSPL=256&teeSPL=0&snpSPL=2":  400,
		"/vcek/v1/Genoa/" + chip + "?" + spl + "&x=%zz":            400,
		"/vcek/v1/Turin/" + chip[:16] + "?" + spl:                  400, // without fmcSPL
		"/vcek/v1/Turin/" + chip[:16] + "?" + spl + "&fmcSPL=1":    200,
		"/vcek/v1/Turin/" + chip + "?" + spl + "&fmcSPL=1":         404,
		"/vcek/v1/Milan/cert_chain":                                200,
		"/vlek/v1/Milan/crl":                                       200,
		"/vzek/v1/Milan/crl":                                       404,
		"/vcek/v1/Milan/" + strings.Repeat("a", 10000) + "?" + spl: 404,
		"/":                            404,
		"/vcek/v2/Genoa/cert_chain":    404,
		"/vcek/v1/Genoa/cert_chain/..": 307,
	} {
		if got := get(t, h, target, nil).StatusCode; got != want {
			t.Errorf("%.90s: got %d, want %d", target, got, want)
		}
	}
}

// TestThrottle: an address that asks too soon is told when to come back; others are served.
func TestThrottle(t *testing.T) {
	now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	h := Handler(authority(t), Options{Throttle: 10 * time.Second, Now: func() time.Time { return now }})
	ask := func(from string) *http.Response {
		return get(t, h, "/vcek/v1/Genoa/cert_chain", func(r *http.Request) { r.RemoteAddr = from })
	}
	if r := ask("127.0.0.1:1000"); r.StatusCode != http.StatusOK {
		t.Errorf("first: got %s", r.Status)
	}
	now = now.Add(4 * time.Second)
	if r := ask("127.0.0.1:1001"); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "7" {
		t.Errorf("too soon: got %s, retry after %q, want 429 and 7", r.Status, r.Header.Get("Retry-After"))
	}
	if r := ask("127.0.0.2:1000"); r.StatusCode != http.StatusOK {
		t.Errorf("another address: got %s", r.Status)
	}
	now = now.Add(6 * time.Second)
	if r := ask("127.0.0.1:1002"); r.StatusCode != http.StatusOK {
		t.Errorf("in time: got %s", r.Status)
	}
}

func TestRevocation(t *testing.T) {
	a := authority(t)
	now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	list := func(opt Options) *x509.RevocationList {
		t.Helper()
		opt.Now = clock
		crl, err := x509.ParseRevocationList(body(t, get(t, Handler(a, opt), "/vcek/v1/Genoa/crl", nil)))
		if err != nil {
			t.Fatal(err)
		}
		return crl
	}
	if got := list(Options{}); !got.NextUpdate.After(now) || len(got.RevokedCertificateEntries) != 0 {
		t.Errorf("plain: next update %s, %d entries", got.NextUpdate, len(got.RevokedCertificateEntries))
	}
	if got := list(Options{CRLExpired: true}); got.NextUpdate.After(now) {
		t.Errorf("expired: next update %s", got.NextUpdate)
	}
	if got := list(Options{Revoked: a.Chain(false)[:1]}); len(got.RevokedCertificateEntries) != 1 {
		t.Errorf("revoking: %d entries", len(got.RevokedCertificateEntries))
	}
}

func TestTHIM(t *testing.T) {
	a := authority(t)
	id, err := emulator.IdentityOf("Milan")
	if err != nil {
		t.Fatal(err)
	}
	h := THIM(a, id, Options{})
	header := func(r *http.Request) { r.Header.Set("Metadata", "true") }
	for _, c := range []struct {
		query string
		tcbm  string // of the answer; empty: refused
	}{
		{"", "DB18000000000004"},
		{"?tcbVersion=DB16000000000003&productName=Milan-B1", "DB16000000000003"},
		{"?platformId=" + hex.EncodeToString(a.HWID(snp.Milan)), "DB18000000000004"},
		{"?platformId=00", ""},
		{"?productName=Genoa", ""},
		{"?tcbVersion=DB", ""},
		{"?tcbVersion=DB16000000010003", ""}, // a byte without meaning
	} {
		r := get(t, h, PathTHIM+c.query, header)
		b := body(t, r)
		if c.tcbm == "" {
			if r.StatusCode != http.StatusBadRequest {
				t.Errorf("%q: got %s, want 400", c.query, r.Status)
			}
			continue
		}
		var got certification
		if err := json.Unmarshal(b, &got); err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%q: got %s %v: %s", c.query, r.Status, err, b)
		}
		if got.TCBM != c.tcbm || got.CacheControl == "" {
			t.Errorf("%q: got tcbm %q, cacheControl %q, want tcbm %q", c.query, got.TCBM, got.CacheControl, c.tcbm)
		}
		if n := strings.Count(got.CertificateChain, "BEGIN CERTIFICATE"); n != 2 {
			t.Errorf("%q: got %d certificates in the chain, want 2", c.query, n)
		}
		block, _ := pem.Decode([]byte(got.VCEKCert))
		if block == nil {
			t.Fatalf("%q: vcekCert is no PEM", c.query)
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err != nil || !strings.Contains(cert.Subject.CommonName, emulator.Subject) {
			t.Errorf("%q: vcekCert: %v", c.query, err)
		}
	}
	r := get(t, h, PathTHIM, nil)
	if want := `{"error":"invalid_request","error_description":"Required metadata header not specified"}`; r.StatusCode != http.StatusBadRequest ||
		strings.TrimSpace(string(body(t, r))) != want {
		t.Errorf("without the header: got %s, want 400 and %s", r.Status, want)
	}
}

func TestListenIsLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0", ":0", "127.0.0.1:0", "[::1]:0"} {
		l, err := Listen(t.Context(), address)
		if err != nil {
			if strings.Contains(address, "::1") && strings.Contains(err.Error(), "assign") {
				continue // no IPv6 here
			}
			t.Errorf("%s: %v", address, err)
			continue
		}
		l.Close()
	}
	for _, address := range []string{"0.0.0.0:0", "10.0.0.1:0", "localhost:0", "example.org:80", "[::]:0", "127.0.0.1:port", "127.0.0.1:99999"} {
		if l, err := Listen(t.Context(), address); err == nil {
			l.Close()
			t.Errorf("%s: listens", address)
		}
	}
}

func TestServe(t *testing.T) {
	a := authority(t)
	defer goleak.VerifyNone(t)
	ctx, stop := context.WithCancel(t.Context())
	l, err := Listen(ctx, ":0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, Handler(a, Options{})) }()
	client := &http.Client{Transport: &http.Transport{}}
	r, err := client.Get("http://" + l.Addr().String() + "/vcek/v1/Genoa/cert_chain")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("got %s, %v", r.Status, err)
	}
	r.Body.Close()
	client.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := client.Get("http://" + l.Addr().String() + "/"); err == nil {
		t.Error("still served after the end")
	}
}
