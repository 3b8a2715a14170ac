package cose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
)

// Somebody adds a certificate that everybody knows to a chain of their own, and names it in the issuer. Path building would find the
// shorter path and be content; the fingerprint would then be found in the chain.
func TestForeignIssuerInTheChain(t *testing.T) {
	known := cosetest.NewChain(t, cosetest.ChainOptions{})
	own := cosetest.NewChain(t, cosetest.ChainOptions{})
	did := known.DID(t, "subject")
	knownRoot, knownCA := known.Certs[2], known.Certs[1]
	leaf, ca, root := own.Certs[0], own.Certs[1], own.Certs[2]
	tests := map[string][]*x509.Certificate{
		"before-the-root": {leaf, ca, knownRoot, root},
		"after-the-leaf":  {leaf, knownRoot, ca, root},
		"at-the-end":      {leaf, ca, root, knownRoot},
		"in-place-of-ca":  {leaf, knownCA, knownRoot},
		"known-leaf":      {leaf, known.Certs[0], knownCA, knownRoot},
	}
	for name, chain := range tests {
		t.Run(name, func(t *testing.T) {
			wantError(t, cose.VerifyChain(chain), cose.ErrChain, "is not the issuer of certificate")
			wantError(t, cose.ResolveDID(did, chain), cose.ErrChain, "is not the issuer of certificate")
			c := cosetest.Chain{Certs: chain, Keys: own.Keys}
			_, err := cose.Open(cosetest.Forge(t, own.Signer(), cose.ES256, c.Header(did, "feed"), nil, []byte(payload), nil), cose.Options{})
			wantError(t, err, cose.ErrChain, "is not the issuer of certificate")
		})
	}
}

// The names fit, the keys do not: a CA of the same name as the known one.
func TestNamesakeIssuer(t *testing.T) {
	known := cosetest.NewChain(t, cosetest.ChainOptions{})
	own := cosetest.NewChain(t, cosetest.ChainOptions{})
	wantError(t, cose.VerifyChain([]*x509.Certificate{own.Certs[0], known.Certs[1], known.Certs[2]}), cose.ErrChain, "certificate 1 is not the issuer of certificate 0")
	wantError(t, cose.VerifyChain([]*x509.Certificate{own.Certs[0], own.Certs[1], known.Certs[2]}), cose.ErrChain, "certificate 2 is not the issuer of certificate 1")
}

func TestChainOrder(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{Length: 4}).Certs
	long := cosetest.NewChain(t, cosetest.ChainOptions{Length: 9}).Certs
	self := cosetest.NewChain(t, cosetest.ChainOptions{Length: 1, Edit: func(_ int, c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	}}).Certs[0]
	tests := []struct {
		name, text string
		chain      []*x509.Certificate
	}{
		{"none", "got no certificate", nil},
		{"one", "only the leaf", c[:1]},
		{"nine", "got 9 certificates, want 2 to 8", long},
		{"root-first", "is not the issuer", []*x509.Certificate{c[3], c[2], c[1], c[0]}},
		{"swapped", "is not the issuer", []*x509.Certificate{c[0], c[2], c[1], c[3]}},
		{"gap", "certificate 1 is not the issuer of certificate 0", []*x509.Certificate{c[0], c[2], c[3]}},
		{"leaf-twice", "is not the issuer", []*x509.Certificate{c[0], c[0], c[1]}},
		{"root-twice", "not one path", []*x509.Certificate{c[0], c[1], c[2], c[3], c[3]}},
		{"self-signed-twice", "not one path", []*x509.Certificate{self, self}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, cose.VerifyChain(test.chain), cose.ErrChain, test.text)
		})
	}
	// The last certificate is the trust anchor, self-signed or not.
	for _, part := range [][]*x509.Certificate{c, c[:3], c[:2], c[1:], long[:8]} {
		if err := cose.VerifyChain(part); err != nil {
			t.Error(err)
		}
	}
}

func TestChainRules(t *testing.T) {
	only := func(i int, edit func(c *x509.Certificate)) func(int, *x509.Certificate) {
		return func(at int, c *x509.Certificate) {
			if at == i {
				edit(c)
			}
		}
	}
	extra := func(oid string, critical bool) func(c *x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: cosetest.OID(t, oid), Critical: critical, Value: []byte{5, 0}})
		}
	}
	year := func(y int) time.Time { return time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC) }
	tests := []struct {
		name, text string // no text: it passes
		options    cosetest.ChainOptions
	}{
		{"ca-outlives-leaf", "", cosetest.ChainOptions{Edit: only(0, func(c *x509.Certificate) { c.NotAfter = year(2021) })}},
		{"ca-expires-before-leaf", "expired", cosetest.ChainOptions{Edit: only(1, func(c *x509.Certificate) { c.NotAfter = year(2021) })}},
		{"root-expires-before-leaf", "expired", cosetest.ChainOptions{Edit: only(2, func(c *x509.Certificate) { c.NotAfter = year(2021) })}},
		{"ca-begins-after-leaf", "expired or is not yet valid", cosetest.ChainOptions{Edit: only(1, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = year(2023), year(2024)
		})}},
		{"not-a-ca", "basic constraints do not make it a CA", cosetest.ChainOptions{Edit: only(1, func(c *x509.Certificate) { c.IsCA = false })}},
		{"root-not-a-ca", "basic constraints do not make it a CA", cosetest.ChainOptions{Edit: only(2, func(c *x509.Certificate) { c.IsCA = false })}},
		{"no-basic-constraints", "basic constraints do not make it a CA", cosetest.ChainOptions{Edit: only(1, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = false, false
		})}},
		{"ca-may-not-sign", "is not the issuer", cosetest.ChainOptions{Edit: only(1, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })}},
		{"ca-without-key-usage", "", cosetest.ChainOptions{Edit: only(1, func(c *x509.Certificate) { c.KeyUsage = 0 })}},
		{"path-length-kept", "", cosetest.ChainOptions{Edit: only(1, func(c *x509.Certificate) { c.MaxPathLenZero = true })}},
		{"path-length-exceeded", "too many intermediates", cosetest.ChainOptions{Length: 4, Edit: only(2, func(c *x509.Certificate) { c.MaxPathLenZero = true })}},
		{"name-constraint-kept", "", cosetest.ChainOptions{DNS: []string{"a.example.com"}, Edit: only(1, func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
		})}},
		{"name-constraint-broken", "is not permitted by any constraint", cosetest.ChainOptions{DNS: []string{"a.example.org"}, Edit: only(1, func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
		})}},
		{"any-extended-key-usage", "", cosetest.ChainOptions{EKUs: []string{"1.2.3.4"}, Edit: only(1, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})}},
		{"unknown-extension", "", cosetest.ChainOptions{Edit: only(0, extra("1.2.3.4", false))}},
		{"unknown-critical-extension", "critical extension 1.2.3.4", cosetest.ChainOptions{Edit: only(0, extra("1.2.3.4", true))}},
		{"unknown-critical-extension-of-root", "certificate 2: critical extension 1.2.3.4", cosetest.ChainOptions{Edit: only(2, extra("1.2.3.4", true))}},
		{"critical-policies", "", cosetest.ChainOptions{Edit: only(0, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id: cosetest.OID(t, "2.5.29.32"), Critical: true, Value: []byte{0x30, 0x0a, 0x30, 0x08, 0x06, 0x06, 0x67, 0x81, 0x0c, 0x01, 0x02, 0x01},
			})
		})}},
		{"critical-fulcio-issuer", "critical extension 1.3.6.1.4.1.57264.1.1", cosetest.ChainOptions{Edit: only(0, extra("1.3.6.1.4.1.57264.1.1", true))}},
		{"critical-crl-points", "critical extension 2.5.29.31", cosetest.ChainOptions{Edit: only(0, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: cosetest.OID(t, "2.5.29.31"), Critical: true, Value: []byte{0x30, 0}})
		})}},
		{"leaf-is-a-ca", "", cosetest.ChainOptions{Edit: only(0, func(c *x509.Certificate) { c.IsCA = true })}},
		{"leaf-ends-in-the-year-1", "the year 1", cosetest.ChainOptions{Edit: only(0, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Time{}, time.Time{}
		})}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := cose.VerifyChain(cosetest.NewChain(t, test.options).Certs)
			if test.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, cose.ErrChain, test.text)
		})
	}
}

// issue makes a certificate for a key, signed by the chain's root.
func issue(t *testing.T, root cosetest.Chain, key crypto.PublicKey, isCA bool) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: root.Certs[0].SerialNumber, Subject: pkix.Name{CommonName: "Odd Key"}, NotBefore: cosetest.NotBefore, NotAfter: cosetest.NotAfter,
		BasicConstraintsValid: true, IsCA: isCA,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root.Certs[len(root.Certs)-1], key, root.Keys[len(root.Keys)-1])
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeySizes(t *testing.T) {
	root := cosetest.NewChain(t, cosetest.ChainOptions{})
	anchor := root.Certs[2]
	weak := cosetest.RSAKey(t, 1024, 0)
	short := cosetest.RSAKey(t, 2040, 0)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	huge := cosetest.RSAKey(t, 2048, 0).PublicKey
	huge.N = new(big.Int).Lsh(huge.N, 8193-2048)
	huge.N.SetBit(huge.N, 0, 1)
	tests := []struct {
		name, text string
		key        crypto.PublicKey
	}{
		{"rsa-1024", "got an RSA key of 1024 bits, want 2048 to 8192", weak.Public()},
		{"rsa-2040", "got an RSA key of 2040 bits", short.Public()},
		{"rsa-8193", "got an RSA key of 8193 bits", &huge},
		{"p224", "got a key on curve P-224", p224.Public()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := issue(t, root, test.key, false)
			wantError(t, cose.VerifyChain([]*x509.Certificate{c, anchor}), cose.ErrChain, "certificate 0: "+test.text)
			ca := issue(t, root, test.key, true)
			wantError(t, cose.VerifyChain([]*x509.Certificate{root.Certs[0], ca, anchor}), cose.ErrChain, "certificate 1")
		})
	}
	if err := cose.VerifyChain([]*x509.Certificate{issue(t, root, cosetest.RSAKey(t, 2048, 0).Public(), false), anchor}); err != nil {
		t.Error(err)
	}
}

// Chains as the field's tools make them: PKCS #1 signatures by an RSA root, PSS, mixed key types.
func TestMixedKeyTypes(t *testing.T) {
	rsaRoot := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.RSA})
	leafKey := cosetest.NewKey(t, cosetest.P384, 0)
	leaf := issue(t, rsaRoot, leafKey.Public(), false)
	c := cosetest.Chain{Certs: []*x509.Certificate{leaf, rsaRoot.Certs[2]}, Keys: []crypto.Signer{leafKey, nil}}
	if _, err := cose.Open(c.Document(t, []byte(payload), "feed", nil), cose.Options{}); err != nil {
		t.Error(err)
	}
	pss := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.RSA, Edit: func(_ int, c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSAPSS }})
	if err := cose.VerifyChain(pss.Certs); err != nil {
		t.Error(err)
	}
	if err := cose.VerifyChain(slices.Clone(rsaRoot.Certs)); err != nil {
		t.Error(err)
	}
}
