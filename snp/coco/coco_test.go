package coco

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp"
)

// patterned is a report with another byte everywhere that its version and processor allow one.
func patterned(version uint32, cpu snp.CPUID) []byte {
	b := make([]byte, snp.ReportSize)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	le := binary.LittleEndian
	le.PutUint32(b, version)
	le.PutUint32(b[0x48:], 1)
	line, err := snp.LineOf(cpu)
	if err != nil {
		line = snp.Milan
	}
	for i, at := range []int{0x38, 0x180, 0x1E0, 0x1F0} {
		n := uint8(10 * i)
		p := snp.TCBParts{BootLoader: n + 1, TEE: n + 2, SNP: n + 3, Microcode: n + 4}
		if line == snp.Turin {
			p.FMC = n + 5
		}
		v := p.Bytes(line)
		copy(b[at:], v[:])
	}
	clear(b[0x4C:0x50])
	clear(b[0x188:0x1A0])
	if version >= 3 {
		copy(b[0x188:], []byte{cpu.Family, cpu.Model, cpu.Stepping})
	}
	b[0x1EB], b[0x1EF] = 0, 0
	from := 0x1F8
	if version >= 5 {
		from = 0x208
	}
	clear(b[from:snp.SignedSize])
	clear(b[snp.SignedSize+snp.SignatureSize:])
	return b
}

var (
	genoa = snp.CPUID{Family: 0x19, Model: 0x11, Stepping: 1}
	turin = snp.CPUID{Family: 0x1A, Model: 0x11, Stepping: 2}
	table = snp.MarshalCerts([]snp.Cert{
		{GUID: snp.GUIDVCEK, Data: []byte{0x30, 1, 255}},
		{GUID: snp.GUIDVLEK, Data: []byte{2}},
		{GUID: snp.GUIDASK, Data: []byte{3}},
		{GUID: snp.GUIDARK, Data: []byte{4}},
		{GUID: snp.GUIDCRL, Data: []byte{5}},
		{GUID: snp.GUID{1, 2, 3}, Data: []byte{6}},
	})
)

func document(t testing.TB, raw, table []byte) string {
	t.Helper()
	r, err := snp.ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := New(r, table)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		version uint32
		cpu     snp.CPUID
		table   []byte
	}{
		{2, snp.CPUID{}, table},
		{3, genoa, table},
		{4, genoa, nil},
		{5, genoa, table},
		{3, turin, table},
		{5, turin, nil},
	} {
		t.Run(fmt.Sprintf("v%d-%s", c.version, c.cpu), func(t *testing.T) {
			want := patterned(c.version, c.cpu)
			got, certs, err := Parse([]byte(document(t, want, c.table)))
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("byte %#03x: got %#02x, want %#02x", i, got[i], want[i])
				}
			}
			if !bytes.Equal(certs, c.table) {
				t.Errorf("table: got %x, want %x", certs, c.table)
			}
		})
	}
}

// Order of members and blanks are a writer's own business.
func TestParseOtherLayout(t *testing.T) {
	raw := patterned(3, genoa)
	var v map[string]any
	dec := json.NewDecoder(strings.NewReader(document(t, raw, table)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	doc, err := json.MarshalIndent(v, "\t", "    ") // sorted, indented
	if err != nil {
		t.Fatal(err)
	}
	got, certs, err := Parse(append(doc, "\n\n"...))
	if err != nil || !bytes.Equal(got, raw) || !bytes.Equal(certs, table) {
		t.Errorf("got another report or table: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	v2, v3, v5 := document(t, patterned(2, snp.CPUID{}), table), document(t, patterned(3, genoa), table), document(t, patterned(5, turin), table)
	for _, c := range []struct{ name, doc, old, with, want string }{
		{"not-json", "x", "", "", "invalid character"},
		{"null", "null", "", "", "version 0"},
		{"trailing", v3 + "{}", "", "", "after top-level value"},
		{"long", strings.Repeat(" ", MaxSize+1), "", "", "want at most"},
		{"unknown-member", v3, `{"attestation_report"`, `{"more":1,"attestation_report"`, "more"},
		{"unknown-inner-member", v3, `"vmpl"`, `"more":1,"vmpl"`, "more"},
		{"repeated-member", v3, `"vmpl"`, `"vmpl":0,"vmpl"`, "duplicate"},
		{"other-case", v3, `"vmpl"`, `"VMPL"`, "VMPL"},
		{"missing-member", v3, `"family_id":[`, `"image_id":[`, "duplicate"},
		{"member-left-out", v3, `"guest_svn":841688093,`, ``, "attestation_report.guest_svn"},
		{"member-null", strings.Replace(v3, `"guest_svn":841688093`, `"guest_svn":0`, 1), `"guest_svn":0`, `"guest_svn":null`, "attestation_report.guest_svn"},
		{"version-6", v3, `"version":3`, `"version":6`, "version 6"},
		{"version-as-real", v3, `"version":3`, `"version":3.0`, "cannot unmarshal"},
		{"version-5-without-its-members", v3, `"version":3`, `"version":5`, "attestation_report."},
		{"version-3-with-those-of-5", v5, `"version":5`, `"version":3`, "reserved offset"},
		{"version-2-with-processor", v2, `"cpuid_fam_id":null`, `"cpuid_fam_id":0`, "attestation_report.cpuid_fam_id"},
		{"version-2-with-processor-named", v2, `"cpuid_fam_id":null`, `"cpuid_fam_id":25`, "reserved offset"},
		{"version-3-without-processor", v3, `"cpuid_step":1`, `"cpuid_step":null`, "attestation_report.cpuid_step"},
		{"mitigation-in-version-3", v3, `"launch_mit_vector":null`, `"launch_mit_vector":0`, "attestation_report.launch_mit_vector"},
		{"fmc-on-genoa", v3, `"fmc":null`, `"fmc":0`, "tcb"},
		{"no-fmc-on-turin", v5, `"fmc":5`, `"fmc":null`, "tcb"},
		{"long-array", v3, `"family_id":[`, `"family_id":[0,`, "attestation_report.family_id"},
		{"short-array", v3, `"image_id":[225,`, `"image_id":[`, "attestation_report.image_id"},
		{"string-for-array", v3, `"r":[`, `"r":"AAAA","s":[`, "cannot unmarshal"},
		{"number-too-large", v3, `"image_id":[225,`, `"image_id":[256,`, "cannot unmarshal"},
		{"negative-number", v3, `"image_id":[225,`, `"image_id":[-1,`, "cannot unmarshal"},
		{"null-in-array", strings.Replace(v3, `"image_id":[225,`, `"image_id":[0,`, 1), `"image_id":[0,`, `"image_id":[null,`, "attestation_report.image_id"},
		{"signer-reserved", v3, `"key_info":1`, `"key_info":9`, "signer 2"},
		{"no-chain", v3, `,"cert_chain"`, `,"cert_Chain"`, "cert_Chain"},
		{"empty-chain", document(t, patterned(3, genoa), nil), `"cert_chain":null`, `"cert_chain":[]`, "cert_chain"},
		{"certificate-without-bytes", v3, `"data":[2]`, `"data":[]`, "cert_chain"},
		{"certificate-as-text", v3, `"data":[2]`, `"data":"Ag=="`, "array of numbers"},
		{"certificate-byte-null", v3, `"data":[2]`, `"data":[null]`, "null"},
		{"certificate-byte-256", v3, `"data":[2]`, `"data":[256]`, "256"},
		{"certificate-without-type", v3, `"cert_type":"VLEK",`, ``, "cert_chain"},
		{"certificate-of-unknown-type", v3, `"cert_type":"VLEK"`, `"cert_type":"vlek"`, "vlek"},
		{"known-guid-as-other", v3, `"cert_type":"VLEK"`, `"cert_type":{"OTHER":"a8074bc2-a25a-483e-aae6-39c045a0b8a1"}`, "cert_chain"},
		{"guid-of-five-bytes", v3, `"cert_type":"VLEK"`, `"cert_type":{"OTHER":"0102030405"}`, "want a GUID"},
		{"type-with-more-members", v3, `"cert_type":"VLEK"`, `"cert_type":{"OTHER":"a8074bc2-a25a-483e-aae6-39c045a0b8a1","x":1}`, "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := c.doc
			if c.old != "" {
				if doc = strings.Replace(c.doc, c.old, c.with, 1); doc == c.doc {
					t.Fatalf("the document has no %q:\n%.600s", c.old, doc)
				}
			}
			raw, certs, err := Parse([]byte(doc))
			if raw != nil || certs != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q and nothing else", err, c.want)
			}
		})
	}
}

// Too many certificates for a table are refused, not cut.
func TestParseManyCertificates(t *testing.T) {
	doc := document(t, patterned(3, genoa), snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: []byte{1}}}))
	one := `{"cert_type":"VCEK","data":[1]}`
	doc = strings.Replace(doc, one, one+strings.Repeat(","+one, 32), 1)
	if _, _, err := Parse([]byte(doc)); err == nil || !strings.Contains(err.Error(), "more than 32 entries") {
		t.Errorf("got %v, want a refusal of 33 certificates", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(document(f, patterned(2, snp.CPUID{}), nil)))
	f.Add([]byte(document(f, patterned(3, genoa), table)))
	f.Add([]byte(document(f, patterned(5, turin), table)))
	f.Add([]byte(`{"attestation_report":{"version":3,"family_id":[1,2]},"cert_chain":[{"cert_type":{"OTHER":"00"},"data":[1,-2]}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		raw, certs, err := Parse(doc)
		if err != nil {
			if raw != nil || certs != nil {
				t.Fatal("an error came with evidence")
			}
			return
		}
		again, certsAgain, err := Parse([]byte(document(t, raw, certs)))
		if err != nil || !bytes.Equal(raw, again) || !bytes.Equal(certs, certsAgain) {
			t.Fatalf("round trip: %v", err)
		}
	})
}
