package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/evidence"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// A document of the sender's counts if HOST_DATA binds it, and its policy is bounded like one that is sent plainly.
func TestPolicyOfSentDocument(t *testing.T) {
	build := func(data map[string]string) *initdata.Document {
		t.Helper()
		doc, err := initdata.Build("sha384", data)
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	plain := build(map[string]string{initdata.PolicyKey: "package policy\n"})
	without := build(map[string]string{"layers.json": "[]"})
	large := build(map[string]string{initdata.PolicyKey: strings.Repeat("#", evidence.MaxPolicy+1)})
	for _, c := range []struct {
		name         string
		sent         []byte
		launched     *initdata.Document
		refused, why string
	}{
		{"bound", plain.Raw, plain, "", "grant"},
		{"another document", plain.Raw, without, "want HOST_DATA", ""},
		{"no document", []byte("hello"), plain, "initdata", ""},
		{"no policy in it", without.Raw, without, "no entry policy.rego", ""},
		{"a large policy", large.Raw, large, "", "want at most 4194304"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := make([]byte, snp.ReportSize)
			report[0] = 2
			host := c.launched.HostData()
			copy(report[0xc0:], host[:])
			f := &verify.File{Carrier: snp.CarrierInitdata, Initdata: c.sent, Evidence: verify.Evidence{Report: report}}
			p, err := (&attestVerify{}).policyReader(f)(c.sent)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v, want an error with %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, why := p.Identity(); why == "" || strings.Contains(why, "want at most") != strings.Contains(c.why, "want at most") {
				t.Errorf("got %q, want %q", why, c.why)
			}
		})
	}
}

// A document that cannot be the approved policy and nothing else is not taken apart.
func TestCarriedIsBounded(t *testing.T) {
	policy := []byte("package policy\n")
	doc, err := initdata.Build("sha256", map[string]string{initdata.PolicyKey: string(policy)})
	if err != nil {
		t.Fatal(err)
	}
	if host, bad := carried(doc.Raw, policy); bad != nil || host != doc.HostData() {
		t.Errorf("got %x, %+v, want the document's digest", host, bad)
	}
	longest := append(bytes.Clone(doc.Raw), bytes.Repeat([]byte("#"), maxCarrying(policy)-len(doc.Raw))...)
	if _, bad := carried(longest, policy); bad != nil {
		t.Errorf("longest: got %+v, want it read", bad)
	}
	if _, bad := carried(append(longest, '#'), policy); bad == nil || !strings.Contains(bad.got, "more than the") {
		t.Errorf("too long: got %+v, want it refused for its length", bad)
	}
}
