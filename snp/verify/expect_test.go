package verify_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// TestUnusableExpectations: what can never be met, or was begun and left empty, is the caller's error and no verdict.
func TestUnusableExpectations(t *testing.T) {
	v := testVerifier(t)
	ev := machine{"Genoa", false, 3}.sample(t, nil).evidence()
	for _, c := range []struct {
		name, want string
		edit       func(*verify.Expectations)
	}{
		{"no time", "now", func(e *verify.Expectations) { e.Now = time.Time{} }},
		{"no measurement", "measurements", func(e *verify.Expectations) { e.Measurements = [][48]byte{} }},
		{"no id key", "id key", func(e *verify.Expectations) { e.IDKeyDigests = [][48]byte{} }},
		{"no author key", "author key", func(e *verify.Expectations) { e.AuthorKeyDigests = [][48]byte{} }},
		{"no chip", "chip ids", func(e *verify.Expectations) { e.ChipIDs = [][64]byte{} }},
		{"no product", "products", func(e *verify.Expectations) { e.Products = []string{} }},
		{"no provider", "cloud providers", func(e *verify.Expectations) { e.CSPs = []string{} }},
		{"empty nonce", "nonce", func(e *verify.Expectations) { e.Nonce = []byte{} }},
		{"level 4", "vmpl", func(e *verify.Expectations) { e.VMPL = ptr[uint32](4) }},
		{"unknown product", "Venice", func(e *verify.Expectations) { e.Products = []string{"Genoa", "Venice"} }},
		{"unknown signer", "signer", func(e *verify.Expectations) { e.Signer = "vmrk" }},
		{"unknown mode", "crl", func(e *verify.Expectations) { e.CRL = "maybe" }},
		{"provider of a chip's key", "cloud providers", func(e *verify.Expectations) { e.Signer, e.CSPs = verify.SignerVCEK, []string{"x"} }},
		{"endorsement by anybody", "endorsement", func(e *verify.Expectations) { e.Endorsement = &verify.EndorsementPolicy{} }},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			exp := expectations()
			c.edit(&exp)
			got, err := v.Verify(ev, exp)
			if got != nil || !errors.Is(err, verify.ErrExpectation) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want %v with %q", got, err, verify.ErrExpectation, c.want)
			}
		})
	}
}

// TestExpectationsMet is every expectation at once, each as it should be; so a mutant's failure is not that of an expectation nobody can meet.
func TestExpectationsMet(t *testing.T) {
	v := testVerifier(t)
	for _, m := range []machine{{"Turin", false, 5}, {"Siena", true, 5}} {
		s := m.sample(t, nil)
		idKey, author := [48]byte{0x1d}, [48]byte{0xa1}
		ev := s.signed(func(b []byte) {
			copy(b[0xe0:], idKey[:])
			copy(b[0x110:], author[:])
			copy(b[0x10:], "family          image           ")
			setBit(0x48, 0)(b)
			put[uint32](4, 7)(b)
			put[uint64](0x08, 0x3F3<<16|1<<8|58)(b) // all but migration and debugging
			put[uint64](0x40, 0xBF)(b)
			put[uint64](0x1F8, 5)(b)
			put[uint64](0x200, 7)(b)
		})
		ev.CRLs = [][]byte{currentList(t)}
		exp := expectations()
		exp.GuestPolicy = &verify.PolicyLimit{
			SMT: true, CXL: true, SingleSocket: true, AES256XTS: true, RAPLDisabled: true, CiphertextHiding: true, PageSwapDisabled: true, MinABI: &verify.ABI{Major: 1, Minor: 58},
		}
		exp.PlatformInfo = &verify.PlatformLimit{SMT: true, TIO: true, TSME: true, ECC: true, RAPLDisabled: true, CiphertextHiding: true, AliasCheck: true}
		exp.MinTCB, exp.MinLaunchTCB, exp.MinGuestSVN, exp.MinVersion = &s.params.TCB, &s.params.TCB, ptr[uint32](7), ptr[uint32](5)
		exp.MinFirmware, exp.RefuseProvisional = &snp.Firmware{Major: 1, Minor: 55, Build: 29}, true
		exp.MinMitigation = &verify.Mitigation{Launch: ptr[uint64](5), Current: ptr[uint64](7)}
		exp.FamilyID, exp.ImageID = (*[16]byte)([]byte("family          ")), (*[16]byte)([]byte("image           "))
		exp.ReportID, exp.ReportIDMA = (*[32]byte)(ev.Report[0x140:]), (*[32]byte)(ev.Report[0x160:])
		exp.IDKeyDigests, exp.AuthorKeyDigests, exp.RequireIDBlock = [][48]byte{{9}, idKey}, [][48]byte{{9}, author}, true
		exp.ChipIDs, exp.Products, exp.CRL = [][64]byte{{9}, s.params.ChipID}, []string{"Milan", "Bergamo", "Turin"}, verify.CRLRequired
		exp.Signer = verify.SignerVCEK
		if m.vlek {
			exp.Signer, exp.CSPs = verify.SignerVLEK, []string{"x", "Cloister TEST ONLY - not AMD"}
		}
		got := judge(t, v, ev, exp)
		if !got.OK {
			t.Fatalf("%s: refused: %+v", m, got.Failed())
		}
		for _, c := range got.Checks {
			identity := strings.HasPrefix(c.Name, "preimage") || c.Name == "event_log" || c.Name == "identity"
			if c.Status != verify.StatusPass && !identity && !strings.HasPrefix(c.Name, "endorsement") && (c.Name != "csp_allowed" || m.vlek) {
				t.Errorf("%s: %s: got %s, want it to pass", m, c.Name, c.Status)
			}
		}
	}
}

// TestLongSetsAreShortened: a verdict over thousands of reference values stays bounded.
func TestLongSetsAreShortened(t *testing.T) {
	v := testVerifier(t)
	exp := expectations()
	exp.Measurements = make([][48]byte, 5000)
	got := mustFail(t, v, machine{"Genoa", false, 3}.sample(t, nil).evidence(), exp, "measurement")
	if want := check(got, "measurement").Want; !strings.HasSuffix(want, " or 4744 more") || len(want) > 26000 {
		t.Errorf("got %d bytes ending in %q", len(want), want[max(0, len(want)-40):])
	}
}
