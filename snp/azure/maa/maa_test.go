package maa

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cloister-cc/cloister/snp/azure/internal/call"
)

var testNow = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

var testKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

func TestRequestForm(t *testing.T) {
	r, err := NewRequest(Evidence{Report: []byte{1, 2, 3, 4}, Chain: []byte("PEM"), Endorsements: [][]byte{{0xd2, 0x84}}}, []byte(`{"keys":[]}`), 1<<63)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	report := `{"SnpReport":"AQIDBA==","VcekCertChain":"UEVN","Endorsements":"` + padded.EncodeToString([]byte(`{"Uvm":["0oQ="]}`)) + `"}`
	want := `{"report":"` + padded.EncodeToString([]byte(report)) + `","runtimeData":{"data":"eyJrZXlzIjpbXX0=","dataType":"JSON"},"initTimeData":{"data":"","dataType":""},"nonce":9223372036854775808}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// TestWrappingKeys has another library read the set, and compute the thumbprint.
func TestWrappingKeys(t *testing.T) {
	public := &testKeys()[0].PublicKey
	text := WrappingKeys(public)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	thumbprint, err := set.Keys[0].Thumbprint(crypto.SHA256)
	if err != nil || len(set.Keys) != 1 || !public.Equal(set.Keys[0].Key) || set.Keys[0].KeyID != base64.RawURLEncoding.EncodeToString(thumbprint) {
		t.Errorf("got %s (%v), want the key by its thumbprint", text, err)
	}
	if !strings.HasPrefix(string(text), `{"keys":[{"e":"AQAB","key_ops":["encrypt"],"kid":"`) {
		t.Errorf("got %s", text)
	}
}

func TestAttest(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got Request
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.URL.String() != "/attest/SevSnpVm?api-version=2020-10-01" || r.UserAgent() != "us" {
			t.Errorf("got %s by %q, %v", r.URL, r.UserAgent(), err)
		}
		switch got.Nonce {
		case "1":
			io.WriteString(w, `{"token":"a.b.c"}`)
		case "2":
			io.WriteString(w, `{}`)
		default:
			w.WriteHeader(400)
			io.WriteString(w, `{"error":{"code":"InvalidParameter","message":"report data"}}`)
		}
	}))
	defer s.Close()
	c, err := New(s.URL, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	c.UserAgent = "us"
	for nonce, want := range map[uint64]string{1: "", 2: "no token", 3: "InvalidParameter: report data"} {
		r, err := NewRequest(Evidence{}, nil, nonce)
		if err != nil {
			t.Fatal(err)
		}
		token, err := c.Attest(t.Context(), r)
		if want == "" && (err != nil || token != "a.b.c") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: got %q, %v, want %q", nonce, token, err, want)
		}
	}
	for _, base := range []string{"", "http://maa.example", "https://maa.example/path", "https://user@maa.example", "https://maa.example?x", "a b"} {
		if _, err := New(base, nil); err == nil {
			t.Errorf("%q was taken", base)
		}
	}
	if c, err := New("maa.example", nil); err != nil || c.Base != "https://maa.example" {
		t.Errorf("got %+v, %v", c, err)
	}
}

// issuer publishes keys.
type issuer struct {
	*httptest.Server
	discovery string // "" is the right one
	keys      []jose.JSONWebKey
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{keys: []jose.JSONWebKey{{Key: testKeys()[0].Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if i.discovery != "" {
			io.WriteString(w, i.discovery)
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/certs")
	})
	mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: i.keys})
	})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

func sign(t *testing.T, key *rsa.PrivateKey, kid, payload string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
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

func TestTokens(t *testing.T) {
	i := newIssuer(t)
	v := &Verifier{Issuers: []string{i.URL}, Call: call.Client{HTTP: i.Client(), Tries: 1}, Now: func() time.Time { return testNow }}
	claims := func(iss string, from, to time.Time) string {
		return fmt.Sprintf(`{"iss":%q,"nbf":%d,"exp":%d,"x":1}`, iss, from.Unix(), to.Unix())
	}
	good := claims(i.URL, testNow, testNow.Add(8*time.Hour))
	token, err := v.Verify(t.Context(), sign(t, testKeys()[0], "k", good))
	if err != nil || string(token.Payload) != good || token.Issuer != i.URL || !token.Expires.Equal(testNow.Add(8*time.Hour)) {
		t.Fatalf("got %+v, %v", token, err)
	}
	whole := sign(t, testKeys()[0], "k", good)
	for name, c := range map[string]struct {
		token string
		want  error
		says  string
	}{
		"another issuer":   {sign(t, testKeys()[0], "k", claims("https://other.example", testNow, testNow.Add(time.Hour))), ErrIssuer, ""},
		"no issuer":        {sign(t, testKeys()[0], "k", `{"exp":1}`), ErrIssuer, ""},
		"expired":          {sign(t, testKeys()[0], "k", claims(i.URL, testNow.Add(-9*time.Hour), testNow.Add(-time.Hour))), ErrExpired, ""},
		"not yet":          {sign(t, testKeys()[0], "k", claims(i.URL, testNow.Add(time.Hour), testNow.Add(2*time.Hour))), ErrNotYet, ""},
		"without end":      {sign(t, testKeys()[0], "k", fmt.Sprintf(`{"iss":%q}`, i.URL)), nil, "exp"},
		"endless":          {sign(t, testKeys()[0], "k", fmt.Sprintf(`{"iss":%q,"exp":1e300}`, i.URL)), nil, "exp"},
		"another's key":    {sign(t, testKeys()[1], "k", good), ErrSignature, ""},
		"unknown key":      {sign(t, testKeys()[0], "z", good), ErrSignature, ""},
		"changed":          {whole[:len(whole)-8] + "AAAAAAAA", ErrSignature, ""},
		"not signed":       {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(good)) + ".", nil, "none"},
		"by shared secret": {withHMAC(t, good), nil, "HS256"},
		"too long":         {strings.Repeat("a", maxToken+1), nil, "at most"},
		"nothing":          {"", nil, "empty"},
	} {
		got, err := v.Verify(t.Context(), c.token)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %+v, %v, want %v %q", name, got, err, c.want, c.says)
		}
	}
}

// withHMAC signs with the public key as the secret: a verifier that lets the token choose would take it.
func withHMAC(t *testing.T, payload string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: testKeys()[0].N.Bytes()}, nil)
	if err != nil {
		t.Fatal(err)
	}
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

// TestKeysAreTheIssuersOwn gives discovery documents that lead elsewhere.
func TestKeysAreTheIssuersOwn(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	v := &Verifier{Issuers: []string{i.URL}, Call: call.Client{HTTP: i.Client(), Tries: 1}, Now: func() time.Time { return testNow }}
	token := sign(t, testKeys()[0], "k", fmt.Sprintf(`{"iss":%q,"exp":%d}`, i.URL, testNow.Add(time.Hour).Unix()))
	for _, document := range []string{
		fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, other.URL, i.URL+"/certs"),
		fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, i.URL, other.URL+"/certs"),
		fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, i.URL, strings.Replace(i.URL, "https", "http", 1)+"/certs"),
		fmt.Sprintf(`{"issuer":%q}`, i.URL), `[]`,
	} {
		i.discovery = document
		if _, err := v.Verify(t.Context(), token); err == nil || !strings.Contains(err.Error(), "keys of") {
			t.Errorf("%s: got %v", document, err)
		}
	}
	i.discovery = ""
	i.keys = []jose.JSONWebKey{{Key: testKeys()[0], KeyID: "k"}} // a private key is not one to publish, and not one to verify with
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrSignature) {
		t.Errorf("got %v, want %v", err, ErrSignature)
	}
}
