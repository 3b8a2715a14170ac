package keyvault

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func newService(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewTLSServer(handler)
	t.Cleanup(s.Close)
	c, err := New(s.URL, nil, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRelease(t *testing.T) {
	v := newVault("127.0.0.1", testNow.AddDate(1, 0, 0))
	secret := make([]byte, 32)
	signed := v.sign(payloadOf("oct", string(WrapSHA1), wrapFor(&guestKey().PublicKey, wrapHashes[WrapSHA1](), secret)))
	c := newService(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer bearer" || string(body) != `{"target":"token"}` {
			t.Errorf("got %q by %q, %v", body, r.Header.Get("Authorization"), err)
		}
		if r.URL.String() != "/keys/k/1/release?api-version=7.4" {
			w.WriteHeader(404)
			io.WriteString(w, `{"error":{"code":"KeyNotFound","message":"A key with (name/id) was not found"}}`)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"value": signed})
	})
	c.Now = func() time.Time { return testNow }
	if _, err := c.Release(t.Context(), "k/1", "token", "bearer"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an answer by a root that nobody trusts: got %v", err)
	}
	c.roots = v.roots
	// The test's certificate names an address, which a DNS name is not.
	if _, err := c.Release(t.Context(), "k/1", "token", "bearer"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an answer by another host: got %v", err)
	}
	var refused *Refused
	if _, err := c.Release(t.Context(), "other", "token", "bearer"); !errors.As(err, &refused) || refused.Answer.Status != 404 || refused.Next == "" {
		t.Errorf("got %v, want 404 with the next step", err)
	}
	for _, kid := range []string{"", "a/b/c", "../x", "a?b", "a b"} {
		if _, err := c.Release(t.Context(), kid, "token", "bearer"); err == nil || !strings.Contains(err.Error(), "NAME") {
			t.Errorf("%q: got %v", kid, err)
		}
	}
}

func TestRefusalsHaveANextStep(t *testing.T) {
	for _, r := range []struct {
		status     int
		body, want string
	}{
		{401, `{"error":{"code":"Unauthorized","message":"AKV10000: Request is missing a Bearer or PoP token."}}`, "audience"},
		{403, `{"error":{"code":"Forbidden","message":"Target environment attestation statement cannot be verified."}}`, "issuer"},
		{403, `{"error":{"code":"Forbidden","message":"Target environment attestation does not meet key release policy requirements"}}`, "HOST_DATA"},
		{403, `{"error":{"code":"Forbidden","message":"The user does not have permission"}}`, "role"},
		{400, `{"error":{"code":"BadParameter","message":"AKV.SKR.1001"}}`, "AKV.SKR.1001"},
	} {
		c := newService(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(r.status)
			io.WriteString(w, r.body)
		})
		if _, err := c.Release(t.Context(), "k", "token", "bearer"); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%d: got %v, want %q", r.status, err, r.want)
		}
	}
}

func TestImport(t *testing.T) {
	policy := mustPolicy(t, aciPolicy)
	c := newService(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		want := `{"key":{"kty":"oct","k":"AAAA"},"hsm":true,"attributes":{"exportable":true},"release_policy":{"contentType":"application/json; charset=utf-8","data":"` +
			base64.RawURLEncoding.EncodeToString([]byte(aciPolicy)) + `","immutable":false}}`
		if err != nil || r.Method != http.MethodPut || r.URL.String() != "/keys/k?api-version=7.4" || string(body) != want {
			t.Errorf("got %s %s %s, %v, want %s", r.Method, r.URL, body, err, want)
		}
		io.WriteString(w, `{"key":{"kid":"https://vault/keys/k/9"}}`)
	})
	key := json.RawMessage(`{"kty":"oct","k":"AAAA"}`)
	if kid, err := c.Import(t.Context(), "k", key, policy, "bearer"); err != nil || kid != "https://vault/keys/k/9" {
		t.Errorf("got %q, %v", kid, err)
	}
	if _, err := c.Import(t.Context(), "k/1", key, policy, "bearer"); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("got %v, want that a version cannot be imported", err)
	}
	if _, err := c.Import(t.Context(), "k", key, &Policy{}, "bearer"); err == nil || !strings.Contains(err.Error(), "anyOf") {
		t.Errorf("a key for nobody: got %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"vault.vault.azure.net": AudienceVault, "https://h.managedhsm.azure.net/": AudienceHSM,
	} {
		c, err := New(endpoint, nil, nil)
		if err != nil || c.Audience() != want {
			t.Errorf("%s: got %+v, %v, want audience %s", endpoint, c, err, want)
		}
	}
	for endpoint, want := range map[string]bool{
		"v.vault.azure.net": true, "https://V.Vault.Azure.Net:443": true, "h.managedhsm.azure.net": true, "v.vault.usgovcloudapi.net": true,
		"vault.azure.net": false, "a.b.vault.azure.net": false, "v.vault.azure.net.example": false, "evilvault.azure.net": false, "localhost:1": false,
	} {
		c, err := New(endpoint, nil, nil)
		if err != nil || c.Azure() != want {
			t.Errorf("%s: got %v, want %v", endpoint, err, want)
		}
	}
	for _, endpoint := range []string{"", "http://vault.example", "https://vault.example/keys", "https://u:p@vault.example"} {
		if _, err := New(endpoint, nil, nil); err == nil {
			t.Errorf("%q was taken", endpoint)
		}
	}
}
