package verify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

var authority = sync.OnceValues(func() (*emulator.Authority, error) {
	return emulator.LoadOrInit(filepath.Join(authorityDir, "emulator"))
})

var authorityDir string

func testAuthority(t testing.TB) *emulator.Authority {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMain(m *testing.M) {
	var err error
	if authorityDir, err = os.MkdirTemp("", "cloister-authority-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(authorityDir)
	os.Exit(code)
}

var (
	hostData    = sha256.Sum256([]byte("package policy\n"))
	measurement = [48]byte{0x4d, 47: 0x01}
	nonce       = [64]byte{0x6e, 31: 0x02}
)

// report makes evidence over the nonce on a processor whose parameters edit may change.
func report(t testing.TB, id emulator.Identity, edit func(*emulator.TEEParams)) snp.Evidence {
	t.Helper()
	p, err := testAuthority(t).Params(id)
	if err != nil {
		t.Fatal(err)
	}
	p.HostData, p.Measurement = hostData, measurement
	if edit != nil {
		edit(&p)
	}
	proc, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := proc.Device().Report(context.Background(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func roots(t testing.TB) *verify.Roots {
	t.Helper()
	r, err := verify.LoadRoots(testAuthority(t).RootsDir())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func expectations() verify.Expectations {
	return verify.Expectations{
		ReportData: &nonce, HostData: &hostData, Measurements: [][48]byte{measurement},
		VMPL: new(uint32), GuestPolicy: &verify.PolicyLimit{SMT: true},
		MinTCB: &snp.TCBParts{}, MinGuestSVN: new(uint32), Now: time.Now(),
	}
}

func judge(t testing.TB, ev snp.Evidence, r *verify.Roots, exp verify.Expectations) *verify.Verdict {
	t.Helper()
	v, err := verify.Evidence(ev, r, exp)
	if err != nil {
		t.Fatal(err)
	}
	if v.OK != (len(v.Refused()) == 0) {
		t.Fatalf("got ok %t with %d refused fields", v.OK, len(v.Refused()))
	}
	return v
}

func refusedNames(v *verify.Verdict) string {
	var names []string
	for _, f := range v.Refused() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ",")
}

var identities = []emulator.Identity{
	emulator.DefaultIdentity(),
	{Line: snp.Milan, TCB: snp.TCBParts{BootLoader: 3, SNP: 8, Microcode: 115}},
	{Line: snp.Turin, TCB: snp.TCBParts{FMC: 2, BootLoader: 1, TEE: 1, SNP: 4, Microcode: 30}},
	{Line: snp.Milan, TCB: snp.TCBParts{BootLoader: 3, SNP: 8, Microcode: 115}, VLEK: true},
	{Line: snp.Turin, TCB: snp.TCBParts{FMC: 2, BootLoader: 1, TEE: 1, SNP: 4, Microcode: 30}, VLEK: true},
}

func TestAccepts(t *testing.T) {
	for _, id := range identities {
		for _, version := range []uint32{2, 3, 4, 5} {
			t.Run(fmt.Sprintf("%s vlek=%t v%d", id.Line, id.VLEK, version), func(t *testing.T) {
				ev := report(t, id, func(p *emulator.TEEParams) { p.ReportVersion = version })
				v := judge(t, ev, roots(t), expectations())
				if !v.OK {
					t.Fatalf("refused: %+v", v.Refused())
				}
				if !strings.Contains(v.Root, emulator.Subject) || !strings.HasPrefix(v.Product, string(id.Line)) {
					t.Errorf("got root %q product %q, want the emulator's and %s", v.Root, v.Product, id.Line)
				}
			})
		}
	}
}

// TestEveryByteCounts flips each byte of the signed part and of the signature.
func TestEveryByteCounts(t *testing.T) {
	good := report(t, emulator.DefaultIdentity(), nil)
	trusted, exp := roots(t), expectations()
	for i := range snp.ReportSize {
		ev := snp.Evidence{Report: bytes.Clone(good.Report), Certs: good.Certs}
		ev.Report[i] ^= 0x01
		v := judge(t, ev, trusted, exp)
		if v.OK {
			t.Fatalf("byte %#x flipped: accepted", i)
		}
		for _, f := range v.Fields {
			if f.Name == "signature" && f.OK {
				t.Fatalf("byte %#x flipped: the signature verifies", i)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	u32 := func(n uint32) *uint32 { return &n }
	for _, c := range []struct {
		name   string
		params func(*emulator.TEEParams)
		raw    func([]byte) // after signing
		expect func(*verify.Expectations)
		want   string // the fields refused, exactly
	}{
		{name: "other policy", expect: func(e *verify.Expectations) { e.HostData = &[32]byte{1} }, want: "host_data"},
		{name: "other nonce", expect: func(e *verify.Expectations) { e.ReportData = &[64]byte{1} }, want: "report_data"},
		{name: "other measurement", expect: func(e *verify.Expectations) { e.Measurements = [][48]byte{{1}, {2}} }, want: "measurement"},
		{name: "no measurement in the report", params: func(p *emulator.TEEParams) { p.Measurement = [48]byte{} }, expect: func(e *verify.Expectations) {
			e.Measurements, e.AnyMeasurement = nil, true
		}, want: "measurement"},
		{name: "other level", expect: func(e *verify.Expectations) { e.VMPL = u32(1) }, want: "vmpl"},
		{name: "asked for by the host", raw: func(b []byte) { binary.LittleEndian.PutUint32(b[0x30:], 0xFFFFFFFF) }, want: "signature,vmpl"},
		{name: "old guest", expect: func(e *verify.Expectations) { e.MinGuestSVN = u32(1) }, want: "guest_svn"},
		{name: "debugging allowed", params: func(p *emulator.TEEParams) { p.Policy |= snp.PolicyDebug }, want: "policy_debug"},
		{name: "migration allowed", params: func(p *emulator.TEEParams) { p.Policy |= snp.PolicyMigrateMA }, want: "policy_migration"},
		{name: "cxl allowed", params: func(p *emulator.TEEParams) { p.Policy |= snp.PolicyCXL }, want: "policy_cxl"},
		{name: "smt not wanted", expect: func(e *verify.Expectations) { e.GuestPolicy.SMT = false }, want: "policy_smt"},
		{name: "unknown policy bit", params: func(p *emulator.TEEParams) { p.Policy |= 1 << 40 }, want: "guest_policy"},
		{name: "tcb above the certificate's", params: func(p *emulator.TEEParams) { p.TCB.SNP++ }, want: "reported_tcb"},
		{name: "tcb below the certificate's", params: func(p *emulator.TEEParams) { p.TCB.Microcode-- }, want: "reported_tcb"},
		{name: "old firmware", expect: func(e *verify.Expectations) { e.MinTCB = &snp.TCBParts{SNP: 24} }, want: "min_tcb,launch_tcb"},
		{name: "other chip", params: func(p *emulator.TEEParams) { p.ChipID[63] ^= 1 }, want: "chip_id"},
		{name: "masked chip", params: func(p *emulator.TEEParams) { p.ChipID = [64]byte{} }, want: "chip_id"},
		{name: "other product", params: func(p *emulator.TEEParams) { p.Line = snp.Milan }, want: "product"},
		{name: "version 6", raw: func(b []byte) { b[0] = 6 }, want: "report"},
		{name: "version 1", raw: func(b []byte) { b[0] = 1 }, want: "report"},
		{name: "reserved byte", raw: func(b []byte) { b[0x250] = 1 }, want: "report"},
		{name: "chip key masked", raw: func(b []byte) { b[0x48] = 2 }, want: "signature"},
		{name: "no signer", raw: func(b []byte) { b[0x48] = 7 << 2 }, want: "signer"},
		{name: "a chip's key passed off as a cloud's", raw: func(b []byte) { b[0x48] = 1 << 2 }, want: "certificates"},
		{name: "other algorithm", raw: func(b []byte) { b[0x34] = 2 }, want: "signature"},
		{name: "signature of zeros", raw: func(b []byte) { clear(b[snp.SignedSize:]) }, want: "signature"},
		{name: "before the certificates", expect: func(e *verify.Expectations) { e.Now = time.Now().AddDate(-1, 0, 0) }, want: "validity"},
		{name: "after the certificates", expect: func(e *verify.Expectations) { e.Now = time.Now().AddDate(8, 0, 0) }, want: "validity"},
		{name: "tampered by the fault script", params: func(p *emulator.TEEParams) { p.Faults = []emulator.Fault{{Kind: emulator.FaultTampered}} }, want: "signature,measurement"},
		{name: "wrapping certificate table", params: func(p *emulator.TEEParams) { p.Faults = []emulator.Fault{{Kind: emulator.FaultCertsWrap}} }, want: "certificates"},
		{name: "garbage certificate table", params: func(p *emulator.TEEParams) { p.Faults = []emulator.Fault{{Kind: emulator.FaultCertsGarbage}} }, want: "certificates"},
		{name: "no certificates", params: func(p *emulator.TEEParams) { p.Faults = []emulator.Fault{{Kind: emulator.FaultCertsNone}} }, want: "certificates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := report(t, emulator.DefaultIdentity(), c.params)
			if c.raw != nil {
				c.raw(ev.Report)
			}
			exp := expectations()
			if c.expect != nil {
				c.expect(&exp)
			}
			v := judge(t, ev, roots(t), exp)
			if got := refusedNames(v); got != c.want || v.OK {
				t.Errorf("refused fields: got %q, want %q\n%+v", got, c.want, v.Refused())
			}
		})
	}
}

func TestIncompleteExpectations(t *testing.T) {
	ev := report(t, emulator.DefaultIdentity(), nil)
	for _, c := range []struct {
		name string
		edit func(*verify.Expectations)
	}{
		{"report_data", func(e *verify.Expectations) { e.ReportData = nil }},
		{"host_data", func(e *verify.Expectations) { e.HostData = nil }},
		{"measurement", func(e *verify.Expectations) { e.Measurements = nil }},
		{"vmpl", func(e *verify.Expectations) { e.VMPL = nil }},
		{"guest_policy", func(e *verify.Expectations) { e.GuestPolicy = nil }},
		{"min_tcb", func(e *verify.Expectations) { e.MinTCB = nil }},
		{"min_guest_svn", func(e *verify.Expectations) { e.MinGuestSVN = nil }},
		{"now", func(e *verify.Expectations) { e.Now = time.Time{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			exp := expectations()
			c.edit(&exp)
			v, err := verify.Evidence(ev, roots(t), exp)
			if v != nil || !errors.Is(err, verify.ErrIncomplete) || !strings.Contains(err.Error(), c.name) {
				t.Errorf("got %v %v, want %v naming %s", v, err, verify.ErrIncomplete, c.name)
			}
		})
	}
	for _, c := range []struct {
		name string
		edit func(*verify.Expectations)
	}{
		{"host_data of zeros", func(e *verify.Expectations) { e.HostData = &[32]byte{} }},
		{"measurement of zeros", func(e *verify.Expectations) { e.Measurements = append(e.Measurements, [48]byte{}) }},
		{"any and some measurements", func(e *verify.Expectations) { e.AnyMeasurement = true }},
		{"level 4", func(e *verify.Expectations) { *e.VMPL = 4 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			exp := expectations()
			c.edit(&exp)
			if v, err := verify.Evidence(ev, roots(t), exp); v != nil || err == nil {
				t.Errorf("got %v %v, want an error", v, err)
			}
		})
	}
	if v, err := verify.Evidence(ev, nil, expectations()); v != nil || err == nil {
		t.Errorf("no roots: got %v %v, want an error", v, err)
	}
	if v, err := verify.Evidence(ev, &verify.Roots{}, expectations()); v != nil || err == nil {
		t.Errorf("empty roots: got %v %v, want an error", v, err)
	}
}

func FuzzEvidence(f *testing.F) {
	for _, id := range identities {
		ev := report(f, id, nil)
		f.Add(ev.Report, ev.Certs)
	}
	trusted, exp := roots(f), expectations()
	exp.HostData = &[32]byte{0xff} // no input is right
	f.Fuzz(func(t *testing.T, rep, certs []byte) {
		v, err := verify.Evidence(snp.Evidence{Report: rep, Certs: certs}, trusted, exp)
		if err != nil {
			t.Fatalf("the host's bytes made an error of the caller's: %v", err)
		}
		if v.OK {
			t.Fatal("accepted")
		}
	})
}
