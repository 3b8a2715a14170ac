package fragment_test

import (
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// FuzzOpen: whatever the bytes, there is a fragment or a reason, and a fragment's namespace is one that the agent does not use.
func FuzzOpen(f *testing.F) {
	c := cosetest.NewChain(f, cosetest.ChainOptions{})
	svn := int64(1)
	ledger := cosetest.NewLedger(f, "one.example", cosetest.P256)
	document := c.Document(f, []byte("package infra\nsvn := 1\n"), "feed", &svn)
	f.Add(document)
	f.Add(cosetest.Register(f, document, ledger))
	f.Add(c.TrustList(f, "subject", 1, ledger))
	f.Add(c.Document(f, []byte("package #x\nframework\n"), "feed", nil))
	f.Add([]byte{0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := fragment.Open(raw)
		if (got == nil) != (reasonOf(err) != "") {
			t.Fatalf("got %v and %v, want a fragment or a reason", got, err)
		}
		if got != nil {
			if name, err := fragment.Namespace(got.Text); name != got.Namespace || err != nil {
				t.Fatalf("got %q, %v, want %q", name, err, got.Namespace)
			}
		}
		list, err := fragment.OpenTrustList(raw)
		if (list == nil) != (reasonOf(err) != "") {
			t.Fatalf("got %v and %v, want a list or a reason", list, err)
		}
		if got != nil && list != nil {
			got.VerifyReceipts([]*cose.TrustList{list})
		}
		if err := fragment.CheckReference(raw); got != nil && err != nil {
			t.Fatalf("a fragment that is no signed document: %v", err)
		}
	})
}

// FuzzNamespace: the first line says the same as the engine's parser, in either syntax, or the text is refused.
func FuzzNamespace(f *testing.F) {
	for _, text := range []string{
		"package infra\n", "package infra\r\nx := 1", "package #x\nframework\n", "package infra\npackage framework", "package if\n",
		"package infra\nimport rego.v1\n", "package in\n", "package data\n", "\ufeffpackage infra\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := fragment.Namespace(text)
		if (name == "") != (reasonOf(err) != "") {
			t.Fatalf("got %q and %v", name, err)
		}
		if name == "" || aci.Nesting(text) > 100 || strings.Count(text, "\n") > 100 {
			return
		}
		for _, version := range []ast.RegoVersion{ast.RegoV1, ast.RegoV0} {
			module, err := ast.ParseModuleWithOpts("x", text, ast.ParserOptions{RegoVersion: version})
			if err != nil || module == nil {
				continue
			}
			if got := module.Package.Path; len(got) != 2 || !got[1].Equal(ast.StringTerm(name)) {
				t.Fatalf("the engine sees package %v, the policy would be asked about %q", got, name)
			}
		}
	})
}
