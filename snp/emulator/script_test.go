package emulator

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// run starts a processor with a fault script.
func run(t *testing.T, edit func(*TEEParams)) *Processor {
	t.Helper()
	p := testParams(t, DefaultIdentity())
	edit(&p)
	proc, err := NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	return proc
}

func faults(f ...Fault) func(*TEEParams) { return func(p *TEEParams) { p.Faults = f } }

// signedBy says whether the report's signature is the certificate's key's.
func signedBy(t *testing.T, report, der []byte) bool {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	number := func(off int) *big.Int {
		b := bytes.Clone(report[off : off+72])
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	sum := sha512.Sum384(report[:snp.SignedSize])
	return ecdsa.Verify(cert.PublicKey.(*ecdsa.PublicKey), sum[:], number(snp.SignedSize), number(snp.SignedSize+72))
}

// TestScriptOfReports: what each request of a script comes to.
func TestScriptOfReports(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []Fault
		want   []syscall.Errno
	}{
		{"wiped stays", []Fault{{Kind: FaultWiped, After: 1, Count: 1}}, []syscall.Errno{0, syscall.ENOTTY, syscall.ENOTTY}},
		{"broken, then wiped", []Fault{{Kind: FaultBroken, After: 1, Count: 1}}, []syscall.Errno{0, syscall.EIO, syscall.ENOTTY, syscall.ENOTTY}},
		{"busy for too long, once", []Fault{{Kind: FaultBusy, Count: 1, Times: 31}}, []syscall.Errno{syscall.ETIMEDOUT, 0}},
		{"a kernel that wipes when it gives up", []Fault{{Kind: FaultBusy, Count: 1, Times: 31}, {Kind: FaultWiped, After: 1}}, []syscall.Errno{
			syscall.ETIMEDOUT, syscall.ENOTTY,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			proc := run(t, faults(c.faults...))
			for i, want := range c.want {
				room := uint32(anyRoom)
				if a := proc.report(t.Context(), [64]byte{}, 0, &room); a.errno != want || (a.report == nil) != (want != 0) {
					t.Errorf("request %d: got %v, want %v", i, a.errno, want)
				}
			}
		})
	}
}

// TestFaultsByReportData: a fault may be meant for one question only, whatever else is asked in between.
func TestFaultsByReportData(t *testing.T) {
	proc := run(t, faults(
		Fault{Kind: FaultBusy, Times: 31, Data: []byte("one"), Count: 1}, Fault{Kind: FaultBroken, Data: []byte("two"), After: 1},
	))
	for i, c := range []struct {
		data string
		want syscall.Errno
	}{
		{"none", 0}, {"one", syscall.ETIMEDOUT}, {"one", 0}, {"two", 0}, {"on", 0}, {"two", syscall.EIO}, {"none", syscall.ENOTTY},
	} {
		var data [64]byte
		copy(data[:], c.data)
		if i == 3 { // a key has no data
			if a := proc.derivedKey(t.Context(), sevguest.DerivedKeyReq{}); a.errno != 0 {
				t.Errorf("key: got %v", a.errno)
			}
		}
		if a := proc.report(t.Context(), data, 0, nil); a.errno != c.want {
			t.Errorf("request %d: got %v, want %v", i, a.errno, c.want)
		}
	}
}

// TestKeysMeetTheScriptToo: there is one message channel for reports and keys.
func TestKeysMeetTheScriptToo(t *testing.T) {
	proc := run(t, faults(Fault{Kind: FaultWiped, After: 2}))
	for i, want := range []syscall.Errno{0, 0, syscall.ENOTTY} {
		if a := proc.derivedKey(t.Context(), sevguest.DerivedKeyReq{}); a.errno != want {
			t.Errorf("request %d: got %v, want %v", i, a.errno, want)
		}
	}
	if a := proc.report(t.Context(), [64]byte{}, 0, nil); a.errno != syscall.ENOTTY {
		t.Errorf("report after the key was wiped: got %v, want %v", a.errno, syscall.ENOTTY)
	}
}

func TestHeldScript(t *testing.T) {
	proc := run(t, faults(Fault{Kind: FaultWiped, After: 1}))
	proc.HoldScript()
	ask := func() syscall.Errno { return proc.report(t.Context(), [64]byte{}, 0, nil).errno }
	for range 5 {
		if errno := ask(); errno != 0 {
			t.Fatalf("held: got %v", errno)
		}
	}
	proc.StartScript()
	if first, second := ask(), ask(); first != 0 || second != syscall.ENOTTY {
		t.Errorf("started: got %v and %v, want success and %v", first, second, syscall.ENOTTY)
	}
}

// TestHostWaits: a busy host takes its time, a throttling one serves no request sooner than its interval after the last.
func TestHostWaits(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault Fault
		took  []time.Duration // of requests one after the other
	}{
		{"busy", Fault{Kind: FaultBusy, Times: 3, WaitMS: 2000, Count: 2}, []time.Duration{6 * time.Second, 6 * time.Second, 0}},
		{"throttled", Fault{Kind: FaultThrottled, WaitMS: 1500}, []time.Duration{0, 1500 * time.Millisecond, 1500 * time.Millisecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			proc := run(t, faults(c.fault))
			synctest.Test(t, func(t *testing.T) {
				proc.turn = make(chan struct{}, 1) // the bubble's own
				for i, want := range c.took {
					start := time.Now()
					if a := proc.report(t.Context(), [64]byte{}, 0, nil); a.errno != 0 {
						t.Fatal(a.errno)
					}
					if took := time.Since(start); took != want {
						t.Errorf("request %d: took %s, want %s", i, took, want)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				proc.script = newScript([]Fault{{Kind: FaultBusy, Times: 30, WaitMS: 2000}})
				if a := proc.report(ctx, [64]byte{}, 0, nil); a.errno != syscall.EINTR {
					t.Errorf("caller gone: got %v, want %v", a.errno, syscall.EINTR)
				}
			})
		})
	}
}

// TestFlippedBits: any bit of the report and of the table can be wrong, and only that one is.
func TestFlippedBits(t *testing.T) {
	good := run(t, faults())
	for _, bit := range []uint32{0, 7, 0x50 * 8, snp.SignedSize*8 - 1, snp.SignedSize * 8, snp.ReportSize*8 - 1} {
		proc := run(t, faults(Fault{Kind: FaultFlip, Bit: bit}))
		proc.reportID = good.reportID
		a, b := proc.report(t.Context(), [64]byte{1}, 0, nil).report, good.fill([64]byte{1}, 0)
		var diff []uint32
		for i := range uint32(snp.SignedSize * 8) {
			if (a[i/8]^b[i/8])>>(i%8)&1 != 0 {
				diff = append(diff, i)
			}
		}
		var want []uint32
		if bit < snp.SignedSize*8 {
			want = []uint32{bit}
		}
		if d := cmp.Diff(want, diff); d != "" {
			t.Errorf("bit %d: bits that differ (-want +got):\n%s", bit, d)
		}
		if signedBy(t, a, good.params.Chain[0]) != (bit == snp.ReportSize*8-1) { // the last bytes are neither signed nor signature
			t.Errorf("bit %d: the signature holds, or does not", bit)
		}
	}
	proc := run(t, faults(Fault{Kind: FaultFlipCerts, Bit: 8*200 + 3}))
	before := bytes.Clone(proc.now.certs)
	room := uint32(anyRoom)
	table := proc.report(t.Context(), [64]byte{}, 0, &room).certs
	if !bytes.Equal(proc.now.certs, before) {
		t.Error("the processor's own table was changed")
	}
	before[200] ^= 8
	if !bytes.Equal(table, before) {
		t.Error("not that bit of the table differs, or not only that")
	}
}

// TestTCBUpgrade: an update moves what is reported and, with it, key and certificate; what the guest was launched with stays.
func TestTCBUpgrade(t *testing.T) {
	old := DefaultIdentity().TCB
	to := old
	to.SNP++
	for _, c := range []struct {
		name   string
		vlek   bool
		faults []Fault
		tcb    []snp.TCBParts // reported by requests one after the other
		cert   []int          // 0: the old certificate came along, 1: the new
	}{
		{"host follows", false, []Fault{{Kind: FaultTCBUpgrade, After: 1, Count: 1}}, []snp.TCBParts{old, to, to}, []int{0, 1, 1}},
		{"host lags", false, []Fault{{Kind: FaultTCBUpgrade, After: 1}, {Kind: FaultTCBLag, After: 1, Count: 2}}, []snp.TCBParts{old, to, to, to}, []int{0, 0, 0, 1}},
		{"cloud's key", true, []Fault{{Kind: FaultTCBUpgrade, After: 1}}, []snp.TCBParts{old, to}, []int{0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := DefaultIdentity()
			id.VLEK = c.vlek
			p := testParams(t, id)
			var err error
			if p.Upgrade, err = testAuthority(t).Upgrade(p, to); err != nil {
				t.Fatal(err)
			}
			p.Faults = c.faults
			proc, err := NewProcessor(p)
			if err != nil {
				t.Fatal(err)
			}
			leaves := [][]byte{p.Chain[0], p.Upgrade.Chain[0]}
			for i, want := range c.tcb {
				ev, err := proc.Device().Report(t.Context(), [64]byte{})
				if err != nil {
					t.Fatal(err)
				}
				checkUpgraded(t, i, ev, want, old)
				if want == to != signedBy(t, ev.Report, leaves[1]) || want == old != signedBy(t, ev.Report, leaves[0]) {
					t.Errorf("request %d: not signed by the key of its TCB", i)
				}
				if certs, err := snp.ParseCerts(ev.Certs); err != nil || !bytes.Equal(certs[0].Data, leaves[c.cert[i]]) {
					t.Errorf("request %d: got another certificate than number %d (%v)", i, c.cert[i], err)
				}
			}
		})
	}
}

func checkUpgraded(t *testing.T, i int, ev snp.Evidence, want, launched snp.TCBParts) {
	t.Helper()
	r, err := snp.ParseReport(ev.Report)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]snp.TCB{"reported": r.ReportedTCB, "current": r.CurrentTCB, "committed": r.CommittedTCB} {
		if got != want.Bytes(snp.Genoa) {
			t.Errorf("request %d: %s tcb: got %x, want %s", i, name, got, want)
		}
	}
	if r.LaunchTCB != launched.Bytes(snp.Genoa) {
		t.Errorf("request %d: launch tcb: got %x, want %s", i, r.LaunchTCB, launched)
	}
}

// TestHostileTables: none of them is read as certificates, and none breaks the reader.
func TestHostileTables(t *testing.T) {
	for kind, want := range map[FaultKind]string{
		FaultCertsNone: "empty", FaultCertsWrap: "refused", FaultCertsGarbage: "refused", FaultCertsMany: "refused", FaultCertsHuge: "empty",
	} {
		ev, err := run(t, faults(Fault{Kind: kind})).Device().Report(t.Context(), [64]byte{})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		certs, err := snp.ParseCerts(ev.Certs)
		if got := map[bool]string{true: "refused", false: "empty"}[err != nil]; got != want || len(certs) != 0 {
			t.Errorf("%s: got %d certificates, %v; want %s", kind, len(certs), err, want)
		}
	}
}

// TestDerivedKeyRules: all fields, both roots, and what is too new.
func TestDerivedKeyRules(t *testing.T) {
	base := func(p *TEEParams) { p.GuestSVN, p.ImageID[0], p.FamilyID[0] = 5, 1, 1 }
	key := func(t *testing.T, proc *Processor, req sevguest.DerivedKeyReq) [32]byte {
		t.Helper()
		a := proc.derivedKey(t.Context(), req)
		if a.errno != 0 || a.status != 0 {
			t.Fatalf("%+v: got %v, status %#x", req, a.errno, a.status)
		}
		return a.key
	}
	for field, edit := range map[snp.KeyFields]func(*TEEParams){
		snp.KeyPolicy:      func(p *TEEParams) { p.Policy |= snp.PolicySingleSocket },
		snp.KeyImageID:     func(p *TEEParams) { p.ImageID[15] = 1 },
		snp.KeyFamilyID:    func(p *TEEParams) { p.FamilyID[15] = 1 },
		snp.KeyMeasurement: func(p *TEEParams) { p.Measurement[47] = 1 },
	} {
		one, other := run(t, base), run(t, func(p *TEEParams) { base(p); edit(p) })
		with := sevguest.DerivedKeyReq{GuestFieldSelect: uint64(field)}
		if key(t, one, with) == key(t, other, with) {
			t.Errorf("field %#x is selected and changes nothing", field)
		}
		without := sevguest.DerivedKeyReq{GuestFieldSelect: uint64(keyFields &^ field)}
		if key(t, one, without) != key(t, other, without) {
			t.Errorf("field %#x is not selected and changes the key", field)
		}
	}
	one, again := run(t, base), run(t, base)
	if chip := (sevguest.DerivedKeyReq{}); key(t, one, chip) != key(t, again, chip) {
		t.Error("the chip gives another key in the next launch")
	}
	vm := sevguest.DerivedKeyReq{RootKeySelect: 1}
	first, second, other := key(t, one, vm), key(t, one, vm), key(t, again, vm)
	if first != second || first == other {
		t.Error("the launch's own key changes, or is another launch's too")
	}
}

// TestSealedBeforeAnUpgrade: the newer firmware derives the older one's key, not the other way round.
func TestSealedBeforeAnUpgrade(t *testing.T) {
	id := DefaultIdentity()
	p := testParams(t, id)
	to := id.TCB
	to.Microcode++
	var err error
	if p.Upgrade, err = testAuthority(t).Upgrade(p, to); err != nil {
		t.Fatal(err)
	}
	p.Faults = []Fault{{Kind: FaultTCBUpgrade, After: 2}}
	proc, err := NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	at := func(parts snp.TCBParts) answer {
		tcb := parts.Bytes(id.Line)
		var v uint64
		for i, b := range tcb {
			v |= uint64(b) << (8 * i)
		}
		return proc.derivedKey(t.Context(), sevguest.DerivedKeyReq{GuestFieldSelect: uint64(snp.KeyTCB), TCBVersion: v})
	}
	before, early, after, late := at(id.TCB), at(to), at(id.TCB), at(to)
	if before.status != 0 || early.status != sevguest.StatusInvalid || late.status != 0 {
		t.Errorf("status: got %#x, %#x before and %#x after, want 0, refused, 0", before.status, early.status, late.status)
	}
	if before.key != after.key || after.key == late.key {
		t.Error("the old TCB's key changed with the update, or is the new one's")
	}
}

func TestReportCarriesLaunchIdentity(t *testing.T) {
	proc := run(t, func(p *TEEParams) {
		p.FamilyID, p.ImageID, p.IDKeyDigest, p.AuthorDigest = [16]byte{1}, [16]byte{2}, [48]byte{3}, [48]byte{4}
	})
	r, err := snp.Self(t.Context(), proc.Device())
	if err != nil {
		t.Fatal(err)
	}
	if r.FamilyID != [16]byte{1} || r.ImageID != [16]byte{2} || r.IDKeyDigest != [48]byte{3} || r.AuthorDigest != [48]byte{4} || !r.KeyInfo.AuthorKey() {
		t.Errorf("got %x %x %x %x, author key %t", r.FamilyID, r.ImageID, r.IDKeyDigest, r.AuthorDigest, r.KeyInfo.AuthorKey())
	}
}

func TestFaultsThatAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*TEEParams){
		"unknown":              faults(Fault{Kind: "fire"}),
		"wait beyond a retry":  faults(Fault{Kind: FaultThrottled, WaitMS: 2001}),
		"more than all data":   faults(Fault{Kind: FaultBusy, Data: make([]byte, 65)}),
		"bit beyond any table": faults(Fault{Kind: FaultFlip, Bit: 1 << 20}),
		"upgrade to nothing":   faults(Fault{Kind: FaultTCBUpgrade}),
		"interface":            func(p *TEEParams) { p.Interface = "smoke" },
		"upgrade without key":  func(p *TEEParams) { p.Upgrade = &Upgrade{} },
	} {
		p := testParams(t, DefaultIdentity())
		edit(&p)
		if _, err := NewProcessor(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestCRL: valid, expired and revoking lists, all of the root's.
func TestCRL(t *testing.T) {
	a := testAuthority(t)
	now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	ask := a.Chain(false)[0]
	for _, c := range []struct {
		name    string
		crl     CRL
		entries int
	}{
		{"valid", CRL{ThisUpdate: now, NextUpdate: now.AddDate(0, 6, 0)}, 0},
		{"expired", CRL{ThisUpdate: now.AddDate(-1, 0, 0), NextUpdate: now.AddDate(0, -1, 0)}, 0},
		{"revoking", CRL{ThisUpdate: now, NextUpdate: now.AddDate(0, 6, 0), Revoked: [][]byte{ask}}, 1},
	} {
		der, err := a.SignCRL(c.crl)
		if err != nil {
			t.Fatal(err)
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		if err := list.CheckSignatureFrom(a.ark.cert); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !list.NextUpdate.Equal(c.crl.NextUpdate) || len(list.RevokedCertificateEntries) != c.entries {
			t.Errorf("%s: got next update %s, %d entries", c.name, list.NextUpdate, len(list.RevokedCertificateEntries))
		}
		if c.entries == 1 && list.RevokedCertificateEntries[0].SerialNumber.Cmp(a.ask.cert.SerialNumber) != 0 {
			t.Errorf("%s: another certificate is revoked", c.name)
		}
	}
	if _, err := a.SignCRL(CRL{ThisUpdate: now, NextUpdate: now}); err == nil {
		t.Error("a list that never holds was made")
	}
	if _, err := a.SignCRL(CRL{ThisUpdate: now, NextUpdate: now.AddDate(1, 0, 0), Revoked: [][]byte{{1}}}); err == nil {
		t.Error("what is no certificate was revoked")
	}
}

// TestEveryCertificateSaysTestOnly: nobody can take one for AMD's.
func TestEveryCertificateSaysTestOnly(t *testing.T) {
	a := testAuthority(t)
	for _, vlek := range []bool{false, true} {
		id := DefaultIdentity()
		id.VLEK = vlek
		p := testParams(t, id)
		for _, der := range p.Chain {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{cert.Subject.CommonName, cert.Subject.Organization[0], cert.Issuer.CommonName} {
				if !bytes.HasPrefix([]byte(name), []byte(Subject)) {
					t.Errorf("certificate %q: got name %q, want %q first", cert.Subject.CommonName, name, Subject)
				}
			}
		}
		key, err := a.endorsementKey(id)
		if err != nil {
			t.Fatal(err)
		}
		id.TCB.SNP++
		if other, err := a.endorsementKey(id); err != nil || key.Equal(other) {
			t.Errorf("the key of another TCB is the same (%v)", err)
		}
	}
}
