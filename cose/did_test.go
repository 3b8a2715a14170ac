package cose_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
)

// didLeaf is a leaf with something for every policy.
var didLeaf = cosetest.ChainOptions{
	Subject: pkix.Name{
		CommonName: "Cloister: Signing+Test~1", Country: []string{"DE"}, Province: []string{"Bavaria"}, Locality: []string{"München"},
		Organization: []string{"Example, Inc."}, OrganizationalUnit: []string{"R&D"}, StreetAddress: []string{"1 Main St"}, SerialNumber: "42",
	},
	EKUs:         []string{"1.3.6.1.5.5.7.3.3", "1.3.6.1.4.1.311.76.59.1.3", "2.5.29.37.0"},
	Emails:       []string{"bob@example.com"},
	DNS:          []string{"sign.example.com", "Upper.Example.com"},
	URIs:         []string{"https://example.com/a%2Fb?x=1"},
	FulcioIssuer: "https://accounts.example.com:8443/x",
}

func TestDIDPolicies(t *testing.T) {
	c := cosetest.NewChain(t, didLeaf)
	sum := sha256.Sum256(c.Certs[2].Raw)
	prefix := "did:x509:0:sha256:" + base64url(sum[:])
	tests := []struct {
		name, policies, text string // no text: it resolves
	}{
		{"subject-cn", "::subject:CN:Cloister%3A%20Signing%2BTest%7E1", ""},
		{"subject-lower-case-hex", "::subject:CN:Cloister%3a%20Signing%2bTest%7e1", ""},
		{"subject-encoded-more-than-needed", "::subject:C:%44E", ""},
		{"subject-all", "::subject:C:DE:ST:Bavaria:L:M%C3%BCnchen:O:Example%2C%20Inc.:OU:R%26D:STREET:1%20Main%20St:2.5.4.5:42:CN:Cloister%3A%20Signing%2BTest%7E1", ""},
		{"subject-any-order", "::subject:O:Example%2C%20Inc.:C:DE", ""},
		{"subject-oid", "::subject:2.5.4.5:42", ""},
		{"subject-twice", "::subject:C:DE::subject:ST:Bavaria", ""},
		{"eku-standard", "::eku:1.3.6.1.5.5.7.3.3", ""},
		{"eku-own", "::eku:1.3.6.1.4.1.311.76.59.1.3", ""},
		{"eku-any", "::eku:2.5.29.37.0", ""},
		{"eku-two", "::eku:2.5.29.37.0::eku:1.3.6.1.5.5.7.3.3", ""},
		{"san-email", "::san:email:bob%40example.com", ""},
		{"san-dns", "::san:dns:sign.example.com", ""},
		{"san-uri", "::san:uri:https%3A%2F%2Fexample.com%2Fa%252Fb%3Fx%3D1", ""},
		{"fulcio", "::fulcio-issuer:accounts.example.com%3A8443%2Fx", ""},
		{"all", "::fulcio-issuer:accounts.example.com%3A8443%2Fx::san:dns:sign.example.com::eku:2.5.29.37.0::subject:C:DE", ""},

		{"subject-other", "::subject:CN:Other", `policy subject: CN: got "Cloister: Signing+Test~1", want "Other"`},
		{"subject-case", "::subject:C:de", `C: got "DE", want "de"`},
		{"subject-part", "::subject:ST:Bavari", `ST: got "Bavaria", want "Bavari"`},
		{"subject-blank", "::subject:STREET:1%20Main%20St%20", `STREET: got`},
		{"subject-absent", "::subject:2.5.4.17:80331", `2.5.4.17: got none in the leaf's subject, want "80331"`},
		{"subject-second-wrong", "::subject:C:DE:ST:Berlin", `ST: got "Bavaria", want "Berlin"`},
		{"subject-repeated", "::subject:C:DE:C:DE", "key C is repeated"},
		{"subject-repeated-other", "::subject:C:DE:C:FR", "key C is repeated"},
		{"subject-no-value", "::subject:C", "want pairs of key and value"},
		{"subject-three", "::subject:C:DE:ST", "want pairs"},
		{"subject-unknown-key", "::subject:DC:example", `got key "DC"`},
		{"subject-lower-case-key", "::subject:cn:x", `got key "cn"`},
		{"subject-oid-of-label", "::subject:2.5.4.6:DE", "key 2.5.4.6 is spelt C"},
		{"subject-encoded-key", "::subject:%43:DE", `got key "%43"`},
		{"subject-oid-form", "::subject:2..5:DE", `got key "2..5"`},
		{"subject-empty-value", "::subject:C:DE:ST:", "has an empty part"},
		{"subject-empty-value-inside", "::subject:C::ST:Bavaria", "want pairs"},
		{"subject-empty", "::subject:", "has no value"},
		{"eku-absent", "::eku:1.3.6.1.5.5.7.3.1", `policy eku: got ["1.3.6.1.5.5.7.3.3" "1.3.6.1.4.1.311.76.59.1.3" "2.5.29.37.0"], want 1.3.6.1.5.5.7.3.1`},
		{"eku-prefix", "::eku:1.3.6.1.4.1.311.76.59.1", "want 1.3.6.1.4.1.311.76.59.1"},
		{"eku-longer", "::eku:1.3.6.1.4.1.311.76.59.1.3.0", "want 1.3.6"},
		{"eku-leading-zero", "::eku:1.3.06.1.5.5.7.3.3", "want 1.3.06"},
		{"eku-encoded", "::eku:1%2E3.6.1.5.5.7.3.3", "want one OID"},
		{"eku-name", "::eku:codeSigning", "want one OID"},
		{"eku-list", "::eku:2.5.29.37.0:1.2", "want one OID"},
		{"eku-second-absent", "::eku:2.5.29.37.0::eku:1.2.3", "want 1.2.3"},
		{"san-other", "::san:email:eve%40example.com", `policy san: email: got ["bob@example.com"], want "eve@example.com"`},
		{"san-type-confusion", "::san:dns:bob%40example.com", `dns: got ["sign.example.com" "Upper.Example.com"]`},
		{"san-case", "::san:dns:upper.example.com", "dns: got"},
		{"san-uri-decoded", "::san:uri:https%3A%2F%2Fexample.com%2Fa%2Fb%3Fx%3D1", "uri: got"},
		{"san-dn", "::san:dn:x", `got type "dn", want email, dns or uri`},
		{"san-ip", "::san:ip:10.0.0.1", `got type "ip"`},
		{"san-one-part", "::san:email", "want type and value"},
		{"san-three-parts", "::san:uri:https:x", "want type and value"},
		{"fulcio-other", "::fulcio-issuer:accounts.example.org", `policy fulcio-issuer: got "https://accounts.example.com:8443/x", want "https://accounts.example.org"`},
		{"fulcio-scheme", "::fulcio-issuer:https%3A%2F%2Faccounts.example.com%3A8443%2Fx", "policy fulcio-issuer"},
		{"fulcio-bare-colon", "::fulcio-issuer:accounts.example.com:8443%2Fx", "got 2 parts"},

		{"no-policy", "", "no policy"},
		{"empty-policy", "::", `policy "" has no value`},
		{"trailing-separator", "::eku:2.5.29.37.0::", `policy "" has no value`},
		{"unknown", "::issuer:x", `got policy "issuer"`},
		{"unknown-after-good", "::eku:2.5.29.37.0::x:y", `got policy "x"`},
		{"upper-case-name", "::EKU:2.5.29.37.0", `got policy "EKU"`},
		{"single-colon", ":eku:2.5.29.37.0", "fingerprint"},
		{"percent-cut", "::subject:C:D%4", "ends within a percent-encoding"},
		{"percent-end", "::subject:C:DE%", "ends within a percent-encoding"},
		{"percent-no-hex", "::subject:C:%4G", "is not a percent-encoding"},
		{"percent-sign", "::subject:C:%+45", "is not a percent-encoding"},
		{"percent-twice", "::subject:C:%2544E", `C: got "DE", want "%44E"`},
		{"not-utf8", "::subject:C:%FF", "does not decode to UTF-8"},
		{"nul", "::subject:C:DE%00", "C: got"},
		{"plus", "::subject:STREET:1+Main+St", "must be percent-encoded"},
		{"blank", "::subject:STREET:1 Main St", "must be percent-encoded"},
		{"tilde", "::subject:CN:a~1", "must be percent-encoded"},
		{"umlaut", "::subject:L:München", "must be percent-encoded"},
		{"path", "::subject:C:DE/x", "must be percent-encoded"},
		{"query", "::subject:C:DE?x", "must be percent-encoded"},
		{"fragment", "::subject:C:DE#0", "must be percent-encoded"},
		{"newline", "::subject:C:DE\n", "must be percent-encoded"},
		{"long", "::subject:C:" + strings.Repeat("A", cose.MaxIssuer), "want at most 4096"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := cose.ResolveDID(prefix+test.policies, c.Certs)
			if test.text == "" {
				if err != nil {
					t.Error(err)
				}
				if !modelAccepts(prefix+test.policies, c.Certs) {
					t.Error("the method's own rules refuse it")
				}
				return
			}
			wantError(t, err, cose.ErrDID, test.text)
		})
	}
}

func TestDIDFingerprint(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{Length: 4})
	other := cosetest.NewChain(t, cosetest.ChainOptions{})
	s256 := func(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
	s384 := func(b []byte) []byte { h := sha512.Sum384(b); return h[:] }
	s512 := func(b []byte) []byte { h := sha512.Sum512(b); return h[:] }
	const policy = "::subject:CN:Test%20Leaf"
	good := base64url(s256(c.Certs[3].Raw))
	// The last of 43 characters carries two unused bits: "8" and "9" would decode alike.
	unused := good[:42] + string(alphabet[strings.IndexByte(alphabet, good[42])|1])
	tests := []struct{ name, did, text string }{
		{"root-sha256", "did:x509:0:sha256:" + good, ""},
		{"root-sha384", "did:x509:0:sha384:" + base64url(s384(c.Certs[3].Raw)), ""},
		{"root-sha512", "did:x509:0:sha512:" + base64url(s512(c.Certs[3].Raw)), ""},
		{"intermediate", "did:x509:0:sha256:" + base64url(s256(c.Certs[2].Raw)), ""},
		{"first-intermediate", "did:x509:0:sha384:" + base64url(s384(c.Certs[1].Raw)), ""},

		{"leaf", "did:x509:0:sha256:" + base64url(s256(c.Certs[0].Raw)), "no issuer in the chain has the sha256 fingerprint"},
		{"foreign", "did:x509:0:sha256:" + base64url(s256(other.Certs[2].Raw)), "no issuer in the chain"},
		{"of-the-key", "did:x509:0:sha256:" + base64url(s256(c.Certs[3].RawSubjectPublicKeyInfo)), "no issuer in the chain"},
		{"sha1", "did:x509:0:sha1:" + good, "want sha256, sha384 or sha512"},
		{"upper-case-hash", "did:x509:0:SHA256:" + good, "want sha256"},
		{"other-length", "did:x509:0:sha384:" + good, "got 32 bytes, want the 48 of sha384"},
		{"truncated", "did:x509:0:sha256:" + base64url(s256(c.Certs[3].Raw)[:16]), "got 16 bytes"},
		{"padded", "did:x509:0:sha256:" + good + "=", "base64url"},
		{"standard-alphabet", "did:x509:0:sha256:" + strings.Repeat("+", 43), "base64url"},
		{"line-break", "did:x509:0:sha256:" + good[:20] + "\n" + good[20:], "base64url"},
		{"unused-bits", "did:x509:0:sha256:" + unused, "base64url"},
		{"empty", "did:x509:0:sha256:", "want sha256, sha384 or sha512, a colon"},
		{"none", "did:x509:0:sha256", "fingerprint"},
		{"extra-part", "did:x509:0:sha256:" + good + ":x", "base64url"},
		{"version-1", "did:x509:1:sha256:" + good, `begins "did:x509:0:"`},
		{"no-version", "did:x509:sha256:" + good, `begins "did:x509:0:"`},
		{"web", "did:web:example.com", `begins "did:x509:0:"`},
		{"upper-case", "DID:x509:0:sha256:" + good, `begins "did:x509:0:"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := cose.ResolveDID(test.did+policy, c.Certs)
			if test.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, cose.ErrDID, test.text)
		})
	}
	wantError(t, cose.ResolveDID("", c.Certs), cose.ErrDID, "begins")
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestDIDLeaf(t *testing.T) {
	usage := func(u x509.KeyUsage) func(int, *x509.Certificate) {
		return func(i int, c *x509.Certificate) {
			if i == 0 {
				c.KeyUsage = u
			}
		}
	}
	repeated := pkix.Name{CommonName: "Leaf", OrganizationalUnit: []string{"a", "b"}}
	tests := []struct {
		name, policy, text string
		options            cosetest.ChainOptions
	}{
		// A leaf of standard usages only is refused by the reference (policy contract, section 7.2.1).
		{"only-standard-ekus", "eku:1.3.6.1.5.5.7.3.3", "", cosetest.ChainOptions{Edit: func(i int, c *x509.Certificate) {
			if i == 0 {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning, x509.ExtKeyUsageTimeStamping}
			}
		}}},
		{"no-ekus", "eku:1.3.6.1.5.5.7.3.3", "got none, want 1.3.6.1.5.5.7.3.3", cosetest.ChainOptions{}},
		{"eku-of-issuer-only", "eku:1.2.3.4", "got none", cosetest.ChainOptions{Edit: func(i int, c *x509.Certificate) {
			if i > 0 {
				c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, cosetest.OID(t, "1.2.3.4"))
			}
		}}},
		{"subject-of-issuer", "subject:CN:Test%20CA%201%20of%203", "CN: got", cosetest.ChainOptions{}},
		{"no-san", "san:dns:a.example", "dns: got none", cosetest.ChainOptions{}},
		{"no-fulcio", "fulcio-issuer:a.example", "without the Fulcio issuer extension", cosetest.ChainOptions{}},
		{"fulcio-http", "fulcio-issuer:a.example", `got "http://a.example"`, cosetest.ChainOptions{FulcioIssuer: "http://a.example"}},
		{"no-key-usage", "subject:CN:Test%20Leaf", "", cosetest.ChainOptions{Edit: usage(0)}},
		{"key-agreement", "subject:CN:Test%20Leaf", "", cosetest.ChainOptions{Edit: usage(x509.KeyUsageKeyAgreement)}},
		{"key-usage-of-a-ca", "subject:CN:Test%20Leaf", "neither digitalSignature nor keyAgreement", cosetest.ChainOptions{Edit: usage(x509.KeyUsageCRLSign)}},
		{"repeated-attribute", "subject:CN:Leaf", "the leaf's subject repeats attribute OU", cosetest.ChainOptions{Subject: repeated}},
		{"repeated-attribute-named", "subject:OU:a", "repeats attribute OU", cosetest.ChainOptions{Subject: repeated}},
		{"repeated-attribute-of-no-interest", "eku:1.2.3.4", "", cosetest.ChainOptions{Subject: repeated, EKUs: []string{"1.2.3.4"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := cosetest.NewChain(t, test.options)
			sum := sha256.Sum256(c.Certs[1].Raw)
			err := cose.ResolveDID("did:x509:0:sha256:"+base64url(sum[:])+"::"+test.policy, c.Certs)
			if test.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, cose.ErrDID, test.text)
		})
	}
}

func TestDIDFor(t *testing.T) {
	c := cosetest.NewChain(t, didLeaf)
	sum := sha256.Sum256(c.Certs[2].Raw)
	prefix := "did:x509:0:sha256:" + base64url(sum[:])
	tests := []struct {
		policies []string
		want     string
	}{
		{[]string{"eku"}, "::eku:1.3.6.1.4.1.311.76.59.1.3"},
		{[]string{"san"}, "::san:email:bob%40example.com"},
		{[]string{"fulcio-issuer"}, "::fulcio-issuer:accounts.example.com%3A8443%2Fx"},
		{[]string{"subject:C:DE", "eku:2.5.29.37.0"}, "::subject:C:DE::eku:2.5.29.37.0"},
		{[]string{"subject"}, "::subject:C:DE:ST:Bavaria:L:M%C3%BCnchen:STREET:1%20Main%20St:O:Example%2C%20Inc.:OU:R%26D:CN:Cloister%3A%20Signing%2BTest%7E1:2.5.4.5:42"},
	}
	for _, test := range tests {
		got, err := cose.DIDFor(c.Certs, test.policies...)
		if err != nil || got != prefix+test.want {
			t.Errorf("%q: got %q, %v, want %q", test.policies, got, err, prefix+test.want)
		}
		if err := cose.ResolveDID(got, c.Certs); err != nil {
			t.Error(err)
		}
	}
	plain := cosetest.NewChain(t, cosetest.ChainOptions{Edit: func(i int, c *x509.Certificate) {
		if i == 0 {
			c.Subject = pkix.Name{}
		}
	}})
	for _, policies := range [][]string{nil, {"subject"}, {"san"}, {"eku"}, {"fulcio-issuer"}, {"x"}, {"x:y"}, {"subject:CN:Other"}, {""}, {"eku:1.2::san"}} {
		if got, err := cose.DIDFor(plain.Certs, policies...); err == nil {
			t.Errorf("%q: got %q, want an error", policies, got)
		}
	}
	if _, err := cose.DIDFor(c.Certs[:1], "subject"); err == nil {
		t.Error("a chain of one has a did:x509")
	}
}
