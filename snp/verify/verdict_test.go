package verify_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp/verify"
)

// TestCodes: names and codes are unique, and a code's first digit is its class, which is its exit code.
func TestCodes(t *testing.T) {
	names, codes := map[string]bool{}, map[string]bool{}
	form := regexp.MustCompile(`^CLS[2-5][0-9]{2}$`)
	name := regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`)
	for _, c := range verify.Codes() {
		if names[c.Name] || codes[c.Code] || !name.MatchString(c.Name) || !form.MatchString(c.Code) || c.Meaning == "" {
			t.Errorf("%+v: not unique, or not of the form", c)
		}
		if want := fmt.Sprintf("CLS%d", int(c.Class)); !strings.HasPrefix(c.Code, want) {
			t.Errorf("%s %s: got class %s, which has codes %s..", c.Code, c.Name, c.Class, want)
		}
		names[c.Name], codes[c.Code] = true, true
	}
	list := verify.Codes()
	list[0].Name = "changed"
	if verify.Codes()[0].Name == "changed" {
		t.Error("the list can be written to")
	}
}

// TestCodesAreStable: a code's meaning is for scripts, and never changes. New checks get new codes.
func TestCodesAreStable(t *testing.T) {
	var got []string
	for _, c := range verify.Codes() {
		got = append(got, c.Code+" "+c.Name)
	}
	want := strings.Split(strings.TrimSpace(stableCodes), "\n")
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s is gone, or means something else", w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d codes, want %d: add new ones to stableCodes", len(got), len(want))
	}
}

func TestClassText(t *testing.T) {
	for c, want := range map[verify.Class]string{2: "signature", 3: "missing", 4: "revocation", 5: "policy", 7: "class 7"} {
		text, err := c.MarshalText()
		if err != nil || string(text) != want || c.String() != want {
			t.Errorf("class %d: got %q %v, want %q", int(c), text, err, want)
		}
		var back verify.Class
		if err := back.UnmarshalText(text); (err == nil) != (c <= 5) || err == nil && back != c {
			t.Errorf("%q: got %d %v, want %d", text, back, err, c)
		}
	}
}

// TestVerdictJSON: what scripts read.
func TestVerdictJSON(t *testing.T) {
	v := testVerifier(t)
	exp := expectations()
	exp.VMPL = ptr[uint32](1)
	got := judge(t, v, machine{"Siena", false, 3}.sample(t, nil).evidence(), exp)
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"ok":false,"product":"Siena","line":"Genoa","signer":"`, `"test_only":true`,
		`{"name":"vmpl","code":"CLS501","class":"policy","status":"fail","want":"1","got":"0"}`,
		`{"name":"crl","code":"CLS401","class":"revocation","status":"not_asked"}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got %s, want it to contain %s", text, want)
		}
	}
	var back verify.Verdict
	if err := json.Unmarshal(text, &back); err != nil || failed(&back) != "vmpl" || back.ExitCode() != 5 {
		t.Errorf("read back: got %v, failed checks %q", err, failed(&back))
	}
}

// TestExitCode: signature before missing before revocation before policy, whatever the order of rows.
func TestExitCode(t *testing.T) {
	row := func(c verify.Class) verify.Check { return verify.Check{Status: verify.StatusFail, Class: c} }
	for _, c := range []struct {
		rows []verify.Check
		want int
	}{
		{[]verify.Check{row(5)}, 5},
		{[]verify.Check{row(5), row(4)}, 4},
		{[]verify.Check{row(5), row(3), row(4)}, 3},
		{[]verify.Check{row(5), row(3), row(2), row(4)}, 2},
		{[]verify.Check{{Status: verify.StatusNotJudged, Class: 2}, row(5)}, 5},
	} {
		if got := (&verify.Verdict{Checks: c.rows}).ExitCode(); got != c.want {
			t.Errorf("%+v: got exit code %d, want %d", c.rows, got, c.want)
		}
	}
}

// TestRefuse: evidence that is no evidence has a verdict too, and it is no.
func TestRefuse(t *testing.T) {
	got := verify.Refuse("hello", "a bundle")
	checkVerdict(t, got)
	if failed(got) != "report" || got.ExitCode() != 2 || got.Checks[0].Got != "hello" || got.Checks[0].Want != "a bundle" {
		t.Errorf("got %+v", got.Checks[0])
	}
}

// TestRowsWhereNothingCanBeJudged: without a certificate there is no signature; the row says so, and nothing that was not asked looks asked.
func TestRowsWhereNothingCanBeJudged(t *testing.T) {
	v := testVerifier(t)
	s := machine{"Genoa", false, 3}.sample(t, nil)
	got := judge(t, v, verify.Evidence{Report: s.report}, verify.Expectations{Now: expectations().Now})
	for _, name := range []string{"signature", "chain", "chip_id", "reported_tcb", "validity"} {
		if status(got, name) != verify.StatusNotJudged {
			t.Errorf("%s: got %s, want %s", name, status(got, name), verify.StatusNotJudged)
		}
	}
	for _, name := range []string{"host_data", "min_tcb", "min_launch_tcb", "provisional", "product_allowed", "signer_allowed", "csp_allowed"} {
		if status(got, name) != verify.StatusNotAsked {
			t.Errorf("%s: got %s, want %s", name, status(got, name), verify.StatusNotAsked)
		}
	}
	if got.ExitCode() != int(verify.ClassMissing) {
		t.Errorf("got exit code %d, want %d", got.ExitCode(), verify.ClassMissing)
	}
}

const stableCodes = `
CLS201 report
CLS202 reserved
CLS203 algorithm
CLS204 certificate_table
CLS205 certificate
CLS206 signer
CLS207 chain
CLS208 root_line
CLS209 validity
CLS210 signature
CLS211 product
CLS212 chip_id
CLS213 tcb_form
CLS214 reported_tcb
CLS215 tcb_order
CLS220 endorsement_signature
CLS301 certificates
CLS302 endorsement
CLS303 preimage
CLS401 crl
CLS402 crl_signature
CLS403 crl_time
CLS404 revocation
CLS501 vmpl
CLS502 policy_reserved
CLS503 policy_debug
CLS504 policy_migration
CLS505 policy_smt
CLS506 policy_cxl
CLS507 policy_single_socket
CLS508 policy_aes256_xts
CLS509 policy_rapl_disabled
CLS510 policy_ciphertext_hiding
CLS511 policy_page_swap_disabled
CLS512 policy_abi
CLS520 platform_reserved
CLS521 platform_smt
CLS522 platform_tio
CLS523 platform_tsme
CLS524 platform_ecc
CLS525 platform_rapl_disabled
CLS526 platform_ciphertext_hiding
CLS527 platform_alias_check
CLS530 report_data
CLS531 host_data
CLS532 measurement
CLS533 guest_svn
CLS534 family_id
CLS535 image_id
CLS536 report_id
CLS537 report_id_ma
CLS538 id_block
CLS539 id_key
CLS540 author_key
CLS541 chip_allowed
CLS542 product_allowed
CLS543 signer_allowed
CLS544 csp_allowed
CLS545 min_version
CLS546 firmware
CLS547 provisional
CLS548 min_tcb
CLS549 min_launch_tcb
CLS550 launch_mitigation
CLS551 current_mitigation
CLS560 endorsement_issuer
CLS561 endorsement_feed
CLS562 endorsement_svn
CLS563 endorsement_measurement
CLS570 preimage_hash
CLS571 preimage_policy
CLS572 preimage_nonce
CLS573 event_log
CLS574 preimage_entries
CLS575 identity
`
