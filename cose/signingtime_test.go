package cose_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
)

func TestSigningTimeRoundTrip(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.P384})
	o := cose.SignOptions{Signer: chain.Signer(), Chain: chain.Certs, Issuer: chain.DID(t, "subject"), Feed: "f", TextLabels: true}
	for _, c := range []struct {
		name string
		at   time.Time
		ok   bool
	}{
		{"none", time.Time{}, false},
		{"whole-seconds", time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC), true},
		{"other-zone", time.Date(2026, 10, 1, 12, 0, 0, 999, time.FixedZone("x", 3600)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o.SigningTime = c.at
			raw, err := cose.Sign([]byte("p"), o)
			if err != nil {
				t.Fatal(err)
			}
			d, err := cose.Open(raw, cose.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, ok, err := d.Message.SigningTime()
			if err != nil || ok != c.ok || (ok && !got.Equal(c.at.Truncate(time.Second))) {
				t.Errorf("got %v %v %v, want %v %v", got, ok, err, c.at, c.ok)
			}
		})
	}
}

func TestSigningTimeForms(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.P384})
	want := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, c := range []struct {
		name  string
		value any
		ok    bool
	}{
		{"epoch", cbor.Tag{Number: 1, Content: want.Unix()}, true},
		{"text", cbor.Tag{Number: 0, Content: "2024-05-06T07:08:09Z"}, true},
		{"text-with-zone", cbor.Tag{Number: 0, Content: "2024-05-06T09:08:09+02:00"}, true},
		{"bare-number", want.Unix(), false},
		{"bare-text", "2024-05-06T07:08:09Z", false},
		{"before-1970", cbor.Tag{Number: 1, Content: -1}, false},
		{"after-9999", cbor.Tag{Number: 1, Content: int64(1) << 60}, false},
		{"other-tag", cbor.Tag{Number: 100, Content: 1}, false},
		{"float", cbor.Tag{Number: 1, Content: 1.5}, false},
		{"no-text", cbor.Tag{Number: 0, Content: "yesterday"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := chain.Header(chain.DID(t, "subject"), "f")
			header[1], header["signingtime"] = cose.ES384, c.value
			m, err := cose.Parse(cosetest.Forge(t, chain.Signer(), cose.ES384, header, nil, []byte("p"), nil), cose.Options{})
			if err != nil {
				if c.ok {
					t.Fatal(err)
				}
				return // a value that no header may hold
			}
			got, ok, err := m.SigningTime()
			if c.ok && (err != nil || !ok || !got.Equal(want)) {
				t.Errorf("got %v %v %v, want %v", got, ok, err, want)
			}
			if !c.ok && !errors.Is(err, cose.ErrClaims) {
				t.Errorf("got %v %v %v, want a refusal", got, ok, err)
			}
		})
	}
}

// Who rebuilds a release signs the same document, byte for byte, as far as the key allows it.
func TestSignIsRepeatable(t *testing.T) {
	for name, c := range map[string]struct {
		key  cosetest.KeyType
		same bool
	}{"P-256": {cosetest.P256, true}, "P-384": {cosetest.P384, true}, "P-521": {cosetest.P521, true}, "Ed25519": {cosetest.Ed25519, true}, "RSA": {cosetest.RSA, false}} {
		t.Run(name, func(t *testing.T) {
			chain := cosetest.NewChain(t, cosetest.ChainOptions{Key: c.key})
			a, b := chain.Document(t, []byte("p"), "f", nil), chain.Document(t, []byte("p"), "f", nil)
			if bytes.Equal(a, b) != c.same {
				t.Errorf("two documents over the same are equal: got %v, want %v", !c.same, c.same)
			}
		})
	}
}
