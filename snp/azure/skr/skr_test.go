package skr_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
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
	"github.com/cloister-cc/cloister/snp/azure/certs"
	"github.com/cloister-cc/cloister/snp/azure/keyvault"
	"github.com/cloister-cc/cloister/snp/azure/maa"
	"github.com/cloister-cc/cloister/snp/azure/skr"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
	"github.com/cloister-cc/cloister/tests/azure/fault"
	emulated "github.com/cloister-cc/cloister/tests/azure/maa"
	"github.com/cloister-cc/cloister/tests/azure/vault"
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

// cloud is the two services, and a client of each.
type cloud struct {
	maa, vault             *httptest.Server
	maaFault, vaultFault   *fault.Handler
	attested               atomic.Int32
	vaultClient, maaClient *http.Client
	roots                  *x509.CertPool
	vaultURL               string
	now                    atomic.Int64 // seconds added to the services' clock
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	a, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	amd, err := verify.LoadRoots(a.RootsDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{maa: httptest.NewUnstartedServer(nil), vault: httptest.NewUnstartedServer(nil), roots: x509.NewCertPool()}
	for _, s := range []*httptest.Server{c.maa, c.vault} {
		s.StartTLS()
		t.Cleanup(s.Close)
	}
	now := func() time.Time { return time.Now().Add(time.Duration(c.now.Load()) * time.Second) }
	attestation, err := emulated.New(emulated.Options{Issuer: c.maa.URL, Roots: amd, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	c.maaFault = fault.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/attest/") {
			c.attested.Add(1)
		}
		attestation.ServeHTTP(w, r)
	}))
	c.maa.Config.Handler = c.maaFault
	c.vaultURL = strings.Replace(c.vault.URL, "127.0.0.1", "localhost", 1)
	keyService, err := vault.New(vault.Options{
		URL: c.vaultURL, Name: "localhost", HTTP: c.maa.Client(), Now: now,
		Authorize: func(token string) bool { return token == "for https://vault.azure.net" },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.vaultFault = fault.Wrap(keyService)
	c.vault.Config.Handler = c.vaultFault
	c.roots.AppendCertsFromPEM(keyService.SignerPEM())
	c.maaClient, c.vaultClient = c.maa.Client(), c.vault.Client()
	// The test server's certificate has other names than localhost.
	c.vaultClient.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com"
	return c
}

func (c *cloud) keyService(endpoint string) (*keyvault.Client, error) {
	k, err := keyvault.New(endpoint, c.roots, c.vaultClient)
	if err == nil {
		k.Call.Pause = time.Millisecond
	}
	return k, err
}

// guest is a pod's releaser, on a machine as change makes it.
func (c *cloud) guest(t *testing.T, change func(*emulator.TEEParams)) *skr.Releaser {
	t.Helper()
	a, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	p.HostData = [32]byte{0xaa}
	if change != nil {
		change(&p)
	}
	processor, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	return &skr.Releaser{
		Source: skr.Device{Device: processor.Device(), Certs: chainOf(p.Chain)},
		Attester: func(endpoint string) (*maa.Client, error) {
			m, err := maa.New(endpoint, c.maaClient)
			if err == nil {
				m.Call.Pause = time.Millisecond
			}
			return m, err
		},
		Vault:    c.keyService,
		Vaults:   []string{strings.TrimPrefix(c.vaultURL, "https://")},
		Identity: func(_ context.Context, audience string) (string, error) { return "for " + audience, nil },
		Now:      func() time.Time { return time.Now().Add(time.Duration(c.now.Load()) * time.Second) },
	}
}

// chainOf is a source of one chain, as a host gives it.
type chainOf certs.Chain

func (c chainOf) Chain(context.Context, *snp.Report) (certs.Chain, error) { return certs.Chain(c), nil }

// bring imports a key for guests with a HOST_DATA.
func (c *cloud) bring(t *testing.T, hostData string) {
	t.Helper()
	k, err := c.keyService(c.vaultURL)
	if err != nil {
		t.Fatal(err)
	}
	policy := &keyvault.Policy{Authorities: []keyvault.Authority{{URL: c.maa.URL, Condition: keyvault.All(
		keyvault.Claim("x-ms-attestation-type", keyvault.Equals, keyvault.String("sevsnpvm")),
		keyvault.Claim("x-ms-sevsnpvm-hostdata", keyvault.Equals, keyvault.String(hostData)),
		keyvault.Claim("x-ms-sevsnpvm-is-debuggable", keyvault.Equals, keyvault.Bool(false)),
	)}}}
	if _, err := k.Import(t.Context(), "data", json.RawMessage(`{"kty":"oct-HSM","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","key_ops":["decrypt"]}`), policy, "for https://vault.azure.net"); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) request() skr.Request {
	return skr.Request{MAA: c.maa.URL, Vault: c.vaultURL, KID: "data"}
}

var hostData = "aa" + strings.Repeat("0", 62)

func TestKeyIsReleasedToTheGuestItIsFor(t *testing.T) {
	c := newCloud(t)
	c.bring(t, hostData)
	g := c.guest(t, nil)
	got, err := g.Release(t.Context(), c.request())
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"kty":"oct","kid":"` + got.KeyID + `","key_ops":["decrypt"],"k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}`; string(got.JWK) != want {
		t.Errorf("got another key than was imported")
	}
	got.Wipe()
	if strings.Trim(string(got.JWK), "\x00") != "" {
		t.Error("the key is still there")
	}
	if !strings.Contains(string(got.Policy), hostData) {
		t.Errorf("got release policy %s", got.Policy)
	}
}

func TestKeyIsRefused(t *testing.T) {
	c := newCloud(t)
	c.bring(t, hostData)
	for name, r := range map[string]struct {
		change func(*emulator.TEEParams)
		edit   func(*skr.Request)
		want   []string
	}{
		"one bit of the policy": {func(p *emulator.TEEParams) { p.HostData[31] ^= 1 }, nil, []string{
			`x-ms-sevsnpvm-hostdata: got "aa` + strings.Repeat("0", 61) + `1", want "` + hostData + `"`, "403",
		}},
		"a debug guest":   {func(p *emulator.TEEParams) { p.Policy |= snp.PolicyDebug }, nil, []string{"x-ms-sevsnpvm-is-debuggable: got true, want false"}},
		"a stale TCB":     {func(p *emulator.TEEParams) { p.TCB.Microcode-- }, nil, []string{"tcb", "400"}},
		"another key":     {nil, func(q *skr.Request) { q.KID = "none" }, []string{"KeyNotFound"}},
		"a stolen bearer": {nil, func(q *skr.Request) { q.AccessToken = "stolen" }, []string{"401", "audience"}},
		"no key's name":   {nil, func(q *skr.Request) { q.KID = "../x" }, []string{"NAME"}},
		"no attestation":  {nil, func(q *skr.Request) { q.MAA = "" }, []string{"attestation service"}},
		"no key service":  {nil, func(q *skr.Request) { q.Vault = "http://x" }, []string{"key service"}},
	} {
		q := c.request()
		if r.edit != nil {
			r.edit(&q)
		}
		got, err := c.guest(t, r.change).Release(t.Context(), q)
		if err == nil {
			t.Errorf("%s: got a key of %d bytes", name, len(got.JWK))
			continue
		}
		for _, want := range r.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", name, err, want)
			}
		}
	}
}

// TestIdentityIsForAzureOnly names a key service of the caller's own: it must not see the identity's token.
func TestIdentityIsForAzureOnly(t *testing.T) {
	c := newCloud(t)
	c.bring(t, hostData)
	g := c.guest(t, nil)
	g.Vaults = nil
	var asked atomic.Int32
	g.Identity = func(context.Context, string) (string, error) {
		asked.Add(1)
		return "for https://vault.azure.net", nil
	}
	if _, err := g.Release(t.Context(), c.request()); err == nil || asked.Load() != 0 || !strings.Contains(err.Error(), "not shown") {
		t.Errorf("got %v after %d tokens", err, asked.Load())
	}
	q := c.request()
	q.AccessToken = "for https://vault.azure.net" // the caller's own
	if _, err := g.Release(t.Context(), q); err != nil {
		t.Errorf("with the caller's own token: got %v", err)
	}
}

// TestManyServices names more attestation services than are remembered, all of which keep us waiting.
func TestManyServices(t *testing.T) {
	c := newCloud(t)
	c.bring(t, hostData)
	g := c.guest(t, nil)
	hold, ctx := make(chan struct{}), t.Context()
	attester := g.Attester
	g.Attester = func(endpoint string) (*maa.Client, error) {
		if strings.HasPrefix(endpoint, "slow") {
			<-hold
			return nil, errors.New("gone")
		}
		return attester(endpoint)
	}
	var wg sync.WaitGroup
	var refused atomic.Int32
	for i := range 20 {
		wg.Go(func() {
			q := c.request()
			q.MAA = "slow" + string(rune('a'+i))
			if _, err := g.Release(ctx, q); err != nil && strings.Contains(err.Error(), "under way") {
				if refused.Add(1) == 4 {
					close(hold)
				}
			}
		})
	}
	wg.Wait()
	if refused.Load() != 4 {
		t.Errorf("%d of 20 were refused, want 4", refused.Load())
	}
	if _, err := g.Release(ctx, c.request()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestAnotherAuthority has a policy that knows another attestation service than the guest asked.
func TestAnotherAuthority(t *testing.T) {
	c, other := newCloud(t), newCloud(t)
	c.bring(t, hostData)
	g := c.guest(t, nil)
	g.Attester = func(string) (*maa.Client, error) { return maa.New(other.maa.URL, other.maaClient) }
	_, err := g.Release(t.Context(), c.request())
	var refused *skr.PolicyRefusal
	if !errors.As(err, &refused) || refused.Issuer != other.maa.URL {
		t.Errorf("got %v, want that the policy does not know %s", err, other.maa.URL)
	}
}

// TestOneAttestationServes asks many times, together and one after another, until the token ends.
func TestOneAttestationServes(t *testing.T) {
	c := newCloud(t)
	c.bring(t, hostData)
	g := c.guest(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := g.Release(t.Context(), c.request()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := c.attested.Load(); n != 1 {
		t.Errorf("20 releases took %d attestations, want 1", n)
	}
	c.now.Store(8*3600 - 60) // within the margin
	if _, err := g.Release(t.Context(), c.request()); err != nil || c.attested.Load() != 2 {
		t.Errorf("at the token's end: got %v and %d attestations, want 2", err, c.attested.Load())
	}
}

// TestServicesThatFail has each of them fail for a while, and for good; a failed attestation is not remembered.
func TestServicesThatFail(t *testing.T) {
	c := newCloud(t)
	c.bring(t, hostData)
	g := c.guest(t, nil)
	c.maaFault.Play(fault.Fault{Kind: fault.Fail, Count: 2}, fault.Fault{Kind: fault.Cut, Count: 3})
	if _, err := g.Release(t.Context(), c.request()); err == nil {
		t.Error("a service that fails five times was waited for")
	}
	c.maaFault.Play(fault.Fault{Kind: fault.Cut, Count: 2})
	c.vaultFault.Play(fault.Fault{Kind: fault.Fail, Count: 2, Status: 429})
	if _, err := g.Release(t.Context(), c.request()); err != nil {
		t.Errorf("services that failed twice: got %v", err)
	}
	for _, kind := range []fault.Kind{fault.Garbage, fault.Cut, fault.Fail} {
		c.vaultFault.Play(fault.Fault{Kind: kind})
		if got, err := g.Release(t.Context(), c.request()); err == nil {
			t.Errorf("%s: got a key of %d bytes", kind, len(got.JWK))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.vaultFault.Play(fault.Fault{Kind: fault.Slow, Delay: time.Hour})
	if _, err := g.Release(ctx, c.request()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a slow service: got %v, want the context's end", err)
	}
}
