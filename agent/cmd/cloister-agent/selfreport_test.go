package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

var authorityDir string

// authority is the test's make-believe AMD; its keys take seconds to make.
var authority = sync.OnceValues(func() (*emulator.Authority, error) {
	return emulator.LoadOrInit(filepath.Join(authorityDir, "emulator"))
})

func TestMain(m *testing.M) {
	// make test names a directory in which the keys are made once for all packages.
	if authorityDir = os.Getenv("CLOISTER_TEST_AUTHORITY"); authorityDir != "" {
		os.Exit(m.Run())
	}
	var err error
	if authorityDir, err = os.MkdirTemp("", "cloister-agent-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(authorityDir)
	os.Exit(code)
}

// ownReport asks a software processor with a script of faults, as the agent asks the guest's device.
func ownReport(t *testing.T, v *verify.Verifier, change func(*snp.Evidence), script ...emulator.Fault) (snp.SelfReport, error) {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	p.HostData = [32]byte{7}
	if err := a.Play(&p, script); err != nil {
		t.Fatal(err)
	}
	proc, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	return snp.SelfVerified(t.Context(), changed{proc.Device(), change}, func(ev snp.Evidence) error { return judgeSelf(v, ev) })
}

// changed is a device whose evidence passes through other hands.
type changed struct {
	snp.Device
	change func(*snp.Evidence)
}

func (d changed) Report(ctx context.Context, data [64]byte) (snp.Evidence, error) {
	ev, err := d.Device.Report(ctx, data)
	if err == nil && d.change != nil {
		d.change(&ev)
	}
	return ev, err
}

// TestOwnReportIsVerifiedWhereItCanBe: a good chain verifies the report; without one that is AMD's, whatever the reason, two reports are compared; a report that its own chain
// does not bear out is refused.
func TestOwnReportIsVerifiedWhereItCanBe(t *testing.T) {
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := verify.LoadRoots(a.RootsDir())
	if err != nil {
		t.Fatal(err)
	}
	own, err := verify.New(roots, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	amd, err := amdVerifier()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		v        *verify.Verifier
		change   func(*snp.Evidence)
		script   []emulator.Fault
		verified bool
		refused  string
	}{
		{name: "chain-of-a-trusted-root", v: own, verified: true},
		{name: "chain-of-no-root-of-AMD", v: amd},
		{name: "no-certificates", v: own, script: []emulator.Fault{{Kind: emulator.FaultCertsNone}}},
		{name: "malformed-table", v: own, script: []emulator.Fault{{Kind: emulator.FaultCertsGarbage}}},
		{name: "wrapping-table", v: own, script: []emulator.Fault{{Kind: emulator.FaultCertsWrap}}},
		{name: "late-certificates", v: own, script: []emulator.Fault{{Kind: emulator.FaultTCBUpgrade}, {Kind: emulator.FaultTCBLag}}},
		{name: "tampered-report", v: own, script: []emulator.Fault{{Kind: emulator.FaultTampered}}, refused: "signature"},
		{name: "tampered-host-data", v: own, change: func(ev *snp.Evidence) { ev.Report[0xC0] ^= 1 }, refused: "signature"},
		{name: "no-report", v: own, script: []emulator.Fault{{Kind: emulator.FaultWiped}}, refused: "VMPCK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			self, err := ownReport(t, c.v, c.change, c.script...)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v, want an error with %q", err, c.refused)
				}
				return
			}
			if err != nil || self.Verified != c.verified || self.HostData != [32]byte{7} {
				t.Errorf("got verified %t, %v, want %t", self.Verified, err, c.verified)
			}
		})
	}
}

func TestReadEndorsement(t *testing.T) {
	for name, c := range map[string]struct {
		data map[string]string
		want string
		err  string
	}{
		"none":       {data: map[string]string{"policy.rego": "x"}},
		"there":      {data: map[string]string{endorsementFile: base64.StdEncoding.EncodeToString([]byte("cose"))}, want: "cose"},
		"not-base64": {data: map[string]string{endorsementFile: "c o s e"}, err: "not base64"},
		"empty":      {data: map[string]string{endorsementFile: ""}, err: "not base64"},
		"too-long":   {data: map[string]string{endorsementFile: strings.Repeat("A", 2<<20)}, err: "at most"},
	} {
		got, err := readEndorsement(&initdata.Document{Data: c.data})
		if string(got) != c.want || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: got %q, %v, want %q, %q", name, got, err, c.want, c.err)
		}
	}
	if !errors.Is(judgeNothing(t), snp.ErrNoChain) {
		t.Error("a report without certificates is judged")
	}
}

func judgeNothing(t *testing.T) error {
	t.Helper()
	v, err := amdVerifier()
	if err != nil {
		t.Fatal(err)
	}
	report := make([]byte, snp.ReportSize)
	report[0] = 3
	return judgeSelf(v, snp.Evidence{Report: report})
}
