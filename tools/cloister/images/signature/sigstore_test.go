package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
)

// This file is a Sigstore of the tests: an authority like Fulcio, a log like Rekor, a time stamper, and what cosign makes with
// them, written from cosign's signature and bundle specifications, Rekor's entry types, and RFC 3161.

const (
	testIdentity = "builder@acme.example"
	testIssuer   = "https://accounts.acme.example"
)

type authority struct {
	root, middle *x509.Certificate
	key          *ecdsa.PrivateKey // of middle
	rekor        *ecdsa.PrivateKey
	stamperRoot  *x509.Certificate
	stamper      *x509.Certificate
	stamperKey   *ecdsa.PrivateKey
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue makes a certificate. A nil parent signs itself.
func issue(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(now.UnixNano() + int64(len(template.Subject.String())))
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func caTemplate(name string, usage ...x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: usage, IsCA: true, BasicConstraintsValid: true,
	}
}

func newAuthority(t testing.TB) *authority { return newAuthorityWith(t, true) }

// newAuthorityWith has a time stamper whose certificate says that stamping is all it is for, critically or not (RFC 3161, section
// 2.3: it must).
func newAuthorityWith(t testing.TB, critical bool) *authority {
	t.Helper()
	a := &authority{key: p256(t), rekor: p256(t), stamperKey: p256(t)}
	rootKey, stampKey := p256(t), p256(t)
	a.root = issue(t, caTemplate("fulcio root"), nil, rootKey.Public(), rootKey)
	a.middle = issue(t, caTemplate("fulcio", x509.ExtKeyUsageCodeSigning), a.root, a.key.Public(), rootKey)
	a.stamperRoot = issue(t, caTemplate("stamper root", x509.ExtKeyUsageTimeStamping), nil, stampKey.Public(), stampKey)
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	a.stamper = issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "stamper"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: usage}},
	}, a.stamperRoot, a.stamperKey.Public(), stampKey)
	return a
}

// certify makes a certificate that lives for ten minutes around the tests' now.
func (a *authority) certify(t testing.TB, identity, issuer string, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	return issue(t, &x509.Certificate{
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(9 * time.Minute), EmailAddresses: []string{identity},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer)}},
	}, a.middle, public, a.key)
}

func pemOf(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

func pemKey(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// signWith signs as cosign does with a key of that kind.
func signWith(t testing.TB, key crypto.Signer, message []byte, h crypto.Hash) []byte {
	t.Helper()
	digest := message
	if _, ok := key.(ed25519.PrivateKey); !ok {
		w := h.New()
		w.Write(message)
		digest = w.Sum(nil)
	} else {
		h = 0
	}
	sig, err := key.Sign(rand.Reader, digest, h)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// payloadOf is what "cosign sign" signs.
func payloadOf(digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"registry.example/app"},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
}

// statementOf is what "cosign sign" signs since version 3.
func statementOf(digest, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`, digest[len("sha256:"):], predicate)
}

func b64(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// hashedrekord is the body of a log entry over a message signature.
func hashedrekord(message, sig, verifier []byte) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},"signature":{"content":%q,"publicKey":{"content":%q}}}}`,
		sha256.Sum256(message), b64(sig), b64(verifier))
}

// dsseEntry is the body of a log entry over an envelope.
func dsseEntry(envelope, payload, sig, verifier []byte) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"%x"},"payloadHash":{"algorithm":"sha256","value":"%x"},"signatures":[{"signature":%q,"verifier":%q}]}}`,
		sha256.Sum256(envelope), sha256.Sum256(payload), b64(sig), b64(verifier))
}

func (a *authority) logID(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(a.rekor.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(der)
	return id[:]
}

type setPayload struct {
	Body           string `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
}

// promise is a log's word that it took an entry, at that time.
func (a *authority) promise(t testing.TB, body []byte, at time.Time) (setPayload, []byte) {
	t.Helper()
	p := setPayload{b64(body), at.Unix(), hexOf(a.logID(t)), 7}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return p, signWith(t, a.rekor, raw, crypto.SHA256)
}

// annotationEntry is the annotation dev.sigstore.cosign/bundle.
func (a *authority) annotationEntry(t testing.TB, body []byte, at time.Time) string {
	t.Helper()
	p, set := a.promise(t, body, at)
	raw, err := json.Marshal(map[string]any{"SignedEntryTimestamp": set, "Payload": p})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// stamp is a time stamp over a signature.
func (a *authority) stamp(t testing.TB, sig []byte, at time.Time) []byte {
	t.Helper()
	sum := sha256.Sum256(sig)
	s := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3, 4},
		SerialNumber: big.NewInt(5), AddTSACertificate: true,
	}
	raw, err := s.CreateResponseWithOpts(a.stamper, a.stamperKey, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// logEntry is the entry of a tree of one leaf, as a bundle has it.
func (a *authority) logEntry(t testing.TB, body []byte, kind string, at time.Time) map[string]any {
	t.Helper()
	_, set := a.promise(t, body, at)
	root := sha256.Sum256(append([]byte{0}, body...))
	note := fmt.Sprintf("rekor.test - 42\n1\n%s\n", b64(root[:]))
	hint := a.logID(t)[:4]
	signed := fmt.Sprintf("%s\n\u2014 rekor.test %s\n", note, b64(append(hint, signWith(t, a.rekor, []byte(note), crypto.SHA256)...)))
	return map[string]any{
		"logIndex": "7", "logId": map[string]any{"keyId": a.logID(t)}, "kindVersion": map[string]any{"kind": kind, "version": "0.0.1"},
		"integratedTime": fmt.Sprint(at.Unix()), "inclusionPromise": map[string]any{"signedEntryTimestamp": set},
		"inclusionProof": map[string]any{
			"logIndex": "0", "rootHash": root[:], "treeSize": "1", "hashes": []any{}, "checkpoint": map[string]any{"envelope": signed},
		},
		"canonicalizedBody": body,
	}
}

// bundleParts make a Sigstore bundle. A test changes what it is about.
type bundleParts struct {
	payloadType string
	payload     []byte
	signature   []byte
	material    map[string]any // "certificate" or "publicKey"
	entries     []any
	stamps      []any
}

func (b *bundleParts) raw(t testing.TB) []byte {
	t.Helper()
	material := map[string]any{"timestampVerificationData": map[string]any{"rfc3161Timestamps": b.stamps}}
	for k, v := range b.material {
		material[k] = v
	}
	if b.entries != nil {
		material["tlogEntries"] = b.entries
	}
	raw, err := json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
		"dsseEnvelope": map[string]any{
			"payload": b.payload, "payloadType": b.payloadType, "signatures": []any{map[string]any{"sig": b.signature}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// pae is DSSE's pre-authentication encoding.
func pae(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

const inToto = "application/vnd.in-toto+json"

// keyBundle is what "cosign sign --key" makes since version 3, without a log.
func keyBundle(t testing.TB, key crypto.Signer, statement []byte, h crypto.Hash) *bundleParts {
	t.Helper()
	return &bundleParts{
		payloadType: inToto, payload: statement, signature: signWith(t, key, pae(inToto, statement), h),
		material: map[string]any{"publicKey": map[string]any{"hint": "any"}},
	}
}

// identityBundle is what "cosign sign" makes with a certificate: logged, and stamped if asked.
func (a *authority) identityBundle(t testing.TB, identity, issuer string, statement []byte, at time.Time) *bundleParts {
	t.Helper()
	key := p256(t)
	cert := a.certify(t, identity, issuer, key.Public())
	b := &bundleParts{
		payloadType: inToto, payload: statement, signature: signWith(t, key, pae(inToto, statement), crypto.SHA256),
		material: map[string]any{"certificate": map[string]any{"rawBytes": cert.Raw}},
	}
	body := dsseEntry([]byte("{}"), statement, b.signature, pemOf(cert))
	b.entries = []any{a.logEntry(t, body, "dsse", at)}
	return b
}

// identitySimple is what cosign 2 makes with a certificate.
func (a *authority) identitySimple(t testing.TB, identity, issuer string, payload []byte, at time.Time) map[string]string {
	t.Helper()
	key := p256(t)
	cert := a.certify(t, identity, issuer, key.Public())
	sig := signWith(t, key, payload, crypto.SHA256)
	return map[string]string{
		signatureKey: b64(sig), certificateKey: string(pemOf(cert)), chainKey: string(pemOf(a.middle, a.root)),
		logEntryKey: a.annotationEntry(t, hashedrekord(payload, sig, pemOf(cert)), at),
	}
}

// files writes the authority's public parts: Fulcio's root, the log's key, the stamper's certificates.
func (a *authority) files(t *testing.T) (roots, rekor, tsa string) {
	t.Helper()
	return writeFile(t, "fulcio.pem", pemOf(a.root)), writeFile(t, "rekor.pub", pemKey(t, a.rekor.Public())), writeFile(t, "tsa.pem", pemOf(a.stamper, a.stamperRoot))
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
