package verify_test

import (
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	gtest "github.com/google/go-sev-guest/testing"
	gvalidate "github.com/google/go-sev-guest/validate"
	gverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

// published makes evidence signed with the private keys that are in go-sev-guest's repository for everybody to use.
func published(t *testing.T) (snp.Evidence, *gtest.AmdSigner) {
	t.Helper()
	keys := gtest.DefaultAmdKeys()
	now := time.Now().Add(-time.Hour)
	tcb := kds.TCBParts{BlSpl: 10, SnpSpl: 23, UcodeSpl: 84}
	hwid := make([]byte, 64)
	hwid[0] = 0x04 // an octet string's tag: length decides, not this
	b := &gtest.AmdSignerBuilder{
		Keys: keys, ProductName: "Genoa-B1",
		ArkCreationTime: now, AskCreationTime: now, AsvkCreationTime: now, VcekCreationTime: now, VlekCreationTime: now,
		VcekCustom: gtest.CertOverride{Extensions: gtest.CustomExtensions(tcb, hwid, "", "Genoa-B1")},
	}
	signer, err := b.TestOnlyCertChain()
	if err != nil {
		t.Fatal(err)
	}
	ev := report(t, emulator.DefaultIdentity(), func(p *emulator.TEEParams) { copy(p.ChipID[:], hwid); clear(p.ChipID[1:]) })
	r, s, err := signer.Sign(abi.SignedComponent(ev.Report))
	if err != nil {
		t.Fatal(err)
	}
	if err := abi.SetSignature(r, s, ev.Report); err != nil {
		t.Fatal(err)
	}
	if ev.Certs, err = signer.CertTableBytes(); err != nil {
		t.Fatal(err)
	}
	return ev, signer
}

// A forged chain is whole in itself: every certificate is signed by the next. Only the pinned root tells.
func TestForgedChain(t *testing.T) {
	ev, signer := published(t)
	v := judge(t, ev, roots(t), expectations())
	if got := refusedNames(v); got != "chain" {
		t.Errorf("published keys under other roots: refused fields: got %q, want chain", got)
	}
	own := &verify.Roots{}
	if err := own.Add(signer.Ark.Raw); err != nil {
		t.Fatal(err)
	}
	if v := judge(t, ev, own, expectations()); !v.OK {
		t.Errorf("published keys under their own root: refused: %+v", v.Refused())
	}
}

// TestOtherRoot gives evidence of our emulator to somebody who trusts another emulator: same names, other keys.
func TestOtherRoot(t *testing.T) {
	other, err := emulator.LoadOrInit(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify.LoadRoots(other.RootsDir())
	if err != nil {
		t.Fatal(err)
	}
	v := judge(t, report(t, emulator.DefaultIdentity(), nil), r, expectations())
	if got := refusedNames(v); got != "chain" {
		t.Errorf("refused fields: got %q, want chain", got)
	}
}

// TestAMDRootsDoNotTrustTheEmulator pins that no reading of AMD's real roots accepts the test authority.
func TestAMDRootsDoNotTrustTheEmulator(t *testing.T) {
	r := &verify.Roots{}
	for _, line := range []string{"Milan", "Genoa", "Turin"} {
		root, err := trust.GetDefaultRootCerts(line)
		if err != nil {
			t.Fatal(err)
		}
		for _, der := range [][]byte{root.ProductCerts.Ark.Raw, root.ProductCerts.Ask.Raw} {
			if err := r.Add(der); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, id := range identities {
		if v := judge(t, report(t, id, nil), r, expectations()); refusedNames(v) != "chain" {
			t.Errorf("%s: refused fields: got %q, want chain", id.Line, refusedNames(v))
		}
	}
}

// TestAgreesWithGoSEVGuest holds the other verifier against ours, on evidence both can read.
func TestAgreesWithGoSEVGuest(t *testing.T) {
	ev, signer := published(t)
	root := trust.AMDRootCertsProduct("Genoa")
	root.ProductCerts = &trust.ProductCerts{Ark: signer.Ark, Ask: signer.Ask, Asvk: signer.Asvk}
	own := &verify.Roots{}
	if err := own.Add(signer.Ark.Raw); err != nil {
		t.Fatal(err)
	}
	theirs := func(ev snp.Evidence) bool {
		att, err := abi.ReportCertsToProto(append(append([]byte(nil), ev.Report...), ev.Certs...))
		if err != nil {
			return false
		}
		if err := gverify.SnpAttestation(att, &gverify.Options{
			DisableCertFetching: true, Now: time.Now(), TrustedRoots: map[string][]*trust.AMDRootCerts{"Genoa": {root}},
		}); err != nil {
			t.Logf("verify: %v", err)
			return false
		}
		vmpl := 0
		if err := gvalidate.SnpAttestation(att, &gvalidate.Options{
			GuestPolicy: abi.SnpPolicy{SMT: true}, ReportData: nonce[:], HostData: hostData[:], Measurement: measurement[:], VMPL: &vmpl,
			PlatformInfo: &abi.SnpPlatformInfo{SMTEnabled: true},
		}); err != nil {
			t.Logf("validate: %v", err)
			return false
		}
		return true
	}
	for _, c := range []struct {
		name string
		edit func([]byte)
	}{
		{"untouched", func([]byte) {}},
		{"nonce", func(b []byte) { b[0x50] ^= 1 }},
		{"measurement", func(b []byte) { b[0x90] ^= 1 }},
		{"host data", func(b []byte) { b[0xc0] ^= 1 }},
		{"tcb", func(b []byte) { b[0x180] ^= 1 }},
		{"chip id", func(b []byte) { b[0x1a0] ^= 1 }},
		{"debug", func(b []byte) { b[0x00a] |= 8 }},
		{"signature", func(b []byte) { b[0x2a0] ^= 1 }},
		{"version", func(b []byte) { b[0] = 6 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := snp.Evidence{Report: append([]byte(nil), ev.Report...), Certs: ev.Certs}
			c.edit(e.Report)
			if c.name != "signature" && c.name != "version" { // a fair signature, so that the field itself is judged
				r, s, err := signer.Sign(abi.SignedComponent(e.Report))
				if err != nil {
					t.Fatal(err)
				}
				if err := abi.SetSignature(new(big.Int).Set(r), s, e.Report); err != nil {
					t.Fatal(err)
				}
			}
			want := c.name == "untouched"
			if got := theirs(e); got != want {
				t.Errorf("go-sev-guest: got %t, want %t", got, want)
			}
			v := judge(t, e, own, expectations())
			if v.OK != want {
				t.Errorf("ours: got %t, want %t: %+v", v.OK, want, v.Refused())
			}
		})
	}
}

func TestLoadRoots(t *testing.T) {
	a := testAuthority(t)
	ark, err := os.ReadFile(filepath.Join(a.RootsDir(), "ark.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ask, err := os.ReadFile(filepath.Join(a.RootsDir(), "ask.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ark)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // in the error, "" for none
	}{
		{"chain in one file", map[string]string{"cert_chain.pem": string(ask) + string(ark)}, ""},
		{"der", map[string]string{"ark.der": string(block.Bytes)}, ""},
		{"other files are left alone", map[string]string{"ark.pem": string(ark), "README": "hello"}, ""},
		{"empty directory", nil, "no self-signed certificate"},
		{"no anchor", map[string]string{"ask.pem": string(ask)}, "no self-signed certificate"},
		{"a key", map[string]string{"ark.pem": strings.ReplaceAll(string(ark), "CERTIFICATE", "PRIVATE KEY")}, "want only certificates"},
		{"garbage", map[string]string{"ark.pem": "hello"}, "ark.pem"},
		{"too long", map[string]string{"ark.pem": strings.Repeat("x", 300<<10)}, "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
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
				if v := judge(t, report(t, emulator.DefaultIdentity(), nil), r, expectations()); !v.OK {
					t.Errorf("refused: %+v", v.Refused())
				}
			}
		})
	}
	if _, err := verify.LoadRoots(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent directory was accepted")
	}
}
