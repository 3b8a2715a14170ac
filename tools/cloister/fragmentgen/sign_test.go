package fragmentgen_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

// Every algorithm that guests take, with every key it goes with.
func TestSignEveryAlgorithm(t *testing.T) {
	keys := map[cosetest.KeyType][]string{
		cosetest.P256: {"ES256", "ES384", "ES512"}, cosetest.P384: {"", "ES256", "ES384", "ES512"}, cosetest.P521: {"ES256", "ES384", "ES512"},
		cosetest.RSA: {"", "PS256", "PS384", "PS512"}, cosetest.Ed25519: {"", "EdDSA"},
	}
	defaults := map[cosetest.KeyType]string{cosetest.P384: "ES384", cosetest.RSA: "PS384", cosetest.Ed25519: "EdDSA"}
	used := map[string]bool{}
	for key, names := range keys {
		chain := cosetest.NewChain(t, cosetest.ChainOptions{Key: key})
		for i, name := range names {
			want := name
			if want == "" {
				want = defaults[key]
			}
			used[want] = true
			again := func(o *fragmentgen.SignOptions) { o.Algorithm, o.NoLoad = name, true }
			first, second := mustSign(t, chain, again), mustSign(t, chain, again)
			if first.Algorithm != want {
				t.Errorf("key %d: got %s, want %s", key, first.Algorithm, want)
			}
			if same := bytes.Equal(first.Raw, second.Raw); same != (key != cosetest.RSA) {
				t.Errorf("%s: two documents are the same: %v", want, same)
			}
			// Guests open every one of them (Sign has done so); loading has nothing to do with the algorithm.
			if i == 0 {
				accept(t, first)
			}
		}
	}
	for _, name := range fragmentgen.Algorithms() {
		if !used[name] {
			t.Errorf("%s was not tried", name)
		}
	}
}

// accept has the enforcer load a document by the entry that was made of it, and then mount the disk that it brings.
func accept(t *testing.T, s *fragmentgen.Signed) {
	t.Helper()
	entry, err := fragmentgen.EntryFor(t.Context(), s.Raw, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := enforcer.Load(t.Context(), policyFor(t, entry), enforcer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mount := enforcer.MountDeviceInput{Target: "/run/mounts/scsi/m1", DeviceHash: strings.Repeat("b", 64), MountPathRegex: "/run/mounts/scsi/m[0-9]+"}
	if _, err := e.Decide(t.Context(), mount); err == nil {
		t.Fatal("the layer is allowed without the fragment")
	}
	d, err := e.LoadFragment(t.Context(), s.Raw, fragment.MediaTypeRego)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Decide(t.Context(), mount); err != nil {
		t.Fatal(err)
	}
}

func TestSignChainLengths(t *testing.T) {
	for n := 1; n <= 4; n++ {
		chain := cosetest.NewChain(t, cosetest.ChainOptions{Length: n})
		if n == 1 {
			_, err := fragmentgen.Sign(t.Context(), sideText(t), signOptions(chain))
			wantError(t, err, "got one certificate", "its issuers too", "dev signing init")
			continue
		}
		accept(t, mustSign(t, chain, nil))
	}
}

// The header says what the options say, and older guests find issuer and feed where they look.
func TestSignHeader(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{})
	one, two := int64(1), int64(2)
	for name, c := range map[string]struct {
		change func(*fragmentgen.SignOptions)
		text   bool
		svn    *int64
	}{
		"text":    {func(*fragmentgen.SignOptions) {}, true, nil},
		"cwt":     {func(o *fragmentgen.SignOptions) { o.CWT = true }, false, nil},
		"cwt-svn": {func(o *fragmentgen.SignOptions) { o.SVN = &one }, false, &one},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustSign(t, chain, c.change)
			doc, err := cose.Open(s.Raw, cose.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if doc.ContentType != fragmentgen.ContentType || doc.Feed != feed || doc.Issuer != s.Issuer {
				t.Errorf("got %q, %q, %q", doc.ContentType, doc.Feed, doc.Issuer)
			}
			if (doc.SVN == nil) != (c.svn == nil) || doc.SVN != nil && *doc.SVN != *c.svn {
				t.Errorf("svn: got %v, want %v", doc.SVN, c.svn)
			}
			if got := bytes.Contains(s.Raw, []byte("\x63iss")) && bytes.Contains(s.Raw, []byte("\x64feed")); got != c.text {
				t.Errorf("text labels: got %v, want %v", got, c.text)
			}
		})
	}
	o := signOptions(chain)
	o.SVN = &two
	_, err := fragmentgen.Sign(t.Context(), sideText(t), o)
	wantError(t, err, "svn in header 2 does not match svn in fragment rego 1")
}

func TestSignRefuses(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{})
	other := cosetest.NewChain(t, cosetest.ChainOptions{})
	rsa := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.RSA})
	turned := slices.Clone(chain.Certs)
	slices.Reverse(turned)
	mixed := []*x509.Certificate{chain.Certs[0], other.Certs[1], other.Certs[2]}
	for name, c := range map[string]struct {
		text   string
		change func(*fragmentgen.SignOptions)
		want   []string
	}{
		"no-key":          {"", func(o *fragmentgen.SignOptions) { o.Key = nil }, []string{"a key and its certificate chain"}},
		"no-chain":        {"", func(o *fragmentgen.SignOptions) { o.Chain = nil }, []string{"a key and its certificate chain"}},
		"other-key":       {"", func(o *fragmentgen.SignOptions) { o.Key = other.Signer() }, []string{"not that of the leaf", "Test Leaf"}},
		"issuer-key":      {"", func(o *fragmentgen.SignOptions) { o.Key = chain.Keys[1] }, []string{"that of certificate 1"}},
		"root-first":      {"", func(o *fragmentgen.SignOptions) { o.Chain = turned }, []string{"certificate 2", "leaf first"}},
		"root-first-else": {"", func(o *fragmentgen.SignOptions) { o.Chain, o.Key = turned, other.Signer() }, []string{"begins with a root"}},
		"broken-chain":    {"", func(o *fragmentgen.SignOptions) { o.Chain = mixed }, []string{"not the issuer of certificate 0"}},
		"expired":         {"", func(o *fragmentgen.SignOptions) { o.Now = year(2023) }, []string{"certificate 0", "is valid from 2021-01-01T00:00:00Z to 2022-01-01T00:00:00Z", "--now"}},
		"early":           {"", func(o *fragmentgen.SignOptions) { o.Now = year(2020) }, []string{"certificate 0"}},
		"no-time":         {"", func(o *fragmentgen.SignOptions) { o.Now = time.Time{} }, []string{"no time"}},
		"feed-empty":      {"", func(o *fragmentgen.SignOptions) { o.Feed = "" }, []string{"feed: it is empty"}},
		"feed-scheme":     {"", func(o *fragmentgen.SignOptions) { o.Feed = "https://registry.example/side" }, []string{`without "https://"`}},
		"feed-blank":      {"", func(o *fragmentgen.SignOptions) { o.Feed = "a b" }, []string{"a b"}},
		"algorithm":       {"", func(o *fragmentgen.SignOptions) { o.Algorithm = "RS256" }, []string{"RS256", "ES384"}},
		"algorithm-key":   {"", func(o *fragmentgen.SignOptions) { o.Algorithm = "PS256" }, []string{"PS256 with an ECDSA key"}},
		"algorithm-rsa": {"", func(o *fragmentgen.SignOptions) {
			o.Key, o.Chain, o.Algorithm = rsa.Signer(), rsa.Certs, "ES384"
		}, []string{"ES384 with an RSA key"}},
		"issuer":       {"", func(o *fragmentgen.SignOptions) { o.Issuer = other.DID(t, "subject") }, []string{"fingerprint"}},
		"did-policy":   {"", func(o *fragmentgen.SignOptions) { o.DIDPolicies = []string{"subject:O"} }, []string{"has no O", "--did-policy"}},
		"did-eku":      {"", func(o *fragmentgen.SignOptions) { o.DIDPolicies = []string{"eku"} }, []string{"no extended key usage"}},
		"reserved":     {"package policy\nsvn := \"1\"\n", func(*fragmentgen.SignOptions) {}, []string{"policy is the agent's"}},
		"first-line":   {"# side\npackage side\n", func(*fragmentgen.SignOptions) {}, []string{"first line"}},
		"no-svn":       {"package side\nframework_version := \"0.2.3\"\ncontainers := []\n", func(*fragmentgen.SignOptions) {}, []string{"missing fragment svn"}},
		"no-framework": {"package side\nsvn := \"1\"\ncontainers := []\n", func(*fragmentgen.SignOptions) {}, []string{"framework_version"}},
		"ahead":        {"package side\nsvn := \"1\"\nframework_version := \"9.0.0\"\ncontainers := []\n", func(*fragmentgen.SignOptions) {}, []string{"framework_version"}},
		"no-rego":      {"package side\nsvn := \n", func(*fragmentgen.SignOptions) {}, []string{"not valid Rego"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := []byte(c.text)
			if c.text == "" {
				text = sideText(t)
			}
			o := signOptions(chain)
			c.change(&o)
			s, err := fragmentgen.Sign(t.Context(), text, o)
			if s != nil {
				t.Error("got a document with the error")
			}
			wantError(t, err, c.want...)
		})
	}
}

func TestDID(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{
		Subject: pkix.Name{CommonName: "A: b", Organization: []string{"Org"}}, EKUs: []string{"1.3.6.1.4.1.311.76.59.1.3"}, DNS: []string{"side.example"},
		FulcioIssuer: "https://token.example/x",
	})
	for _, c := range []struct {
		policies []string
		want     string
	}{
		{nil, "::subject:CN:A%3A%20b"},
		{[]string{"subject"}, "::subject:CN:A%3A%20b"},
		{[]string{"subject:CN"}, "::subject:CN:A%3A%20b"},
		{[]string{"subject:O,CN"}, "::subject:O:Org:CN:A%3A%20b"},
		{[]string{"subject:O:Org"}, "::subject:O:Org"},
		{[]string{"eku"}, "::eku:1.3.6.1.4.1.311.76.59.1.3"},
		{[]string{"eku:1.3.6.1.4.1.311.76.59.1.3", "subject"}, "::eku:1.3.6.1.4.1.311.76.59.1.3::subject:CN:A%3A%20b"},
		{[]string{"san"}, "::san:dns:side.example"},
		{[]string{"san:dns:side.example"}, "::san:dns:side.example"},
		{[]string{"fulcio-issuer"}, "::fulcio-issuer:token.example%2Fx"},
	} {
		got, err := fragmentgen.DID(chain.Certs, c.policies...)
		if err != nil || !strings.HasPrefix(got, "did:x509:0:sha256:") || !strings.HasSuffix(got, c.want) {
			t.Errorf("%q: got %q, %v, want an end of %q", c.policies, got, err, c.want)
		}
		if err := cose.ResolveDID(got, chain.Certs); err != nil {
			t.Errorf("%q: %v", c.policies, err)
		}
	}
	if got := fragmentgen.DIDs(chain.Certs); len(got) != 5 || !strings.HasSuffix(got[0], "::subject:CN:A%3A%20b") {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"subject:", "subject:X", "eku:9.9", "san:dns:other.example", "name", "subject:CN:other", "fulcio-issuer:other"} {
		if got, err := fragmentgen.DID(chain.Certs, bad); err == nil && bad != "subject:" {
			t.Errorf("%q: got %q, want an error", bad, got)
		}
	}
}
