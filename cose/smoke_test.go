package cose_test

import (
	"testing"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
)

func TestSmoke(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{EKUs: []string{"1.3.6.1.5.5.7.3.3"}})
	one := int64(1)
	l := cosetest.NewLedger(t, "l.example", cosetest.P384)
	raw := cosetest.Register(t, c.Document(t, []byte("package x"), "feed", &one), l)
	d, err := cose.Open(raw, cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(d.Issuer, d.Feed, *d.SVN)
	tl, err := cose.OpenTrustList(c.TrustList(t, "sub", 3, l), cose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, p := d.Message.VerifyReceipts(tl)
	t.Log(v, p)
	if len(v) != 1 {
		t.Fatal()
	}
}
