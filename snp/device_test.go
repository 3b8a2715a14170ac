package snp_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

var authority = sync.OnceValues(func() (*emulator.Authority, error) {
	return emulator.LoadOrInit(filepath.Join(authorityDir, "emulator"))
})

var authorityDir string

func TestMain(m *testing.M) {
	// make test names a directory in which the keys are made once for all packages.
	if authorityDir = os.Getenv("CLOISTER_TEST_AUTHORITY"); authorityDir != "" {
		os.Exit(m.Run())
	}
	var err error
	if authorityDir, err = os.MkdirTemp("", "cloister-authority-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(authorityDir)
	os.Exit(code)
}

func processor(t *testing.T, faults ...emulator.Fault) *emulator.Processor {
	t.Helper()
	return processorOf(t, func(p *emulator.TEEParams) { p.Faults = faults })
}

func processorOf(t *testing.T, edit func(*emulator.TEEParams)) *emulator.Processor {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	p.HostData = [32]byte{0xaa}
	edit(&p)
	proc, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	return proc
}

// tsmRoot serves a processor at a configfs-tsm root of its own.
func tsmRoot(t *testing.T, proc *emulator.Processor) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a FUSE tree needs root: run the tests as root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse: modprobe fuse, or give the container that device")
	}
	dir := t.TempDir()
	served, err := emulator.ServeTSM(proc, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := served.Close(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return filepath.Join(dir, "tsm")
}

func openTSM(t *testing.T, root string) *snp.Guest {
	t.Helper()
	dev, err := snp.Open(t.Context(), snp.OpenOptions{TSMRoot: root, DevicePath: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// suite is what every device must do; the ioctl device runs it in a VM (tools/snp-emulator).
func suite(t *testing.T, dev snp.Device) {
	t.Helper()
	r, err := snp.Self(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	if r.HostData != [32]byte{0xaa} || r.VMPL != 0 {
		t.Errorf("got host data %x vmpl %d", r.HostData, r.VMPL)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			nonce := [64]byte{byte(i), 63: 1}
			ev, err := dev.Report(t.Context(), nonce)
			if err != nil {
				t.Errorf("concurrent request: %v", err)
				return
			}
			r, err := snp.ParseReport(ev.Report)
			if err != nil || r.ReportData != nonce {
				t.Errorf("concurrent request: another's nonce, or %v", err)
			}
			if certs, err := snp.ParseCerts(ev.Certs); err != nil || len(certs) != 3 {
				t.Errorf("certificates: got %d %v, want 3", len(certs), err)
			}
		})
	}
	wg.Wait()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dev.Report(gone, [64]byte{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v, want %v", err, context.Canceled)
	}
}

func TestDevices(t *testing.T) {
	t.Run("configfs", func(t *testing.T) {
		root := tsmRoot(t, processor(t))
		dev := openTSM(t, root)
		suite(t, dev)
		if got, want := fmt.Sprint(dev), "configfs-tsm "+root+"/report (no ioctl device, so no derived keys: open \"/nonexistent\": "; !strings.HasPrefix(got, want) {
			t.Errorf("says it is %q, want %q at the start", got, want)
		}
		if err := dev.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := dev.Report(t.Context(), [64]byte{}); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after close: got %v, want %v", err, fs.ErrClosed)
		}
		noEntries(t, root)
	})
	t.Run("in process", func(t *testing.T) { suite(t, processor(t).Device()) })
}

// noEntries fails when a request left its configfs entry behind: the kernel keeps them until somebody removes them.
func noEntries(t *testing.T, root string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(root, "report"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("entries left behind: got %d, want 0", len(left))
	}
}

func TestTSMFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault emulator.Fault
		want  error // nil: the report comes all the same
	}{
		{"another writer once", emulator.Fault{Kind: emulator.FaultRace, Count: 1}, nil},
		{"another writer always", emulator.Fault{Kind: emulator.FaultRace}, errAny},
		{"busy for a while", emulator.Fault{Kind: emulator.FaultBusy, Times: 3, WaitMS: 1}, nil},
		{"busy for too long", emulator.Fault{Kind: emulator.FaultBusy, Times: 31}, snp.ErrBusy},
		{"key wiped", emulator.Fault{Kind: emulator.FaultWiped}, snp.ErrKeyLost},
		{"no certificates", emulator.Fault{Kind: emulator.FaultCertsNone}, nil},
		{"wrapping certificates", emulator.Fault{Kind: emulator.FaultCertsWrap}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := tsmRoot(t, processor(t, c.fault))
			_, err := snp.Self(t.Context(), openTSM(t, root))
			switch {
			case c.want == nil && err != nil, c.want == errAny && err == nil, c.want != nil && c.want != errAny && !errors.Is(err, c.want):
				t.Errorf("got %v, want %v", err, c.want)
			}
			noEntries(t, root)
		})
	}
}

var errAny = errors.New("any error")

func TestOpenWithoutDevice(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.MkdirAll(filepath.Join(other, "report"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		opts snp.OpenOptions
		none bool
	}{
		{"nothing there", snp.OpenOptions{TSMRoot: filepath.Join(dir, "x"), DevicePath: filepath.Join(dir, "y")}, true},
		{"configfs that gives no attributes", snp.OpenOptions{TSMRoot: other, DevicePath: filepath.Join(dir, "y")}, false},
		{"device that is a file", snp.OpenOptions{TSMRoot: filepath.Join(dir, "x"), DevicePath: "/proc/self/exe"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev, err := snp.Open(t.Context(), c.opts)
			if dev != nil || err == nil || errors.Is(err, snp.ErrNoDevice) != c.none {
				t.Errorf("got %v, want ErrNoDevice: %t", err, c.none)
			}
		})
	}
}

// TestPrivilegeLevels: reports are of the level asked for, and a level that the guest has no key for is refused before anything is asked.
func TestPrivilegeLevels(t *testing.T) {
	root := tsmRoot(t, processorOf(t, func(p *emulator.TEEParams) { p.VMPLFloor = 2 }))
	for level := range uint32(5) {
		g, err := snp.Open(t.Context(), snp.OpenOptions{TSMRoot: root, DevicePath: "/nonexistent", VMPL: level})
		if level < 2 || level > 3 {
			if !errors.Is(err, snp.ErrLevel) || g != nil {
				t.Errorf("level %d: got %v, want %v", level, err, snp.ErrLevel)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if r, err := snp.Self(t.Context(), g); err != nil || r.VMPL != level {
			t.Errorf("level %d: got %v", level, err)
		}
	}
	noEntries(t, root)
}

// Pitfall 11: go-sev-guest's client leaves an entry behind each time it looks whether configfs-tsm is there.
func TestPitfall11NoConfigfsEntryLeak(t *testing.T) {
	root := tsmRoot(t, processor(t, emulator.Fault{Kind: emulator.FaultRace, After: 3, Count: 4}, emulator.Fault{Kind: emulator.FaultWiped, After: 12}))
	var failed int
	for range 20 {
		g := openTSM(t, root)
		noEntries(t, root)
		if _, err := g.Report(t.Context(), [64]byte{1}); err != nil {
			failed++
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Report(gone, [64]byte{2}); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: got %v", err)
		}
		noEntries(t, root)
	}
	if failed == 0 || failed == 20 {
		t.Errorf("got %d failures of 20, want some: the cases were not reached", failed)
	}
}

// TestNoEmulatorInProduction: what the agent links must not contain the software processor, nor go-sev-guest, which brings flags and a client that
// throttles itself.
func TestNoEmulatorInProduction(t *testing.T) {
	for _, pkg := range []string{"github.com/cloister-cc/cloister/snp", "github.com/cloister-cc/cloister/agent/cmd/cloister-agent"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("go list %s: %v\n%s", pkg, err, out)
		}
		for dep := range strings.Lines(string(out)) {
			dep = strings.TrimSpace(dep)
			for _, banned := range []string{"github.com/cloister-cc/cloister/snp/emulator", "github.com/google/go-sev-guest"} {
				if dep == banned || strings.HasPrefix(dep, banned+"/") {
					t.Errorf("%s links %s", pkg, dep)
				}
			}
		}
	}
}

func TestTSMLeavesNoGoroutines(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("serve and close", func(t *testing.T) {
		if _, err := snp.Self(t.Context(), openTSM(t, tsmRoot(t, processor(t)))); err != nil {
			t.Fatal(err)
		}
	})
}
