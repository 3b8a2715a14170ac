package fragmentgen

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// TestSubject is in the name of every certificate that NewTestChain makes, so that nobody takes one for more than it is.
const TestSubject = "Cloister TEST ONLY"

// TestChain is a signer to try fragments out with.
type TestChain struct {
	Key crypto.Signer
	// Chain is leaf and root. The root's key is gone: nobody can sign another leaf with it.
	Chain []*x509.Certificate
}

// TestKeys are the kinds of keys that NewTestChain makes.
func TestKeys() []string { return []string{"p384", "p256", "p521", "rsa", "ed25519"} }

// NewTestChain makes a root and a leaf, valid from now for so many days.
func NewTestChain(kind, name string, now time.Time, days int) (*TestChain, error) {
	if days < 1 || days > 3650 {
		return nil, fmt.Errorf("days: got %d, want 1 to 3650", days)
	}
	if name == "" || len(name) > 40 {
		return nil, fmt.Errorf("name: got %d characters, want 1 to 40", len(name))
	}
	leafKey, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	rootKey, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	now = now.UTC().Truncate(time.Second)
	end := now.AddDate(0, 0, days)
	root, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: TestSubject + " root of " + name}, NotBefore: now, NotAfter: end,
		IsCA: true, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true,
	}, nil, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	leaf, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: TestSubject + " " + name}, NotBefore: now, NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}, root, leafKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	return &TestChain{leafKey, []*x509.Certificate{leaf, root}}, nil
}

func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "p521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "rsa":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("key: got %.32q, want one of %s", kind, strings.Join(TestKeys(), ", "))
}

func issue(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
