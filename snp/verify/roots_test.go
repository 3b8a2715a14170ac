package verify_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gtest "github.com/google/go-sev-guest/testing"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// TestAMDRootsAreThoseOfGoSEVGuest: the built-in certificates are the ones that another project, which got them from AMD too, ships.
func TestAMDRootsAreThoseOfGoSEVGuest(t *testing.T) {
	for _, c := range []struct {
		line       string
		vcek, vlek []byte
	}{
		{"milan", trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes},
		{"genoa", trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes},
		{"turin", trust.AskArkTurinVcekBytes, trust.AskArkTurinVlekBytes},
	} {
		ours := func(role string) []byte { return pemFile(t, filepath.Join("roots", role+"-"+c.line+".pem")) }
		for _, chain := range []struct {
			role string
			pem  []byte
		}{{"ask", c.vcek}, {"asvk", c.vlek}} {
			first, rest := pem.Decode(chain.pem)
			second, rest := pem.Decode(rest)
			if !bytes.Equal(ours(chain.role), first.Bytes) || !bytes.Equal(ours("ark"), second.Bytes) || len(bytes.TrimSpace(rest)) != 0 {
				t.Errorf("%s of %s: the built-in certificate is not go-sev-guest's", chain.role, c.line)
			}
		}
	}
	files, err := filepath.Glob("roots/*.pem")
	if err != nil || len(files) != 9 {
		t.Errorf("got %d built-in certificates %v, want 9", len(files), err)
	}
}

// TestEmulatorIsRefusedByDefault: the software processor's root counts only for those who give it.
func TestEmulatorIsRefusedByDefault(t *testing.T) {
	v := newVerifier(t, nil, verify.Options{})
	for _, m := range machines() {
		got := judge(t, v, m.sample(t, nil).evidence(), expectations())
		if failed(got) != "chain" || got.TestOnly || got.Root != "" {
			t.Errorf("%s: got failed checks %q root %q, want chain and none", m, failed(got), got.Root)
		}
	}
}

// TestPublishedKeysAreRefused: chains of go-sev-guest's published private keys have AMD's names, and no root of AMD's.
func TestPublishedKeysAreRefused(t *testing.T) {
	for _, line := range []snp.Line{snp.Milan, snp.Genoa} {
		p := newPublished(t, line)
		for _, r := range []*verify.Roots{nil, roots(t)} {
			for _, vlek := range []bool{false, true} {
				got := judge(t, newVerifier(t, r, verify.Options{}), p.evidence(3, vlek, nil), expectations())
				if failed(got) != "chain" {
					t.Errorf("%s, vlek %t: got failed checks %q, want chain", line, vlek, failed(got))
				}
			}
		}
	}
}

// TestOtherAuthority gives evidence of our emulator to somebody who trusts another one: same names, other keys.
func TestOtherAuthority(t *testing.T) {
	ours := issuerCert(t, "ark")
	tmpl := &x509.Certificate{
		SerialNumber: ours.SerialNumber, Subject: ours.Subject, NotBefore: ours.NotBefore, NotAfter: ours.NotAfter, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	key := gtest.DefaultArk()
	theirs, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	r := &verify.Roots{}
	if err := r.Add(theirs); err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, r, verify.Options{})
	for _, vlek := range []bool{false, true} {
		s := machine{"Genoa", vlek, 3}.sample(t, nil)
		if got := judge(t, v, s.evidence(), expectations()); failed(got) != "chain" {
			t.Errorf("vlek %t: got failed checks %q, want chain", vlek, failed(got))
		}
		// Without the root in the evidence it is the intermediate that leads nowhere.
		ev := s.evidence()
		ev.Table = s.table(snp.GUIDARK, nil)
		if got := judge(t, v, ev, expectations()); failed(got) != "chain" {
			t.Errorf("vlek %t, no root: got failed checks %q, want chain", vlek, failed(got))
		}
	}
}

// TestRootVouchesForItsLineOnly: a chain of Genoa's, whole and pinned, whose certificate calls itself a Milan.
func TestRootVouchesForItsLineOnly(t *testing.T) {
	genoa, milan := newPublished(t, snp.Genoa), newPublished(t, snp.Milan)
	r := genoa.roots()
	for _, cert := range [][]byte{milan.signer.Ark.Raw, milan.signer.Ask.Raw} {
		if err := r.Add(cert); err != nil {
			t.Fatal(err)
		}
	}
	v := newVerifier(t, r, verify.Options{})
	ev := milan.evidence(3, false, nil)
	if got := judge(t, v, ev, expectations()); !got.OK {
		t.Fatalf("a Milan by Milan's root: refused: %+v", got.Failed())
	}
	s := &sample{t: t}
	s.params.Chain = [][]byte{milan.signer.Vcek.Raw}
	forged := s.reissuedBy(genoa.signer.Ask, genoa.signer.Keys.Ask, nil)
	ev.Table = snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: forged}})
	if got := judge(t, v, ev, expectations()); failed(got) != "root_line" {
		t.Errorf("a Milan by Genoa's root: got failed checks %q, want root_line", failed(got))
	}
}

func TestLoadRoots(t *testing.T) {
	a := testAuthority(t)
	file := func(name string) string {
		b, err := os.ReadFile(filepath.Join(a.RootsDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ark, ask := file("ark.pem"), file("ask.pem")
	block, _ := pem.Decode([]byte(ark))
	many := map[string]string{"ark.pem": ark}
	for i := range 299 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // in the error, "" for none
	}{
		{"chain in one file", map[string]string{"cert_chain.pem": ask + ark}, ""},
		{"der", map[string]string{"ark.der": string(block.Bytes)}, ""},
		{"other files are left alone", map[string]string{"ark.pem": ark, "README": "hello"}, ""},
		{"empty directory", nil, "no self-signed certificate"},
		{"no anchor", map[string]string{"ask.pem": ask}, "no self-signed certificate"},
		{"a key", map[string]string{"ark.pem": strings.ReplaceAll(ark, "CERTIFICATE", "PRIVATE KEY")}, "want only certificates"},
		{"no block", map[string]string{"ark.pem": "-----BEGIN"}, "no certificate"},
		{"garbage", map[string]string{"ark.pem": "hello"}, "ark.pem"},
		{"too long", map[string]string{"ark.pem": strings.Repeat("x", 300<<10)}, "more than"},
		{"too many", many, "300 files"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			r, err := verify.LoadRoots(dir)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("got %v, want an error with %q", err, c.want)
			case c.want == "":
				ev := machine{"Genoa", false, 3}.sample(t, nil).evidence()
				if v := judge(t, newVerifier(t, r, verify.Options{}), ev, expectations()); !v.OK {
					t.Errorf("refused: %+v", v.Failed())
				}
			}
		})
	}
	if _, err := verify.LoadRoots(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent directory was accepted")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "ark.pem"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.LoadRoots(dir); err == nil {
		t.Error("a directory in place of a file was accepted")
	}
}

// TestEndorsementKeyBesideRoots: a directory may hold the endorsement keys' certificates too, of several chips and versions; the one that fits is taken.
func TestEndorsementKeyBesideRoots(t *testing.T) {
	s := machine{"Turin", false, 5}.sample(t, nil)
	older := s.reissued("ask", func(c *x509.Certificate) { setExtension(c, der(t, 0, ""), 3, 9) })
	otherChip := s.reissued("ask", func(c *x509.Certificate) { setExtension(c, []byte("another "), 4) })
	r := roots(t)
	for _, cert := range [][]byte{older, otherChip, s.params.Chain[0]} {
		if err := r.Add(cert); err != nil {
			t.Fatal(err)
		}
	}
	ev := verify.Evidence{Report: s.report}
	if got := judge(t, newVerifier(t, r, verify.Options{}), ev, expectations()); !got.OK {
		t.Errorf("refused: %+v", got.Failed())
	}
	r = roots(t)
	if err := r.Add(older); err != nil {
		t.Fatal(err)
	}
	if got := judge(t, newVerifier(t, r, verify.Options{}), ev, expectations()); failed(got) != "reported_tcb" {
		t.Errorf("only another version's: got failed checks %q, want reported_tcb", failed(got))
	}
}

// TestEndorsementKeyBesideRootsThatLeadsNowhere: what is kept beside the roots must still lead to one of them, and a certificate that has no form does not load.
func TestEndorsementKeyBesideRootsThatLeadsNowhere(t *testing.T) {
	s := machine{"Genoa", false, 3}.sample(t, nil)
	ev := verify.Evidence{Report: s.report}
	for _, c := range []struct {
		name string
		leaf []byte
		want string
	}{
		{"of the other kind", machine{"Genoa", true, 3}.sample(t, nil).params.Chain[0], "certificates"},
		{"of a stranger", newPublished(t, snp.Genoa).signer.Vcek.Raw, "certificates"},
		{"flipped", flipped(s.params.Chain[0], len(s.params.Chain[0])-1), "chain"},
	} {
		r := roots(t)
		if err := r.Add(c.leaf); err != nil {
			t.Fatal(err)
		}
		if got := judge(t, newVerifier(t, r, verify.Options{}), ev, expectations()); failed(got) != c.want {
			t.Errorf("%s: got failed checks %q, want %q", c.name, failed(got), c.want)
		}
	}
	if err := roots(t).Add(s.reissued("ask", func(c *x509.Certificate) { setExtension(c, nil, 2) })); err == nil {
		t.Error("a certificate without a product was accepted")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		roots *verify.Roots
		opt   verify.Options
	}{
		{"no roots", &verify.Roots{}, verify.Options{}},
		{"negative cache", nil, verify.Options{CacheSize: -1}},
		{"garbage list", nil, verify.Options{CRLs: [][]byte{[]byte("hello")}}},
	} {
		if v, err := verify.New(c.roots, c.opt); v != nil || err == nil {
			t.Errorf("%s: got %v, %v, want an error", c.name, v, err)
		}
	}
}

// TestAMDRootsAreOnesOwn: adding to them makes no other verifier trust anybody more, now or later.
func TestAMDRootsAreOnesOwn(t *testing.T) {
	ev := machine{"Genoa", false, 3}.sample(t, nil).evidence()
	before := newVerifier(t, nil, verify.Options{})
	var wg sync.WaitGroup
	for range 4 { // the race detector sees what they share
		wg.Go(func() {
			mine := verify.AMDRoots()
			for _, name := range []string{"ark", "ask"} {
				if err := mine.Add(issuerCert(t, name).Raw); err != nil {
					t.Error(err)
				}
			}
			if got, err := newVerifier(t, mine, verify.Options{}).Verify(ev, expectations()); err != nil || !got.OK {
				t.Errorf("by roots with the software processor's: got %+v, %v, want it accepted", got, err)
			}
		})
	}
	wg.Wait()
	for name, v := range map[string]*verify.Verifier{
		"made before": before, "nil": newVerifier(t, nil, verify.Options{}), "AMD's": newVerifier(t, verify.AMDRoots(), verify.Options{}),
	} {
		if got := judge(t, v, ev, expectations()); failed(got) != "chain" {
			t.Errorf("%s: got failed checks %q, want chain", name, failed(got))
		}
	}
}
