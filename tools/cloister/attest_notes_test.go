package main

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/measure"
)

// outcome runs "attest verify" and gives what a person sees.
func outcome(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{"attest", "verify"}, args...))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// What was not asked is said where nobody misses it, and in lines that fit.
func TestAttestVerifyNotesWhatWasNotChecked(t *testing.T) {
	b := newAttestBench(t)
	notes := []string{"note: the nonce was not checked", "note: the policy was not checked", "note: the guest image was not checked"}
	text, err := outcome(t, b.good, "--roots", b.roots)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		if !strings.Contains(text, n) {
			t.Errorf("no %q in\n%s", n, text)
		}
	}
	_, list, _ := strings.Cut(text, "not asked:")
	list, _, _ = strings.Cut(list, "\nnote")
	if lines := strings.Split("not asked:"+list, "\n"); len(lines) < 5 {
		t.Errorf("got %d lines, want them wrapped:\n%s", len(lines), text)
	} else {
		for _, l := range lines {
			if len(l) > 100 {
				t.Errorf("got a line of %d columns, want at most 100: %s", len(l), l)
			}
		}
	}
	text, err = outcome(t, b.good, "--roots", b.roots, "--nonce", testNonce, "--policy", b.policy, "--guest", b.img)
	if err != nil || strings.Contains(text, "was not checked") {
		t.Errorf("everything was asked: got %v and\n%s", err, text)
	}
}

// The digest of the software processor says nothing about a machine, whose report it must not be held against.
func TestEmulatedDigestIsForTheEmulator(t *testing.T) {
	b := newAttestBench(t)
	read := filepath.Join("..", "..", "snp", "verify", "testdata", "genuine")
	real := []string{filepath.Join(read, "milan-v3.report.bin"), "--certs", filepath.Join(read, "milan-v3.vcek.pem"), "--now", "2025-10-01"}
	emulated := measure.Digest(measure.Emulated([]byte("kernel"), []byte("initrd"), "console=ttyS0")).String()
	for _, args := range [][]string{{"--guest", b.img}, {"--guest", b.img, "--measurement", strings.Repeat("ab", 48)}} {
		text, err := outcome(t, append(append(real, args...), "--json")...)
		if err == nil || strings.Contains(text, emulated) || !strings.Contains(text, "no launch digests") || !strings.Contains(text, "guest build --firmware") {
			t.Errorf("%q: got %v and\n%s", args, err, text)
		}
	}
	report, err := os.ReadFile(real[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := snp.DecodeReport(report)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.img, guest.FileMeasurements)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	launch := `,"launch":{"digests":["` + strings.Repeat("cd", 48) + `","` + hex.EncodeToString(r.Measurement[:]) + `"]}}`
	if err := os.WriteFile(path, []byte(strings.TrimSuffix(strings.TrimSpace(string(text)), "}")+launch), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := outcome(t, append(real, "--guest", b.img)...); err != nil {
		t.Errorf("a launch digest of the image: got %v and\n%s", err, out)
	}
	if out, err := outcome(t, b.good, "--roots", b.roots, "--guest", b.img); err != nil {
		t.Errorf("the software processor: got %v and\n%s", err, out)
	}
}

// Whoever is refused for want of something is told where to get it.
func TestAttestVerifySaysWhatToDo(t *testing.T) {
	b := newAttestBench(t)
	read := filepath.Join("..", "..", "snp", "verify", "testdata", "genuine")
	nonce, err := hex.DecodeString(testNonce)
	if err != nil {
		t.Fatal(err)
	}
	host := snp.HostReportData(nonce)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"software processor", "what to do: the evidence is of a software processor", []string{b.good}},
		{"milan", "https://kdsintf.amd.com/vcek/v1/Milan/", []string{filepath.Join(read, "milan-v3.report.bin")}},
		{"milan's versions", "?blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219', then --certs vcek.der", []string{filepath.Join(read, "milan-v3.report.bin")}},
		{"turin", "?fmcSPL=", []string{filepath.Join(read, "turin-v5.report.bin")}},
		{"list of AMD's", "curl -o crl.der https://kdsintf.amd.com/vcek/v1/Milan/crl, then --crl crl.der", []string{
			filepath.Join(read, "milan-v3.report.bin"), "--certs", filepath.Join(read, "milan-v3.vcek.pem"), "--now", "2025-10-01", "--require-crl",
		}},
		{"list of the software processor's", "http://127.0.0.1:8080/vcek/v1/Genoa/crl", []string{b.good, "--roots", b.roots, "--require-crl"}},
		{"host's evidence", "--report-data host", []string{
			b.over("host.json", host, [32]byte{1}, func(*snp.Bundle) {}), "--roots", b.roots, "--nonce", testNonce,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := outcome(t, c.args...)
			if err == nil || !strings.Contains(text, c.want) {
				t.Errorf("got %v, want %q in\n%s", err, c.want, text)
			}
		})
	}
}

// The command that "attest report" suggests names what is known.
func TestAttestReportHint(t *testing.T) {
	b := newAttestBench(t)
	t.Setenv(guestEnv, b.img)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	bundle, err := os.ReadFile(b.good)
	if err != nil {
		t.Fatal(err)
	}
	want := "cloister attest verify x.json --report-data host --nonce 01 --policy FILE --guest " + b.img
	if got := verifyHint("x.json", []byte{1}, bundle); got != want+" --roots DIR" {
		t.Errorf("got %q", got)
	}
	if got := verifyHint("x.json", []byte{1}, []byte("{}")); got != want {
		t.Errorf("of no software processor: got %q, want %q", got, want)
	}
}
