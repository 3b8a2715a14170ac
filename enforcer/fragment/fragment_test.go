package fragment_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/enforcer/point"
)

func reasonOf(err error) string {
	var refused *fragment.Error
	if !errors.As(err, &refused) {
		return ""
	}
	return refused.Reason
}

// TestNamespace: what the policy is asked about is exactly what the engine will see, or the text is refused.
func TestNamespace(t *testing.T) {
	for _, c := range []struct{ name, text, want, reason string }{
		{"plain", "package infra\nsvn := 1\n", "infra", ""},
		{"alone", "package infra", "infra", ""},
		{"underscore", "package _In_fra9\n", "_In_fra9", ""},
		{"carriage-return-line-feed", "package infra\r\nsvn := 1\r\n", "infra", ""},
		{"empty", "", "", fragment.ReasonNamespace},
		{"no-package", "svn := 1\n", "", fragment.ReasonNamespace},
		{"line-feed-first", "\npackage infra\n", "", fragment.ReasonNamespace},
		{"comment-first", "# x\npackage infra\n", "", fragment.ReasonNamespace},
		{"comment-behind", "package infra # x\n", "", fragment.ReasonNamespace},
		{"comment-instead", "package #x\nframework\n", "", fragment.ReasonNamespace},
		{"comment-glued", "package infra#x\n", "", fragment.ReasonNamespace},
		{"rule-behind", "package infra; x := 1\n", "", fragment.ReasonNamespace},
		{"two-blanks", "package  infra\n", "", fragment.ReasonNamespace},
		{"tab", "package\tinfra\n", "", fragment.ReasonNamespace},
		{"blank-behind", "package infra \n", "", fragment.ReasonNamespace},
		{"blank-before", " package infra\n", "", fragment.ReasonNamespace},
		{"newline-instead-of-blank", "package\ninfra\n", "", fragment.ReasonNamespace},
		{"carriage-return", "package infra\rpackage framework\n", "", fragment.ReasonNamespace},
		{"two-carriage-returns", "package infra\r\r\n", "", fragment.ReasonNamespace},
		{"vertical-tab", "package infra\vx\n", "", fragment.ReasonNamespace},
		{"next-line", "package infra\u0085package framework\n", "", fragment.ReasonNamespace},
		{"line-separator", "package infra\u2028package framework\n", "", fragment.ReasonNamespace},
		{"byte-order-mark", "\ufeffpackage infra\n", "", fragment.ReasonNamespace},
		{"byte-order-mark-behind", "package infra\ufeff\n", "", fragment.ReasonNamespace},
		{"no-break-space", "package\u00a0infra\n", "", fragment.ReasonNamespace},
		{"cyrillic", "package fr\u0430mework\n", "", fragment.ReasonNamespace},
		{"nul", "package infra\x00\n", "", fragment.ReasonNamespace},
		{"dotted", "package infra.x\n", "", fragment.ReasonNamespace},
		{"quoted", "package data[\"infra\"]\n", "", fragment.ReasonNamespace},
		{"digit", "package 9infra\n", "", fragment.ReasonNamespace},
		{"upper-case", "PACKAGE infra\n", "", fragment.ReasonNamespace},
		{"long", "package " + strings.Repeat("x", 129) + "\n", "", fragment.ReasonNamespace},
		{"not-utf8", "package infra\nx := \"\xff\"\n", "", fragment.ReasonRego},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fragment.Namespace(c.text)
			if got != c.want || reasonOf(err) != c.reason {
				t.Errorf("got %q, %v, want %q, %q", got, err, c.want, c.reason)
			}
		})
	}
	for _, name := range fragment.Reserved {
		if got, err := fragment.Namespace("package " + name + "\n"); got != "" || reasonOf(err) != fragment.ReasonNamespace {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"framework", "api", "policy", "metadata"} {
		if !slices.Contains(fragment.Reserved, name) {
			t.Errorf("%s is not reserved", name)
		}
	}
}

func TestOpen(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	svn := int64(7)
	document := c.Document(t, []byte("package infra\n"), "feed", &svn)
	f, err := fragment.Open(document)
	if err != nil {
		t.Fatal(err)
	}
	in := f.Input(true)
	if in.Issuer != c.DID(t, "subject") || in.Feed != "feed" || in.Namespace != "infra" || !in.HasHeaderSVN || *in.HeaderSVN != 7 || !in.FragmentLoaded {
		t.Errorf("got %+v", in)
	}
	without, err := fragment.Open(c.Document(t, []byte("package infra\n"), "feed", nil))
	if err != nil || without.Input(false).HasHeaderSVN || without.Input(false).HeaderSVN != nil || without.Input(false).FragmentLoaded {
		t.Errorf("got %+v, %v", without, err)
	}
	header := func(change func(map[any]any)) []byte {
		h := c.Header(c.DID(t, "subject"), "feed")
		change(h)
		return cosetest.Forge(t, c.Signer(), cose.ES256, h, nil, []byte("package framework\n"), nil)
	}
	other := cosetest.NewChain(t, cosetest.ChainOptions{})
	alone := cosetest.NewChain(t, cosetest.ChainOptions{Length: 1})
	for _, b := range []struct {
		name, reason string
		document     []byte
	}{
		{"empty", fragment.ReasonFormat, nil},
		{"cut", fragment.ReasonFormat, document[:len(document)-1]},
		{"too-large", fragment.ReasonSize, make([]byte, fragment.MaxSize+1)},
		{"signature-flipped", fragment.ReasonSignature, flip(document, len(document)-1)},
		{"other-chain", fragment.ReasonSignature, header(func(h map[any]any) { h[33] = other.X5Chain() })},
		{"one-certificate", fragment.ReasonIssuer, cosetest.Forge(t, alone.Signer(), cose.ES256, alone.Header(c.DID(t, "subject"), "feed"), nil, []byte("package infra\n"), nil)},
		{"other-issuer", fragment.ReasonIssuer, cosetest.Forge(t, c.Signer(), cose.ES256, c.Header(other.DID(t, "subject"), "feed"), nil, []byte("package framework\n"), nil)},
		{"issuer-no-did", fragment.ReasonIssuer, cosetest.Forge(t, c.Signer(), cose.ES256, c.Header("did:web:example.org", "feed"), nil, []byte("package framework\n"), nil)},
		{"no-claims", fragment.ReasonFormat, header(func(h map[any]any) { delete(h, 15) })},
		{"namespace-last", fragment.ReasonNamespace, header(func(map[any]any) {})},
		{"deep", fragment.ReasonRego, c.Document(t, []byte("package infra\nx := "+strings.Repeat("(", 1001)), "feed", nil)},
	} {
		t.Run(b.name, func(t *testing.T) {
			if f, err := fragment.Open(b.document); f != nil || reasonOf(err) != b.reason {
				t.Errorf("got %v, %v, want %q", f, err, b.reason)
			}
		})
	}
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 1
	return b
}

func TestKinds(t *testing.T) {
	for mediaType, want := range map[string]fragment.Kind{
		"": fragment.KindRego, "application/cose-x509+rego": fragment.KindRego,
		"application/vnd.transparency-trust-list.v1+cose": fragment.KindTrustList,
		"application/vnd.tcb-reference-info.v1+cose":      fragment.KindTCBReference,
		"application/vnd.platform-reference-info.v1+cose": fragment.KindPlatformReference,
	} {
		if got, err := fragment.KindOf(mediaType); got != want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", mediaType, got, err, want)
		}
	}
	for _, mediaType := range []string{" ", "application/cose-x509", "application/cose-x509+rego;v=1", "APPLICATION/COSE-X509+REGO"} {
		if _, err := fragment.KindOf(mediaType); reasonOf(err) != fragment.ReasonMediaType {
			t.Errorf("%q: got %v", mediaType, err)
		}
	}
}

// TestVerifyReceipts: one entry a ledger, with the subjects of all lists that vouch for it.
func TestVerifyReceipts(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	ledger, rolled := cosetest.NewLedger(t, "one.example", cosetest.P256), cosetest.NewLedger(t, "one.example", cosetest.P256)
	f, err := fragment.Open(cosetest.Register(t, c.Document(t, []byte("package infra\n"), "feed", nil), ledger, rolled))
	if err != nil {
		t.Fatal(err)
	}
	list := func(subject string, l *cosetest.Ledger) *cose.TrustList {
		list, err := fragment.OpenTrustList(c.TrustList(t, subject, 1, l))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	f.VerifyReceipts([]*cose.TrustList{list("b", ledger), list("a", rolled), list("a", ledger)})
	want := []point.Receipt{{Issuer: "one.example", TTLSubjects: []string{"a", "b"}}}
	if len(f.Receipts) != 1 || f.Receipts[0].Issuer != want[0].Issuer || !slices.Equal(f.Receipts[0].TTLSubjects, want[0].TTLSubjects) {
		t.Errorf("got %+v, want %+v", f.Receipts, want)
	}
	if f.VerifyReceipts(nil); len(f.Receipts) != 0 {
		t.Errorf("got %+v without any list", f.Receipts)
	}
}

// TestReasonsAreDistinct: a refusal is recognised by how its reason begins.
func TestReasonsAreDistinct(t *testing.T) {
	all := fragment.Reasons()
	for i, a := range all {
		for j, b := range all {
			if i != j && strings.HasPrefix(a, b) {
				t.Errorf("%q begins with %q", a, b)
			}
		}
	}
}
