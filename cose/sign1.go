package cose

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"
)

// Header labels: RFC 9052, RFC 9360 (x5chain, x5t), RFC 9597 (CWT claims), RFC 9942 (receipts).
const (
	labelAlgorithm   = 1
	labelCritical    = 2
	labelContentType = 3
	labelKeyID       = 4
	labelCWTClaims   = 15
	labelX5Chain     = 33
	labelX5T         = 34
	labelReceipts    = 394
	labelVDS         = 395
	labelVDP         = 396
)

// Algorithms, as COSE numbers them.
const (
	ES256 int64 = -7
	ES384 int64 = -35
	ES512 int64 = -36
	PS256 int64 = -37
	PS384 int64 = -38
	PS512 int64 = -39
	EdDSA int64 = -8
)

// protectedOnly are the labels that decide something. Outside the signature they would let the host decide.
var protectedOnly = []int64{labelAlgorithm, labelCritical, labelCWTClaims, labelX5Chain}

// understood are the labels that a crit entry may name.
var understood = []int64{labelAlgorithm, labelCritical, labelContentType, labelCWTClaims, labelX5Chain, labelX5T}

// Options say what a document may be. The zero value is right for documents from the host.
type Options struct {
	// MaxSize bounds the message; 0 and anything above it mean MaxMessage.
	MaxSize int
	// Detached is the payload of a message that does not carry it. If it is nil such a message is refused, else one that has a payload.
	Detached []byte
}

// Sign1 is a message taken apart. Nothing in it may be believed before Verify has returned nil.
type Sign1 struct {
	// Algorithm is the COSE number of the signature algorithm.
	Algorithm int64
	// ContentType is label 3: a media type, or a CoAP content format in decimal, or empty.
	ContentType string
	Payload     []byte
	// Chain is x5chain, leaf first.
	Chain []*x509.Certificate

	wire        wire
	signed      []byte // the protected header as it was signed
	protected   table
	unprotected table
	signature   []byte
}

// Parse takes a tagged COSE_Sign1 message apart. It believes nothing: see Verify and Open.
func Parse(raw []byte, o Options) (*Sign1, error) {
	most := MaxMessage
	if o.MaxSize > 0 && o.MaxSize < most {
		most = o.MaxSize
	}
	m, err := split(raw, most, understood)
	if err != nil {
		return nil, err
	}
	if err := m.attach(o.Detached); err != nil {
		return nil, err
	}
	if m.ContentType, err = contentType(m.protected); err != nil {
		return nil, err
	}
	if m.Chain, err = readChain(m.protected); err != nil {
		return nil, err
	}
	if err := m.matchThumbprint(); err != nil {
		return nil, err
	}
	return m, nil
}

// split does what documents and receipts have in common. The payload stays where it is.
func split(raw []byte, most int, understood []int64) (*Sign1, error) {
	w, err := cut(raw, most)
	if err != nil {
		return nil, err
	}
	m := &Sign1{wire: w}
	if m.signed, err = readBytes(w.protected, "protected header", MaxHeader); err != nil {
		return nil, err
	}
	if m.protected, err = readTable(m.signed, "protected header"); err != nil {
		return nil, err
	}
	if len(w.unprotected) > MaxHeader {
		return nil, failf(ErrFormat, "unprotected header: got %d bytes, want at most %d", len(w.unprotected), MaxHeader)
	}
	if m.unprotected, err = readTable(w.unprotected, "unprotected header"); err != nil {
		return nil, err
	}
	if err := m.compareHeaders(); err != nil {
		return nil, err
	}
	if err := m.checkCritical(understood); err != nil {
		return nil, err
	}
	if m.signature, err = readBytes(w.signature, "signature", MaxSignature); err != nil {
		return nil, err
	}
	alg, ok := m.protected.ints[labelAlgorithm]
	if !ok {
		return nil, failf(ErrFormat, "protected header has no alg (label %d)", labelAlgorithm)
	}
	if m.Algorithm, err = readInt(alg, "alg"); err != nil {
		return nil, err
	}
	return m, nil
}

// compareHeaders refuses what would give the unprotected header a say.
func (m *Sign1) compareHeaders() error {
	for _, label := range protectedOnly {
		if _, ok := m.unprotected.ints[label]; ok {
			return failf(ErrFormat, "unprotected header: label %d must be in the protected header", label)
		}
	}
	for label := range m.unprotected.ints {
		if _, ok := m.protected.ints[label]; ok {
			return failf(ErrFormat, "label %d is in both headers", label)
		}
	}
	for label := range m.unprotected.texts {
		if _, ok := m.protected.texts[label]; ok {
			return failf(ErrFormat, "label %q is in both headers", clip(label))
		}
	}
	return nil
}

// checkCritical enforces crit: the signer says that who does not understand these labels must not accept the message.
func (m *Sign1) checkCritical(understood []int64) error {
	raw, ok := m.protected.ints[labelCritical]
	if !ok {
		return nil
	}
	labels, err := readArray(raw, "crit", 1, maxItems)
	if err != nil {
		return err
	}
	for _, item := range labels {
		if major(item) == majorText {
			text, err := readText(item, "crit entry", MaxFeed)
			if err != nil {
				return err
			}
			if text != "iss" && text != "feed" {
				return failf(ErrFormat, "crit names label %q, which is not understood", clip(text))
			}
			if _, ok := m.protected.texts[text]; !ok {
				return failf(ErrFormat, "crit names label %q, which is not in the protected header", text)
			}
			continue
		}
		label, err := readInt(item, "crit entry")
		if err != nil {
			return err
		}
		if !slices.Contains(understood, label) {
			return failf(ErrFormat, "crit names label %d, which is not understood", label)
		}
		if _, ok := m.protected.ints[label]; !ok {
			return failf(ErrFormat, "crit names label %d, which is not in the protected header", label)
		}
	}
	return nil
}

// attach finds the payload: in the message, or the caller's.
func (m *Sign1) attach(detached []byte) error {
	if bytes.Equal(m.wire.payload, []byte{cborNull}) {
		if detached == nil {
			return failf(ErrFormat, "the payload is detached")
		}
		m.Payload = detached
		return nil
	}
	if detached != nil {
		return failf(ErrFormat, "got a message with a payload, want a detached one")
	}
	var err error
	m.Payload, err = readBytes(m.wire.payload, "payload", MaxMessage)
	return err
}

func contentType(protected table) (string, error) {
	raw, ok := protected.ints[labelContentType]
	switch {
	case !ok:
		return "", nil
	case major(raw) == majorUnsigned:
		n, err := readInt(raw, "content type")
		return strconv.FormatInt(n, 10), err
	default:
		return readText(raw, "content type", MaxFeed)
	}
}

func readChain(protected table) ([]*x509.Certificate, error) {
	raw, ok := protected.ints[labelX5Chain]
	if !ok {
		return nil, failf(ErrFormat, "protected header has no x5chain (label %d)", labelX5Chain)
	}
	items := []cbor.RawMessage{raw}
	if major(raw) != majorBytes {
		var err error
		if items, err = readArray(raw, "x5chain", 1, MaxCertificates); err != nil {
			return nil, err
		}
	}
	chain := make([]*x509.Certificate, 0, len(items))
	for i, item := range items {
		der, err := readBytes(item, fmt.Sprintf("x5chain, certificate %d", i), MaxCertificate)
		if err != nil {
			return nil, err
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, failf(ErrFormat, "x5chain, certificate %d: %w", i, err)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// thumbprints are the hashes of RFC 9360's x5t.
var thumbprints = map[int64]func([]byte) []byte{
	-16: func(b []byte) []byte { h := sha256.Sum256(b); return h[:] },
	-43: func(b []byte) []byte { h := sha512.Sum384(b); return h[:] },
	-44: func(b []byte) []byte { h := sha512.Sum512(b); return h[:] },
}

// matchThumbprint compares a signed x5t with the leaf. The chain is signed too, so a difference is no attack but a document that
// contradicts itself; readers that look at x5t only would see another signer.
func (m *Sign1) matchThumbprint() error {
	raw, ok := m.protected.ints[labelX5T]
	if !ok {
		return nil
	}
	parts, err := readArray(raw, "x5t", 2, 2)
	if err != nil {
		return err
	}
	alg, err := readInt(parts[0], "x5t algorithm")
	if err != nil {
		return err
	}
	want, err := readBytes(parts[1], "x5t", 64)
	if err != nil {
		return err
	}
	hash, ok := thumbprints[alg]
	if !ok {
		return failf(ErrFormat, "x5t: got hash algorithm %d, want -16 (SHA-256), -43 (SHA-384) or -44 (SHA-512)", alg)
	}
	if got := hash(m.Chain[0].Raw); !bytes.Equal(got, want) {
		return failf(ErrFormat, "x5t: got %x, want that of the leaf, %x", want, got)
	}
	return nil
}

// Verify checks the chain (see VerifyChain) and the signature by the leaf's key. Any self-made chain passes: who signed is said by the
// issuer, once ResolveDID has tied it to the chain, and whether that issuer counts is for the caller.
func (m *Sign1) Verify() error {
	if err := VerifyChain(m.Chain); err != nil {
		return err
	}
	return m.verifySignature(m.Chain[0].PublicKey, m.Payload)
}

func (m *Sign1) verifySignature(key crypto.PublicKey, payload []byte) error {
	if err := checkKey(key); err != nil {
		return failf(ErrSignature, "%w", err)
	}
	switch m.Algorithm {
	case ES256, ES384, ES512, PS256, PS384, PS512, EdDSA:
	default:
		return failf(ErrSignature, "got algorithm %d, want ES256, ES384, ES512, PS256, PS384, PS512 or EdDSA", m.Algorithm)
	}
	v, err := gocose.NewVerifier(gocose.Algorithm(m.Algorithm), key)
	if err != nil {
		return failf(ErrSignature, "algorithm %d does not fit a key of type %s: %w", m.Algorithm, keyName(key), err)
	}
	content, err := toBeSigned(m.signed, payload)
	if err != nil {
		return failf(ErrSignature, "%w", err)
	}
	if err := v.Verify(content, m.signature); err != nil {
		return failf(ErrSignature, "%w", err)
	}
	return nil
}

func keyName(key crypto.PublicKey) string {
	if _, ok := key.(ed25519.PublicKey); ok {
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}
