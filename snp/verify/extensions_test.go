package verify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// TestEndorsementCertificate: what AMD's extensions may say, each certificate signed by the right authority.
func TestEndorsementCertificate(t *testing.T) {
	v := testVerifier(t)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		m    machine
		edit func(*x509.Certificate)
		want string // failed check
		got  string // what its row says
	}{
		{"as issued", machine{"Genoa", false, 3}, nil, "", ""},
		{"product without stepping", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, "Genoa", "ia5"), 2) }, "", ""},
		{"no reserved versions", machine{"Genoa", false, 3}, func(c *x509.Certificate) {
			for n := 4; n <= 7; n++ {
				setExtension(c, nil, 3, n)
			}
		}, "", ""},
		{"a reserved version", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, 1, ""), 3, 5) }, "certificate", "want 0 on Genoa"},
		{"a reserved version of another type", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, "x", "ia5"), 3, 5) }, "certificate", "3.5"},
		{"fmc of zero on genoa", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, 0, ""), 3, 9) }, "", ""},
		{"fmc on genoa", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, 1, ""), 3, 9) }, "certificate", "want 0 on Genoa"},
		{"no fmc on turin", machine{"Turin", false, 5}, func(c *x509.Certificate) { setExtension(c, nil, 3, 9) }, "certificate", "3.9 is missing"},
		{"no boot loader", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, nil, 3, 1) }, "certificate", "3.1 is missing"},
		{"version 256", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, 256, ""), 3, 1) }, "certificate", "want 0 to 255"},
		{"negative version", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, -1, ""), 3, 1) }, "certificate", "want 0 to 255"},
		{"version and more", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, append(der(t, 10, ""), 0), 3, 1) }, "certificate", "do not parse"},
		{"unknown product", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, "Venice-A0", "ia5"), 2) }, "certificate", "Venice"},
		{"product of another type", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, der(t, "Genoa", "utf8"), 2) }, "certificate", "tag 12"},
		{"extension twice", machine{"Genoa", false, 3}, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: amdOID(3, 1), Value: der(t, 10, "")})
		}, "certificate", "duplicate"},
		{"short hardware id", machine{"Genoa", false, 3}, func(c *x509.Certificate) { setExtension(c, make([]byte, 8), 4) }, "certificate", "8 bytes, want 64"},
		{"long hardware id", machine{"Turin", false, 5}, func(c *x509.Certificate) { setExtension(c, make([]byte, 64), 4) }, "certificate", "64 bytes, want 8"},
		{"empty provider", machine{"Genoa", true, 3}, func(c *x509.Certificate) { setExtension(c, der(t, "", "ia5"), 5) }, "signer", "neither"},
		{"provider of another type", machine{"Genoa", true, 3}, func(c *x509.Certificate) { setExtension(c, der(t, 1, ""), 5) }, "certificate", "tag 2"},
		{"an authority's", machine{"Genoa", false, 3}, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "certificate", "authority"},
		{"another curve", machine{"Genoa", false, 3}, func(c *x509.Certificate) { c.PublicKey = p256.Public() }, "certificate", "P-384"},
		{"rsa", machine{"Genoa", false, 3}, func(c *x509.Certificate) { c.PublicKey = issuerKey(t, "ask").Public() }, "certificate", "P-384"},
		{"another hash", machine{"Genoa", false, 3}, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS }, "chain", "SHA256-RSAPSS"},
		{"pkcs 1", machine{"Genoa", false, 3}, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA }, "chain", "SHA384-RSA,"},
		{"unknown critical extension", machine{"Genoa", false, 3}, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, "chain", "critical"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			s := c.m.sample(t, nil)
			got := mustFailOrPass(t, v, s.with(s.reissued(s.issuer(), c.edit)), expectations(), c.want)
			if row := check(got, c.want).Got; c.want != "" && !strings.Contains(row, c.got) {
				t.Errorf("got %q, want it to contain %q", row, c.got)
			}
		})
	}
}

// TestIntermediates: who may stand between a root and an endorsement key.
func TestIntermediates(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	ark, arkKey, askKey := issuerCert(t, "ark"), issuerKey(t, "ark"), issuerKey(t, "ask")
	intermediate := func(edit func(*x509.Certificate), parent *x509.Certificate) []byte {
		old := issuerCert(t, "ask")
		tmpl := &x509.Certificate{
			SerialNumber: old.SerialNumber, Subject: pkix.Name{CommonName: "another intermediate"}, NotBefore: old.NotBefore, NotAfter: old.NotAfter,
			SignatureAlgorithm: x509.SHA384WithRSAPSS, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, PublicKey: askKey.Public(),
		}
		edit(tmpl)
		key := arkKey
		if parent != ark {
			key = askKey
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, tmpl.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, c := range []struct {
		name   string
		edit   func(*x509.Certificate)
		parent *x509.Certificate
		want   string
	}{
		{"good", func(*x509.Certificate) {}, ark, ""},
		{"no authority", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }, ark, "chain"},
		{"may not sign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, ark, "chain"},
		{"below another intermediate", func(*x509.Certificate) {}, issuerCert(t, "ask"), "chain"},
		{"of VLEKs", func(c *x509.Certificate) { c.Subject.CommonName = "SEV-VLEK-Genoa" }, ark, "root_line"},
		{"of another line", func(c *x509.Certificate) { c.Subject.CommonName = "SEV-Milan" }, ark, "root_line"},
		{"of the line", func(c *x509.Certificate) { c.Subject.CommonName = "SEV-Genoa" }, ark, ""},
		{"expired", func(c *x509.Certificate) { c.NotAfter = expectations().Now.AddDate(0, 0, -1) }, ark, "validity"},
		{"not yet", func(c *x509.Certificate) { c.NotBefore = expectations().Now.AddDate(0, 0, 1) }, ark, "validity"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			by := intermediate(c.edit, c.parent)
			cert, err := x509.ParseCertificate(by)
			if err != nil {
				t.Fatal(err)
			}
			ev := s.evidence()
			ev.Table = snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: s.reissuedBy(cert, askKey, nil)}, {GUID: snp.GUIDASK, Data: by}})
			mustFailOrPass(t, v, ev, expectations(), c.want)
		})
	}
}

// TestCertificatesAtHand: where they may come from, and what is too much or too little.
func TestCertificatesAtHand(t *testing.T) {
	s, vlek := machine{"Genoa", false, 3}.sample(t, nil), machine{"Genoa", true, 3}.sample(t, nil)
	ask, ark := issuerCert(t, "ask").Raw, issuerCert(t, "ark").Raw
	rootOnly := &verify.Roots{}
	if err := rootOnly.Add(ark); err != nil {
		t.Fatal(err)
	}
	leaf, both := s.params.Chain[0], [][]byte{vlek.params.Chain[0], s.params.Chain[0]}
	table := func(certs ...snp.Cert) []byte { return snp.MarshalCerts(certs) }
	vcekEntry := snp.Cert{GUID: snp.GUIDVCEK, Data: leaf}
	for _, c := range []struct {
		name  string
		roots *verify.Roots
		table []byte
		certs [][]byte
		want  string
	}{
		{"all in the table", rootOnly, s.evidence().Table, nil, ""},
		{"all beside it", rootOnly, nil, [][]byte{ark, ask, leaf}, ""},
		{"in both", rootOnly, s.evidence().Table, [][]byte{ark, ask, leaf}, ""},
		{"intermediate from the caller", roots(t), table(vcekEntry), nil, ""},
		{"no intermediate", rootOnly, table(vcekEntry), nil, "certificates"},
		{"no leaf", rootOnly, table(snp.Cert{GUID: snp.GUIDASK, Data: ask}), nil, "certificates"},
		{"both kinds", roots(t), nil, both, ""},
		{"both kinds, the other one forged", roots(t), nil, [][]byte{flipped(both[0], len(both[0])-1), leaf}, "chain"},
		{"both kinds in the table", roots(t), table(snp.Cert{GUID: snp.GUIDVLEK, Data: both[0]}, vcekEntry), nil, ""},
		{"the other kind only", roots(t), nil, both[:1], "signer"},
		{"an entry of another guid", roots(t), table(vcekEntry, snp.Cert{GUID: snp.GUID{1}, Data: []byte("hello")}), nil, ""},
		{"one kind twice", roots(t), table(vcekEntry, vcekEntry), nil, "certificate_table"},
		{"a huge entry", roots(t), table(vcekEntry, snp.Cert{GUID: snp.GUIDASK, Data: make([]byte, 17<<10)}), nil, "certificate_table"},
		{"a huge certificate", roots(t), nil, [][]byte{leaf, make([]byte, 17<<10)}, "certificate_table"},
		{"many certificates", roots(t), nil, manyOf(leaf, 33), "certificate_table"},
		{"much altogether", roots(t), table(snp.Cert{GUID: snp.GUID{1}, Data: make([]byte, 256<<10)}), [][]byte{leaf}, "certificate_table"},
		{"garbage leaf", roots(t), table(snp.Cert{GUID: snp.GUIDVCEK, Data: []byte("hello")}), nil, "certificate"},
		{"garbage beside", roots(t), table(vcekEntry), [][]byte{[]byte("hello")}, "chain"},
		{"a leaf beside that has no form", roots(t), nil, [][]byte{s.reissued("ask", func(c *x509.Certificate) { setExtension(c, nil, 2) })}, "certificate"},
		{"a leaf without extensions", roots(t), table(snp.Cert{GUID: snp.GUIDVCEK, Data: ask}), nil, "certificate"},
		{"a stranger beside", roots(t), table(vcekEntry), [][]byte{newPublished(t, snp.Genoa).signer.Ask.Raw}, "chain"},
		{"a strange root beside", roots(t), table(vcekEntry), [][]byte{newPublished(t, snp.Genoa).signer.Ark.Raw}, "chain"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			v := newVerifier(t, c.roots, verify.Options{})
			mustFailOrPass(t, v, verify.Evidence{Report: s.report, Table: c.table, Certs: c.certs}, expectations(), c.want)
		})
	}
}

func manyOf(b []byte, n int) (out [][]byte) {
	for range n {
		out = append(out, b)
	}
	return out
}

// TestProcessorEntryOfTable: the table's entry that names the processor counts for version 2 only, and must be right where it counts.
func TestProcessorEntryOfTable(t *testing.T) {
	v := testVerifier(t)
	genoa, milan := []byte{8, 0, 0, 0, 0x10, 0x0f, 0xa1, 0}, []byte{8, 0, 0, 0, 0x10, 0x0f, 0xa0, 0}
	siena := []byte{8, 0, 0, 0, 0x02, 0x0f, 0xaa, 0}
	for _, c := range []struct {
		name          string
		version       uint32
		entry         []byte
		want, product string
	}{
		{"right", 2, genoa, "", "Genoa"},
		{"siena", 2, siena, "", "Siena"},
		{"another line", 2, milan, "product", "Milan"},
		{"unknown", 2, []byte{8, 0, 0, 0, 0x11, 0x0f, 0x80, 0}, "product", ""},
		{"short", 2, genoa[:7], "product", ""},
		{"another line, of a report that names its own", 3, milan, "", "Genoa"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			s := machine{"Genoa", false, c.version}.sample(t, nil)
			ev := s.evidence()
			ev.Table = s.table(snp.GUIDCPU, c.entry)
			if got := mustFailOrPass(t, v, ev, expectations(), c.want); got.Product != c.product {
				t.Errorf("got product %q, want %q", got.Product, c.product)
			}
		})
	}
}
