package verify_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// edited is a JSON vector with one member of its top level replaced; nil takes it out.
func edited(t testing.TB, file, member string, value any) string {
	t.Helper()
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(vectorFile(t, file), &doc); err != nil {
		t.Fatal(err)
	}
	if value == nil {
		delete(doc, member)
	} else {
		doc[member] = marshal(t, value)
	}
	return string(marshal(t, doc))
}

// maa is the MAA vector with one member of the document inside replaced.
func maa(t testing.TB, member string, value any) string {
	t.Helper()
	var doc struct {
		Report string `json:"report"`
	}
	if err := json.Unmarshal(vectorFile(t, "maa.json"), &doc); err != nil {
		t.Fatal(err)
	}
	inner, err := base64.URLEncoding.DecodeString(doc.Report)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(inner, &fields); err != nil {
		t.Fatal(err)
	}
	fields[member] = value
	return edited(t, "maa.json", "report", base64.URLEncoding.EncodeToString(marshal(t, fields)))
}

func url(text string) string { return base64.URLEncoding.EncodeToString([]byte(text)) }

func TestReadEvidenceRefuses(t *testing.T) {
	combined, request := string(vectorFile(t, "combined.json")), string(vectorFile(t, "maa.json"))
	report := string(vectorFile(t, "report.bin"))
	for _, c := range []struct{ name, data, want string }{
		{"empty", "", "not evidence"},
		{"text", "hello", "not evidence"},
		{"empty-object", "{}", "not evidence"},
		{"unknown-object", `{"token":"x"}`, "not evidence"},
		{"array", "[]", "not evidence"},
		{"broken-object", `{"report":`, "unexpected end"},
		{"certificates", string(vectorFile(t, "thim.json")), "no report"},
		{"too-long", strings.Repeat("x", verify.MaxFile+1), "want at most"},
		{"long-report", strings.Repeat("\x02\x00\x00\x00", verify.MaxForeign/4+1), "but a bundle"},
		{"long-document", `{"evidence":"` + strings.Repeat("A", verify.MaxForeign) + `"}`, "but a bundle"},

		{"short-report", report[:1183], "not evidence"},
		{"report-and-garbage", report + strings.Repeat("x", 100), "more than 32 entries\x00closing entry"},
		{"hex-short", strings.Repeat("0", 2366), "not evidence"},
		{"hex-wrong-digit", strings.Repeat("g", 2368), "not evidence"},
		{"base64-wrong-character", strings.Repeat("!", 1580), "not evidence"},

		{"bundle-unknown-member", edited(t, "bundle.json", "extra", 1), "extra"},
		{"bundle-long-member", edited(t, "bundle.json", strings.Repeat("x", 10000), 1), "xxx"},
		{"combined-long-member", edited(t, "combined.json", strings.Repeat("x", 10000), 1), "xxx"},
		{"coco-long-member", edited(t, "coco.json", strings.Repeat("x", 10000), 1), "xxx"},
		{"bundle-version", edited(t, "bundle.json", "version", 2), "version 2"},
		{"bundle-short-report", edited(t, "bundle.json", "report", "AAAA"), "3 bytes"},

		{"combined-unknown-member", edited(t, "combined.json", "extra", 1), "extra"},
		{"combined-repeated-member", strings.Replace(combined, "{", `{"evidence":"AAAA",`, 1), "duplicate"},
		{"combined-other-case", strings.Replace(combined, `"endorsements"`, `"Endorsements"`, 1), "Endorsements"},
		{"combined-short-report", edited(t, "combined.json", "evidence", "AAAA"), "report of 3 bytes"},
		{"combined-no-pem", edited(t, "combined.json", "endorsements", []byte("hello")), "no PEM block"},
		{"combined-key", edited(t, "combined.json", "endorsements", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")), "PRIVATE KEY"},
		{"combined-bad-certificate", edited(t, "combined.json", "endorsements", pemChain([]byte{1, 2})), "PEM block 1"},
		{"combined-many-certificates", edited(t, "combined.json", "endorsements", bytes.Repeat(pemChain(vectorFile(t, "vcek.der")), 65)), "more than 64"},
		{"combined-tcb", edited(t, "combined.json", "endorsed_tcb", "xyz"), "endorsed_tcb"},
		{"combined-tcb-long", edited(t, "combined.json", "endorsed_tcb", strings.Repeat("0", 20)+"1ffffffffffffffff"), "endorsed_tcb"},

		{"raw-not-hex", `{"report":"zz"}`, "report: encoding/hex"},
		{"raw-short", `{"report":"00"}`, "report of 1 bytes"},
		{"raw-unknown-member", edited(t, "raw.json", "more", 1), "more"},

		{"maa-unknown-member", edited(t, "maa.json", "extra", 1), "extra"},
		{"maa-repeated-member", strings.Replace(request, "{", `{"report":"AAAA",`, 1), "duplicate"},
		{"maa-report-not-base64", edited(t, "maa.json", "report", "!"), "illegal base64"},
		{"maa-report-not-json", edited(t, "maa.json", "report", url("hello")), "invalid character"},
		{"maa-report-null", edited(t, "maa.json", "report", url("null")), "report of 0 bytes"},
		{"maa-inner-unknown-member", maa(t, "Extra", "x"), "Extra"},
		{"maa-short-report", maa(t, "SnpReport", url("abc")), "report of 3 bytes"},
		{"maa-no-chain", maa(t, "VcekCertChain", url("hello")), "no PEM block"},
		{"maa-endorsements-not-json", maa(t, "Endorsements", url("hello")), "Endorsements"},
		{"maa-endorsements-unknown-member", maa(t, "Endorsements", url(`{"Cvm":[]}`)), "Cvm"},
		{"maa-two-endorsements", maa(t, "Endorsements", url(`{"Uvm":["AA","AA"]}`)), "more than one"},
		{"maa-runtime-data-null", strings.Replace(edited(t, "maa.json", "runtimeData", 0), `"runtimeData":0`, `"runtimeData":null`, 1), "got null"},
		{"maa-runtime-data-text", edited(t, "maa.json", "runtimeData", "x"), "cannot unmarshal"},
		{"maa-runtime-data-unknown-member", edited(t, "maa.json", "runtimeData", map[string]string{"Data": ""}), "Data"},

		{"coco-short-array", strings.Replace(string(vectorFile(t, "coco.json")), `"r":[`, `"r":[0,`, 1), "attestation_report.signature.r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := verify.ReadEvidence([]byte(c.data))
			if f != nil || err == nil || !containsAny(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q and nothing else", err, c.want)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// containsAny takes alternatives separated by a zero byte.
func containsAny(text, wants string) bool {
	for want := range strings.SplitSeq(wants, "\x00") {
		if strings.Contains(text, want) {
			return true
		}
	}
	return false
}

func TestReadCertificatesRefuses(t *testing.T) {
	thim := string(vectorFile(t, "thim.json"))
	table := vectorFile(t, "table.bin")
	for _, c := range []struct{ name, data, want string }{
		{"empty", "", "not certificates"},
		{"text", "hello", "not certificates"},
		{"zeros", strings.Repeat("\x00", 4096), "not certificates"},
		{"too-long", strings.Repeat("x", verify.MaxForeign+1), "want at most"},
		{"pem-key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "PRIVATE KEY"},
		{"pem-broken", "-----BEGIN CERTIFICATE-----\nAAAA\n", "no PEM block"},
		{"pem-bad-list", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "PEM block 1"},
		{"der-cut", string(vectorFile(t, "vcek.der")[:100]), "neither a certificate nor"},
		{"table-cut", string(table[:len(table)-1]), "not certificates"},
		{"thim-repeated-member", strings.Replace(thim, "{", `{"vcekCert":"",`, 1), "duplicate"},
		{"thim-no-certificate", edited(t, "thim.json", "vcekCert", nil), "vcekCert: missing"},
		{"thim-other-case", strings.Replace(thim, "vcekCert", "VcekCert", 1), "vcekCert: missing"},
		{"thim-bad-certificate", edited(t, "thim.json", "vcekCert", "x"), "no PEM block"},
		{"thim-bad-chain", edited(t, "thim.json", "certificateChain", string(pemChain([]byte{1}))), "certificateChain: PEM block 1"},
		{"thim-tcb", edited(t, "thim.json", "tcbm", "-1"), "tcbm"},
		{"bundle", string(vectorFile(t, "bundle.json")), "vcekCert: missing"},
		{"base64-of-text", base64.StdEncoding.EncodeToString([]byte("hello")), "not certificates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := verify.ReadCertificates([]byte(c.data))
			if f != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q and nothing else", err, c.want)
			}
		})
	}
}

// What a document says beside the report is there for people to see, and for the caller to hold against the report.
func TestReadEvidenceClaims(t *testing.T) {
	vectors := loadVectors(t)
	for _, file := range []string{"combined.json", "thim.json"} {
		read := verify.ReadEvidence
		if file == "thim.json" {
			read = verify.ReadCertificates
		}
		f, err := read(vectorFile(t, file))
		if err != nil {
			t.Fatal(err)
		}
		r, err := snp.ParseReport(vectorFile(t, "report.bin"))
		if err != nil {
			t.Fatal(err)
		}
		if f.ClaimedTCB == nil || *f.ClaimedTCB != r.ReportedTCB {
			t.Errorf("%s: got TCB %v, want that of the report, %x", file, f.ClaimedTCB, r.ReportedTCB)
		}
	}
	f, err := verify.ReadEvidence(vectorFile(t, "maa.json"))
	if err != nil || string(f.RuntimeData) != vectors.RuntimeData || f.InitTimeData != nil {
		t.Errorf("MAA request: got runtime data %q, init time data %q, %v", f.RuntimeData, f.InitTimeData, err)
	}
	f, err = verify.ReadEvidence([]byte(edited(t, "maa.json", "initTimeData", map[string]string{"data": "YQ", "dataType": "JSON"})))
	if err != nil || string(f.InitTimeData) != "a" {
		t.Errorf("MAA request: got init time data %q, %v, want a", f.InitTimeData, err)
	}
	f, err = verify.ReadEvidence([]byte(edited(t, "maa.json", "initTimeData", map[string]string{"data": "", "dataType": "JSON"})))
	if err != nil || f.InitTimeData == nil || len(f.InitTimeData) != 0 {
		t.Errorf("MAA request: got init time data %#v, %v, want it there and empty", f.InitTimeData, err)
	}
	for name, value := range map[string]any{"null": json.RawMessage("null"), "empty": map[string]string{}, "null data": map[string]any{"data": nil}, "type only": map[string]any{"dataType": "JSON"}, "unknown": map[string]any{"data": "YQ", "x": 1}, "list": []int{}} {
		if f, err = verify.ReadEvidence([]byte(edited(t, "maa.json", "initTimeData", value))); err == nil {
			t.Errorf("MAA request, init time data %s: got %+v, want it refused", name, f)
		}
	}
	f, err = verify.ReadEvidence(vectorFile(t, "bundle.json"))
	if err != nil || f.Carrier != snp.CarrierPolicy || f.Evidence.Preimage == nil || f.Evidence.EventLog == nil || f.Evidence.Policy == nil {
		t.Errorf("bundle: got %+v, %v", f, err)
	}
}

// An MAA request without endorsements is how confidential VMs ask.
func TestReadEvidenceWithoutEndorsement(t *testing.T) {
	for _, doc := range []string{
		maa(t, "Endorsements", ""), maa(t, "Endorsements", url("{}")), maa(t, "Endorsements", url(`{"Uvm":[]}`)),
		edited(t, "combined.json", "uvm_endorsements", ""),
	} {
		f, err := verify.ReadEvidence([]byte(doc))
		if err != nil || len(f.Evidence.Endorsement) != 0 {
			t.Errorf("got %v, want evidence without endorsement", err)
		}
	}
}

func TestMerge(t *testing.T) {
	table := func(certs ...snp.Cert) []byte { return snp.MarshalCerts(certs) }
	ev := verify.Evidence{Table: table(snp.Cert{GUID: snp.GUIDVCEK, Data: []byte{1}}), Certs: [][]byte{{2}}}
	more := table(snp.Cert{GUID: snp.GUIDARK, Data: []byte{3}}, snp.Cert{GUID: snp.GUIDCRL, Data: []byte{4}}, snp.Cert{GUID: snp.GUID{9}, Data: []byte{5}})
	if err := ev.Merge(verify.Evidence{Table: more, Certs: [][]byte{{6}}, CRLs: [][]byte{{7}}}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(ev.Certs, ev.CRLs); got != "[[2] [6] [3]] [[7] [4]]" {
		t.Errorf("got certificates and lists %s", got)
	}
	if err := ev.Merge(verify.Evidence{Table: []byte("hello")}); err == nil {
		t.Error("a table that does not parse was merged")
	}
}

func FuzzReadEvidence(f *testing.F) {
	for _, v := range loadVectors(f).Files {
		f.Add(vectorFile(f, v.File))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := verify.ReadEvidence(data)
		if err != nil {
			if file != nil {
				t.Fatal("an error came with evidence")
			}
			return
		}
		if len(file.Evidence.Report) != snp.ReportSize || file.Format == "" {
			t.Fatalf("got a report of %d bytes in format %q", len(file.Evidence.Report), file.Format)
		}
	})
}

func FuzzReadCertificates(f *testing.F) {
	for _, v := range loadVectors(f).Files {
		f.Add(vectorFile(f, v.File))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := verify.ReadCertificates(data)
		if err != nil {
			if file != nil {
				t.Fatal("an error came with certificates")
			}
			return
		}
		ev := verify.Evidence{Table: data[:0]}
		if err := ev.Merge(file.Evidence); err != nil {
			t.Fatal(err)
		}
		if file.Format == "" || len(ev.Table)+len(ev.Certs)+len(ev.CRLs) == 0 || ev.Report != nil {
			t.Fatalf("got nothing in format %q", file.Format)
		}
	})
}
