package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash"
	"math/big"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/tink-crypto/tink-go/v2/kwp/subtle"
)

// signer signs what is released.
type signer struct {
	jose    jose.Signer
	kid     string
	rootPEM []byte
}

func newSigner(name string, now time.Time) (*signer, error) {
	rootKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	leafKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Cloister TEST ONLY - emulated key vault"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	thumbprint := sha256.Sum256(leafDER)
	s := &signer{kid: base64.RawURLEncoding.EncodeToString(thumbprint[:]), rootPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})}
	chain := []string{base64.StdEncoding.EncodeToString(leafDER), base64.StdEncoding.EncodeToString(rootDER)}
	s.jose, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: leafKey, KeyID: s.kid}},
		(&jose.SignerOptions{}).WithHeader("x5c", chain).WithHeader("x5t#S256", s.kid))
	return s, err
}

// sign writes the answer (Azure services contract, section 1.7, step 7).
func (s *signer) sign(k *key, nonce, enc string, wrapped []byte) (string, error) {
	hsm, err := json.Marshal(map[string]any{
		"schema_version": "1.0", "header": map[string]string{"kid": s.kid, "alg": "dir", "enc": enc}, "ciphertext": base64.RawURLEncoding.EncodeToString(wrapped),
	})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(map[string]any{
		"request": map[string]string{"api-version": "7.4", "enc": enc, "kid": k.id, "nonce": nonce},
		"response": map[string]any{"key": map[string]any{
			"attributes":     map[string]any{"enabled": true, "exportable": true, "created": k.created},
			"key":            map[string]any{"kid": k.id, "kty": k.kty, "key_ops": k.ops, "key_hsm": base64.RawURLEncoding.EncodeToString(hsm)},
			"release_policy": map[string]any{"contentType": "application/json; charset=utf-8", "data": base64.RawURLEncoding.EncodeToString(k.policyText)},
		}},
	})
	if err != nil {
		return "", err
	}
	signed, err := s.jose.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// wrappingKey is the guest's key: the first in the token's runtime data that may encrypt.
func wrappingKey(payload []byte) (*rsa.PublicKey, error) {
	var claims struct {
		Runtime struct {
			Keys []json.RawMessage `json:"keys"`
		} `json:"x-ms-runtime"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, forbidden("Target environment attestation statement cannot be verified.")
	}
	for _, text := range claims.Runtime.Keys {
		var use struct {
			Ops []string `json:"key_ops"`
			Use string   `json:"use"`
		}
		var web jose.JSONWebKey
		if json.Unmarshal(text, &use) != nil || json.Unmarshal(text, &web) != nil {
			continue
		}
		public, ok := web.Key.(*rsa.PublicKey)
		if ok && public.N.BitLen() >= 2048 && (use.Use == "enc" || slices.Contains(use.Ops, "encrypt")) {
			return public, nil
		}
	}
	return nil, forbidden("Target environment attestation statement cannot be verified.")
}

// wrap wraps a key for the guest; enc is the caller's choice, "" the oldest.
func wrap(guest *rsa.PublicKey, enc string, secret []byte) ([]byte, string, error) {
	hashes := map[string]func() hash.Hash{"CKM_RSA_AES_KEY_WRAP": sha1.New, "RSA_AES_KEY_WRAP_256": sha256.New, "RSA_AES_KEY_WRAP_384": sha512.New384}
	if enc == "" {
		enc = "CKM_RSA_AES_KEY_WRAP"
	}
	if hashes[enc] == nil {
		return nil, "", badParameter("", "enc: got %.32q, want one of the three", enc)
	}
	aes := make([]byte, 32)
	rand.Read(aes)
	first, err := rsa.EncryptOAEP(hashes[enc](), rand.Reader, guest, aes, nil)
	if err != nil {
		return nil, "", err
	}
	kwp, err := subtle.NewKWP(aes)
	if err != nil {
		return nil, "", err
	}
	rest, err := kwp.Wrap(secret)
	if err != nil {
		return nil, "", badParameter("", "a key of %d bytes cannot be wrapped", len(secret))
	}
	return bytes.Join([][]byte{first, rest}, nil), enc, nil
}
