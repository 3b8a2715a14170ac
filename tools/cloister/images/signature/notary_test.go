package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"
)

// This file signs as notation does, written from the Notary Project's signature specification (envelopes JWS and COSE).

// company is who signs: a root, a leaf under it, and the leaf's key.
type company struct {
	root, leaf *x509.Certificate
	rootKey    crypto.Signer
	key        crypto.Signer
}

var companyName = pkix.Name{Country: []string{"DE"}, Province: []string{"Berlin"}, Organization: []string{"Acme, Inc."}, CommonName: "builds"}

const (
	companySubject = `C=DE, ST=Berlin, O=Acme\, Inc.`
	companySigner  = `C=DE, ST=Berlin, O=Acme\, Inc., CN=builds`
)

func newCompany(t testing.TB) *company { return newCompanyWith(t, p256(t), nil) }

// newCompanyWith makes a company with the leaf's key; change edits the leaf's template.
func newCompanyWith(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) *company {
	t.Helper()
	c := &company{rootKey: p256(t), key: key}
	c.root = issue(t, caTemplate("acme root"), nil, c.rootKey.Public(), c.rootKey)
	leaf := &x509.Certificate{
		Subject: companyName, NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(0, 1, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if change != nil {
		change(leaf)
	}
	c.leaf = issue(t, leaf, c.root, key.Public(), c.rootKey)
	return c
}

func (c *company) roots(t *testing.T) string { return writeFile(t, "acme.pem", pemOf(c.root)) }

func (c *company) requirement(t *testing.T) string {
	return "notation:subject=" + companySubject + ",roots=" + c.roots(t)
}

// notaryPayload names a manifest.
func notaryPayload(mediaType, digest string, size int) []byte {
	return fmt.Appendf(nil, `{"targetArtifact":{"mediaType":%q,"digest":%q,"size":%d}}`, mediaType, digest, size)
}

// envelopeParts make an envelope. A test changes what it is about.
type envelopeParts struct {
	header    map[string]any // protected
	payload   []byte
	chain     []*x509.Certificate
	key       crypto.Signer
	hash      crypto.Hash
	signature func(message []byte) []byte // nil: by the key
	stamp     func(signature []byte) []byte
}

func (c *company) parts(payload []byte) *envelopeParts {
	return &envelopeParts{
		header: map[string]any{
			"alg": "ES256", "cty": payloadType, "crit": []any{"io.cncf.notary.signingScheme"},
			"io.cncf.notary.signingScheme": "notary.x509", "io.cncf.notary.signingTime": now.Format(time.RFC3339),
		},
		payload: payload, chain: []*x509.Certificate{c.leaf, c.root}, key: c.key, hash: crypto.SHA256,
	}
}

// joseSignature is a JWS's signature: r and s for ECDSA, PSS for RSA.
func joseSignature(t testing.TB, key crypto.Signer, message []byte, h crypto.Hash) []byte {
	t.Helper()
	w := h.New()
	w.Write(message)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		sig, err := rsa.SignPSS(rand.Reader, key, h, w.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		if err != nil {
			t.Fatal(err)
		}
		return sig
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, w.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		n := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...)
	}
	t.Fatalf("key %T", key)
	return nil
}

// jws is the envelope application/jose+json.
func (e *envelopeParts) jws(t testing.TB) []byte {
	t.Helper()
	protected, err := json.Marshal(e.header)
	if err != nil {
		t.Fatal(err)
	}
	url := base64.RawURLEncoding.EncodeToString
	message := url(protected) + "." + url(e.payload)
	var sig []byte
	if e.signature != nil {
		sig = e.signature([]byte(message))
	} else {
		sig = joseSignature(t, e.key, []byte(message), e.hash)
	}
	header := map[string]any{"x5c": rawChain(e.chain)}
	if e.stamp != nil {
		header["io.cncf.notary.timestampSignature"] = e.stamp(sig)
	}
	raw, err := json.Marshal(map[string]any{"payload": url(e.payload), "protected": url(protected), "header": header, "signature": url(sig)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func rawChain(chain []*x509.Certificate) [][]byte {
	var raw [][]byte
	for _, c := range chain {
		raw = append(raw, c.Raw)
	}
	return raw
}

// cose is the envelope application/cose, of the parts' payload, chain and key, with these headers besides.
func (e *envelopeParts) cose(t testing.TB, more gocose.ProtectedHeader) []byte {
	t.Helper()
	signer, err := gocose.NewSigner(gocose.AlgorithmES256, e.key)
	if err != nil {
		t.Fatal(err)
	}
	m := gocose.NewSign1Message()
	m.Payload = e.payload
	m.Headers.Protected = gocose.ProtectedHeader{
		gocose.HeaderLabelAlgorithm: gocose.AlgorithmES256, gocose.HeaderLabelContentType: payloadType,
		gocose.HeaderLabelCritical:     []any{"io.cncf.notary.signingScheme"},
		"io.cncf.notary.signingScheme": "notary.x509", "io.cncf.notary.signingTime": cbor.Tag{Number: 1, Content: now.Unix()},
	}
	for k, v := range more {
		m.Headers.Protected[k] = v
	}
	var chain []any
	for _, c := range e.chain {
		chain = append(chain, c.Raw)
	}
	m.Headers.Unprotected[gocose.HeaderLabelX5Chain] = chain
	if err := m.Sign(rand.Reader, nil, signer); err != nil {
		t.Fatal(err)
	}
	raw, err := m.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// stampToken is a time stamp as an envelope holds it: the token without the response around it.
func (a *authority) stampToken(t testing.TB, sig []byte, at time.Time) []byte {
	t.Helper()
	var response struct {
		Status struct{ Status int }
		Token  asn1.RawValue
	}
	if _, err := asn1.Unmarshal(a.stamp(t, sig, at), &response); err != nil {
		t.Fatal(err)
	}
	return response.Token.FullBytes
}
