package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp"
)

func azureBody(data []byte) string {
	return fmt.Sprintf(`{"runtime_data":%q}`, base64.StdEncoding.EncodeToString(data))
}

// wantHashed is REPORT_DATA of the Azure shapes, computed here again.
func wantHashed(data []byte) [64]byte {
	var want [64]byte
	sum := sha256.Sum256(data)
	copy(want[:32], sum[:])
	return want
}

func TestRaw(t *testing.T) {
	_, c := open(t, &fakeDevice{}, Options{})
	var answer struct{ Report string }
	c.ok("POST", "/attest/raw", azureBody([]byte("key")), &answer)
	raw, err := hex.DecodeString(answer.Report)
	if err != nil {
		t.Fatal(err)
	}
	report, err := snp.ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	if report.ReportData != wantHashed([]byte("key")) {
		t.Errorf("REPORT_DATA: got %x, want the hash and zeros", report.ReportData)
	}
}

func TestCombined(t *testing.T) {
	_, c := open(t, &fakeDevice{version: 3, certs: table(t)}, Options{UVMEndorsement: func() []byte { return []byte("cose") }})
	var answer map[string]string // as its clients decode it: every member a string
	c.ok("POST", "/attest/combined", azureBody([]byte("key")), &answer)
	if len(answer) != 4 {
		t.Errorf("got members %v, want 4", answer)
	}
	decode := func(member string) []byte {
		b, err := base64.StdEncoding.DecodeString(answer[member])
		if err != nil {
			t.Errorf("%s: %v", member, err)
		}
		return b
	}
	if report, err := snp.ParseReport(decode("evidence")); err != nil || report.ReportData != wantHashed([]byte("key")) {
		t.Errorf("evidence: got %v, want a report over the hash", err)
	}
	vcek, rest := pem.Decode(decode("endorsements"))
	ask, rest := pem.Decode(rest)
	ark, rest := pem.Decode(rest)
	if vcek == nil || ask == nil || ark == nil || len(rest) != 0 || string(ask.Bytes) != "the intermediate" || string(ark.Bytes) != "the root" {
		t.Errorf("endorsements: want VCEK, ASK, ARK in this order, got %q", decode("endorsements"))
	}
	if got := answer["endorsed_tcb"]; got != "541700000000010a" {
		t.Errorf("endorsed_tcb: got %q", got)
	}
	if got := decode("uvm_endorsements"); string(got) != "cose" {
		t.Errorf("uvm_endorsements: got %q", got)
	}
}

// TestCombinedWithoutUVMEndorsement: the member is an empty string, not null, which clients would not decode.
func TestCombinedWithoutUVMEndorsement(t *testing.T) {
	_, c := open(t, &fakeDevice{certs: table(t)}, Options{})
	_, out := c.do("POST", "/attest/combined", azureBody([]byte("key")))
	if !bytes.Contains(out, []byte(`"uvm_endorsements":""`)) {
		t.Errorf("got %s", out)
	}
}

func TestCombinedRefuses(t *testing.T) {
	other := tcb
	other.SNP--
	stale, err := makeTable(other)
	if err != nil {
		t.Fatal(err)
	}
	noVersions := snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDVCEK, Data: []byte("not a certificate")}})
	tests := []struct {
		name   string
		certs  []byte
		status int
		text   string
	}{
		{"none", nil, 501, "no certificate of the signing key"},
		{"malformed", bytes.Repeat([]byte{1}, 30), 501, "cannot be read"},
		{"no-signing-key", snp.MarshalCerts([]snp.Cert{{GUID: snp.GUIDASK, Data: []byte{1}}}), 501, "no certificate of the signing key"},
		{"not-a-certificate", noVersions, 403, "certificate of the signing key"},
		{"stale", stale, 403, "SNP reported TCB value: 541700000000010a doesn't match Certificate TCB value: 541600000000010a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, c := open(t, &fakeDevice{certs: tt.certs}, Options{})
			c.refused("POST", "/attest/combined", azureBody([]byte("key")), tt.status, tt.text)
		})
	}
}

func TestBundle(t *testing.T) {
	policy := &Policy{Text: []byte("package policy"), Carrier: snp.CarrierPolicy}
	_, c := open(t, &fakeDevice{certs: table(t)}, Options{Policy: func() *Policy { return policy }})
	nonce := bytes.Repeat([]byte{7}, 32)
	status, out := c.do("POST", "/attest/bundle", fmt.Sprintf(`{"nonce":"%x"}`, nonce))
	if status != http.StatusOK {
		t.Fatalf("got status %d: %s", status, out)
	}
	bundle, err := snp.ParseBundle(out)
	if err != nil {
		t.Fatal(err)
	}
	report, err := snp.ParseReport(bundle.Report)
	if err != nil {
		t.Fatal(err)
	}
	if report.ReportData != wantHashed(nonce) {
		t.Errorf("REPORT_DATA: got %x, want the nonce's hash and zeros", report.ReportData)
	}
	if string(bundle.Policy) != "package policy" || bundle.Carrier != snp.CarrierPolicy || !bytes.Equal(bundle.Certs, table(t)) {
		t.Errorf("got carrier %q, policy %q, %d bytes of certificates", bundle.Carrier, bundle.Policy, len(bundle.Certs))
	}
	policy = &Policy{Text: policy.Text, Carrier: snp.CarrierPolicy, Initdata: make([]byte, maxBundlePolicy)}
	_, out = c.do("POST", "/attest/bundle", fmt.Sprintf(`{"nonce":"%x"}`, nonce))
	if bundle, err = snp.ParseBundle(out); err != nil || bundle.Policy != nil || bundle.Initdata != nil || bundle.Carrier != snp.CarrierPolicy {
		t.Errorf("large initdata: got %v, %d bytes; want the carrier alone", err, len(out))
	}
}

func TestRefusals(t *testing.T) {
	d := &fakeDevice{}
	_, c := open(t, d, Options{Burst: 1000})
	good := azureBody([]byte("key"))
	get := func(query string) string { return "/aa/evidence?" + query }
	tests := []struct {
		name, method, path, body string
		status                   int
		text                     string
	}{
		{"unknown", "GET", "/", "", 404, "does not have the call"},
		{"maa-is-not-here", "POST", "/attest/maa", good, 404, "asks no attestation service"},
		{"key-release-is-not-here", "POST", "/key/release", good, 404, "releases no keys"},
		{"additional-evidence-is-not-here", "GET", "/aa/additional-evidence?runtime_data=x", "", 404, "no device besides the processor"},
		{"token-is-not-here", "GET", "/aa/token?token_type=kbs", "", 404, "asks no attestation service"},
		{"event-log-is-not-theirs", "POST", "/aa/aael", "{}", 404, "workloads do not write to it"},
		{"path-not-clean", "POST", "/attest/../attest/raw", good, 404, "does not have the call"},
		{"raw-get", "GET", "/attest/raw", "", 405, "want POST"},
		{"evidence-post", "POST", get("runtime_data=x"), "", 405, "want GET"},
		{"body-empty", "POST", "/attest/raw", "", 400, "body"},
		{"body-not-json", "POST", "/attest/raw", "{", 400, "body"},
		{"body-array", "POST", "/attest/raw", "[]", 400, "body"},
		{"body-number", "POST", "/attest/raw", `{"runtime_data":5}`, 400, "body"},
		{"body-two-documents", "POST", "/attest/raw", good + good, 400, "after top-level value"},
		{"body-large", "POST", "/attest/raw", azureBody(make([]byte, maxBody)), 413, "more than"},
		{"body-deep", "POST", "/attest/raw", strings.Repeat(`{"a":`, 20000), 400, "body"},
		{"data-missing", "POST", "/attest/raw", "{}", 400, "missing"},
		{"data-empty", "POST", "/attest/combined", `{"runtime_data":""}`, 400, "missing"},
		{"data-url-base64", "POST", "/attest/raw", `{"runtime_data":"__8="}`, 400, "runtime_data"},
		{"data-no-padding", "POST", "/attest/raw", `{"runtime_data":"YQ"}`, 400, "runtime_data"},
		{"evidence-without-policy", "POST", "/v1/evidence", fmt.Sprintf(`{"nonce":"%x"}`, make([]byte, 16)), 403, "no policy is bound"},
		{"evidence-nonce-short", "POST", "/v1/evidence", fmt.Sprintf(`{"nonce":"%x"}`, make([]byte, 15)), 400, "nonce"},
		{"evidence-nonce-long", "POST", "/v1/evidence", fmt.Sprintf(`{"nonce":"%x"}`, make([]byte, 65)), 400, "nonce"},
		{"evidence-get", "GET", "/v1/evidence", "", 405, "want POST"},
		{"status-post", "POST", "/status", "", 405, "want GET"},
		{"nonce-missing", "POST", "/attest/bundle", "{}", 400, "nonce"},
		{"nonce-short", "POST", "/attest/bundle", fmt.Sprintf(`{"nonce":"%x"}`, make([]byte, 15)), 400, "nonce"},
		{"nonce-long", "POST", "/attest/bundle", fmt.Sprintf(`{"nonce":"%x"}`, make([]byte, 65)), 400, "nonce"},
		{"nonce-not-hex", "POST", "/attest/bundle", fmt.Sprintf(`{"nonce":"%s"}`, strings.Repeat("g", 32)), 400, "nonce"},
		{"coco-missing", "GET", get(""), "", 400, "want it once"},
		{"coco-twice", "GET", get("runtime_data=a&runtime_data=b"), "", 400, "want it once"},
		{"coco-49-bytes", "GET", get("runtime_data=" + strings.Repeat("a", 49)), "", 400, "got 49 bytes, want at most 48"},
		{"coco-64-bytes", "GET", get("runtime_data=" + strings.Repeat("a", 64)), "", 400, "got 64 bytes"},
		{"coco-49-bytes-encoded", "GET", get("encoding=base64&runtime_data=" + base64.RawURLEncoding.EncodeToString(make([]byte, 49))), "", 400, "got 49 bytes"},
		{"coco-padding", "GET", get("encoding=base64&runtime_data=YQ%3D%3D"), "", 400, "without padding"},
		{"coco-standard-alphabet", "GET", get("encoding=base64&runtime_data=%2F%2F8"), "", 400, "URL-safe"},
		{"coco-encoding", "GET", get("encoding=hex&runtime_data=00"), "", 400, "encoding"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			(&client{t, c.http}).refused(tt.method, tt.path, tt.body, tt.status, tt.text)
		})
	}
	if d.calls() != 0 {
		t.Errorf("refused requests reached the device %d times", d.calls())
	}
}

func TestDeviceFailures(t *testing.T) {
	tests := []struct {
		name   string
		device *fakeDevice
		status int
		text   string
	}{
		{"error", &fakeDevice{err: errors.New("firmware said no")}, 403, "firmware said no"},
		{"key-lost", &fakeDevice{err: snp.ErrKeyLost}, 403, "VMPCK"},
		{"short-report", &fakeDevice{size: 1}, 403, "want 1184"},
		{"panic", &fakeDevice{panicWith: "boom"}, 403, "panicked"},
		{"never-answers", &fakeDevice{wait: make(chan struct{})}, 504, "in time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, c := open(t, tt.device, Options{Deadline: deadlineForTests})
			c.refused("POST", "/attest/raw", azureBody([]byte("key")), tt.status, tt.text)
		})
	}
}

// TestEvidence reads what CoCo's verifier would, for each report version.
func TestEvidence(t *testing.T) {
	for version, fmc := range map[uint32]string{2: "null", 3: "null", 5: "0"} {
		t.Run(fmt.Sprintf("version-%d", version), func(t *testing.T) {
			_, c := open(t, &fakeDevice{version: version, certs: table(t)}, Options{})
			status, out := c.do("GET", "/aa/evidence?runtime_data="+url.QueryEscape("a nonce"), "")
			if status != http.StatusOK {
				t.Fatalf("got status %d: %s", status, out)
			}
			cpu := `"cpuid_fam_id":25,"cpuid_mod_id":17,"cpuid_step":1`
			mit := `"launch_mit_vector":null,"current_mit_vector":null`
			switch version {
			case 2:
				cpu = `"cpuid_fam_id":null,"cpuid_mod_id":null,"cpuid_step":null`
			case 5:
				cpu, mit = `"cpuid_fam_id":26,"cpuid_mod_id":2,"cpuid_step":1`, `"launch_mit_vector":7,"current_mit_vector":0`
			}
			for _, want := range []string{
				fmt.Sprintf(`{"attestation_report":{"version":%d,"guest_svn":0,"policy":196608,"family_id":[0,`, version),
				`"vmpl":0,"sig_algo":1,"current_tcb":{"fmc":` + fmc + `,"bootloader":10,"tee":1,"snp":23,"microcode":84},"plat_info":0,"key_info":0,`,
				`"report_data":[97,32,110,111,110,99,101,0,0`,
				`"measurement":[77,`, `"host_data":[72,`, cpu, mit,
				`"current":{"major":1,"minor":55,"build":39},"committed":{"major":0,`,
				`"signature":{"r":[82,0`, `"s":[83,0`,
				`"cert_chain":[{"cert_type":"ARK","data":[116,104,101,32,114,111,111,116]},{"cert_type":{"OTHER":"01020300-0000-0000-0000-000000000000"},"data":[9]},{"cert_type":"VCEK","data":[48,`,
			} {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("want %s in\n%s", want, out)
				}
			}
			var members struct {
				Report map[string]json.RawMessage `json:"attestation_report"`
			}
			if err := json.Unmarshal(out, &members); err != nil || len(members.Report) != 29 {
				t.Errorf("got %d members, %v, want 29", len(members.Report), err)
			}
		})
	}
}

func TestEvidenceWithoutCertificates(t *testing.T) {
	for name, certs := range map[string][]byte{"none": nil, "malformed": {1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			_, c := open(t, &fakeDevice{certs: certs}, Options{})
			status, out := c.do("GET", "/aa/evidence?runtime_data=x", "")
			if status != http.StatusOK || !bytes.Contains(out, []byte(`"cert_chain":null`)) {
				t.Errorf("got status %d: %s, want a null chain", status, out)
			}
		})
	}
}

// TestRawPathsKeepTheirDomain: whatever is asked by these paths, the last 16 bytes of REPORT_DATA are zero. They are what
// tells this evidence from evidence about an identity.
func TestRawPathsKeepTheirDomain(t *testing.T) {
	d := &fakeDevice{certs: table(t)}
	_, c := open(t, d, Options{})
	full := bytes.Repeat([]byte{0xFF}, 48)
	var any any
	c.ok("POST", "/attest/raw", azureBody(bytes.Repeat([]byte{0xFF}, 64)), &any)
	c.ok("POST", "/attest/combined", azureBody(bytes.Repeat([]byte{0xFE}, 4096)), &any)
	c.ok("POST", "/attest/bundle", fmt.Sprintf(`{"nonce":"%x"}`, bytes.Repeat([]byte{0xFF}, 64)), &any)
	c.ok("GET", "/aa/evidence?encoding=base64&runtime_data="+base64.RawURLEncoding.EncodeToString(full), "", &any)
	c.ok("GET", "/aa/evidence?runtime_data="+strings.Repeat("a", 48), "", &any)
	if d.calls() != 5 {
		t.Fatalf("got %d device calls, want 5", d.calls())
	}
	for i, data := range d.asked {
		if !bytes.Equal(data[48:], make([]byte, 16)) {
			t.Errorf("request %d: REPORT_DATA ends in %x, want zeros", i, data[48:])
		}
	}
	if !bytes.Equal(d.asked[3][:48], full) {
		t.Errorf("encoded runtime data: got %x", d.asked[3])
	}
}
