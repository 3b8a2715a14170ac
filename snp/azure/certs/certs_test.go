package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/azure/internal/call"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/emulator/kds"
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

// machine is a software processor's report and the chain it was signed under.
func machine(t *testing.T, product string, vlek bool, change func(*emulator.TEEParams)) (*snp.Report, Chain) {
	t.Helper()
	a, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	id, err := emulator.IdentityOf(product)
	if err != nil {
		t.Fatal(err)
	}
	id.VLEK = vlek
	p, err := a.Params(id)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&p)
	}
	processor, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := processor.Device().Report(t.Context(), [64]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	r, err := snp.ParseReport(ev.Report)
	if err != nil {
		t.Fatal(err)
	}
	return r, p.Chain
}

func same(a, b Chain) bool { return bytes.Equal(a.PEM(), b.PEM()) }

func TestKDS(t *testing.T) {
	a, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(kds.Handler(a, kds.Options{}))
	defer s.Close()
	source := KDS{Base: s.URL, Call: call.Client{Tries: 1}}
	for _, product := range emulator.Products() {
		r, want := machine(t, product, false, nil)
		// The server issues the certificate anew; the key in it is the processor's.
		if got, err := source.Chain(t.Context(), r); err != nil || !same(got[1:], want[1:]) || !bytes.Equal(publicKey(t, got[0]), publicKey(t, want[0])) {
			t.Errorf("%s: got %d certificates, %v, want the chain", product, len(got), err)
		}
	}
	vlek, _ := machine(t, "Milan", true, nil)
	if _, err := source.Chain(t.Context(), vlek); err == nil || !strings.Contains(err.Error(), "VLEK") {
		t.Errorf("a VLEK: got %v", err)
	}
	masked, _ := machine(t, "Milan", false, func(p *emulator.TEEParams) { p.ChipID = [64]byte{} })
	if _, err := source.Chain(t.Context(), masked); err == nil || !strings.Contains(err.Error(), "masked") {
		t.Errorf("a masked chip: got %v", err)
	}
}

func publicKey(t *testing.T, der []byte) []byte {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.RawSubjectPublicKeyInfo
}

// thimDocument is THIM's answer for a chain.
func thimDocument(chain Chain) string {
	text := func(c Chain) string { return strings.ReplaceAll(string(c.PEM()), "\n", `\n`) }
	return `{"vcekCert":"` + text(chain[:1]) + `","tcbm":"DB18000000000004","certificateChain":"` + text(chain[1:]) + `","cacheControl":"86400"}`
}

// TestHosts takes the same document from the three places where a host leaves it, and PEM from the cache, for keys of both kinds.
func TestHosts(t *testing.T) {
	for _, vlek := range []bool{false, true} {
		r, want := machine(t, "Genoa", vlek, nil)
		document := thimDocument(want)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			switch {
			case q.URL.Path == "/thim" && q.Header.Get("Metadata") == "true":
				io.WriteString(w, document)
			case strings.HasPrefix(q.URL.String(), "/SevSnpVM/certificates/") && q.URL.RawQuery == "api-version=2020-10-15-preview&clientId=ConfidentialACI":
				w.Write(want.PEM())
			default:
				w.WriteHeader(404)
			}
		}))
		dir := t.TempDir()
		encoded := base64.StdEncoding.EncodeToString([]byte(document))
		if err := os.WriteFile(filepath.Join(dir, "host-amd-cert-base64"), []byte(encoded+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, source := range []Source{
			THIM{URL: s.URL + "/thim"},
			SecurityContext{dir},
			Variable{encoded},
			AzCache{Base: s.URL, APIVersion: "api-version=2020-10-15-preview", ClientID: "clientId=ConfidentialACI"},
		} {
			if got, err := source.Chain(t.Context(), r); err != nil || !same(got, want) {
				t.Errorf("%T: got %d certificates, %v, want the chain", source, len(got), err)
			}
		}
		s.Close()
	}
}

// TestStale offers chains of another firmware, another chip, another key.
func TestStale(t *testing.T) {
	_, chain := machine(t, "Milan", false, nil)
	_, vlek := machine(t, "Milan", true, nil)
	old, _ := machine(t, "Milan", false, func(p *emulator.TEEParams) { p.TCB.Microcode-- })
	other, _ := machine(t, "Milan", false, func(p *emulator.TEEParams) { p.ChipID[0] ^= 1 })
	now, _ := machine(t, "Milan", false, nil)
	for name, c := range map[string]struct {
		r     *snp.Report
		chain Chain
	}{"firmware": {old, chain}, "chip": {other, chain}, "kind": {now, vlek}} {
		if _, err := assemble(c.chain, c.r); !errors.Is(err, ErrStale) {
			t.Errorf("%s: got %v, want %v", name, err, ErrStale)
		}
	}
	for name, all := range map[string]Chain{"nothing": nil, "no key": chain[1:], "two keys": append(Chain{chain[0]}, chain...), "noise": {[]byte("x")}} {
		if got, err := assemble(all, now); err == nil {
			t.Errorf("%s: got %d certificates", name, len(got))
		}
	}
}

func TestPlacesThatHaveNone(t *testing.T) {
	r, _ := machine(t, "Milan", false, nil)
	long := t.TempDir()
	if err := os.WriteFile(filepath.Join(long, "host-amd-cert-base64"), make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	all := First{SecurityContext{t.TempDir()}, SecurityContext{filepath.Join(long, "none")}, SecurityContext{long}, Variable{"%"}, Variable{"e30="}, THIM{URL: s.URL}, KDS{Base: s.URL}, AzCache{Base: s.URL}}
	_, err := all.Chain(t.Context(), r)
	if err == nil || len(strings.Split(err.Error(), "\n")) != len(all) {
		t.Errorf("got %v, want a reason for each of %d", err, len(all))
	}
	if _, err := (First{}).Chain(t.Context(), r); err == nil {
		t.Error("no source gave a chain")
	}
}

// counted is a source that counts.
type counted struct {
	Source
	asked atomic.Int32
}

func (c *counted) Chain(ctx context.Context, r *snp.Report) (Chain, error) {
	c.asked.Add(1)
	return c.Source.Chain(ctx, r)
}

// fixed is a source with one chain.
type fixed Chain

func (f fixed) Chain(_ context.Context, r *snp.Report) (Chain, error) { return assemble(f, r) }

func TestRemembered(t *testing.T) {
	r, chain := machine(t, "Milan", false, nil)
	old, _ := machine(t, "Milan", false, func(p *emulator.TEEParams) { p.TCB.Microcode-- })
	now := time.Now()
	source := &counted{Source: First{fixed(chain)}}
	m := &Remembered{Source: source, Keep: time.Hour, Now: func() time.Time { return now }}
	for _, c := range []struct {
		r     *snp.Report
		after time.Duration
		asked int32
		ok    bool
	}{{r, 0, 1, true}, {r, 59 * time.Minute, 1, true}, {old, 0, 2, false}, {old, 0, 3, false}, {r, 0, 3, true}, {r, 2 * time.Hour, 4, true}} {
		now = now.Add(c.after)
		if _, err := m.Chain(t.Context(), c.r); (err == nil) != c.ok || source.asked.Load() != c.asked {
			t.Errorf("%+v: got %v after %d questions", c, err, source.asked.Load())
		}
	}
}
