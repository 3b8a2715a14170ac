package cosetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose"
)

// KeyType is the kind of key a chain is made of.
type KeyType int

// Key types. RSA has 2048 bits.
const (
	P256 KeyType = iota
	P384
	P521
	RSA
	Ed25519
)

// NotBefore and NotAfter are those of every certificate made here, unless Edit changes them.
var (
	NotBefore = time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	NotAfter  = time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)
)

// ChainOptions describe a chain. The zero value is leaf, intermediate and root with P-256 keys.
type ChainOptions struct {
	// Length counts the certificates; 0 means 3. With 1 the leaf is self-signed.
	Length int
	Key    KeyType
	// Subject is the leaf's; if empty it is CN=Test Leaf. EKUs are object identifiers in dotted form.
	Subject pkix.Name
	EKUs    []string
	Emails  []string
	DNS     []string
	URIs    []string
	// FulcioIssuer is the extension's value, with its scheme.
	FulcioIssuer string
	// Edit may change certificate i (0 is the leaf) before it is signed.
	Edit func(i int, c *x509.Certificate)
}

// Chain is a certificate chain with its private keys, leaf first.
type Chain struct {
	Certs []*x509.Certificate
	Keys  []crypto.Signer
}

// Signer returns the leaf's key.
func (c Chain) Signer() crypto.Signer { return c.Keys[0] }

// DID returns the chain's did:x509, see cose.DIDFor.
func (c Chain) DID(t testing.TB, policies ...string) string {
	t.Helper()
	did, err := cose.DIDFor(c.Certs, policies...)
	if err != nil {
		t.Fatal(err)
	}
	return did
}

// Document signs a payload with the chain, as did:x509 with the leaf's subject.
func (c Chain) Document(t testing.TB, payload []byte, feed string, svn *int64) []byte {
	t.Helper()
	raw, err := cose.Sign(payload, cose.SignOptions{Signer: c.Signer(), Chain: c.Certs, Issuer: c.DID(t, "subject"), Feed: feed, SVN: svn})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// rsaKeys keeps RSA keys: making one takes longer than everything else here.
var rsaKeys struct {
	sync.Mutex
	byUse map[string]*rsa.PrivateKey
}

// RSAKey returns the process's RSA key of so many bits for a use.
func RSAKey(t testing.TB, bits, use int) *rsa.PrivateKey {
	t.Helper()
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	name := fmt.Sprint(bits, "/", use)
	if k := rsaKeys.byUse[name]; k != nil {
		return k
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	if rsaKeys.byUse == nil {
		rsaKeys.byUse = map[string]*rsa.PrivateKey{}
	}
	rsaKeys.byUse[name] = k
	return k
}

// NewKey makes a key; RSA keys are made once for each use.
func NewKey(t testing.TB, kind KeyType, use int) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case RSA:
		return RSAKey(t, 2048, use)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// NewChain makes a chain of fresh keys.
func NewChain(t testing.TB, o ChainOptions) Chain {
	t.Helper()
	n := o.Length
	if n == 0 {
		n = 3
	}
	c := Chain{Certs: make([]*x509.Certificate, n), Keys: make([]crypto.Signer, n)}
	for i := range n {
		c.Keys[i] = NewKey(t, o.Key, i)
	}
	for i := n - 1; i >= 0; i-- {
		template := o.template(t, i, n)
		if o.Edit != nil {
			o.Edit(i, template)
		}
		parent, key := template, c.Keys[i]
		if i < n-1 {
			parent, key = c.Certs[i+1], c.Keys[i+1]
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, c.Keys[i].Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		if c.Certs[i], err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (o ChainOptions) template(t testing.TB, i, n int) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(100 + i)), NotBefore: NotBefore, NotAfter: NotAfter, BasicConstraintsValid: true}
	if i > 0 {
		template.Subject = pkix.Name{CommonName: fmt.Sprintf("Test CA %d of %d", i, n)}
		template.IsCA = true
		template.KeyUsage = x509.KeyUsageCertSign
		return template
	}
	template.Subject = o.Subject
	if template.Subject.String() == "" {
		template.Subject = pkix.Name{CommonName: "Test Leaf"}
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.EmailAddresses, template.DNSNames = o.Emails, o.DNS
	for _, s := range o.URIs {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	for _, s := range o.EKUs {
		template.UnknownExtKeyUsage = append(template.UnknownExtKeyUsage, OID(t, s))
	}
	if o.FulcioIssuer != "" {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: OID(t, "1.3.6.1.4.1.57264.1.1"), Value: []byte(o.FulcioIssuer)})
	}
	return template
}

// OID parses a dotted object identifier.
func OID(t testing.TB, s string) asn1.ObjectIdentifier {
	t.Helper()
	var out asn1.ObjectIdentifier
	for part := range splitDots(s) {
		n, ok := new(big.Int).SetString(part, 10)
		if !ok || !n.IsInt64() {
			t.Fatalf("object identifier %q", s)
		}
		out = append(out, int(n.Int64()))
	}
	return out
}
