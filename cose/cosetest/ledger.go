package cosetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/cose"
)

// Ledger is a made-up CCF ledger with one key.
type Ledger struct {
	Name string
	KID  string
	Key  *ecdsa.PrivateKey
}

// NewLedger makes a ledger with a fresh key, P256 or P384, named as CCF names keys: by the SHA-256 of the public one.
func NewLedger(t testing.TB, name string, kind KeyType) *Ledger {
	t.Helper()
	key, ok := NewKey(t, kind, 0).(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("ledger key of type %d", kind)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	return &Ledger{Name: name, KID: hex.EncodeToString(sum[:]), Key: key}
}

// Algorithm is the one of the ledger's curve.
func (l *Ledger) Algorithm() int64 {
	if l.Key.Curve == elliptic.P384() {
		return cose.ES384
	}
	return cose.ES256
}

// Public is the ledger's key as trust lists hold it.
func (l *Ledger) Public() cose.Key {
	return cose.Key{KID: l.KID, Public: &l.Key.PublicKey}
}

// Step is one element of an inclusion proof's path.
type Step struct {
	Left bool
	Hash [32]byte
}

// ReceiptParts are what a receipt is made of, for tests to change before Encode.
type ReceiptParts struct {
	Protected   map[any]any
	Transaction []byte
	Evidence    string
	Data        []byte
	Path        []Step
	// Proofs replaces the one inclusion proof made of the above in label 396.
	Proofs any
	// Payload is nil, since receipts are detached. Root is what gets signed; if it is nil it is computed.
	Payload, Root []byte
}

// Parts returns a good receipt's parts for a message.
func (l *Ledger) Parts(t testing.TB, message []byte) *ReceiptParts {
	t.Helper()
	m, err := cose.Parse(message, cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	digest := m.Digest()
	transaction := sha256.Sum256([]byte("transaction"))
	return &ReceiptParts{
		Protected: map[any]any{
			1: l.Algorithm(), 4: []byte(l.KID), 395: 2, 15: map[any]any{1: l.Name, 2: "scitt.ccf.signature.v1", 6: 1640995200},
			"ccf.v1": map[any]any{"txid": "2.17"},
		},
		Transaction: transaction[:],
		Evidence:    "ce:2.17:54ad",
		Data:        digest[:],
		Path:        []Step{{true, sha256.Sum256([]byte("a"))}, {false, sha256.Sum256([]byte("b"))}, {true, sha256.Sum256([]byte("c"))}},
	}
}

// root is written apart from the package under test, from the text of the CCF profile.
func (p *ReceiptParts) root() []byte {
	evidence := sha256.Sum256([]byte(p.Evidence))
	h := sha256.Sum256(slices.Concat(p.Transaction, evidence[:], p.Data))
	for _, s := range p.Path {
		pair := [][]byte{h[:], s.Hash[:]}
		if s.Left {
			slices.Reverse(pair)
		}
		h = sha256.Sum256(slices.Concat(pair...))
	}
	return h[:]
}

// Proof encodes the inclusion proof.
func (p *ReceiptParts) Proof(t testing.TB) []byte {
	t.Helper()
	path := []any{}
	for _, s := range p.Path {
		path = append(path, []any{s.Left, s.Hash[:]})
	}
	return Marshal(t, map[any]any{1: []any{p.Transaction, p.Evidence, p.Data}, 2: path})
}

// Encode signs the parts with the ledger's key.
func (l *Ledger) Encode(t testing.TB, p *ReceiptParts) []byte {
	t.Helper()
	proofs := p.Proofs
	if proofs == nil {
		proofs = map[any]any{-1: []any{p.Proof(t)}}
	}
	root := p.Root
	if root == nil {
		root = p.root()
	}
	return Forge(t, l.Key, l.Algorithm(), p.Protected, map[any]any{396: proofs}, p.Payload, root)
}

// Receipt returns a good receipt for a message.
func (l *Ledger) Receipt(t testing.TB, message []byte) []byte {
	t.Helper()
	return l.Encode(t, l.Parts(t, message))
}

// Register returns the message with receipts of the ledgers.
func Register(t testing.TB, message []byte, ledgers ...*Ledger) []byte {
	t.Helper()
	var receipts [][]byte
	for _, l := range ledgers {
		receipts = append(receipts, l.Receipt(t, message))
	}
	out, err := cose.WithReceipts(message, receipts...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// JWK is the ledger's key as a JSON object.
func (l *Ledger) JWK() map[string]any {
	size := (l.Key.Params().BitSize + 7) / 8
	coordinate := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	point, _ := l.Key.PublicKey.Bytes()
	return map[string]any{
		"kty": "EC", "kid": l.KID, "crv": l.Key.Params().Name, "alg": map[int]string{32: "ES256", 48: "ES384"}[size],
		"x": coordinate(point[1 : 1+size]), "y": coordinate(point[1+size:]),
	}
}

// TrustListPayload is the payload of a trust list with these ledgers.
func TrustListPayload(t testing.TB, ledgers ...*Ledger) []byte {
	t.Helper()
	out := map[string]any{}
	for _, l := range ledgers {
		out[l.Name] = map[string]any{"keys": []any{l.JWK()}}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TrustList signs a trust list with the chain.
func (c Chain) TrustList(t testing.TB, subject string, svn int64, ledgers ...*Ledger) []byte {
	t.Helper()
	return c.Document(t, TrustListPayload(t, ledgers...), subject, &svn)
}
