package keyvault

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"hash"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/tink-crypto/tink-go/v2/kwp/subtle"
)

var testNow = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// guestKey is made once: it takes longest of all.
var guestKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// vault is a service with a certificate of its own.
type vault struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate
	roots *x509.CertPool
}

func newVault(host string, notAfter time.Time) *vault {
	rootKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: testNow.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootCert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey))))
	leafCert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, leaf, rootCert, key.Public(), rootKey))))
	v := &vault{key: key, chain: []*x509.Certificate{leafCert, rootCert}, roots: x509.NewCertPool()}
	v.roots.AddCert(rootCert)
	return v
}

func (v *vault) sign(payload string) string {
	var x5c []string
	for _, c := range v.chain {
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: v.key}, (&jose.SignerOptions{}).WithHeader("x5c", x5c)))
	return must(must(signer.Sign([]byte(payload))).CompactSerialize())
}

func wrapFor(public *rsa.PublicKey, h hash.Hash, secret []byte) []byte {
	aes := make([]byte, 32)
	rand.Read(aes)
	return append(must(rsa.EncryptOAEP(h, rand.Reader, public, aes, nil)), must(must(subtle.NewKWP(aes)).Wrap(secret))...)
}

func payloadOf(kty, enc string, ciphertext []byte) string {
	url := base64.RawURLEncoding.EncodeToString
	hsm := `{"schema_version":"1.0","header":{"kid":"w","alg":"dir","enc":"` + enc + `"},"ciphertext":"` + url(ciphertext) + `"}`
	return `{"request":{"api-version":"7.4"},"response":{"key":{"attributes":{},"key":{"kid":"https://vault.example/keys/k/1","kty":"` + kty +
		`","key_ops":["decrypt","encrypt"],"key_hsm":"` + url([]byte(hsm)) + `"},"release_policy":{"contentType":"application/json; charset=utf-8","data":"` + url([]byte(aciPolicy)) + `"}}}}`
}

// TestReleasedKeys takes keys of every type from the signed answer to a JSON Web Key that an independent library reads.
func TestReleasedKeys(t *testing.T) {
	v := newVault("vault.example", testNow.AddDate(1, 0, 0))
	secret := bytes.Repeat([]byte{7}, 32)
	ec := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	for _, c := range []struct {
		kty    string
		wrap   Wrap
		secret []byte
		want   any
	}{
		{"oct", WrapSHA1, secret, secret},
		{"oct-HSM", WrapSHA256, secret, secret},
		{"RSA-HSM", WrapSHA384, must(x509.MarshalPKCS8PrivateKey(guestKey())), guestKey()},
		{"EC", WrapSHA256, must(x509.MarshalPKCS8PrivateKey(ec)), ec},
	} {
		a, err := ReadAnswer(v.sign(payloadOf(c.kty, string(c.wrap), wrapFor(&guestKey().PublicKey, wrapHashes[c.wrap](), c.secret))), Trust{v.roots, "vault.example", testNow})
		if err != nil {
			t.Errorf("%s: %v", c.kty, err)
			continue
		}
		if a.KeyID != "https://vault.example/keys/k/1" || string(a.Policy) != aciPolicy {
			t.Errorf("%s: got %+v", c.kty, a)
		}
		got, err := a.Unwrap(guestKey())
		if err != nil || !bytes.Equal(got, c.secret) {
			t.Errorf("%s: got another key (%v)", c.kty, err)
			continue
		}
		text, err := a.JWK(got)
		if err != nil {
			t.Errorf("%s: %v", c.kty, err)
			continue
		}
		checkJWK(t, c.kty, text, c.want)
	}
}

func checkJWK(t *testing.T, kty string, text []byte, want any) {
	t.Helper()
	var read jose.JSONWebKey
	if err := json.Unmarshal(text, &read); err != nil {
		t.Errorf("%s: another library does not read the key: %v", kty, err)
		return
	}
	same := false
	switch want := want.(type) {
	case []byte:
		have, ok := read.Key.([]byte)
		same = ok && bytes.Equal(have, want)
	case interface{ Equal(crypto.PrivateKey) bool }:
		same = want.Equal(read.Key)
	}
	var ops struct {
		Ops []string `json:"key_ops"`
	}
	if err := json.Unmarshal(text, &ops); err != nil || !same || !slices.Equal(ops.Ops, []string{"decrypt", "encrypt"}) {
		t.Errorf("%s: the JSON Web Key is another key, or may other things: %v, %v", kty, ops.Ops, err)
	}
}

func TestAnswerRefused(t *testing.T) {
	v := newVault("vault.example", testNow.AddDate(1, 0, 0))
	good := payloadOf("oct", string(WrapSHA1), wrapFor(&guestKey().PublicKey, wrapHashes[WrapSHA1](), make([]byte, 32)))
	signed := v.sign(good)
	trust := Trust{v.roots, "vault.example", testNow}
	header, rest, _ := strings.Cut(signed, ".")
	other := newVault("vault.example", testNow.AddDate(1, 0, 0))
	for name, c := range map[string]struct {
		jws   string
		trust Trust
		want  string
	}{
		"another host":    {signed, Trust{v.roots, "other.example", testNow}, "certificate"},
		"no host":         {signed, Trust{v.roots, "", testNow}, "no host"},
		"another root":    {signed, Trust{other.roots, "vault.example", testNow}, "certificate"},
		"expired":         {signed, Trust{v.roots, "vault.example", testNow.AddDate(2, 0, 0)}, "certificate"},
		"payload changed": {header + "." + "e30" + rest[strings.Index(rest, "."):], trust, "signature"},
		"not signed":      {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + ".e30.", trust, "none"},
		"no chain":        {withoutChain(v, good), trust, "x5c"},
		"too long":        {strings.Repeat("a", maxAnswer+1), trust, "at most"},
		"no JSON":         {v.sign("key"), trust, "payload"},
		"no key":          {v.sign(`{}`), trust, "key_hsm"},
		"other wrap":      {v.sign(payloadOf("oct", "RSA1_5", []byte{1})), trust, `"RSA1_5"`},
		"empty":           {v.sign(payloadOf("oct", string(WrapSHA1), nil)), trust, "ciphertext"},
	} {
		if a, err := ReadAnswer(c.jws, c.trust); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %+v, %v, want an error with %q", name, a, err, c.want)
		}
	}
}

func withoutChain(v *vault, payload string) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: v.key}, nil))
	return must(must(signer.Sign([]byte(payload))).CompactSerialize())
}

// TestUnwrapRefused says the same of every ciphertext that is not for the guest.
func TestUnwrapRefused(t *testing.T) {
	good := wrapFor(&guestKey().PublicKey, wrapHashes[WrapSHA256](), make([]byte, 32))
	changed := slices.Clone(good)
	changed[len(changed)-1] ^= 1
	for name, a := range map[string]Answer{
		"another hash": {Wrap: WrapSHA384, Ciphertext: good},
		"changed":      {Wrap: WrapSHA256, Ciphertext: changed},
		"short":        {Wrap: WrapSHA256, Ciphertext: good[:256]},
		"cut":          {Wrap: WrapSHA256, Ciphertext: good[:len(good)-8]},
		"empty":        {Wrap: WrapSHA256},
	} {
		if got, err := a.Unwrap(guestKey()); err != errUnwrap {
			t.Errorf("%s: got %d bytes, %v, want %v", name, len(got), err, errUnwrap)
		}
	}
	if _, err := (&Answer{Wrap: "dir", Ciphertext: good}).Unwrap(guestKey()); err == nil {
		t.Error("a wrap that nobody knows was taken")
	}
	for name, a := range map[string]Answer{"oct of another name": {Type: "AES"}, "no PKCS #8": {Type: "RSA"}} {
		if got, err := a.JWK([]byte("secret")); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
	wrong := Answer{Type: "EC"}
	if _, err := wrong.JWK(must(x509.MarshalPKCS8PrivateKey(guestKey()))); err == nil {
		t.Error("an RSA key was taken for an EC key")
	}
}

// FuzzUnpack reads what a service that is believed may still say: its answer passes through the network of a host.
func FuzzUnpack(f *testing.F) {
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"schema_version":"1.0","header":{"kid":"w","alg":"dir","enc":"RSA_AES_KEY_WRAP_256"},"ciphertext":"AAAA"}`)))
	f.Add("====")
	f.Fuzz(func(t *testing.T, keyHSM string) {
		var a Answer
		if err := a.unpack(keyHSM); err != nil {
			return
		}
		if a.Wrap.validate() != nil || len(a.Ciphertext) == 0 {
			t.Errorf("took %q with %d bytes", a.Wrap, len(a.Ciphertext))
		}
		if _, err := a.Unwrap(guestKey()); err == nil {
			t.Error("unwrapped what nobody wrapped")
		}
	})
}
