package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// As depmod writes it: nearest need first.
const someDep = `kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci_legacy_dev.ko:
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virt/coco/sev-guest/sev-guest.ko:
kernel/crypto/sha256_generic.ko:
kernel/arch/x86/crypto/sha256-ssse3.ko: kernel/crypto/sha256_generic.ko
kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-mod.ko:
`

const someSoftdep = "# faster where the processor has it\nsoftdep dm_verity pre: sha256_ssse3\n"

// fakeKernel records what was loaded and refuses a module whose needs are not there.
type fakeKernel struct {
	mu     sync.Mutex
	loaded []string
	errs   map[string]error
	deps   map[string]entry
}

func (k *fakeKernel) load(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := moduleName(path)
	for _, need := range k.deps[name].needs {
		if !slices.Contains(k.loaded, need) {
			return fmt.Errorf("%s needs %s", name, need)
		}
	}
	if err := k.errs[name]; err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	k.loaded = append(k.loaded, name)
	return k.errs[name]
}

func fakeModules(t *testing.T) (*Modules, *fakeKernel) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"modules.dep": someDep, "modules.softdep": someSoftdep} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := NewModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	k := &fakeKernel{errs: map[string]error{}, deps: m.deps}
	m.load = k.load
	return m, k
}

func TestModulesLoadInOrderOnce(t *testing.T) {
	for range 20 { // goroutines: the order must hold however they run
		m, k := fakeModules(t)
		ctx := testContext(t)
		if err := m.Load(ctx, "virtio_console", "virtio-pci"); err != nil {
			t.Fatal(err)
		}
		if err := m.Load(ctx, "virtio_pci", "sev-guest"); err != nil {
			t.Fatal(err)
		}
		slices.Sort(k.loaded)
		want := "sev_guest virtio virtio_console virtio_pci virtio_pci_legacy_dev virtio_ring"
		if got := strings.Join(k.loaded, " "); got != want {
			t.Fatalf("loaded %s, want each once of %s", got, want)
		}
	}
}

func TestModuleFailures(t *testing.T) {
	for _, tc := range []struct {
		name    string
		errs    map[string]error
		load    string
		want    error
		missing string // must not have been loaded
	}{
		{"unknown", nil, "nonsense", ErrNoModule, "nonsense"},
		{"need-fails", map[string]error{"virtio": unix.ENOEXEC}, "virtio_console", unix.ENOEXEC, "virtio_console"},
		{"itself-fails", map[string]error{"virtio_pci": unix.EPERM}, "virtio_pci", unix.EPERM, "virtio_pci"},
		{"want-refused", map[string]error{"sha256_ssse3": unix.ENODEV}, "dm-verity", nil, "sha256_ssse3"},
		{"loaded-by-somebody-else", map[string]error{"virtio": unix.EEXIST}, "virtio_console", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, k := fakeModules(t)
			k.errs = tc.errs
			err := m.Load(testContext(t), tc.load)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if tc.missing != "" && slices.Contains(k.loaded, tc.missing) {
				t.Errorf("%s was loaded", tc.missing)
			}
			if again := m.Load(testContext(t), tc.load); (again == nil) != (err == nil) {
				t.Errorf("second time: got %v, first %v", again, err)
			}
		})
	}
}

func TestWantsAreLoadedFirst(t *testing.T) {
	m, k := fakeModules(t)
	if err := m.Load(testContext(t), "dm_verity"); err != nil {
		t.Fatal(err)
	}
	if want, got := slices.Index(k.loaded, "sha256_ssse3"), slices.Index(k.loaded, "dm_verity"); want < 0 || got < want {
		t.Errorf("loaded %s, want sha256_ssse3 before dm_verity", k.loaded)
	}
}

func TestNewModulesRefuses(t *testing.T) {
	for _, tc := range []struct{ name, dep, softdep string }{
		{"no-colon", "kernel/a.ko\n", ""},
		{"no-name", ": kernel/a.ko\n", ""},
		{"need-missing", "a.ko: b.ko\n", ""},
		{"needs-itself", "a.ko: a.ko\n", ""},
		{"need-each-other", "a.ko: b.ko\nb.ko: a.ko\n", ""},
		{"ring-of-three", "a.ko: b.ko c.ko\nb.ko: c.ko a.ko\nc.ko: a.ko b.ko\n", ""},
		{"ring-not-spelled-out", "a.ko: b.ko\nb.ko: c.ko\nc.ko: a.ko\n", ""},
		{"ring-over-a-want", "a.ko: b.ko\nb.ko:\n", "softdep b pre: a\n"},
		{"want-missing", "a.ko:\n", "softdep a pre: b\n"},
		{"want-of-nobody", "a.ko:\n", "softdep b pre: a\n"},
		{"post", "a.ko:\nb.ko:\n", "softdep a post: b\n"},
		{"another-directive", "a.ko:\n", "install a /bin/sh -c x\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"modules.dep": tc.dep, "modules.softdep": tc.softdep} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := NewModules(dir); err == nil {
				t.Error("taken")
			}
		})
	}
	if _, err := NewModules(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no modules.dep: got %v", err)
	}
}

func TestLoadGivesUpWithItsContext(t *testing.T) {
	m, _ := fakeModules(t)
	release := make(chan struct{})
	m.load = func(string) error { <-release; return nil }
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if err := m.Load(ctx, "virtio"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	close(release)
	if err := m.Load(testContext(t), "virtio"); err != nil {
		t.Errorf("a wait that was given up must not fail the module: %v", err)
	}
}

// An agent that is an ordinary process takes the kernel as it is.
func TestLoadModuleWithoutBoot(t *testing.T) {
	if err := LoadModule("anything"); err != nil {
		t.Error(err)
	}
	m, _ := fakeModules(t)
	install(m)
	defer install(nil)
	if err := LoadModule("anything"); !errors.Is(err, ErrNoModule) {
		t.Errorf("got %v, want no such module", err)
	}
}
