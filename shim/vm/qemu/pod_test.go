package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

// stranger is a user that owns nothing here.
const stranger = 61999

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("run as root")
	}
}

// procStatus returns one field of a process's status file.
func procStatus(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("no %s in the status of process %d", field, pid)
	return ""
}

// QEMU runs as a user who may open nothing that it works on: every file is root's alone, in directories that are root's alone.
func TestUnprivileged(t *testing.T) {
	needRoot(t)
	c := tinyConfig(t, guestHalts)
	if err := os.Chmod(filepath.Dir(c.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	c.User, c.Network = stranger, true
	c.InitdataDisk = disk(t).Path
	m := boot(t, c)
	id := strconv.Itoa(stranger)
	for field, want := range map[string]string{
		"Uid": strings.Repeat(id+" ", 3) + id, "Gid": strings.Repeat(id+" ", 3) + id, "Groups": "",
		"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got := procStatus(t, m.Pid(), field); got != want {
			t.Errorf("%s: got %q, want %q", field, got, want)
		}
	}
	ctx, d := testContext(t), disk(t)
	address, err := m.Plug(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	d.ReadOnly = false
	writable, err := m.Plug(ctx, vm.Disk{Path: disk(t).Path})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []vm.Address{address, writable} {
		if err := m.Unplug(ctx, a); err != nil {
			t.Error(err)
		}
	}
	socket, err := connect(ctx, c.Dir, socketName(0))
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.Close()
	if st, err := os.Stat(filepath.Join(c.Dir, socketName(0))); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: got %v, %v, want one that only its owner may connect to", st.Mode(), err)
	}
	if err := m.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
		t.Errorf("left in its directory: %v, %v", left, err)
	}
}

func TestLimits(t *testing.T) {
	m := boot(t, tinyConfig(t, guestHalts))
	for resource, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_NOFILE: maxFiles} {
		var got unix.Rlimit
		if err := unix.Prlimit(m.Pid(), resource, nil, &got); err != nil {
			t.Fatal(err)
		}
		if got.Cur > most || got.Max > most {
			t.Errorf("limit %d: got %d and %d, want at most %d", resource, got.Cur, got.Max, most)
		}
	}
	if got := procStatus(t, m.Pid(), "VmLck"); got != "0 kB" {
		t.Errorf("locked memory: got %s, want none", got)
	}
}

func TestMayOpen(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		uid, gid    int
		mode        os.FileMode
		read, write bool
	}{
		{0, 0, 0o600, false, false},
		{0, 0, 0o644, true, false},
		{0, 0, 0o666, true, true},
		{stranger, 0, 0o600, true, true},
		{stranger, stranger, 0o066, false, false}, // the owner's bits are the owner's
		{0, stranger, 0o640, true, false},
		{0, stranger, 0o660, true, true},
		{0, stranger, 0o606, false, false},
	} {
		if err := errors.Join(os.Chown(path, tc.uid, tc.gid), os.Chmod(path, tc.mode)); err != nil {
			t.Fatal(err)
		}
		for write, want := range map[bool]bool{false: tc.read, true: tc.write} {
			if got, err := mayOpen(path, stranger, write); err != nil || got != want {
				t.Errorf("%+v: write %v: got %v, %v, want %v", tc, write, got, err, want)
			}
		}
	}
	if _, err := mayOpen(path+"x", stranger, false); err == nil {
		t.Error("no error for a file that is not there")
	}
}

// What is booted from memory cannot be changed by the user it runs as.
func TestBootFileInMemoryIsSealed(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, []byte("kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openBootFile(path, stranger)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	again := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if got, err := os.ReadFile(again); err != nil || string(got) != "kernel" {
		t.Errorf("got %q, %v", got, err)
	}
	if allowed, err := mayOpen(again, stranger, false); err != nil || !allowed {
		t.Errorf("may be read: got %v, %v", allowed, err)
	}
	if _, err := f.WriteAt([]byte("K"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write: got %v, want %v", err, unix.EPERM)
	}
	if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncate: got %v, want %v", err, unix.EPERM)
	}
}

func TestDiskMustBeAFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"relative", dir, fifo, filepath.Join(dir, "none")} {
		if f, _, err := openDisk(vm.Disk{Path: path, ReadOnly: true}); err == nil {
			_ = f.Close()
			t.Errorf("%q was opened as a disk", path)
		}
	}
}

// testCgroups makes a group in each hierarchy that this machine lets us make one in.
func testCgroups(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/cpu"} {
		if _, err := isUnified(mount); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(mount, "cloister-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil { // only an empty one can be removed
				t.Error(err)
			}
		})
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		t.Skip("no control group can be made here: run as root where /sys/fs/cgroup is writable")
	}
	return dirs
}

func TestBornInItsCgroups(t *testing.T) {
	needRoot(t)
	c := tinyConfig(t, guestHalts)
	c.Cgroups, c.User = testCgroups(t), stranger
	m := boot(t, c)
	for _, dir := range c.Cgroups {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(string(text)); !slices.Equal(got, []string{strconv.Itoa(m.Pid())}) {
			t.Errorf("%s holds %q, want QEMU alone", dir, got)
		}
	}
	if got := procStatus(t, m.Pid(), "TracerPid"); got != "0" {
		t.Errorf("traced by %s, want to be let go", got)
	}
	if err := m.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// A group that cannot be entered is an error, and nothing runs outside of it.
func TestCgroupThatIsNoneFailsTheStart(t *testing.T) {
	needRoot(t)
	c := tinyConfig(t, guestHalts)
	dirs := testCgroups(t)
	gone := dirs[0] + "-gone"
	for _, bad := range []string{gone, t.TempDir()} {
		c.Cgroups = append(slices.Clone(dirs), bad)
		m, err := Start(testContext(t), c)
		if err == nil {
			_ = m.Stop(testContext(t))
			t.Fatalf("started in %q", bad)
		}
		if !strings.Contains(err.Error(), bad) {
			t.Errorf("got %v, want a word about %q", err, bad)
		}
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
		t.Errorf("left in its directory: %v, %v", left, err)
	}
}
