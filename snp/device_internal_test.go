package snp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// TestKeyLostIsForGood: once the kernel has said that its key is wiped it is not asked again, by neither kind of request.
func TestKeyLostIsForGood(t *testing.T) {
	k := &fakeKernel{needs: []uint32{0}, fail: &sevguest.Error{Err: syscall.ENOTTY}}
	g := guestOver(k)
	if _, err := g.Report(t.Context(), [64]byte{}); !errors.Is(err, ErrKeyLost) {
		t.Fatalf("got %v, want %v", err, ErrKeyLost)
	}
	k.fail = nil // as if: the answer must not come from the kernel
	if ev, err := g.Report(t.Context(), [64]byte{}); !errors.Is(err, ErrKeyLost) || ev.Report != nil {
		t.Errorf("second report: got %v, want %v", err, ErrKeyLost)
	}
	if key, err := g.DerivedKey(t.Context(), DerivedKeyRequest{}); !errors.Is(err, ErrKeyLost) || key != [32]byte{} {
		t.Errorf("derived key: got %v, want %v", err, ErrKeyLost)
	}
	if len(k.calls) != 1 {
		t.Errorf("requests: got %q, want one", k.calls)
	}
}

// TestBusyIsNotForGood: a host that was busy may be asked again.
func TestBusyIsNotForGood(t *testing.T) {
	k := &fakeKernel{needs: []uint32{0}, fail: &sevguest.Error{Err: syscall.ETIMEDOUT}}
	g := guestOver(k)
	if _, err := g.Report(t.Context(), [64]byte{}); !errors.Is(err, ErrBusy) {
		t.Fatalf("got %v, want %v", err, ErrBusy)
	}
	k.fail = nil
	if _, err := g.Report(t.Context(), [64]byte{}); err != nil {
		t.Errorf("second report: %v", err)
	}
}

func TestClose(t *testing.T) {
	k := &fakeKernel{needs: []uint32{0}}
	g := guestOver(k)
	if err := g.Close(); err != nil || !k.shut {
		t.Fatalf("close: got %v, closed %t", err, k.shut)
	}
	if _, err := g.Report(t.Context(), [64]byte{}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("report: got %v, want %v", err, fs.ErrClosed)
	}
	if err := g.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second close: got %v, want %v", err, fs.ErrClosed)
	}
	if len(k.calls) != 0 {
		t.Errorf("requests: got %q, want none", k.calls)
	}
}

func TestDerivedKey(t *testing.T) {
	k := &fakeKernel{}
	g := guestOver(k)
	g.vmpl = 2
	key, err := g.DerivedKey(t.Context(), DerivedKeyRequest{
		Root: RootVM, Fields: KeyMeasurement | KeyGuestSVN | KeyTCB, GuestSVN: 5, TCB: TCB{0: 10, 6: 23, 7: 84},
	})
	if err != nil || key != [32]byte{7} {
		t.Fatalf("got %x, %v", key, err)
	}
	want := []sevguest.DerivedKeyReq{{RootKeySelect: 1, GuestFieldSelect: 0b111000, VMPL: 2, GuestSVN: 5, TCBVersion: 84<<56 | 23<<48 | 10}}
	if d := cmp.Diff(want, k.keys, cmp.AllowUnexported(sevguest.DerivedKeyReq{}), cmp.FilterPath(func(p cmp.Path) bool {
		return strings.HasSuffix(p.String(), "_")
	}, cmp.Ignore())); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	for name, r := range map[string]DerivedKeyRequest{
		"unknown root":              {Root: 2},
		"unknown field":             {Fields: 1 << 6},
		"svn that is not mixed in":  {GuestSVN: 1},
		"tcb that is not mixed in":  {Fields: KeyGuestSVN, TCB: TCB{1}},
		"all known and one unknown": {Fields: 0x7f},
	} {
		if _, err := g.DerivedKey(t.Context(), r); err == nil {
			t.Errorf("%s: got a key", name)
		}
	}
	if len(k.keys) != 1 {
		t.Errorf("requests: got %d, want 1: a bad request must not reach the kernel", len(k.keys))
	}
}

func TestDerivedKeyWithoutIoctlDevice(t *testing.T) {
	g := &Guest{turn: newTurn(), reports: &tsmDevice{dir: "/sys/x"}, devErr: fmt.Errorf("open %q: %w", "/dev/sev-guest", fs.ErrNotExist)}
	_, err := g.DerivedKey(t.Context(), DerivedKeyRequest{})
	if !errors.Is(err, ErrNoDerivedKeys) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v with its reason", err, ErrNoDerivedKeys)
	}
	for _, word := range []string{"configfs-tsm /sys/x", "/dev/sev-guest"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %q, want %q in it", err, word)
		}
	}
}

// TestChoiceIsLoud: whoever logs the device logs which interface was taken, and why the other was not.
func TestChoiceIsLoud(t *testing.T) {
	tsm, dev := &tsmDevice{dir: "/sys/x"}, &ioctlDevice{path: "/dev/y"}
	for _, c := range []struct {
		guest *Guest
		want  string
	}{
		{&Guest{reports: dev, ioctl: dev, tsm: tsm}, "ioctl /dev/y (configfs-tsm /sys/x is there too, and not needed)"},
		{&Guest{reports: tsm, tsm: tsm, devErr: errors.New("gone")}, "configfs-tsm /sys/x (no ioctl device, so no derived keys: gone)"},
		{&Guest{reports: dev, ioctl: dev, tsmErr: errors.New("odd"), vmpl: 2}, "ioctl /dev/y at vmpl 2 (no configfs-tsm: odd)"},
	} {
		if got := fmt.Sprint(c.guest); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestAnswerToAnotherRequest: what comes back must be what was asked.
func TestAnswerToAnotherRequest(t *testing.T) {
	for name, wrong := range map[string]func([]byte){
		"other nonce": func(b []byte) { b[0x50+63] ^= 1 },
		"other level": func(b []byte) { b[0x30] = 1 },
		"the host's":  func(b []byte) { copy(b[0x30:], "\xff\xff\xff\xff") },
	} {
		g := guestOver(&fakeKernel{needs: []uint32{0}, wrong: wrong})
		if ev, err := g.Report(t.Context(), [64]byte{1}); err == nil || ev.Report != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIoctlAsksAtTheLevel(t *testing.T) {
	k := &fakeKernel{needs: []uint32{0x5000}}
	g := guestOver(k)
	g.vmpl = 3
	if _, err := g.Report(t.Context(), [64]byte{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]uint32{3, 3}, k.vmpls); d != "" {
		t.Errorf("levels of both requests (-want +got):\n%s", d)
	}
}

// Pitfall 10: go-sev-guest's client waits two seconds between ioctls. Here time stands still while requests are made.
func TestPitfall10NoSelfThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{needs: []uint32{0x1000}}
		g, start := guestOver(k), time.Now()
		for range 100 {
			if _, err := g.Report(t.Context(), [64]byte{}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %s between requests", took)
		}
		if len(k.calls) != 101 {
			t.Errorf("requests: got %d, want one a report and one for the size", len(k.calls))
		}
	})
}

// Pitfall 12: the provider must be exactly sev_guest, wherever the tree is.
func TestPitfall12ProviderIsExact(t *testing.T) {
	for _, c := range []struct {
		provider, floor string
		ok, absent      bool
	}{
		{"sev_guest\n", "0\n", true, false},
		{"sev_guest", "2", true, false}, // the line break is the kernel's habit
		{"tdx_guest\n", "0\n", false, true},
		{"sev_guest2\n", "0\n", false, true},
		{"SEV_GUEST\n", "0\n", false, true},
		{" sev_guest\n", "0\n", false, true},
		{"sev_guest\n\n", "0\n", false, true},
		{"", "0\n", false, true},
		{strings.Repeat("s", 100), "0\n", false, false}, // no provider's name: broken, not absent
		{"sev_guest\n", "4\n", false, false},
		{"sev_guest\n", "-1\n", false, false},
		{"sev_guest\n", "", false, false},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"provider": c.provider, "privlevel_floor": c.floor} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d := &tsmDevice{dir: dir}
		err := d.probe(entry(dir))
		if (err == nil) != c.ok || absent(err) != c.absent {
			t.Errorf("provider %.20q, floor %q: got %v, want accepted %t, absent %t", c.provider, c.floor, err, c.ok, c.absent)
		}
	}
}

// Pitfall 13: the ioctl pads the certificate table to pages and configfs does not; evidence is the same by both ways.
func TestPitfall13PaddingIsNotEvidence(t *testing.T) {
	table := MarshalCerts([]Cert{{GUIDVCEK, []byte("vcek")}, {GUIDASK, []byte("ask")}, {GUIDARK, []byte("ark")}})
	g := guestOver(&fakeKernel{needs: []uint32{0x3000}, certs: table})
	ev, err := g.Report(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(trimCerts(table), ev.Certs); d != "" || len(ev.Certs) != len(table) {
		t.Errorf("certificates (-configfs +ioctl):\n%s", d)
	}
}

// scripted gives one answer after the other.
type scripted struct {
	edits []func(b []byte) // what is changed in each report
	asked int
}

func (s *scripted) Report(_ context.Context, data [64]byte) (Evidence, error) {
	b := testReport(data)
	if s.asked < len(s.edits) && s.edits[s.asked] != nil {
		s.edits[s.asked](b)
	}
	s.asked++
	return Evidence{Report: b}, nil
}

// Pitfall 15: a report that the host asked for says vmpl 0xFFFFFFFF.
func TestPitfall15HostReportIsNotOurs(t *testing.T) {
	for _, level := range []string{"\xff\xff\xff\xff", "\x04\x00\x00\x00"} {
		dev := &scripted{edits: []func([]byte){func(b []byte) { copy(b[0x30:], level) }}}
		if _, err := Self(t.Context(), dev); err == nil {
			t.Errorf("level %x: accepted", level)
		}
	}
	if _, err := Open(t.Context(), OpenOptions{VMPL: 4}); !errors.Is(err, ErrLevel) {
		t.Errorf("open at level 4: got %v, want %v", err, ErrLevel)
	}
}

func at(off int, v byte) func([]byte) { return func(b []byte) { b[off] = v } }

// TestSelfCrossChecks: without a chain, two reports must say the same of the guest.
func TestSelfCrossChecks(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second func([]byte)
		want          string
	}{
		{"alike", nil, nil, ""},
		{"host data", nil, at(0xC0, 1), "host_data"},
		{"measurement", at(0x90, 1), nil, "measurement"},
		{"version", nil, at(0, 2), "version"},
		{"level", nil, at(0x30, 1), "vmpl"},
		{"policy", nil, at(0x0A, 8), "policy"},
		{"report id", nil, at(0x140, 1), "report_id"},
		{"chip", at(0x1A0, 1), nil, "chip_id"},
		{"signer", nil, at(0x48, 4), "key_info"},
		{"image id", at(0x20, 1), nil, "image_id"},
		{"launch tcb", nil, at(0x1F0, 1), "launch_tcb"},
		{"firmware updated in between", nil, func(b []byte) { b[0x38], b[0x180], b[0x1E0], b[0x1E8] = 1, 1, 1, 1 }, ""},
		{"committed tcb went back", at(0x1E0, 2), at(0x1E0, 1), "committed_tcb"},
		{"other nonce", nil, at(0x50, 0xEE), "nonce"},
		{"reserved byte", at(0x4C, 1), nil, "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := &scripted{edits: []func([]byte){c.first, c.second}}
			r, err := Self(t.Context(), dev)
			if c.want == "" {
				if err != nil || r == nil || dev.asked != 2 {
					t.Errorf("got %v after %d requests", err, dev.asked)
				}
				return
			}
			if err == nil || r != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %q", err, c.want)
			}
		})
	}
}

func TestSelfVerified(t *testing.T) {
	bad := errors.New("bad signature")
	for _, c := range []struct {
		name     string
		judge    error
		second   func([]byte)
		asked    int
		verified bool
		want     error
	}{
		{"good chain", nil, nil, 1, true, nil},
		{"bad chain", bad, nil, 1, false, bad},
		{"no chain", fmt.Errorf("host sent none: %w", ErrNoChain), nil, 2, false, nil},
		{"no chain, and reports that differ", ErrNoChain, at(0xC0, 1), 2, false, errors.ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := &scripted{edits: []func([]byte){nil, c.second}}
			var judged Evidence
			r, err := SelfVerified(t.Context(), dev, func(ev Evidence) error { judged = ev; return c.judge })
			if (err == nil) != (c.want == nil) || c.want == bad && !errors.Is(err, bad) || r.Verified != c.verified || dev.asked != c.asked {
				t.Errorf("got %v, verified %t, %d requests", err, r.Verified, dev.asked)
			}
			if (r.Report == nil) != (c.want != nil) || len(judged.Report) != ReportSize {
				t.Errorf("got report %v", r.Report)
			}
		})
	}
}
