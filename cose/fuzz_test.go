package cose_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	gocose "github.com/veraison/go-cose"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
)

var update = flag.Bool("update", false, "make the stored documents anew")

// Fuzz with -fuzzminimizetime=10x: by default the minute goes into making certificate chains smaller.

// Stored documents: what was accepted once is accepted later, and the fuzzers begin with them.
const (
	storedFragment  = "fragment.cose"
	storedText      = "fragment-text.cose"
	storedReceipt   = "fragment-receipt.cose"
	storedTrustList = "trust-list.cose"
	storedRSA       = "fragment-rsa.cose"
	storedChain     = "chain.pem"
)

func stored(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func storedCertificates(t testing.TB) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	rest := stored(t, storedChain)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
}

// store makes the documents, of keys that are then forgotten.
func store(t *testing.T) {
	t.Helper()
	write := func(name string, raw []byte) {
		if err := os.WriteFile(filepath.Join("testdata", name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := cosetest.NewChain(t, didLeaf)
	var certs bytes.Buffer
	for _, cert := range c.Certs {
		if err := pem.Encode(&certs, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	write(storedChain, certs.Bytes())
	ledger := cosetest.NewLedger(t, "ledger.example", cosetest.P384)
	fragment := c.Document(t, []byte(payload), "feed", ptr(3))
	write(storedFragment, fragment)
	write(storedReceipt, cosetest.Register(t, fragment, ledger))
	write(storedTrustList, c.TrustList(t, "list", 2, ledger))
	text, err := cose.Sign([]byte(payload), cose.SignOptions{
		Signer: c.Signer(), Chain: c.Certs, Issuer: c.DID(t, "eku"), Feed: "feed", TextLabels: true, Thumbprint: true, ContentType: "application/unknown+rego",
	})
	if err != nil {
		t.Fatal(err)
	}
	write(storedText, text)
	write(storedRSA, cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.RSA, Length: 2}).Document(t, []byte(payload), "feed", nil))
}

func TestStoredDocuments(t *testing.T) {
	if *update {
		store(t)
	}
	for _, name := range []string{storedFragment, storedText, storedReceipt, storedRSA} {
		d, err := cose.Open(stored(t, name), cose.Options{})
		if err != nil || string(d.Payload) != payload || d.Feed != "feed" {
			t.Errorf("%s: got %v, %v", name, d, err)
		}
	}
	list, err := cose.OpenTrustList(stored(t, storedTrustList), cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := cose.Parse(stored(t, storedReceipt), cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if verified, problems := m.VerifyReceipts(list); len(verified) != 1 {
		t.Errorf("got %v, %v", verified, problems)
	}
}

// FuzzParse: any bytes are a message or a format error; a message verifies only if it says what a stored one says; and where the
// library that the reference reads with accepts the message as well, it reads the same.
func FuzzParse(f *testing.F) {
	said := map[string]bool{}
	for _, name := range []string{storedFragment, storedText, storedReceipt, storedTrustList, storedRSA} {
		raw := stored(f, name)
		f.Add(raw)
		d, err := cose.Open(raw, cose.Options{})
		if err != nil {
			f.Fatal(err)
		}
		said[d.Issuer+"\n"+d.Feed+"\n"+string(d.Payload)] = true
	}
	list, err := cose.OpenTrustList(stored(f, storedTrustList), cose.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := cose.Parse(raw, cose.Options{})
		if err != nil {
			if m != nil || !errors.Is(err, cose.ErrFormat) {
				t.Fatalf("got %v, error %v, want a format error alone", m, err)
			}
			return
		}
		_, _ = m.Claims()
		_, _, _ = m.SigningTime()
		_, _ = m.VerifyReceipts(list)
		if again, err := cose.WithReceipts(raw); err != nil {
			t.Fatalf("a message that parses has no place for receipts: %v", err)
		} else if n, err := cose.Parse(again, cose.Options{}); err != nil || n.Digest() != m.Digest() {
			t.Fatalf("another digest without receipts, or %v", err)
		}
		if d, err := cose.Open(raw, cose.Options{}); err == nil && !said[d.Issuer+"\n"+d.Feed+"\n"+string(d.Payload)] {
			t.Fatalf("a message that nobody signed opens: %q %q %q", d.Issuer, d.Feed, d.Payload)
		}
		var other gocose.Sign1Message
		if other.UnmarshalCBOR(raw) != nil {
			return
		}
		alg, err := other.Headers.Protected.Algorithm()
		if err != nil || int64(alg) != m.Algorithm || !bytes.Equal(other.Payload, m.Payload) {
			t.Fatalf("go-cose reads algorithm %v (%v), payload %x; here it is %d, %x", alg, err, other.Payload, m.Algorithm, m.Payload)
		}
	})
}

// FuzzDID: what resolves here holds by the method's own rules.
func FuzzDID(f *testing.F) {
	chain := storedCertificates(f)
	for _, policies := range [][]string{{"subject"}, {"san"}, {"eku"}, {"fulcio-issuer"}, {"san", "eku", "subject:C:DE"}} {
		did, err := cose.DIDFor(chain, policies...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(did)
	}
	f.Fuzz(func(t *testing.T, did string) {
		err := cose.ResolveDID(did, chain)
		if err == nil && !modelAccepts(did, chain) {
			t.Fatalf("%q resolves, and should not", did)
		}
		if err != nil && !errors.Is(err, cose.ErrDID) {
			t.Fatalf("got error %v, want one of the identifier", err)
		}
		if err != nil && len(err.Error()) > 1024 {
			t.Fatalf("an error text of %d bytes", len(err.Error()))
		}
	})
}

// FuzzReceipt: a receipt verifies only if it is the stored one, or says the same of the same message.
func FuzzReceipt(f *testing.F) {
	m, err := cose.Parse(stored(f, storedReceipt), cose.Options{})
	if err != nil {
		f.Fatal(err)
	}
	list, err := cose.OpenTrustList(stored(f, storedTrustList), cose.Options{})
	if err != nil {
		f.Fatal(err)
	}
	key := list.Ledgers["ledger.example"][0]
	f.Add(storedReceiptBytes(f))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := cose.ParseReceipt(raw)
		if err != nil {
			return
		}
		if r.Issuer == "" || r.KID == "" || len(r.Issuer) > cose.MaxIssuer {
			t.Fatalf("got a receipt of %q, key %q", r.Issuer, r.KID)
		}
		if r.Verify(m.Digest(), key) == nil && (r.Issuer != "ledger.example" || r.KID != key.KID) {
			t.Fatalf("a receipt of %q, key %q verifies", r.Issuer, r.KID)
		}
		var none [32]byte
		if r.Verify(none, key) == nil {
			t.Fatal("a receipt of no message verifies")
		}
	})
}

// storedReceiptBytes cuts the receipt out of its message.
func storedReceiptBytes(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", storedReceipt))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(raw, []byte{0xd2, 0x84})
	head := raw[at-3 : at] // 59, two bytes of length
	return raw[at : at+int(head[1])<<8+int(head[2])]
}

// FuzzTrustListPayload: what is read here is JSON to the standard library too, with the same ledgers.
func FuzzTrustListPayload(f *testing.F) {
	m, err := cose.Parse(stored(f, storedTrustList), cose.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Payload)
	f.Fuzz(func(t *testing.T, raw []byte) {
		ledgers, err := cose.ReadLedgers(raw)
		if err != nil {
			if !errors.Is(err, cose.ErrTrustList) {
				t.Fatalf("got error %v", err)
			}
			return
		}
		var other map[string]struct{ Keys []map[string]any }
		if err := json.Unmarshal(raw, &other); err != nil || len(other) != len(ledgers) {
			t.Fatalf("got %d ledgers, the standard library %d (%v)", len(ledgers), len(other), err)
		}
		for name, keys := range ledgers {
			if len(keys) == 0 || len(keys) > len(other[name].Keys) {
				t.Fatalf("ledger %q: got %d keys of %d", name, len(keys), len(other[name].Keys))
			}
		}
	})
}
