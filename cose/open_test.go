package cose_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
)

const payload = "package fragment\n\nsvn := \"1\"\n"

// wantError fails unless err is of the class and says text.
func wantError(t *testing.T, err, class error, text string) {
	t.Helper()
	if !errors.Is(err, class) || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("got error %v, want a %q with %q", err, class, text)
	}
}

func ptr(n int64) *int64 { return &n }

func TestOpenEveryChainLength(t *testing.T) {
	keys := map[string]cosetest.KeyType{
		"p256": cosetest.P256, "p384": cosetest.P384, "p521": cosetest.P521, "rsa": cosetest.RSA, "ed25519": cosetest.Ed25519,
	}
	for name, key := range keys {
		for length := 2; length <= 4; length++ {
			t.Run(fmt.Sprintf("%s-%d", name, length), func(t *testing.T) {
				c := cosetest.NewChain(t, cosetest.ChainOptions{Length: length, Key: key})
				d, err := cose.Open(c.Document(t, []byte(payload), "feed", ptr(7)), cose.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if d.Issuer != c.DID(t, "subject") || d.Feed != "feed" || d.SVN == nil || *d.SVN != 7 || string(d.Payload) != payload || len(d.Chain) != length {
					t.Errorf("got %+v", d)
				}
			})
		}
	}
}

// The reference agent panics on such a fragment (policy contract, section 7.2.1).
func TestOneCertificateIsAnErrorNotACrash(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{Length: 1})
	sum := sha256.Sum256(c.Certs[0].Raw)
	did := "did:x509:0:sha256:" + strings.TrimRight(base64url(sum[:]), "=") + "::subject:CN:Test%20Leaf"
	for name, x5chain := range map[string]any{"array": c.X5Chain(), "single": c.Certs[0].Raw} {
		t.Run(name, func(t *testing.T) {
			header := c.Header(did, "feed")
			header[33] = x5chain
			raw := cosetest.Forge(t, c.Signer(), cose.ES256, header, nil, []byte(payload), nil)
			if _, err := cose.Parse(raw, cose.Options{}); err != nil {
				t.Fatal(err)
			}
			_, err := cose.Open(raw, cose.Options{})
			wantError(t, err, cose.ErrChain, "got only the leaf certificate, want its issuers too (2 to 8 certificates)")
		})
	}
	wantError(t, cose.ResolveDID(did, c.Certs), cose.ErrChain, "only the leaf")
	wantError(t, cose.ResolveDID(did, nil), cose.ErrChain, "no certificate")
}

func TestEachAlgorithm(t *testing.T) {
	tests := []struct {
		name string
		key  cosetest.KeyType
		alg  int64
	}{
		{"es256", cosetest.P256, cose.ES256},
		{"es384", cosetest.P384, cose.ES384},
		{"es512", cosetest.P521, cose.ES512},
		{"es384-on-p256", cosetest.P256, cose.ES384},
		{"ps256", cosetest.RSA, cose.PS256},
		{"ps384", cosetest.RSA, cose.PS384},
		{"ps512", cosetest.RSA, cose.PS512},
		{"eddsa", cosetest.Ed25519, cose.EdDSA},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := cosetest.NewChain(t, cosetest.ChainOptions{Key: test.key})
			raw, err := cose.Sign([]byte(payload), cose.SignOptions{
				Signer: c.Signer(), Chain: c.Certs, Algorithm: test.alg, Issuer: c.DID(t, "subject"), Feed: "feed",
			})
			if err != nil {
				t.Fatal(err)
			}
			m, err := cose.Parse(raw, cose.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if m.Algorithm != test.alg {
				t.Errorf("got algorithm %d, want %d", m.Algorithm, test.alg)
			}
			if err := m.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The header names an algorithm that the leaf's key does not have. The signature is a good one of the key.
func TestAlgorithmConfusion(t *testing.T) {
	tests := []struct {
		name   string
		key    cosetest.KeyType
		signed int64
		said   any
		class  error
		text   string
	}{
		{"rsa-pss-for-ec", cosetest.P256, cose.ES256, cose.PS256, cose.ErrSignature, "does not fit"},
		{"ecdsa-for-rsa", cosetest.RSA, cose.PS256, cose.ES256, cose.ErrSignature, "does not fit"},
		{"eddsa-for-ec", cosetest.P256, cose.ES256, cose.EdDSA, cose.ErrSignature, "does not fit"},
		{"ecdsa-for-ed25519", cosetest.Ed25519, cose.EdDSA, cose.ES256, cose.ErrSignature, "does not fit"},
		{"other-hash", cosetest.P256, cose.ES256, cose.ES384, cose.ErrSignature, "verification error"},
		{"other-pss-hash", cosetest.RSA, cose.PS384, cose.PS256, cose.ErrSignature, "verification error"},
		{"pkcs1", cosetest.RSA, cose.PS256, -257, cose.ErrSignature, "got algorithm -257"},
		{"hmac", cosetest.P256, cose.ES256, 5, cose.ErrSignature, "got algorithm 5"},
		{"zero", cosetest.P256, cose.ES256, 0, cose.ErrSignature, "got algorithm 0"},
		{"text", cosetest.P256, cose.ES256, "ES256", cose.ErrFormat, "want an integer"},
		{"float", cosetest.P256, cose.ES256, -7.0, cose.ErrFormat, "want an integer"},
		{"huge", cosetest.P256, cose.ES256, uint64(1) << 63, cose.ErrFormat, "alg"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := cosetest.NewChain(t, cosetest.ChainOptions{Key: test.key})
			header := c.Header(c.DID(t, "subject"), "feed")
			header[1] = test.said
			raw := cosetest.Forge(t, c.Signer(), test.signed, header, nil, []byte(payload), nil)
			_, err := cose.Open(raw, cose.Options{})
			wantError(t, err, test.class, test.text)
		})
	}
}

func TestEveryByteCounts(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	raw := c.Document(t, []byte(payload), "feed", ptr(1))
	if _, err := cose.Open(raw, cose.Options{}); err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		if _, err := cose.Open(bad, cose.Options{}); err == nil {
			t.Errorf("byte %d of %d: a change passes", i, len(raw))
		}
		if _, err := cose.Open(raw[:i], cose.Options{}); err == nil {
			t.Errorf("the first %d of %d bytes pass", i, len(raw))
		}
	}
}

// Parts of two good messages of one signer do not make a third.
func TestMixedParts(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	first := parts(t, c.Document(t, []byte("first"), "feed", ptr(1)))
	second := parts(t, c.Document(t, []byte("other"), "feed", ptr(2)))
	for i, name := range []string{"protected", "", "payload", "signature"} {
		if name == "" {
			continue
		}
		mixed := append([]cbor.RawMessage{}, first...)
		mixed[i] = second[i]
		_, err := cose.Open(join(t, mixed), cose.Options{})
		wantError(t, err, cose.ErrSignature, "verification error")
	}
}

func parts(t *testing.T, raw []byte) []cbor.RawMessage {
	t.Helper()
	var tag cbor.RawTag
	if err := cbor.Unmarshal(raw, &tag); err != nil {
		t.Fatal(err)
	}
	var out []cbor.RawMessage
	if err := cbor.Unmarshal(tag.Content, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func join(t *testing.T, p []cbor.RawMessage) []byte {
	t.Helper()
	return cosetest.Marshal(t, cbor.Tag{Number: 18, Content: p})
}

// forged is a message whose headers a test chose; its signature is good.
type forged struct {
	name        string
	edit        func(protected, unprotected map[any]any)
	class       error
	text        string
	contentType string
}

func TestHeaders(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	other := cosetest.NewChain(t, cosetest.ChainOptions{})
	thumbprint := func(raw []byte) []byte { s := sha256.Sum256(raw); return s[:] }
	tests := []forged{
		{name: "plain", edit: func(_, _ map[any]any) {}},
		{name: "unprotected-timestamp", edit: func(_, u map[any]any) { u["timestamp"] = []byte{1} }},
		{name: "signing-time", edit: func(p, _ map[any]any) { p["signingtime"] = cbor.Tag{Number: 1, Content: 1640995200} }},
		{name: "content-type", edit: func(p, _ map[any]any) { p[3] = "application/unknown+rego" }, contentType: "application/unknown+rego"},
		{name: "content-format", edit: func(p, _ map[any]any) { p[3] = 50 }, contentType: "50"},
		{name: "content-type-bytes", edit: func(p, _ map[any]any) { p[3] = []byte("a/b") }, class: cose.ErrFormat, text: "content type"},

		{name: "no-alg", edit: func(p, _ map[any]any) { delete(p, 1) }, class: cose.ErrFormat, text: "no alg"},
		{name: "no-x5chain", edit: func(p, _ map[any]any) { delete(p, 33) }, class: cose.ErrFormat, text: "no x5chain"},
		{name: "alg-unprotected", edit: func(p, u map[any]any) { u[1] = p[1]; delete(p, 1) }, class: cose.ErrFormat, text: "label 1 must be in the protected header"},
		{name: "x5chain-unprotected", edit: func(p, u map[any]any) { u[33] = p[33]; delete(p, 33) }, class: cose.ErrFormat, text: "label 33 must be in the protected header"},
		{name: "x5chain-in-both", edit: func(p, u map[any]any) { u[33] = other.X5Chain() }, class: cose.ErrFormat, text: "label 33"},
		{name: "claims-unprotected", edit: func(p, u map[any]any) { u[15] = p[15]; delete(p, 15) }, class: cose.ErrFormat, text: "label 15"},
		{name: "crit-unprotected", edit: func(p, u map[any]any) { u[2] = []int{1} }, class: cose.ErrFormat, text: "label 2 "},
		{name: "number-in-both", edit: func(p, u map[any]any) { p[3], u[3] = "a/b", "c/d" }, class: cose.ErrFormat, text: "label 3 is in both"},
		{name: "text-in-both", edit: func(p, u map[any]any) { p["x"], u["x"] = 1, 1 }, class: cose.ErrFormat, text: `label "x" is in both`},

		{name: "crit-understood", edit: func(p, _ map[any]any) { p[2] = []int{1, 15, 33} }},
		{name: "crit-text", edit: func(p, _ map[any]any) { p["iss"] = "x"; p[2] = []any{"iss"} }},
		{name: "crit-unknown", edit: func(p, _ map[any]any) { p[99] = 1; p[2] = []int{99} }, class: cose.ErrFormat, text: "crit names label 99, which is not understood"},
		{name: "crit-unknown-text", edit: func(p, _ map[any]any) { p["x"] = 1; p[2] = []any{"x"} }, class: cose.ErrFormat, text: `crit names label "x", which is not understood`},
		{name: "crit-absent", edit: func(p, _ map[any]any) { p[2] = []int{34} }, class: cose.ErrFormat, text: "not in the protected header"},
		{name: "crit-absent-text", edit: func(p, _ map[any]any) { p[2] = []any{"feed"} }, class: cose.ErrFormat, text: "not in the protected header"},
		{name: "crit-empty", edit: func(p, _ map[any]any) { p[2] = []int{} }, class: cose.ErrFormat, text: "crit: got 0 elements"},
		{name: "crit-no-array", edit: func(p, _ map[any]any) { p[2] = 1 }, class: cose.ErrFormat, text: "crit"},
		{name: "crit-bytes", edit: func(p, _ map[any]any) { p[2] = []any{[]byte{1}} }, class: cose.ErrFormat, text: "crit entry"},

		{name: "x5t", edit: func(p, _ map[any]any) { p[34] = []any{-16, thumbprint(c.Certs[0].Raw)} }},
		{name: "x5t-of-another", edit: func(p, _ map[any]any) { p[34] = []any{-16, thumbprint(other.Certs[0].Raw)} }, class: cose.ErrFormat, text: "x5t: got"},
		{name: "x5t-of-issuer", edit: func(p, _ map[any]any) { p[34] = []any{-16, thumbprint(c.Certs[1].Raw)} }, class: cose.ErrFormat, text: "x5t: got"},
		{name: "x5t-truncated", edit: func(p, _ map[any]any) { p[34] = []any{-16, thumbprint(c.Certs[0].Raw)[:8]} }, class: cose.ErrFormat, text: "x5t: got"},
		{name: "x5t-sha1", edit: func(p, _ map[any]any) { p[34] = []any{-14, make([]byte, 20)} }, class: cose.ErrFormat, text: "hash algorithm -14"},
		{name: "x5t-form", edit: func(p, _ map[any]any) { p[34] = thumbprint(c.Certs[0].Raw) }, class: cose.ErrFormat, text: "x5t"},

		{name: "x5chain-empty", edit: func(p, _ map[any]any) { p[33] = []any{} }, class: cose.ErrFormat, text: "x5chain: got 0 elements, want 1 to 8"},
		{name: "x5chain-nine", edit: func(p, _ map[any]any) { p[33] = bytesTimes(c.Certs[0].Raw, 9) }, class: cose.ErrFormat, text: "x5chain: got 9 elements, want 1 to 8"},
		{name: "x5chain-garbage", edit: func(p, _ map[any]any) { p[33] = [][]byte{{1, 2}} }, class: cose.ErrFormat, text: "x5chain, certificate 0"},
		{name: "x5chain-trailing", edit: func(p, _ map[any]any) { p[33] = [][]byte{append(bytes.Clone(c.Certs[0].Raw), 0)} }, class: cose.ErrFormat, text: "certificate 0"},
		{name: "x5chain-long", edit: func(p, _ map[any]any) { p[33] = [][]byte{make([]byte, cose.MaxCertificate+1)} }, class: cose.ErrFormat, text: "want at most 16384"},
		{name: "x5chain-text", edit: func(p, _ map[any]any) { p[33] = "x" }, class: cose.ErrFormat, text: "x5chain"},
		{name: "x5chain-of-text", edit: func(p, _ map[any]any) { p[33] = []any{"x"} }, class: cose.ErrFormat, text: "want a byte string"},
		{name: "x5chain-of-numbers", edit: func(p, _ map[any]any) { p[33] = []any{[]any{48, 130}} }, class: cose.ErrFormat, text: "want a byte string"},
		{name: "x5chain-of-another", edit: func(p, _ map[any]any) { p[33] = other.X5Chain() }, class: cose.ErrSignature, text: "verification error"},

		{name: "label-bytes", edit: func(p, _ map[any]any) { p[cbor.ByteString("a")] = 1 }, class: cose.ErrFormat, text: "want integer or text"},
		{name: "label-out-of-range", edit: func(p, _ map[any]any) { p[uint64(1)<<63] = 1 }, class: cose.ErrFormat, text: "out of range"},
	}
	did := c.DID(t, "subject")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			protected, unprotected := c.Header(did, "feed"), map[any]any{}
			test.edit(protected, unprotected)
			raw := cosetest.Forge(t, c.Signer(), cose.ES256, protected, unprotected, []byte(payload), nil)
			d, err := cose.Open(raw, cose.Options{})
			if test.class != nil {
				wantError(t, err, test.class, test.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.ContentType != test.contentType {
				t.Errorf("got content type %q, want %q", d.ContentType, test.contentType)
			}
		})
	}
}

func bytesTimes(b []byte, n int) [][]byte {
	var out [][]byte
	for range n {
		out = append(out, b)
	}
	return out
}

func TestClaims(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	did := c.DID(t, "subject")
	long := strings.Repeat("x", cose.MaxFeed+1)
	tests := []struct {
		name  string
		edit  func(p map[any]any)
		svn   *int64
		feed  string
		class error
		text  string
	}{
		{name: "cwt", edit: func(p map[any]any) {}, feed: "feed"},
		{name: "svn", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", "svn": 3} }, feed: "feed", svn: ptr(3)},
		{name: "svn-zero", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", "svn": 0} }, feed: "feed", svn: ptr(0)},
		{name: "text", edit: func(p map[any]any) { delete(p, 15); p["iss"], p["feed"] = did, "text feed" }, feed: "text feed"},
		{name: "text-yields-to-cwt", edit: func(p map[any]any) { p["iss"], p["feed"] = "did:other", "other" }, feed: "feed"},
		{name: "text-fills-in", edit: func(p map[any]any) { p[15] = map[any]any{"svn": 9}; p["iss"], p["feed"] = did, "f" }, feed: "f", svn: ptr(9)},
		{name: "svn-outside-cwt-is-none", edit: func(p map[any]any) { p["svn"] = 5 }, feed: "feed"},
		{name: "other-claims", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", 6: 1640995200, "x": "y"} }, feed: "feed"},

		{name: "no-claims", edit: func(p map[any]any) { delete(p, 15) }, class: cose.ErrClaims, text: "no iss"},
		{name: "no-feed", edit: func(p map[any]any) { p[15] = map[any]any{1: did} }, class: cose.ErrClaims, text: "no feed"},
		{name: "no-iss", edit: func(p map[any]any) { p[15] = map[any]any{2: "feed"} }, class: cose.ErrClaims, text: "no iss"},
		{name: "no-text-feed", edit: func(p map[any]any) { delete(p, 15); p["iss"] = did }, class: cose.ErrClaims, text: "no feed"},
		{name: "empty-iss", edit: func(p map[any]any) { p[15] = map[any]any{1: "", 2: "feed"} }, class: cose.ErrClaims, text: "iss is empty"},
		{name: "empty-feed", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: ""} }, class: cose.ErrClaims, text: "feed is empty"},
		{name: "iss-bytes", edit: func(p map[any]any) { p[15] = map[any]any{1: []byte(did), 2: "feed"} }, class: cose.ErrClaims, text: "iss"},
		{name: "feed-number", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: 7} }, class: cose.ErrClaims, text: "feed"},
		{name: "feed-long", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: long} }, class: cose.ErrClaims, text: "want at most 1024"},
		{name: "svn-negative", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", "svn": -1} }, class: cose.ErrClaims, text: "svn: got -1"},
		{name: "svn-text", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", "svn": "1"} }, class: cose.ErrClaims, text: "svn"},
		{name: "svn-float", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", "svn": 1.0} }, class: cose.ErrClaims, text: "svn"},
		{name: "svn-huge", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", "svn": uint64(1) << 63} }, class: cose.ErrClaims, text: "svn"},
		{name: "svn-bignum", edit: func(p map[any]any) {
			p[15] = map[any]any{1: did, 2: "feed", "svn": cbor.Tag{Number: 2, Content: []byte{1}}}
		}, class: cose.ErrClaims, text: "svn"},
		{name: "svn-null", edit: func(p map[any]any) { p[15] = map[any]any{1: did, 2: "feed", "svn": nil} }, class: cose.ErrClaims, text: "svn"},
		{name: "claims-array", edit: func(p map[any]any) { p[15] = []any{did, "feed"} }, class: cose.ErrClaims, text: "CWT claims"},
		{name: "foreign-did", edit: func(p map[any]any) { p[15] = map[any]any{1: strings.Replace(did, "Leaf", "Leek", 1), 2: "feed"} }, class: cose.ErrDID, text: "CN"},
		{name: "no-did", edit: func(p map[any]any) { p[15] = map[any]any{1: "https://example.com", 2: "feed"} }, class: cose.ErrDID, text: "did:x509:0:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			header := c.Header(did, "feed")
			test.edit(header)
			d, err := cose.Open(cosetest.Forge(t, c.Signer(), cose.ES256, header, nil, []byte(payload), nil), cose.Options{})
			if test.class != nil {
				wantError(t, err, test.class, test.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.Issuer != did || d.Feed != test.feed {
				t.Errorf("got issuer %q, feed %q, want %q, %q", d.Issuer, d.Feed, did, test.feed)
			}
			if (d.SVN == nil) != (test.svn == nil) || d.SVN != nil && *d.SVN != *test.svn {
				t.Errorf("got svn %v, want %v", d.SVN, test.svn)
			}
		})
	}
}

// Repeated keys, at any depth and however the key is spelt: readers differ in which of two counts.
func TestRepeatedKeys(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	did := c.DID(t, "subject")
	header := c.Header(did, "feed")
	// The claims, with one key more.
	claims := func(extra ...byte) cbor.RawMessage {
		out := append([]byte{0xa3, 1}, cosetest.Marshal(t, did)...)
		out = append(append(out, 2), cosetest.Marshal(t, "feed")...)
		return append(out, extra...)
	}
	// The header, with one pair more at its end.
	appended := func(pair ...byte) []byte {
		raw := cosetest.Marshal(t, header)
		raw[0]++
		return append(raw, pair...)
	}
	with := func(key int, value any) []byte {
		h := maps.Clone(header)
		h[key] = value
		return cosetest.Marshal(t, h)
	}
	tests := map[string][]byte{
		"number":               appended(0x01, 0x26),
		"number-longer":        appended(0x18, 0x01, 0x26),
		"number-longest":       appended(0x1b, 0, 0, 0, 0, 0, 0, 0, 1, 0x26),
		"claim":                with(15, claims(0x02, 0x61, 'x')),
		"claim-longer":         with(15, claims(0x18, 0x02, 0x61, 'x')),
		"nested-in-unknown":    with(99, cbor.RawMessage{0xa2, 1, 1, 1, 2}),
		"nested-bytes":         with(99, cbor.RawMessage{0x81, 0xa2, 0x41, 1, 1, 0x41, 1, 2}),
		"nested-text-in-array": with(99, cbor.RawMessage{0x81, 0xa2, 0x61, 'a', 1, 0x61, 'a', 2}),
	}
	for name, protected := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := cose.Open(cosetest.ForgeRaw(t, c.Signer(), cose.ES256, protected, nil, []byte(payload), nil), cose.Options{})
			if err == nil || !strings.Contains(err.Error(), "duplicate map key") {
				t.Errorf("got error %v, want a duplicate map key", err)
			}
		})
	}
	t.Run("unprotected", func(t *testing.T) {
		p := parts(t, c.Document(t, []byte(payload), "feed", nil))
		p[1] = cbor.RawMessage{0xa2, 0x19, 0x01, 0x8a, 0x80, 0x19, 0x01, 0x8a, 0x80}
		_, err := cose.Parse(join(t, p), cose.Options{})
		wantError(t, err, cose.ErrFormat, "duplicate map key")
	})
	t.Run("a-longer-number-alone-is-one-key", func(t *testing.T) {
		h := maps.Clone(header)
		delete(h, 1)
		raw := cosetest.Marshal(t, h)
		raw[0]++
		raw = append(raw, 0x18, 0x01, 0x26)
		if _, err := cose.Open(cosetest.ForgeRaw(t, c.Signer(), cose.ES256, raw, nil, []byte(payload), nil), cose.Options{}); err != nil {
			t.Error(err)
		}
	})
}

func TestShape(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	good := c.Document(t, []byte(payload), "feed", nil)
	p := parts(t, good)
	replaced := func(i int, item ...byte) []byte {
		q := append([]cbor.RawMessage{}, p...)
		q[i] = item
		return join(t, q)
	}
	// cbor's encoder refuses malformed items, so these are put together by hand.
	spliced := func(i int, item ...byte) []byte {
		out := []byte{0xd2, 0x84}
		for j, part := range p {
			if j == i {
				part = item
			}
			out = append(out, part...)
		}
		return out
	}
	tests := []struct {
		name, text string
		raw        []byte
	}{
		{"empty", "want a tagged COSE_Sign1", nil},
		{"one-byte", "want a tagged COSE_Sign1", good[:1]},
		{"untagged", "want a tagged COSE_Sign1", good[1:]},
		{"tag-98", "want a tagged COSE_Sign1", append([]byte{0xd8, 98}, good[1:]...)},
		{"tag-17", "want a tagged COSE_Sign1", append([]byte{0xd1}, good[1:]...)},
		{"tag-twice", "want a tagged COSE_Sign1", append([]byte{0xd2}, good...)},
		{"longer-tag", "want a tagged COSE_Sign1", append([]byte{0xd8, 18}, good[1:]...)},
		{"three", "want a tagged COSE_Sign1", cosetest.Marshal(t, cbor.Tag{Number: 18, Content: p[:3]})},
		{"five", "want a tagged COSE_Sign1", cosetest.Marshal(t, cbor.Tag{Number: 18, Content: append(p[:4:4], p[3])})},
		{"trailing", "extraneous", append(bytes.Clone(good), 0)},
		{"protected-map", "protected header: got CBOR major type 5", replaced(0, 0xa0)},
		{"protected-empty", "protected header", replaced(0, 0x40)},
		{"protected-empty-map", "no alg", replaced(0, 0x41, 0xa0)},
		{"protected-array", "protected header: got CBOR major type 4", replaced(0, 0x41, 0x80)},
		{"protected-of-numbers", "protected header: got CBOR major type 4", replaced(0, 0x81, 0x00)},
		{"protected-null", "protected header", replaced(0, 0xf6)},
		{"protected-trailing", "extraneous", replaced(0, 0x42, 0xa0, 0x00)},
		{"unprotected-array", "unprotected header: got CBOR major type 4", replaced(1, 0x80)},
		{"unprotected-null", "unprotected header", replaced(1, 0xf6)},
		{"payload-text", "payload: got CBOR major type 3", replaced(2, 0x61, 'x')},
		{"payload-undefined", "payload", replaced(2, 0xf7)},
		{"payload-null", "detached", replaced(2, 0xf6)},
		{"payload-tagged", "payload", replaced(2, 0xd8, 24, 0x41, 'x')},
		{"signature-text", "signature", replaced(3, 0x61, 'x')},
		{"signature-null", "signature", replaced(3, 0xf6)},
		{"signature-of-numbers", "signature", replaced(3, 0x82, 1, 2)},
		{"signature-long", "signature", replaced(3, cosetest.Marshal(t, make([]byte, cose.MaxSignature+1))...)},
		{"bad-utf8", "UTF-8", replaced(1, 0xa1, 0x61, 0xff, 0x00)},
		{"indefinite-array", "want a tagged COSE_Sign1", append(append([]byte{0xd2, 0x9f}, good[2:]...), 0xff)},
		{"indefinite-protected", "indefinite", spliced(0, append(append([]byte{0x5f}, p[0]...), 0xff)...)},
		{"indefinite-map", "indefinite", spliced(1, 0xbf, 0xff)},
		{"indefinite-payload", "indefinite", spliced(2, 0x5f, 0x41, 'x', 0xff)},
		{"indefinite-inside-protected", "indefinite", replaced(0, 0x42, 0xbf, 0xff)},
		{"indefinite-text-inside", "indefinite", spliced(1, 0xa1, 0x7f, 0x61, 'x', 0xff, 0x00)},
		{"break-alone", "unexpected", spliced(1, 0xff)},
		{"reserved-info", "invalid", spliced(1, 0x1c)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := cose.Parse(test.raw, cose.Options{})
			wantError(t, err, cose.ErrFormat, test.text)
		})
	}
}

// What a few bytes announce must cost nothing before it is there.
func TestAnnouncedLengthsCostNothing(t *testing.T) {
	deep := func(n int, opener byte) []byte { return append(bytes.Repeat([]byte{opener}, n), 0x00) }
	wrap := func(content []byte) []byte { // as a protected header
		out := append([]byte{0xd2, 0x84}, cosetest.Marshal(t, content)...)
		return append(out, 0xa0, 0x40, 0x40)
	}
	tests := map[string][]byte{
		"array":               {0xd2, 0x84, 0x9b, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"bytes":               {0xd2, 0x84, 0x5b, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00},
		"bytes-negative":      {0xd2, 0x84, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00},
		"map":                 {0xd2, 0x84, 0x40, 0xbb, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00},
		"text":                {0xd2, 0x84, 0x40, 0xa1, 0x7b, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00},
		"array-in-header":     wrap([]byte{0xa1, 0x18, 0x21, 0x9b, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
		"map-in-header":       wrap([]byte{0xbb, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00}),
		"array-4G":            wrap([]byte{0xa1, 0x18, 0x21, 0x9a, 0xff, 0xff, 0xff, 0xff}),
		"deep-arrays":         wrap(append([]byte{0xa1, 0x01}, deep(100_000, 0x81)...)),
		"deep-tags":           wrap(append([]byte{0xa1, 0x01}, deep(100_000, 0xc1)...)),
		"deep-maps":           wrap(append([]byte{0xa1, 0x01}, bytes.Repeat([]byte{0xa1, 0x01}, 100_000)...)),
		"deep-unprotected":    append([]byte{0xd2, 0x84, 0x40, 0xa1, 0x01}, deep(100_000, 0x81)...),
		"array-of-many-there": wrap(append([]byte{0xa1, 0x01, 0x99, 0xff, 0xff}, make([]byte, 0xffff)...)),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := cose.Parse(raw, cose.Options{})
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("it passes")
			}
			// The elements of the message and of a header are copied once, and the copies are rounded up.
			if got, most := after.TotalAlloc-before.TotalAlloc, uint64(2*len(raw)+32<<10); got > most {
				t.Errorf("got %d bytes allocated for %d, want at most %d", got, len(raw), most)
			}
		})
	}
}

func TestSize(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	small := c.Document(t, []byte(payload), "feed", nil)
	if _, err := cose.Parse(small, cose.Options{MaxSize: len(small)}); err != nil {
		t.Error(err)
	}
	_, err := cose.Parse(small, cose.Options{MaxSize: len(small) - 1})
	wantError(t, err, cose.ErrFormat, fmt.Sprintf("got %d bytes, want at most %d", len(small), len(small)-1))

	overhead := len(small) - len(payload) + 4
	header := c.Header(c.DID(t, "subject"), "feed")
	for _, test := range []struct {
		size int
		fits bool
	}{{cose.MaxMessage - overhead, true}, {cose.MaxMessage, false}} {
		raw := cosetest.Forge(t, c.Signer(), cose.ES256, header, nil, make([]byte, test.size), nil)
		for _, o := range []cose.Options{{}, {MaxSize: cose.MaxMessage * 2}} {
			d, err := cose.Open(raw, o)
			if test.fits && (err != nil || len(d.Payload) != test.size) {
				t.Errorf("payload of %d bytes: %v", test.size, err)
			}
			if !test.fits {
				wantError(t, err, cose.ErrFormat, "want at most 4194304")
			}
		}
	}

	header["padding"] = make([]byte, cose.MaxHeader)
	_, err = cose.Parse(cosetest.Forge(t, c.Signer(), cose.ES256, header, nil, []byte(payload), nil), cose.Options{})
	wantError(t, err, cose.ErrFormat, "protected header")
	delete(header, "padding")
	_, err = cose.Parse(cosetest.Forge(t, c.Signer(), cose.ES256, header, map[any]any{"padding": make([]byte, cose.MaxHeader)}, []byte(payload), nil), cose.Options{})
	wantError(t, err, cose.ErrFormat, "unprotected header: got")
}

func TestDetached(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	header := c.Header(c.DID(t, "subject"), "feed")
	raw := cosetest.Forge(t, c.Signer(), cose.ES256, header, nil, nil, []byte(payload))
	_, err := cose.Open(raw, cose.Options{})
	wantError(t, err, cose.ErrFormat, "the payload is detached")
	d, err := cose.Open(raw, cose.Options{Detached: []byte(payload)})
	if err != nil || string(d.Payload) != payload {
		t.Fatalf("got %v, %v", d, err)
	}
	_, err = cose.Open(raw, cose.Options{Detached: []byte("other")})
	wantError(t, err, cose.ErrSignature, "verification error")
	_, err = cose.Open(c.Document(t, []byte(payload), "feed", nil), cose.Options{Detached: []byte(payload)})
	wantError(t, err, cose.ErrFormat, "want a detached one")
}

// Reference information is opened without its issuer (policy contract, section 2.6).
func TestVerifyDoesNotNeedClaims(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	raw := cosetest.Forge(t, c.Signer(), cose.ES256, map[any]any{1: cose.ES256, 33: c.X5Chain()}, nil, []byte("{}"), nil)
	m, err := cose.Parse(raw, cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(); err != nil {
		t.Error(err)
	}
}

// signerOnly hides the key's type, as a device's key does.
type signerOnly struct{ crypto.Signer }

func TestSign(t *testing.T) {
	for name, kind := range map[string]cosetest.KeyType{"p256": cosetest.P256, "p384": cosetest.P384, "rsa": cosetest.RSA, "ed25519": cosetest.Ed25519} {
		t.Run(name, func(t *testing.T) {
			c := cosetest.NewChain(t, cosetest.ChainOptions{Key: kind})
			o := cose.SignOptions{
				Signer: signerOnly{c.Signer()}, Chain: c.Certs, Issuer: c.DID(t, "subject"), Feed: "feed", SVN: ptr(4),
				ContentType: "application/unknown+rego", Thumbprint: true,
			}
			first, err := cose.Sign([]byte(payload), o)
			if err != nil {
				t.Fatal(err)
			}
			second, err := cose.Sign([]byte(payload), o)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(parts(t, first)[0], parts(t, second)[0]) {
				t.Error("the same options give different headers")
			}
			d, err := cose.Open(first, cose.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if d.ContentType != o.ContentType || *d.SVN != 4 {
				t.Errorf("got %+v", d)
			}
		})
	}
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	other := cosetest.NewChain(t, cosetest.ChainOptions{})
	did := c.DID(t, "subject")
	good := cose.SignOptions{Signer: c.Signer(), Chain: c.Certs, Issuer: did, Feed: "feed"}
	if raw, err := cose.Sign(nil, good); err != nil {
		t.Error(err)
	} else if d, err := cose.Open(raw, cose.Options{}); err != nil || len(d.Payload) != 0 {
		t.Errorf("an empty payload: got %v, %v", d, err)
	}
	text := good
	text.TextLabels = true
	raw, err := cose.Sign([]byte(payload), text)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := cose.Open(raw, cose.Options{}); err != nil || d.Issuer != did || d.Feed != "feed" || d.SVN != nil {
		t.Errorf("text labels: got %v, %v", d, err)
	}
	tests := []struct {
		name, text string
		edit       func(o *cose.SignOptions)
	}{
		{"no-signer", "are needed", func(o *cose.SignOptions) { o.Signer = nil }},
		{"no-chain", "are needed", func(o *cose.SignOptions) { o.Chain = nil }},
		{"text-and-svn", "no place for an svn", func(o *cose.SignOptions) { o.TextLabels, o.SVN = true, ptr(1) }},
		{"no-issuer", "iss is empty", func(o *cose.SignOptions) { o.Issuer = "" }},
		{"no-feed", "feed is empty", func(o *cose.SignOptions) { o.Feed = "" }},
		{"foreign-issuer", "no issuer in the chain", func(o *cose.SignOptions) { o.Issuer = other.DID(t, "subject") }},
		{"foreign-key", "verification error", func(o *cose.SignOptions) { o.Signer = other.Signer() }},
		{"short-chain", "only the leaf", func(o *cose.SignOptions) { o.Chain = o.Chain[:1] }},
		{"wrong-algorithm", "ES256", func(o *cose.SignOptions) { o.Signer, o.Algorithm = cosetest.NewKey(t, cosetest.RSA, 0), cose.ES256 }},
		{"negative-svn", "svn: got -1", func(o *cose.SignOptions) { o.SVN = ptr(-1) }},
		{"no-certificate", "x5chain", func(o *cose.SignOptions) { o.Chain = []*x509.Certificate{{Raw: []byte{1}}} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := good
			test.edit(&o)
			_, err := cose.Sign([]byte(payload), o)
			wantError(t, err, cose.ErrSign, test.text)
		})
	}
}
