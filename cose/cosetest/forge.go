package cosetest

import (
	"crypto"
	"crypto/rand"
	"iter"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"

	"github.com/cloister-cc/cloister/cose"
)

func splitDots(s string) iter.Seq[string] { return strings.SplitSeq(s, ".") }

// Forge signs whatever headers it is given: documents that cose.Sign would not make. The unprotected header and the payload may be nil;
// a nil payload is encoded as null and signed as detached.
func Forge(t testing.TB, key crypto.Signer, alg int64, protected, unprotected map[any]any, payload, detached []byte) []byte {
	t.Helper()
	return ForgeRaw(t, key, alg, Marshal(t, protected), unprotected, payload, detached)
}

// ForgeRaw is Forge with the protected header's bytes given.
func ForgeRaw(t testing.TB, key crypto.Signer, alg int64, protected []byte, unprotected map[any]any, payload, detached []byte) []byte {
	t.Helper()
	if unprotected == nil {
		unprotected = map[any]any{}
	}
	content := payload
	if payload == nil {
		content = detached
	}
	signer, err := gocose.NewSigner(gocose.Algorithm(alg), key)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := signer.Sign(rand.Reader, Marshal(t, []any{"Signature1", protected, []byte{}, content}))
	if err != nil {
		t.Fatal(err)
	}
	return Marshal(t, cbor.Tag{Number: 18, Content: []any{protected, unprotected, payload, signature}})
}

// Marshal encodes deterministically.
func Marshal(t testing.TB, v any) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := mode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// X5Chain is the value of label 33.
func (c Chain) X5Chain() [][]byte {
	var out [][]byte
	for _, cert := range c.Certs {
		out = append(out, cert.Raw)
	}
	return out
}

// Header is the protected header that cose.Sign makes for ES256, for tests to change.
func (c Chain) Header(issuer, feed string) map[any]any {
	return map[any]any{1: cose.ES256, 33: c.X5Chain(), 15: map[any]any{1: issuer, 2: feed}}
}
