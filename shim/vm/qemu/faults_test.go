package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

// openCount is how many descriptors a process has.
func openCount(t *testing.T, pid int) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// Plugging and unplugging leaves no descriptor behind, neither in QEMU nor here.
func TestPlugLeavesNoDescriptor(t *testing.T) {
	m, ctx, d := boot(t, tinyConfig(t, guestHalts)), testContext(t), disk(t)
	before := [2]int{openCount(t, m.Pid()), openCount(t, os.Getpid())}
	for range 8 {
		a, err := m.Plug(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Unplug(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	if after := [2]int{openCount(t, m.Pid()), openCount(t, os.Getpid())}; after != before {
		t.Errorf("got %v descriptors, in QEMU and here, want %v", after, before)
	}
}

// freeNumber is the lowest descriptor of a process that is free, with n free ones below it.
func freeNumber(t *testing.T, pid, n int) uint64 {
	t.Helper()
	for fd := uint64(0); ; fd++ {
		_, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if n == 0 {
			return fd
		}
		n--
	}
}

// A QEMU with no room for one more descriptor refuses the disk, keeps the others, and takes it once there is room.
func TestDescriptorsRunOut(t *testing.T) {
	m, ctx, d := boot(t, tinyConfig(t, guestHalts)), testContext(t), disk(t)
	if _, err := m.Plug(ctx, d); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(m.Pid(), unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	for room := range 3 { // for none; for the one that is sent; for that and its duplicate
		tight := unix.Rlimit{Cur: freeNumber(t, m.Pid(), room), Max: limit.Max}
		if err := unix.Prlimit(m.Pid(), unix.RLIMIT_NOFILE, &tight, nil); err != nil {
			t.Fatal(err)
		}
		a, err := m.Plug(ctx, d)
		if room < 2 && (err == nil || errors.Is(err, ErrDiskStateUnknown)) || room == 2 && err != nil {
			t.Fatalf("room for %d: got %v", room, err)
		}
		if err != nil {
			continue
		}
		if err := m.Unplug(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	if open := openFiles(t, m.Pid(), d.Path); open != 1 {
		t.Errorf("QEMU has the file open %d times, want once", open)
	}
	if err := unix.Prlimit(m.Pid(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plug(ctx, d); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// A file that loses its name while it is plugged stays plugged; its name can no longer be plugged.
func TestDiskFileVanishes(t *testing.T) {
	m, ctx, d := boot(t, tinyConfig(t, guestHalts)), testContext(t), disk(t)
	a, err := m.Plug(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plug(ctx, d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	if err := m.Unplug(ctx, a); err != nil {
		t.Error(err)
	}
}

// Two writers of one file are one too many.
func TestWritableDiskIsOneVMs(t *testing.T) {
	m, ctx, d := boot(t, tinyConfig(t, guestHalts)), testContext(t), disk(t)
	other := boot(t, tinyConfig(t, guestHalts))
	d.ReadOnly = false
	a, err := m.Plug(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Plug(ctx, d); err == nil || errors.Is(err, ErrDiskStateUnknown) {
		t.Errorf("got %v, want a plain refusal", err)
	}
	if err := m.Unplug(ctx, a); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Plug(ctx, d); err != nil {
		t.Errorf("after it was given back: %v", err)
	}
}

func TestKilledWhilePlugging(t *testing.T) {
	m := boot(t, tinyConfig(t, guestHalts))
	if err := unix.Kill(m.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plug(testContext(t), disk(t)); err == nil {
		t.Error("plugged a disk into a VM that was killed")
	}
	if _, err := m.Resize(testContext(t), 1, 64); err == nil {
		t.Error("measured a VM that was killed")
	}
	ended(t, m)
	if _, err := m.Plug(testContext(t), disk(t)); err == nil {
		t.Error("plugged a disk into a VM that is gone")
	}
}

// The VM's directory may be removed under it: nothing can join any more, all else goes on.
func TestDirectoryRemoved(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	m, ctx := boot(t, c), testContext(t)
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Dial(ctx, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dial: got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := m.Plug(ctx, disk(t)); err != nil {
		t.Error(err)
	}
	if err := m.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// A start that fails half-way leaves neither files nor descriptors.
func TestFailedStartLeavesNothing(t *testing.T) {
	good := tinyConfig(t, guestHalts)
	broken := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(broken, []byte("no kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := openCount(t, os.Getpid())
	for name, change := range map[string]func(*vm.Config){
		"kernel-missing": func(c *vm.Config) { c.Kernel += "-none" },
		"initrd-missing": func(c *vm.Config) { c.Initrd += "-none" },
		"kernel-broken":  func(c *vm.Config) { c.Kernel = broken },
		"disk-missing":   func(c *vm.Config) { c.TEEDisk = broken + "-none" },
		"console-nowhere": func(c *vm.Config) {
			c.Console = filepath.Join(broken, "console")
		},
		"no-vsock":       func(c *vm.Config) { c.Transport = vm.TransportVsock; needNoVsock(t) },
		"directory-file": func(c *vm.Config) { c.Dir = broken },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			m, err := Start(testContext(t), c)
			if err == nil {
				_ = m.Stop(testContext(t))
				t.Fatal("it started")
			}
			if left, err := os.ReadDir(good.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) || len(left) != 0 {
				t.Errorf("left in its directory: %v, %v", left, err)
			}
		})
	}
	if after := openCount(t, os.Getpid()); after != before {
		t.Errorf("got %d descriptors, want %d", after, before)
	}
}

func needNoVsock(t *testing.T) {
	if _, err := os.Stat(vsockNode); err == nil {
		t.Skipf("%s is there", vsockNode)
	}
}
