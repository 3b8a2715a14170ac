package vault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/go-jose/go-jose/v4"

	"github.com/cloister-cc/cloister/snp/azure/keyvault"
	"github.com/cloister-cc/cloister/snp/azure/maa"
	"github.com/cloister-cc/cloister/tests/azure/vault"
)

var testKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

// bed is a vault, an authority whose tokens the test signs itself, and our client of the vault.
type bed struct {
	vault, authority *httptest.Server
	client           *keyvault.Client
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{vault: httptest.NewUnstartedServer(nil)}
	b.authority = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/certs" {
			json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: testKeys()[0].Public(), KeyID: "k"}}})
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, b.authority.URL, b.authority.URL+"/certs")
	}))
	b.vault.StartTLS()
	t.Cleanup(b.vault.Close)
	t.Cleanup(b.authority.Close)
	at := strings.Replace(b.vault.URL, "127.0.0.1", "localhost", 1)
	emulated, err := vault.New(vault.Options{
		URL: at, Name: "localhost", Login: "https://login.example/tenant", Resource: "https://vault.azure.net", HTTP: b.authority.Client(),
		Authorize: func(token string) bool { return token == "bearer" },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.vault.Config.Handler = emulated
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(emulated.SignerPEM()) {
		t.Fatal("no root")
	}
	// The test server's certificate has other names than localhost.
	client := b.vault.Client()
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com"
	if b.client, err = keyvault.New(at, roots, client); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) token(t *testing.T, key *rsa.PrivateKey, hostData string, expires time.Time) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload := fmt.Sprintf(`{"iss":%q,"exp":%d,"x-ms-sevsnpvm-hostdata":%q,"x-ms-runtime":%s}`, b.authority.URL, expires.Unix(), hostData, maa.WrappingKeys(&testKeys()[1].PublicKey))
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (b *bed) policy() *keyvault.Policy {
	return &keyvault.Policy{Authorities: []keyvault.Authority{{URL: b.authority.URL, Condition: keyvault.Claim("x-ms-sevsnpvm-hostdata", keyvault.Equals, keyvault.String("00ff"))}}}
}

const octKey = `{"kty":"oct-HSM","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","key_ops":["encrypt","decrypt"]}`

func TestRelease(t *testing.T) {
	b := newBed(t)
	kid, err := b.client.Import(t.Context(), "secret", json.RawMessage(octKey), b.policy(), "bearer")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(kid, strings.Replace(b.vault.URL, "127.0.0.1", "localhost", 1)+"/keys/")
	soon := time.Now().Add(time.Hour)
	for _, asked := range []string{"secret", name} {
		a, err := b.client.Release(t.Context(), asked, b.token(t, testKeys()[0], "00ff", soon), "bearer")
		if err != nil {
			t.Fatalf("%s: %v", asked, err)
		}
		got, err := a.Unwrap(testKeys()[1])
		if err != nil || len(got) != 32 || got[31] != 31 || a.KeyID != kid {
			t.Errorf("%s: got key %s of %d bytes, %v", asked, a.KeyID, len(got), err)
		}
	}
	for name, c := range map[string]struct {
		token, bearer, key string
		want               string
	}{
		"one character":   {b.token(t, testKeys()[0], "00fe", soon), "bearer", "secret", "release policy requirements"},
		"expired":         {b.token(t, testKeys()[0], "00ff", time.Now().Add(-time.Hour)), "bearer", "secret", "cannot be verified"},
		"another's key":   {b.token(t, testKeys()[1], "00ff", soon), "bearer", "secret", "cannot be verified"},
		"no token":        {"", "bearer", "secret", "cannot be verified"},
		"another bearer":  {b.token(t, testKeys()[0], "00ff", soon), "stolen", "secret", "AKV10000"},
		"another key":     {b.token(t, testKeys()[0], "00ff", soon), "bearer", "none", "KeyNotFound"},
		"another version": {b.token(t, testKeys()[0], "00ff", soon), "bearer", "secret/0", "KeyNotFound"},
	} {
		if _, err := b.client.Release(t.Context(), c.key, c.token, c.bearer); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestPairs brings keys of both kinds in and out again.
func TestPairs(t *testing.T) {
	b := newBed(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for kind, key := range map[string]any{"RSA": testKeys()[0], "EC": ec} {
		text, err := json.Marshal(jose.JSONWebKey{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		hsm := strings.Replace(string(text), `"kty":"`+kind+`"`, `"kty":"`+kind+`-HSM"`, 1)
		if _, err := b.client.Import(t.Context(), kind, json.RawMessage(hsm), b.policy(), "bearer"); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		a, err := b.client.Release(t.Context(), kind, b.token(t, testKeys()[0], "00ff", time.Now().Add(time.Hour)), "bearer")
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		secret, err := a.Unwrap(testKeys()[1])
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		got, err := a.JWK(secret)
		var back jose.JSONWebKey
		if err != nil || json.Unmarshal(got, &back) != nil || back.IsPublic() || a.Type != kind+"-HSM" {
			t.Errorf("%s: got another key, %v", kind, err)
		}
	}
}

func TestImportRefused(t *testing.T) {
	b := newBed(t)
	data := func(p string) string { return base64.RawURLEncoding.EncodeToString([]byte(p)) }
	good, err := b.policy().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	policy := `"release_policy":{"data":"` + data(string(good)) + `"}`
	for name, c := range map[string]struct{ body, want string }{
		"no policy":      {`{"key":` + octKey + `,"attributes":{"exportable":true}}`, "AKV.SKR.1004"},
		"not exportable": {`{"key":` + octKey + `,` + policy + `}`, "AKV.SKR.1005"},
		"no grammar":     {`{"key":` + octKey + `,"attributes":{"exportable":true},"release_policy":{"data":"` + data(`{"version":"1.0.0"}`) + `"}}`, "anyOf"},
		"long":           {`{"key":{"kty":"oct","k":"` + strings.Repeat("A", 88) + `"},"attributes":{"exportable":true},` + policy + `}`, "too large"},
		"half a pair":    {`{"key":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},"attributes":{"exportable":true},` + policy + `}`, "pair"},
		"another kind":   {`{"key":{"kty":"OKP"},"attributes":{"exportable":true},` + policy + `}`, "kty"},
		"no document":    {`key`, "understood"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, b.vault.URL+"/keys/k?api-version=7.4", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer bearer")
		answer, err := b.client.Call.HTTP.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var said struct {
			Error struct {
				Code, Message string
				InnerError    struct{ Code string }
			}
		}
		err = json.NewDecoder(answer.Body).Decode(&said)
		answer.Body.Close()
		if err != nil || answer.StatusCode != 400 || said.Error.Code != "BadParameter" || !strings.Contains(said.Error.Message+said.Error.InnerError.Code, c.want) {
			t.Errorf("%s: got %d %+v, %v, want 400 with %q", name, answer.StatusCode, said, err, c.want)
		}
	}
}

// bearerOf is a credential of Azure's SDK.
type bearerOf string

func (b bearerOf) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(b), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// TestAzureSDK has Azure's own client bring a key and ask for it.
func TestAzureSDK(t *testing.T) {
	b := newBed(t)
	sdk, err := azkeys.NewClient(strings.Replace(b.vault.URL, "127.0.0.1", "localhost", 1), bearerOf("bearer"), &azkeys.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: b.client.Call.HTTP, Retry: policy.RetryOptions{MaxRetries: -1}}, DisableChallengeResourceVerification: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.policy().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	imported, err := sdk.ImportKey(t.Context(), "secret", azkeys.ImportKeyParameters{
		Key:           &azkeys.JSONWebKey{Kty: to.Ptr(azkeys.KeyTypeOctHSM), K: make([]byte, 32), KeyOps: []*azkeys.KeyOperation{to.Ptr(azkeys.KeyOperationDecrypt)}},
		KeyAttributes: &azkeys.KeyAttributes{Exportable: to.Ptr(true)}, HSM: to.Ptr(true),
		ReleasePolicy: &azkeys.KeyReleasePolicy{EncodedPolicy: text, ContentType: to.Ptr("application/json; charset=utf-8")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	version := imported.Key.KID.Version()
	got, err := sdk.GetKey(t.Context(), "secret", version, nil)
	if err != nil || string(got.ReleasePolicy.EncodedPolicy) != string(text) || *got.Key.Kty != azkeys.KeyTypeOctHSM || got.Key.K != nil {
		t.Fatalf("got %+v, %v", got, err)
	}
	target := b.token(t, testKeys()[0], "00ff", time.Now().Add(time.Hour))
	released, err := sdk.Release(t.Context(), "secret", version, azkeys.ReleaseParameters{
		TargetAttestationToken: &target, Algorithm: to.Ptr(azkeys.KeyEncryptionAlgorithmRSAAESKEYWRAP256),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(*released.Value, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || !strings.Contains(string(signed.UnsafePayloadWithoutVerification()), "RSA_AES_KEY_WRAP_256") {
		t.Errorf("got %v", err)
	}
	wrong := b.token(t, testKeys()[0], "00fe", time.Now().Add(time.Hour))
	var refused *azcore.ResponseError
	if _, err := sdk.Release(t.Context(), "secret", version, azkeys.ReleaseParameters{TargetAttestationToken: &wrong}, nil); !errors.As(err, &refused) || refused.StatusCode != 403 || refused.ErrorCode != "Forbidden" {
		t.Errorf("got %v, want 403 Forbidden", err)
	}
}
