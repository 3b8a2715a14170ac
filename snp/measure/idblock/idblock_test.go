package idblock

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp/measure"
)

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testBlock() *Block {
	b := &Block{LaunchDigest: measure.Digest{1, 2, 3}, GuestSVN: 7, Policy: 0x30000}
	copy(b.FamilyID[:], "family")
	copy(b.ImageID[:], "image")
	return b
}

func TestSignRoundTrip(t *testing.T) {
	id, author := newKey(t, elliptic.P384()), newKey(t, elliptic.P384())
	for _, with := range []*ecdsa.PrivateKey{nil, author} {
		b := testBlock()
		a, err := Sign(b, id, with)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := a.Marshal()
		if err != nil || len(raw) != AuthSize || len(b.Marshal()) != BlockSize {
			t.Fatalf("got %d and %d bytes, %v", len(raw), len(b.Marshal()), err)
		}
		readBlock, err := ParseBlock(b.Marshal())
		if err != nil || *readBlock != *b {
			t.Fatalf("got %+v %v, want %+v", readBlock, err, b)
		}
		readAuth, err := ParseAuth(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := readAuth.Verify(readBlock); err != nil {
			t.Error(err)
		}
		if again, err := readAuth.Marshal(); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("the same information has other bytes: %v", err)
		}
		if !readAuth.IDKey.Equal(&id.PublicKey) || (readAuth.AuthorKey == nil) != (with == nil) {
			t.Error("got other keys back")
		}
		// Who builds a release twice gets one launch, byte for byte.
		twice, err := Sign(testBlock(), id, with)
		if err != nil {
			t.Fatal(err)
		}
		if raw2, _ := twice.Marshal(); !bytes.Equal(raw, raw2) {
			t.Error("two signatures over one block differ")
		}
	}
}

// TestVerifyRefusesChanges: bytes of a block and of its authentication, and the signature of another key. Every seventh byte: each costs a signature check.
func TestVerifyRefusesChanges(t *testing.T) {
	id, author := newKey(t, elliptic.P384()), newKey(t, elliptic.P384())
	b := testBlock()
	a, err := Sign(b, id, author)
	if err != nil {
		t.Fatal(err)
	}
	raw := b.Marshal()
	for i := 0; i < len(raw); i += 7 {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		if other, err := ParseBlock(changed); err == nil && a.Verify(other) == nil {
			t.Errorf("byte %#x changed: accepted", i)
		}
	}
	auth, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(auth); i += 7 {
		changed := bytes.Clone(auth)
		changed[i] ^= 1
		if other, err := ParseAuth(changed); err == nil && other.Verify(b) == nil {
			t.Errorf("byte %#x of the authentication information changed: accepted", i)
		}
	}
	stranger, err := Sign(b, newKey(t, elliptic.P384()), author)
	if err != nil {
		t.Fatal(err)
	}
	a.idKey = stranger.idKey
	if err := a.Verify(b); err == nil || !strings.Contains(err.Error(), "signature of the id key") {
		t.Errorf("got %v, want a refusal: the author signed another key", err)
	}
}

func TestRefused(t *testing.T) {
	id := newKey(t, elliptic.P384())
	for name, c := range map[string]struct {
		block      func(*Block)
		id, author *ecdsa.PrivateKey
		want       string
	}{
		"policy-bit-17":   {func(b *Block) { b.Policy = 0x10000 }, id, nil, "bit 17"},
		"policy-reserved": {func(b *Block) { b.Policy |= 1 << 26 }, id, nil, "none above 25"},
		"no-digest":       {func(b *Block) { b.LaunchDigest = measure.Digest{} }, id, nil, "zeros"},
		"no-key":          {func(*Block) {}, nil, nil, "no id key"},
		"id-curve":        {func(*Block) {}, newKey(t, elliptic.P256()), nil, "P-384"},
		"author-curve":    {func(*Block) {}, id, newKey(t, elliptic.P521()), "author"},
	} {
		t.Run(name, func(t *testing.T) {
			b := testBlock()
			c.block(b)
			if a, err := Sign(b, c.id, c.author); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v %v, want an error with %q", a, err, c.want)
			}
		})
	}
	if _, err := KeyDigest(nil); err == nil {
		t.Error("no key: accepted")
	}
	if _, err := (&Auth{}).Marshal(); err == nil {
		t.Error("authentication information without a key was marshalled")
	}
	if _, err := (&Auth{IDKey: &id.PublicKey, AuthorKey: &ecdsa.PublicKey{Curve: elliptic.P256()}}).Marshal(); err == nil {
		t.Error("an author's key on another curve was marshalled")
	}
}

func TestParseRefused(t *testing.T) {
	id, author := newKey(t, elliptic.P384()), newKey(t, elliptic.P384())
	b := testBlock()
	a, err := Sign(b, id, author)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"short":            {func(b []byte) []byte { return b[1:] }, "4095 bytes"},
		"id-algorithm":     {func(b []byte) []byte { b[0] = 2; return b }, "id key algorithm: got 2"},
		"author-algorithm": {func(b []byte) []byte { b[4] = 3; return b }, "author key algorithm: got 3"},
		"author-hidden":    {func(b []byte) []byte { b[4] = 0; return b }, "no author key"},
		"curve":            {func(b []byte) []byte { b[atIDKey] = 1; return b }, "curve 1"},
		"author-curve":     {func(b []byte) []byte { b[atAuthorKey] = 1; return b }, "author: id key: got curve 1"},
		"off-curve":        {func(b []byte) []byte { b[atIDKey+4] ^= 1; return b }, "id key"},
		"wide-number":      {func(b []byte) []byte { b[atIDKey+4+coordinate] = 1; return b }, "reserved byte 0"},
		"key-tail":         {func(b []byte) []byte { b[atIDKey+keySize-1] = 1; return b }, "reserved byte"},
		"reserved-head":    {func(b []byte) []byte { b[8] = 1; return b }, "reserved byte 0"},
		"reserved-middle":  {func(b []byte) []byte { b[atIDKeySignature-1] = 1; return b }, "reserved byte"},
		"reserved-end":     {func(b []byte) []byte { b[AuthSize-1] = 1; return b }, "reserved byte"},
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := ParseAuth(c.change(bytes.Clone(auth))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v %v, want an error with %q", a, err, c.want)
			}
		})
	}
	for name, change := range map[string]func(b []byte) []byte{
		"short":   func(b []byte) []byte { return b[:BlockSize-1] },
		"version": func(b []byte) []byte { b[0x50] = 2; return b },
		"policy":  func(b []byte) []byte { b[0x5a] = 0; return b },
	} {
		if got, err := ParseBlock(change(b.Marshal())); err == nil {
			t.Errorf("block, %s: got %+v, want an error", name, got)
		}
	}
	// A signature with anything in its unused bytes is not one.
	wide, tail := a.block, a.block
	wide[coordinate]++
	tail[signatureSize-1]++
	for _, s := range []signature{wide, tail} {
		if err := s.verify(a.IDKey, b.Marshal()); err == nil || !strings.Contains(err.Error(), "reserved") {
			t.Errorf("got %v, want a refusal", err)
		}
	}
}

// FuzzParse: what is read is written the same, and never verifies by itself.
func FuzzParse(f *testing.F) {
	id := newKey(f, elliptic.P384())
	b := testBlock()
	for _, author := range []*ecdsa.PrivateKey{nil, newKey(f, elliptic.P384())} {
		a, err := Sign(b, id, author)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := a.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, b.Marshal())
	}
	other := &Block{LaunchDigest: measure.Digest{0: 0xff, 47: 0xff}, GuestSVN: 0xffffffff, Policy: policyReserved1}
	f.Fuzz(func(t *testing.T, auth, block []byte) {
		if b, err := ParseBlock(block); err == nil && !bytes.Equal(b.Marshal(), block) {
			t.Errorf("block: got %x, want %x", b.Marshal(), block)
		}
		a, err := ParseAuth(auth)
		if err != nil {
			return
		}
		if again, err := a.Marshal(); err != nil || !bytes.Equal(again, auth) {
			t.Errorf("got %x %v, want %x", again, err, auth)
		}
		if a.Verify(other) == nil {
			t.Error("a block that nobody signed verifies")
		}
	})
}
