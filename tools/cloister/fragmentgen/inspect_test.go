package fragmentgen_test

import (
	"bytes"
	"crypto/x509/pkix"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

func TestInspect(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{Length: 4, EKUs: []string{"1.2.3.4"}, Subject: pkix.Name{CommonName: "Side", Organization: []string{"Org"}}})
	one := int64(1)
	s := mustSign(t, chain, func(o *fragmentgen.SignOptions) { o.SVN = &one })
	r, err := fragmentgen.Inspect(t.Context(), s.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Valid || !r.Loads || r.Problem != "" || r.Refused != "" || r.Unread != "" {
		t.Errorf("got %+v", r)
	}
	if r.Issuer != s.Issuer || r.Feed != feed || r.SVN != "1" || r.HeaderSVN == nil || *r.HeaderSVN != 1 || r.Namespace != "side" || r.FrameworkVersion != "0.2.3" {
		t.Errorf("got %+v", r)
	}
	if r.Algorithm != "ES384" || r.MediaType != "application/cose-x509+rego" || r.ContentType != "application/unknown+rego" || r.Size != len(s.Raw) {
		t.Errorf("got %+v", r)
	}
	if len(r.Containers) != 1 || r.Containers[0].Name != "side" || len(r.Containers[0].Layers) != 2 || r.Lists["containers"] != 1 || r.Lists["fragments"] != 0 {
		t.Errorf("got %+v, %v", r.Containers, r.Lists)
	}
	if len(r.Chain) != 4 || r.Chain[0].Subject != "CN=Side,O=Org" || r.Chain[0].Key != "ECDSA P-256" || !r.Chain[3].NotAfter.Equal(cosetest.NotAfter) || len(r.Chain[1].SHA256) != 64 {
		t.Errorf("got %+v", r.Chain)
	}
	if len(r.DIDs) != 3 || r.DIDs[0] != s.Issuer {
		t.Errorf("got %q", r.DIDs)
	}
}

// Whatever byte of a document is changed, no report calls it valid, except within the unprotected header, which nobody signs.
func TestInspectTampered(t *testing.T) {
	s := mustSign(t, cosetest.NewChain(t, cosetest.ChainOptions{Length: 2}), nil)
	parsed := 0
	for i := 0; i < len(s.Raw); i += 11 {
		changed := slices.Clone(s.Raw)
		changed[i] ^= 1
		r, err := fragmentgen.Inspect(t.Context(), changed)
		if err != nil {
			continue
		}
		parsed++
		if r.Valid || r.Loads || r.Problem == "" {
			t.Errorf("byte %d: got %+v", i, r)
		}
		if len(r.Containers) != 0 || len(r.Lists) != 0 {
			t.Errorf("byte %d: the text of a document that does not hold was read", i)
		}
	}
	if parsed < 30 {
		t.Errorf("%d changed documents were parsed", parsed)
	}
	for _, raw := range [][]byte{nil, {0xd2}, []byte("package side\n"), s.Raw[:len(s.Raw)-1], append(slices.Clone(s.Raw), 0)} {
		if r, err := fragmentgen.Inspect(t.Context(), raw); err == nil {
			t.Errorf("%.20q: got %+v", raw, r)
		}
	}
}

// Receipts are shown, the document holds with them, and one that is garbage is told.
func TestInspectReceipts(t *testing.T) {
	s := mustSign(t, cosetest.NewChain(t, cosetest.ChainOptions{Length: 2}), nil)
	ledger := cosetest.NewLedger(t, "ledger.example", cosetest.P384)
	raw, err := cose.WithReceipts(s.Raw, ledger.Receipt(t, s.Raw), []byte{1})
	if err != nil {
		t.Fatal(err)
	}
	r, err := fragmentgen.Inspect(t.Context(), raw)
	if err != nil || !r.Valid || len(r.Receipts) != 1 || r.Receipts[0].Ledger != "ledger.example" || len(r.ReceiptProblems) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// A text that only loading evaluates is signed, and the report says that it was not read.
func TestParameters(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{})
	text := fmt.Sprintf("package side\nsvn := \"3\"\nframework_version := \"0.5.0\"\nparameters_api := {\"shell\": {\"default\": false}}\ncontainers := [c | c := %s; not parameter(\"shell\")]\n", bytes.TrimSpace(containerJSON(t)))
	s, err := fragmentgen.Sign(t.Context(), []byte(text), signOptions(chain))
	if err != nil {
		t.Fatal(err)
	}
	r, err := fragmentgen.Inspect(t.Context(), s.Raw)
	if err != nil || !r.Valid || !r.Loads || r.SVN != "3" || r.Unread == "" {
		t.Errorf("got %+v, %v", r, err)
	}
	_, err = fragmentgen.EntryFor(t.Context(), s.Raw, "", nil)
	wantError(t, err, "what it includes has to be said")
	e, err := fragmentgen.EntryFor(t.Context(), s.Raw, "2", []string{"containers"})
	if err != nil || e.MinimumSVN != "2" || !slices.Equal(e.Includes, []string{"containers"}) {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestEntryRefuses(t *testing.T) {
	s := mustSign(t, cosetest.NewChain(t, cosetest.ChainOptions{}), nil)
	_, err := fragmentgen.EntryFor(t.Context(), s.Raw, "x", nil)
	wantError(t, err, "minimum_svn")
	_, err = fragmentgen.EntryFor(t.Context(), s.Raw, "1", []string{"everything"})
	wantError(t, err, "includes", "platform_rules")
	_, err = fragmentgen.EntryFor(t.Context(), []byte("x"), "1", nil)
	wantError(t, err, "not a signed document")
}

func TestJudge(t *testing.T) {
	s := mustSign(t, cosetest.NewChain(t, cosetest.ChainOptions{}), nil)
	right, err := fragmentgen.EntryFor(t.Context(), s.Raw, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*fragmentgen.Entry)) fragmentgen.Entry {
		e := right
		change(&e)
		return e
	}
	for name, c := range map[string]struct {
		entries  []fragmentgen.Entry
		accepted bool
		want     []string
	}{
		"accepted":      {[]fragmentgen.Entry{right}, true, nil},
		"second-entry":  {[]fragmentgen.Entry{with(func(e *fragmentgen.Entry) { e.Feed = "other" }), right}, true, []string{`fragments[0] has this issuer and the feed "other"`}},
		"not-included":  {[]fragmentgen.Entry{with(func(e *fragmentgen.Entry) { e.Includes = []string{"fragments"} })}, true, []string{"its containers do not count"}},
		"none":          {nil, false, []string{"invalid fragment issuer", "names no fragments"}},
		"other-feed":    {[]fragmentgen.Entry{with(func(e *fragmentgen.Entry) { e.Feed = "other" })}, false, []string{"invalid fragment feed", `the feed "other"`}},
		"other-issuer":  {[]fragmentgen.Entry{with(func(e *fragmentgen.Entry) { e.Issuer += "x" })}, false, []string{"invalid fragment issuer", "this feed and the issuer"}},
		"svn-too-small": {[]fragmentgen.Entry{with(func(e *fragmentgen.Entry) { e.MinimumSVN = "2" })}, false, []string{"below the specified minimum", "minimum_svn 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := fragmentgen.OpenPolicy(t.Context(), policyFor(t, c.entries...))
			if err != nil {
				t.Fatal(err)
			}
			j, err := p.Judge(t.Context(), s.Raw)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(append(slices.Clone(j.Reasons), j.Notes...), "\n")
			if j.Accepted != c.accepted || j.Accepted != (len(j.Reasons) == 0) {
				t.Errorf("got %+v", j)
			}
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("got %q, want %q in it", text, w)
				}
			}
			if name != "accepted" {
				return
			}
			if again, err := p.Judge(t.Context(), s.Raw); err != nil || !reflect.DeepEqual(again, j) {
				t.Errorf("asked twice: got %+v, %v, want %+v", again, err, j)
			}
		})
	}
	tampered := slices.Clone(s.Raw)
	tampered[len(tampered)-1] ^= 1
	p, err := fragmentgen.OpenPolicy(t.Context(), policyFor(t, right))
	if err != nil {
		t.Fatal(err)
	}
	j, err := p.Judge(t.Context(), tampered)
	if err != nil || j.Accepted || !strings.Contains(strings.Join(j.Reasons, ""), "signature does not hold") {
		t.Errorf("got %+v, %v", j, err)
	}
	if p, err := fragmentgen.OpenPolicy(t.Context(), []byte("no policy")); err == nil {
		t.Errorf("got %+v", p)
	}
}

func TestNewTestChain(t *testing.T) {
	for _, kind := range fragmentgen.TestKeys() {
		c, err := fragmentgen.NewTestChain(kind, "me", within, 30)
		if err != nil {
			t.Fatal(err)
		}
		for _, cert := range c.Chain {
			if !strings.Contains(cert.Subject.CommonName, "TEST ONLY") {
				t.Errorf("%s: got subject %s", kind, cert.Subject)
			}
		}
		s, err := fragmentgen.Sign(t.Context(), sideText(t), fragmentgen.SignOptions{Key: c.Key, Chain: c.Chain, Feed: feed, Now: within})
		if err != nil || !strings.HasSuffix(s.Issuer, "::subject:CN:Cloister%20TEST%20ONLY%20me") {
			t.Errorf("%s: got %+v, %v", kind, s, err)
		}
	}
	for _, bad := range []struct {
		kind, name string
		days       int
	}{{"des", "me", 1}, {"p256", "", 1}, {"p256", strings.Repeat("x", 41), 1}, {"p256", "me", 0}, {"p256", "me", 3651}} {
		if c, err := fragmentgen.NewTestChain(bad.kind, bad.name, within, bad.days); err == nil {
			t.Errorf("%+v: got %+v", bad, c)
		}
	}
}
