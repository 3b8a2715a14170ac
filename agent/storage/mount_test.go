package storage

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/dm"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func open(t *testing.T, m *machine, a Address) *Candidate {
	t.Helper()
	c, err := m.Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func unmount(t *testing.T, mount *Mount) {
	t.Helper()
	if err := mount.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLayerOverlayScratch(t *testing.T) {
	m := newMachine(t)
	c := open(t, m, m.plug(0, disk(t, map[string]string{"etc/": "", "etc/hello": "hello", "etc/old": "old"})))
	target := m.path("mounts/scsi/m0")
	lower, err := m.MountLayer(t.Context(), c, target)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	scratchDir := m.path("c/scratch")
	scratch, err := m.MountScratchTmpfs(t.Context(), scratchDir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	upper := filepath.Join(scratchDir, "upper")
	root := m.path("c/rootfs")
	overlay, err := m.MountOverlay(t.Context(), []string{target}, upper, filepath.Join(scratchDir, "work"), root)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(root + "/etc/hello"); err != nil || string(b) != "hello" {
		t.Errorf("read through the overlay: got %q, %v", b, err)
	}
	if err := os.WriteFile(root+"/etc/hello", []byte("changed"), 0o644); err != nil {
		t.Errorf("write through the overlay: %v", err)
	}
	if b, err := os.ReadFile(target + "/etc/hello"); err != nil || string(b) != "hello" {
		t.Errorf("the layer changed: got %q, %v", b, err)
	}
	if err := os.WriteFile(target+"/etc/hello", nil, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to the layer: got %v, want %v", err, unix.EROFS)
	}
	if err := os.WriteFile(root+"/big", make([]byte, 2<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write more than the scratch holds: got %v, want %v", err, unix.ENOSPC)
	}
	if st, err := os.Stat(scratchDir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("scratch directory: got %v, %v, want mode 0700", st.Mode(), err)
	}
	want := []string{"device cloister-verity-0", "directory " + root, "directory " + scratchDir, "directory " + target, "mount " + root, "mount " + scratchDir, "mount " + target}
	var got []string
	for _, h := range m.Held() {
		got = append(got, h.Kind+" "+h.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("held: got %q, want %q", got, want)
	}
	unmount(t, overlay)
	unmount(t, scratch)
	unmount(t, lower)
	for _, p := range []string{target, scratchDir, root} {
		if _, err := os.Stat(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want it to be gone", p, err)
		}
	}
	if err := lower.Unmount(t.Context()); err != nil {
		t.Errorf("a second unmount: %v", err)
	}
}

// The host answers a second reading of its disk with something else.
func TestLayerChangedAfterInspect(t *testing.T) {
	m := newMachine(t)
	a := m.plug(0, disk(t, map[string]string{"a": "a"}))
	c := open(t, m, a)
	m.mapper.between = func() {
		other := disk(t, map[string]string{"b": strings.Repeat("b", 100000)})
		if err := os.WriteFile(filepath.Join(m.root, "disk0"), other, 0o600); err != nil {
			t.Error(err)
		}
	}
	target := m.path("m0")
	if _, err := m.MountLayer(t.Context(), c, target); !errors.Is(err, verity.ErrChanged) || errors.Is(err, ErrStateUnknown) {
		t.Errorf("got %v, want %v", err, verity.ErrChanged)
	}
	if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("target: got %v, want it to be absent", err)
	}
	c.Close()
}

func TestLayerFailuresLeaveNothing(t *testing.T) {
	good := disk(t, map[string]string{"a": "a"})
	cases := []struct {
		name string
		do   func(*machine) (ctx context.Context, target string)
	}{
		{"kernel-table-differs", func(m *machine) (context.Context, string) {
			m.mapper.change = func(s *dm.Status) { s.Target.Length -= 8 }
			return t.Context(), m.path("m0")
		}},
		{"target-is-a-file", func(m *machine) (context.Context, string) {
			if err := os.WriteFile(m.path("m0"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return t.Context(), m.path("m0")
		}},
		{"target-is-a-link", func(m *machine) (context.Context, string) {
			if err := os.Symlink("/", m.path("m0")); err != nil {
				t.Fatal(err)
			}
			return t.Context(), m.path("m0")
		}},
		{"target-with-a-colon", func(m *machine) (context.Context, string) { return t.Context(), m.path("m:0") }},
		{"target-with-dots", func(m *machine) (context.Context, string) { return t.Context(), m.root + "/run/../m0" }},
		{"module-missing", func(m *machine) (context.Context, string) {
			m.cfg.LoadModule = func(string) error { return unix.ENOENT }
			return t.Context(), m.path("m0")
		}},
		{"cancelled", func(m *machine) (context.Context, string) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, m.path("m0")
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			candidate := open(t, m, m.plug(0, good))
			ctx, target := c.do(m)
			if mount, err := m.MountLayer(ctx, candidate, target); err == nil || errors.Is(err, ErrStateUnknown) {
				t.Errorf("got %v, %v, want an error with everything undone", mount, err)
			}
			candidate.Close() // what is held or mapped now, the machine's cleanup reports
		})
	}
}

func TestLayerMountFails(t *testing.T) {
	m := newMachine(t)
	b := disk(t, map[string]string{"a": "a"})
	b[1024+0x60+3] = 0x80 // an incompatible feature that no kernel knows; the root is computed from what is read
	candidate := open(t, m, m.plug(0, b))
	if _, err := m.MountLayer(t.Context(), candidate, m.path("m0")); !errors.Is(err, unix.EINVAL) || errors.Is(err, ErrStateUnknown) {
		t.Errorf("got %v, want %v", err, unix.EINVAL)
	}
	candidate.Close()
}

// A device that cannot be removed is reported and not forgotten.
func TestLayerDeviceStuck(t *testing.T) {
	m := newMachine(t)
	candidate := open(t, m, m.plug(0, disk(t, map[string]string{"a": "a"})))
	mount, err := m.MountLayer(t.Context(), candidate, m.path("m0"))
	if err != nil {
		t.Fatal(err)
	}
	candidate.Close()
	m.mapper.stuck = true
	if err := mount.Unmount(t.Context()); !errors.Is(err, ErrStateUnknown) || !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v, want %v and %v: the mount is gone, its device is not", err, ErrStateUnknown, unix.EBUSY)
	}
	if want := []Held{{"device", "cloister-verity-0"}}; !slices.Equal(m.Held(), want) {
		t.Errorf("held: got %+v, want %+v", m.Held(), want)
	}
	m.mapper.stuck = false
	unmount(t, mount)
}

func TestActivationLeftBehind(t *testing.T) {
	m := newMachine(t)
	candidate := open(t, m, m.plug(0, disk(t, map[string]string{"a": "a"})))
	m.mapper.stuck = true
	m.mapper.change = func(s *dm.Status) { s.ReadOnly = false }
	if _, err := m.MountLayer(t.Context(), candidate, m.path("m0")); !errors.Is(err, ErrStateUnknown) {
		t.Errorf("got %v, want %v", err, ErrStateUnknown)
	}
	candidate.Close()
	if want := []Held{{"device", "cloister-verity-0"}}; !slices.Equal(m.Held(), want) {
		t.Errorf("held: got %+v, want %+v", m.Held(), want)
	}
	m.mapper.stuck = false
	if err := m.mapper.Remove("cloister-verity-0"); err != nil {
		t.Error(err)
	}
	m.held = map[uint64]Held{}
}

func TestUnmountBusy(t *testing.T) {
	m := newMachine(t)
	dir := m.path("s")
	mount, err := m.MountScratchTmpfs(t.Context(), dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "open"))
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.Unmount(t.Context()); !errors.Is(err, unix.EBUSY) || errors.Is(err, ErrStateUnknown) {
		t.Errorf("got %v, want %v: nothing was undone", err, unix.EBUSY)
	}
	if _, err := os.Stat(f.Name()); err != nil {
		t.Errorf("the mount did not stay: %v", err)
	}
	f.Close()
	unmount(t, mount)
}

func TestUnmountStateUnknown(t *testing.T) {
	t.Run("somebody-unmounted-it", func(t *testing.T) {
		m := newMachine(t)
		mount, err := m.MountScratchTmpfs(t.Context(), m.path("s"), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Unmount(m.path("s"), 0); err != nil {
			t.Fatal(err)
		}
		if err := mount.Unmount(t.Context()); !errors.Is(err, ErrStateUnknown) {
			t.Errorf("got %v, want %v", err, ErrStateUnknown)
		}
		m.held = map[uint64]Held{}
	})
	t.Run("somebody-mounted-over-it", func(t *testing.T) {
		m := newMachine(t)
		mount, err := m.MountScratchTmpfs(t.Context(), m.path("s"), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("x", m.path("s"), "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := mount.Unmount(t.Context()); !errors.Is(err, ErrStateUnknown) {
			t.Errorf("got %v, want %v", err, ErrStateUnknown)
		}
		if err := unix.Unmount(m.path("s"), 0); err != nil {
			t.Fatal(err)
		}
		unmount(t, mount)
	})
}

func TestOverlayRefuses(t *testing.T) {
	m := newMachine(t)
	lower := m.path("l")
	if err := os.Mkdir(lower, 0o755); err != nil {
		t.Fatal(err)
	}
	upper, work, target := m.path("u"), m.path("w"), m.path("t")
	long := slices.Repeat([]string{lower}, 500)
	for _, c := range []struct {
		name                string
		lowers              []string
		upper, work, target string
	}{
		{"no-layers", nil, upper, work, target},
		{"option-in-a-layer", []string{lower + ",userxattr"}, upper, work, target},
		{"two-layers-in-one", []string{lower + ":" + lower}, upper, work, target},
		{"option-in-upper", []string{lower}, upper + ",x", work, target},
		{"escape-in-work", []string{lower}, upper, work + `\:x`, target},
		{"relative-layer", []string{"l"}, upper, work, target},
		{"dots", []string{m.root + "/run/../run/l"}, upper, work, target},
		{"line-end", []string{lower + "\n"}, upper, work, target},
		{"too-long", long, upper, work, target},
		{"absent-layer", []string{m.path("absent")}, upper, work, target},
		{"target-is-absent", []string{lower}, upper, work, m.path("x/y")},
	} {
		t.Run(c.name, func(t *testing.T) {
			mount, err := m.MountOverlay(t.Context(), c.lowers, c.upper, c.work, c.target)
			if err == nil {
				unmount(t, mount)
				t.Fatal("mounted")
			}
			if errors.Is(err, ErrStateUnknown) {
				t.Errorf("got %v, want a known state", err)
			}
		})
	}
}

func TestScratchRefuses(t *testing.T) {
	m := newMachine(t)
	for _, size := range []int64{0, -1, 4096} { // tmpfs takes 0 for "no limit"
		if _, err := m.MountScratchTmpfs(t.Context(), m.path("s"), size); err == nil {
			t.Errorf("size %d was accepted", size)
		}
	}
}

func TestBind(t *testing.T) {
	m := newMachine(t)
	root := m.path("pod")
	if err := os.MkdirAll(root+"/dir/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(path string) error{
		"dir/file": func(p string) error { return os.WriteFile(p, []byte("content"), 0o644) },
		"link":     func(p string) error { return os.Symlink("dir", p) },
		"out":      func(p string) error { return os.Symlink("/etc", p) },
		"fifo":     func(p string) error { return unix.Mkfifo(p, 0o600) },
	} {
		if err := do(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"dir", "dir/file"} {
		mount, err := m.Bind(t.Context(), root, name, m.path("binds/0"))
		if err != nil {
			t.Fatalf("bind %s: %v", name, err)
		}
		path := m.path("binds/0")
		if name == "dir" {
			path += "/file"
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "content" {
			t.Errorf("read %s through the bind: got %q, %v", name, b, err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(m.path("binds/0"), &st); err != nil || st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
			t.Errorf("flags of %s: got %x, %v, want nosuid and nodev", name, st.Flags, err)
		}
		unmount(t, mount)
	}
	for _, name := range []string{"", "..", "../pod/dir", "/etc", "link", "link/file", "out", "out/passwd", "fifo", "absent"} {
		if mount, err := m.Bind(t.Context(), root, name, m.path("binds/1")); err == nil {
			unmount(t, mount)
			t.Errorf("%q was bound", name)
		}
	}
}

func TestOpenWaits(t *testing.T) {
	m := newMachine(t)
	content := disk(t, map[string]string{"a": "a"})
	// The node is there and answers ENXIO, as a disk that is being set up does: no such device exists.
	dead := filepath.Join(m.root, "dev/sda")
	mknod(t, dead, dm.Number{Major: 99, Minor: 1})
	m.announce(0, "sda", dm.Number{Major: 99, Minor: 1})
	type result struct {
		c   *Candidate
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := m.Open(t.Context(), m.address(0))
		done <- result{c, err}
	}()
	m.events.wake() // an event that changes nothing
	if err := os.Remove(dead); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-done:
		t.Fatalf("got %v, %v before the disk was there", r.c, r.err)
	case <-time.After(20 * time.Millisecond):
	}
	m.plug(0, content)
	m.events.wake()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.c.Close()
}

func TestOpenEnds(t *testing.T) {
	t.Run("with-its-context", func(t *testing.T) {
		m := newMachine(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := m.Open(ctx, m.address(0)); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errNotYet) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	})
	t.Run("with-its-own-limit", func(t *testing.T) {
		m := newMachine(t)
		m.cfg.DeviceTimeout = 10 * time.Millisecond
		if _, err := m.Open(t.Context(), m.address(0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	})
	t.Run("with-the-manager", func(t *testing.T) {
		m, err := New(Config{Sysfs: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseAddress("scsi", "0:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := m.Open(t.Context(), a)
			done <- err
		}()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want %v", err, ErrClosed)
		}
	})
}

func TestOpenDisk(t *testing.T) {
	m := newMachine(t)
	content := disk(t, map[string]string{"a": "a"})
	a := m.plug(0, content)
	c := open(t, m, a)
	if len(c.RootHash()) != 64 || c.RootHash() != strings.ToLower(c.RootHash()) {
		t.Errorf("root hash: got %q, want 64 lower-case hex digits", c.RootHash())
	}
	f, err := os.Open(filepath.Join(m.root, "dev/sda"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if ro, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET); err != nil || ro == 0 {
		t.Errorf("read-only flag: got %d, %v, want it set", ro, err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	m := newMachine(t)
	good := disk(t, map[string]string{"a": "a"})
	t.Run("not-a-layer", func(t *testing.T) {
		if _, err := m.Open(t.Context(), m.plug(1, make([]byte, 1<<20))); !errors.Is(err, verity.ErrFormat) {
			t.Errorf("got %v, want %v", err, verity.ErrFormat)
		}
	})
	t.Run("cut", func(t *testing.T) {
		if _, err := m.Open(t.Context(), m.plug(2, good[:len(good)-4096])); !errors.Is(err, verity.ErrFormat) {
			t.Errorf("got %v, want %v", err, verity.ErrFormat)
		}
	})
	t.Run("node-is-a-file", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(m.root, "dev/sdd"), good, 0o600); err != nil {
			t.Fatal(err)
		}
		m.announce(3, "sdd", dm.Number{Major: 8, Minor: 48})
		if _, err := m.Open(t.Context(), m.address(3)); !errors.Is(err, ErrDisk) {
			t.Errorf("got %v, want %v", err, ErrDisk)
		}
	})
	t.Run("node-is-a-link", func(t *testing.T) {
		if err := os.Symlink("sdb", filepath.Join(m.root, "dev/sde")); err != nil {
			t.Fatal(err)
		}
		m.announce(4, "sde", dm.Number{Major: 8, Minor: 64})
		if _, err := m.Open(t.Context(), m.address(4)); !errors.Is(err, unix.ELOOP) {
			t.Errorf("got %v, want %v", err, unix.ELOOP)
		}
	})
}
