package cose_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
)

// transparency is a signer, a ledger, a trust list that holds its key, and a message to register.
type transparency struct {
	chain   cosetest.Chain
	ledger  *cosetest.Ledger
	list    *cose.TrustList
	message []byte
}

func newTransparency(t testing.TB, kind cosetest.KeyType) transparency {
	t.Helper()
	x := transparency{chain: cosetest.NewChain(t, cosetest.ChainOptions{}), ledger: cosetest.NewLedger(t, "ledger.example", kind)}
	x.message = x.chain.Document(t, []byte(payload), "feed", ptr(1))
	x.list = &cose.TrustList{Subject: "list", Ledgers: map[string][]cose.Key{x.ledger.Name: {x.ledger.Public()}}}
	return x
}

func (x transparency) open(t testing.TB, receipts ...[]byte) *cose.Sign1 {
	t.Helper()
	raw, err := cose.WithReceipts(x.message, receipts...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := cose.Open(raw, cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d.Message
}

func TestReceipt(t *testing.T) {
	for name, kind := range map[string]cosetest.KeyType{"es256": cosetest.P256, "es384": cosetest.P384} {
		t.Run(name, func(t *testing.T) {
			x := newTransparency(t, kind)
			verified, problems := x.open(t, x.ledger.Receipt(t, x.message)).VerifyReceipts(x.list)
			if len(problems) != 0 || len(verified) != 1 {
				t.Fatalf("got %v, %v", verified, problems)
			}
			v := verified[0]
			if v.Issuer != x.ledger.Name || v.KID != x.ledger.KID || !slices.Equal(v.Subjects, []string{"list"}) {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestNoReceipts(t *testing.T) {
	x := newTransparency(t, cosetest.P256)
	if verified, problems := x.open(t).VerifyReceipts(x.list); verified != nil || problems != nil {
		t.Errorf("got %v, %v", verified, problems)
	}
}

// A receipt is for one message. What else is in the unprotected header does not matter, since the ledger saw the message without it.
func TestReceiptOfAnotherMessage(t *testing.T) {
	x := newTransparency(t, cosetest.P256)
	other := x.chain.Document(t, []byte(payload), "other feed", ptr(1))
	verified, problems := x.open(t, x.ledger.Receipt(t, other)).VerifyReceipts(x.list)
	if len(verified) != 0 || len(problems) != 1 {
		t.Fatalf("got %v, %v", verified, problems)
	}
	wantError(t, problems[0], cose.ErrReceipt, "got a proof for digest")

	header := x.chain.Header(x.chain.DID(t, "subject"), "feed")
	message := cosetest.Forge(t, x.chain.Signer(), cose.ES256, header, map[any]any{"timestamp": []byte{1}}, []byte(payload), nil)
	d, err := cose.Open(cosetest.Register(t, message, x.ledger), cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if verified, problems := d.Message.VerifyReceipts(x.list); len(verified) != 1 {
		t.Errorf("with a timestamp: got %v, %v", verified, problems)
	}
}

// A ledger's key counts for that ledger only, whatever kid it goes by.
func TestReceiptKeysBelongToTheirLedger(t *testing.T) {
	x := newTransparency(t, cosetest.P384)
	mallory := cosetest.NewLedger(t, "mallory.example", cosetest.P384)
	lists := func(l ...*cose.TrustList) []*cose.TrustList { return l }
	list := func(subject string, ledgers map[string][]cose.Key) *cose.TrustList {
		return &cose.TrustList{Subject: subject, Ledgers: ledgers}
	}
	claimed := func(signer *cosetest.Ledger, issuer, kid string) []byte {
		p := signer.Parts(t, x.message)
		p.Protected[15] = map[any]any{1: issuer}
		p.Protected[4] = []byte(kid)
		return signer.Encode(t, p)
	}
	key := func(kid string, l *cosetest.Ledger) cose.Key { return cose.Key{KID: kid, Public: &l.Key.PublicKey} }
	both := list("both", map[string][]cose.Key{x.ledger.Name: {x.ledger.Public()}, mallory.Name: {mallory.Public()}})
	tests := []struct {
		name    string
		receipt []byte
		lists   []*cose.TrustList
		text    string // no text: it verifies
		want    []string
	}{
		{"own", x.ledger.Receipt(t, x.message), lists(both), "", []string{"both"}},
		{"two-lists", x.ledger.Receipt(t, x.message), lists(both, x.list, both), "", []string{"both", "list"}},
		{"lists-disagree-on-kid", claimed(x.ledger, x.ledger.Name, "k"), lists(
			list("false", map[string][]cose.Key{x.ledger.Name: {key("k", mallory)}}),
			list("true", map[string][]cose.Key{x.ledger.Name: {key("k", x.ledger)}})), "", []string{"true"}},

		{"other-ledger-in-its-name", claimed(mallory, x.ledger.Name, mallory.KID), lists(both), "no trust list has a key", nil},
		{"other-ledger-with-its-kid", claimed(mallory, x.ledger.Name, x.ledger.KID), lists(both), "verification error", nil},
		{"own-key-in-other-name", claimed(x.ledger, mallory.Name, x.ledger.KID), lists(both), "no trust list has a key", nil},
		{"unlisted", mallory.Receipt(t, x.message), lists(x.list), `key "` + mallory.KID, nil},
		{"other-case", claimed(x.ledger, "Ledger.example", x.ledger.KID), lists(both), `of ledger "Ledger.example"`, nil},
		{"other-kid", claimed(x.ledger, x.ledger.Name, x.ledger.KID[1:]), lists(both), "no trust list has a key", nil},
		{"no-lists", x.ledger.Receipt(t, x.message), nil, "no trust list", nil},
		{"restricted", x.ledger.Receipt(t, x.message), lists(both.Restrict([]string{mallory.Name})), "no trust list", nil},
		{"no-key", x.ledger.Receipt(t, x.message), lists(list("nil", map[string][]cose.Key{x.ledger.Name: {{KID: x.ledger.KID}}})), "does not fit key", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			verified, problems := x.open(t, test.receipt).VerifyReceipts(test.lists...)
			if test.text != "" {
				if len(verified) != 0 || len(problems) != 1 {
					t.Fatalf("got %v, %v", verified, problems)
				}
				wantError(t, problems[0], cose.ErrReceipt, test.text)
				return
			}
			if len(verified) != 1 || !slices.Equal(verified[0].Subjects, test.want) {
				t.Errorf("got %v, %v, want subjects %v", verified, problems, test.want)
			}
		})
	}
}

// A bad receipt does not spoil a good one: the host could leave either out.
func TestReceiptsStandAlone(t *testing.T) {
	x := newTransparency(t, cosetest.P256)
	good := x.ledger.Receipt(t, x.message)
	verified, problems := x.open(t, []byte{0x80}, good, good, nil).VerifyReceipts(x.list)
	if len(verified) != 1 || len(problems) != 2 {
		t.Errorf("got %v, %v", verified, problems)
	}
	many := make([][]byte, cose.MaxReceipts+1)
	for i := range many {
		many[i] = good
	}
	verified, problems = x.open(t, many...).VerifyReceipts(x.list)
	if len(verified) != 0 || len(problems) != 1 {
		t.Fatalf("got %v, %v", verified, problems)
	}
	wantError(t, problems[0], cose.ErrReceipt, "got 17 elements, want 1 to 16")
	if verified, problems = x.open(t, many[:cose.MaxReceipts]...).VerifyReceipts(x.list); len(verified) != 1 || len(problems) != 0 {
		t.Errorf("got %v, %v", verified, problems)
	}
	d := x.open(t, make([]byte, cose.MaxReceipt+1))
	_, problems = d.VerifyReceipts(x.list)
	wantError(t, errors.Join(problems...), cose.ErrReceipt, "want at most 16384")
}

func TestReceiptParts(t *testing.T) {
	x := newTransparency(t, cosetest.P256)
	hash := sha256.Sum256([]byte("x"))
	tests := []struct {
		name, text string // no text: it verifies
		edit       func(p *cosetest.ReceiptParts)
	}{
		{"as-it-is", "", func(*cosetest.ReceiptParts) {}},
		{"long-path", "", func(p *cosetest.ReceiptParts) { p.Path = slices.Repeat(p.Path[:1], cose.MaxPath) }},
		{"two-proofs", "", func(p *cosetest.ReceiptParts) { p.Proofs = map[any]any{-1: []any{p.Proof(t), p.Proof(t)}} }},
		{"critical-vds", "", func(p *cosetest.ReceiptParts) { p.Protected[2] = []any{395, 4} }},

		{"root-of-another-tree", "verification error", func(p *cosetest.ReceiptParts) { p.Root = hash[:] }},
		{"side-changed", "verification error", func(p *cosetest.ReceiptParts) {
			proof := p.Proof(t)
			p.Proofs = map[any]any{-1: []any{bytes.Replace(proof, []byte{0x82, 0xf5}, []byte{0x82, 0xf4}, 1)}}
		}},
		{"path-cut", "verification error", func(p *cosetest.ReceiptParts) {
			short := *p
			short.Path = p.Path[:2]
			p.Proofs = map[any]any{-1: []any{short.Proof(t)}}
		}},
		{"evidence-changed", "verification error", func(p *cosetest.ReceiptParts) {
			other := *p
			other.Evidence = "ce:2.18:54ad"
			p.Proofs = map[any]any{-1: []any{other.Proof(t)}}
		}},
		{"transaction-changed", "verification error", func(p *cosetest.ReceiptParts) {
			other := *p
			other.Transaction = hash[:]
			p.Proofs = map[any]any{-1: []any{other.Proof(t)}}
		}},
		{"second-proof-of-another-message", "got a proof for digest", func(p *cosetest.ReceiptParts) {
			other := *p
			other.Data = hash[:]
			p.Proofs = map[any]any{-1: []any{p.Proof(t), other.Proof(t)}}
		}},
		{"data-of-payload-only", "got a proof for digest", func(p *cosetest.ReceiptParts) {
			h := sha256.Sum256([]byte(payload))
			p.Data = h[:]
		}},

		{"payload-attached", "want it detached", func(p *cosetest.ReceiptParts) { p.Payload = hash[:] }},
		{"empty-path", "path: got 0 elements, want 1 to 64", func(p *cosetest.ReceiptParts) { p.Path = nil }},
		{"too-long-path", "path: got 65 elements, want 1 to 64", func(p *cosetest.ReceiptParts) { p.Path = slices.Repeat(p.Path[:1], cose.MaxPath+1) }},
		{"short-transaction", "internal transaction hash: got 31 bytes", func(p *cosetest.ReceiptParts) { p.Transaction = p.Transaction[1:] }},
		{"long-transaction", "internal transaction hash: got 33 bytes", func(p *cosetest.ReceiptParts) { p.Transaction = append(p.Transaction, 0) }},
		{"short-data", "data hash: got 31 bytes", func(p *cosetest.ReceiptParts) { p.Data = p.Data[1:] }},
		{"no-evidence", "internal evidence is empty", func(p *cosetest.ReceiptParts) { p.Evidence = "" }},
		{"long-evidence", "internal evidence: got 1025 bytes", func(p *cosetest.ReceiptParts) { p.Evidence = strings.Repeat("x", cose.MaxEvidence+1) }},
		{"no-proofs", "inclusion proofs: got 0 elements, want 1 to 4", func(p *cosetest.ReceiptParts) { p.Proofs = map[any]any{-1: []any{}} }},
		{"five-proofs", "inclusion proofs: got 5 elements", func(p *cosetest.ReceiptParts) {
			p.Proofs = map[any]any{-1: slices.Repeat([]any{p.Proof(t)}, 5)}
		}},
		{"consistency-proof", "got other proofs", func(p *cosetest.ReceiptParts) { p.Proofs = map[any]any{-2: []any{p.Proof(t)}} }},
		{"consistency-proof-too", "got other proofs", func(p *cosetest.ReceiptParts) {
			p.Proofs = map[any]any{-1: []any{p.Proof(t)}, -2: []any{p.Proof(t)}}
		}},
		{"proofs-array", "proofs: got CBOR major type 4", func(p *cosetest.ReceiptParts) { p.Proofs = []any{p.Proof(t)} }},
		{"proof-not-encoded", "inclusion proof 0: got CBOR major type 5", func(p *cosetest.ReceiptParts) {
			p.Proofs = map[any]any{-1: []any{map[any]any{1: 1, 2: 2}}}
		}},
		{"proof-with-more", "want leaf (1) and path (2)", func(p *cosetest.ReceiptParts) {
			p.Proofs = map[any]any{-1: []any{cosetest.Marshal(t, map[any]any{1: []any{}, 2: []any{}, 3: 0})}}
		}},
		{"proof-without-leaf", "want leaf (1) and path (2)", func(p *cosetest.ReceiptParts) {
			p.Proofs = map[any]any{-1: []any{cosetest.Marshal(t, map[any]any{2: []any{}, 3: 0})}}
		}},
		{"leaf-of-two", "leaf: got 2 elements", func(p *cosetest.ReceiptParts) {
			p.Proofs = map[any]any{-1: []any{cosetest.Marshal(t, map[any]any{1: []any{p.Transaction, p.Evidence}, 2: []any{}})}}
		}},
		{"side-as-number", "want a boolean first", func(p *cosetest.ReceiptParts) {
			leaf := []any{p.Transaction, p.Evidence, p.Data}
			p.Proofs = map[any]any{-1: []any{cosetest.Marshal(t, map[any]any{1: leaf, 2: []any{[]any{1, hash[:]}}})}}
		}},
		{"proof-repeats-leaf", "duplicate map key", func(p *cosetest.ReceiptParts) {
			raw := p.Proof(t)
			raw[0]++
			p.Proofs = map[any]any{-1: []any{append(raw, 0x01, 0x80)}}
		}},

		{"no-vds", "no verifiable data structure", func(p *cosetest.ReceiptParts) { delete(p.Protected, 395) }},
		{"rfc9162-vds", "verifiable data structure: got 1, want 2", func(p *cosetest.ReceiptParts) { p.Protected[395] = 1 }},
		{"vds-text", "verifiable data structure", func(p *cosetest.ReceiptParts) { p.Protected[395] = "2" }},
		{"no-kid", "no kid", func(p *cosetest.ReceiptParts) { delete(p.Protected, 4) }},
		{"kid-text", "kid", func(p *cosetest.ReceiptParts) { p.Protected[4] = x.ledger.KID }},
		{"kid-empty", "iss or kid is empty", func(p *cosetest.ReceiptParts) { p.Protected[4] = []byte{} }},
		{"no-claims", "no iss", func(p *cosetest.ReceiptParts) { delete(p.Protected, 15) }},
		{"no-iss", "no iss", func(p *cosetest.ReceiptParts) { p.Protected[15] = map[any]any{2: "x"} }},
		{"iss-text-label", "no iss", func(p *cosetest.ReceiptParts) {
			delete(p.Protected, 15)
			p.Protected["iss"] = x.ledger.Name
		}},
		{"iss-empty", "iss or kid is empty", func(p *cosetest.ReceiptParts) { p.Protected[15] = map[any]any{1: ""} }},
		{"no-alg", "no alg", func(p *cosetest.ReceiptParts) { delete(p.Protected, 1) }},
		{"alg-of-another-curve", "algorithm -35 does not fit key", func(p *cosetest.ReceiptParts) { p.Protected[1] = cose.ES384 }},
		{"alg-ps256", "algorithm -37 does not fit key", func(p *cosetest.ReceiptParts) { p.Protected[1] = cose.PS256 }},
		{"crit", "crit names label 99", func(p *cosetest.ReceiptParts) { p.Protected[2], p.Protected[99] = []any{99}, 1 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := x.ledger.Parts(t, x.message)
			test.edit(p)
			verified, problems := x.open(t, x.ledger.Encode(t, p)).VerifyReceipts(x.list)
			if test.text == "" {
				if len(verified) != 1 || len(problems) != 0 {
					t.Errorf("got %v, %v", verified, problems)
				}
				return
			}
			if len(verified) != 0 || len(problems) != 1 {
				t.Fatalf("got %v, %v", verified, problems)
			}
			wantError(t, problems[0], cose.ErrReceipt, test.text)
		})
	}
}

func TestReceiptEveryByteCounts(t *testing.T) {
	x := newTransparency(t, cosetest.P256)
	receipt := x.ledger.Receipt(t, x.message)
	digest := x.open(t).Digest()
	check := func(raw []byte) error {
		r, err := cose.ParseReceipt(raw)
		if err != nil {
			return err
		}
		if r.Issuer != x.ledger.Name || r.KID != x.ledger.KID {
			return fmt.Errorf("of another ledger or key")
		}
		return r.Verify(digest, x.ledger.Public())
	}
	if err := check(receipt); err != nil {
		t.Fatal(err)
	}
	for i := range receipt {
		bad := bytes.Clone(receipt)
		bad[i] ^= 1 << (i % 8)
		if check(bad) == nil {
			t.Errorf("byte %d of %d: a change passes", i, len(receipt))
		}
		if check(receipt[:i]) == nil {
			t.Errorf("the first %d of %d bytes pass", i, len(receipt))
		}
	}
}

func TestReceiptsHeader(t *testing.T) {
	x := newTransparency(t, cosetest.P256)
	header := x.chain.Header(x.chain.DID(t, "subject"), "feed")
	for name, value := range map[string]any{"map": map[any]any{}, "bytes": []byte{1}, "number": 1, "empty": []any{}, "of-messages": []any{[]any{1}}} {
		t.Run(name, func(t *testing.T) {
			raw := cosetest.Forge(t, x.chain.Signer(), cose.ES256, header, map[any]any{394: value}, []byte(payload), nil)
			d, err := cose.Open(raw, cose.Options{})
			if err != nil {
				t.Fatal(err)
			}
			verified, problems := d.Message.VerifyReceipts(x.list)
			if len(verified) != 0 || len(problems) != 1 {
				t.Fatalf("got %v, %v", verified, problems)
			}
			wantError(t, problems[0], cose.ErrReceipt, "receipt")
		})
	}
}

func TestWithReceipts(t *testing.T) {
	x := newTransparency(t, cosetest.P256)
	header := x.chain.Header(x.chain.DID(t, "subject"), "feed")
	message := cosetest.Forge(t, x.chain.Signer(), cose.ES256, header, map[any]any{"timestamp": []byte{1}, 7: 8}, []byte(payload), nil)
	with, err := cose.WithReceipts(message, []byte("one"), []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	if got := parts(t, with)[1]; !bytes.Equal(got, cosetest.Marshal(t, map[any]any{"timestamp": []byte{1}, 7: 8, 394: [][]byte{[]byte("one"), []byte("two")}})) {
		t.Errorf("got unprotected header %x", got)
	}
	again, err := cose.WithReceipts(with)
	if err != nil || !bytes.Equal(again, message) {
		t.Errorf("got %x, %v, want the message as it was", again, err)
	}
	for name, raw := range map[string][]byte{"empty": nil, "null-header": {0xd2, 0x84, 0x40, 0xf6, 0x40, 0x40}, "untagged": message[1:]} {
		if _, err := cose.WithReceipts(raw, []byte("one")); !errors.Is(err, cose.ErrFormat) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

func TestTrustList(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	a, b := cosetest.NewLedger(t, "a.example", cosetest.P256), cosetest.NewLedger(t, "b.example", cosetest.P384)
	list, err := cose.OpenTrustList(c.TrustList(t, "subject", 5, a, b), cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if list.Issuer != c.DID(t, "subject") || list.Subject != "subject" || list.SVN != 5 || !slices.Equal(list.Names(), []string{"a.example", "b.example"}) {
		t.Errorf("got %+v", list)
	}
	for _, l := range []*cosetest.Ledger{a, b} {
		keys := list.Ledgers[l.Name]
		if len(keys) != 1 || keys[0].KID != l.KID || !keys[0].Public.Equal(l.Key.Public()) {
			t.Errorf("%s: got %v", l.Name, keys)
		}
	}
	for _, test := range []struct{ allowed, want []string }{
		{nil, nil},
		{[]string{"*"}, []string{"a.example", "b.example"}},
		{[]string{"c.example", "b.example"}, []string{"b.example"}},
		{[]string{"*.example"}, nil},
	} {
		if got := list.Restrict(test.allowed).Names(); !slices.Equal(got, test.want) {
			t.Errorf("allowed %v: got %v, want %v", test.allowed, got, test.want)
		}
	}
	if len(list.Ledgers) != 2 {
		t.Error("Restrict changed the list")
	}
	_, err = cose.OpenTrustList(c.Document(t, cosetest.TrustListPayload(t, a), "subject", nil), cose.Options{})
	wantError(t, err, cose.ErrTrustList, "no svn")
	_, err = cose.OpenTrustList(nil, cose.Options{})
	wantError(t, err, cose.ErrFormat, "COSE_Sign1")
}

func TestTrustListPayload(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	ledger := cosetest.NewLedger(t, "a.example", cosetest.P256)
	jwk := func(edit func(k map[string]any)) string {
		k := ledger.JWK()
		edit(k)
		raw, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	good := jwk(func(map[string]any) {})
	set := func(keys ...string) string { return `{"a.example":{"keys":[` + strings.Join(keys, ",") + `]}}` }
	field := func(name string, value any) string {
		return set(jwk(func(k map[string]any) {
			if value == nil {
				delete(k, name)
			} else {
				k[name] = value
			}
		}))
	}
	many := map[string]any{}
	for i := range cose.MaxLedgers + 1 {
		many[fmt.Sprint(i)] = map[string]any{"keys": []any{ledger.JWK()}}
	}
	manyRaw, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	other := cosetest.NewLedger(t, "", cosetest.P256).JWK()["y"]
	tests := []struct{ name, payload, text string }{
		{"good", set(good), ""},
		{"blanks", " " + set(good) + "\n", ""},
		{"without-alg", field("alg", nil), ""},
		{"more-members", field("key_ops", []any{"verify"}), ""},
		{"other-types-passed-over", set(`{"kty":"RSA","n":"x","e":"AQAB"}`, good, `{"kty":"OKP"}`), ""},
		{"set-with-more", `{"a.example":{"x":1,"keys":[` + good + `]}}`, ""},

		{"empty", "", "EOF"},
		{"no-json", "package x", "invalid character"},
		{"null", "null", "want a JSON object of ledgers"},
		{"array", "[]", "want a JSON object of ledgers"},
		{"no-ledgers", "{}", "got 0 ledgers"},
		{"many-ledgers", string(manyRaw), "got 257 ledgers, want 1 to 256"},
		{"two-values", set(good) + "{}", "more than one JSON value"},
		{"cut", set(good)[:40], "EOF"},
		{"not-utf8", "{\"\xff\":1}", "not UTF-8"},
		{"ledger-repeated", `{"a.example":{"keys":[` + good + `]},"a.example":{"keys":[` + good + `]}}`, `name "a.example" is repeated`},
		{"ledger-repeated-escaped", `{"a.example":{"keys":[` + good + `]},"\u0061.example":{"keys":[` + good + `]}}`, `name "a.example" is repeated`},
		{"keys-repeated", `{"a.example":{"keys":[],"keys":[` + good + `]}}`, `name "keys" is repeated`},
		{"x-repeated", set(strings.Replace(good, "{", `{"x":"AA",`, 1)), `name "x" is repeated`},
		{"keys-other-case", `{"a.example":{"Keys":[` + good + `]}}`, `want "keys"`},
		{"any-ledger", `{"*":{"keys":[` + good + `]}}`, `"*" is not the name of a ledger`},
		{"nameless-ledger", `{"":{"keys":[` + good + `]}}`, "is not the name"},
		{"long-ledger", `{"` + strings.Repeat("x", cose.MaxIssuer+1) + `":{"keys":[` + good + `]}}`, "is not the name"},
		{"no-set", `{"a.example":[]}`, "want a JWK set"},
		{"no-keys", set(), "no EC key"},
		{"only-others", set(`{"kty":"RSA"}`), "no EC key"},
		{"many-keys", set(slices.Repeat([]string{`{"kty":"X"}`}, cose.MaxKeys+1)...), "array of at most 64"},
		{"key-no-object", set("1"), "key 0 is not an object"},
		{"key-no-kty", set("{}"), "key 0 has no kty"},
		{"kid-repeated", set(good, good), "key 1: kid"},
		{"kid-missing", field("kid", nil), "no kid"},
		{"kid-empty", field("kid", ""), "no kid"},
		{"kid-number", field("kid", 1), "no kid"},
		{"crv-missing", field("crv", nil), "no crv"},
		{"crv-p521", field("crv", "P-521"), `crv: got "P-521"`},
		{"crv-other", field("crv", "P-384"), "alg: got"},
		{"alg-other", field("alg", "ES384"), `alg: got "ES384", want ES256`},
		{"alg-null", set(strings.Replace(good, `"ES256"`, "null", 1)), "alg: got"},
		{"x-missing", field("x", nil), "no x"},
		{"x-short", field("x", "AAAA"), "x is not a coordinate on P-256"},
		{"x-padded", field("x", fmt.Sprint(ledger.JWK()["x"])+"="), "x is not a coordinate"},
		{"x-line-break", field("x", fmt.Sprint(ledger.JWK()["x"])+"\n"), "x is not a coordinate"},
		{"not-on-curve", field("y", other), "not on curve"},
		{"deep", `{"a.example":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nests deeper than 16"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list, err := cose.OpenTrustList(c.Document(t, []byte(test.payload), "s", ptr(1)), cose.Options{})
			if test.text == "" {
				if err != nil || len(list.Ledgers["a.example"]) != 1 {
					t.Errorf("got %v, %v", list, err)
				}
				return
			}
			wantError(t, err, cose.ErrTrustList, test.text)
		})
	}
}
