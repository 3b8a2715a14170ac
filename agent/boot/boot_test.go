package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStepsAreUndoneInReverse(t *testing.T) {
	var did []string
	does := func(name string, fail error) step {
		return step{name, MessageMounts, FatalInitdata, func(context.Context, *System) (func() error, error) {
			did = append(did, name)
			return func() error { did = append(did, "undo "+name); return nil }, fail
		}}
	}
	broken := errors.New("broken")
	var shown bytes.Buffer
	s := &System{Console: NewConsole(&shown)}
	err := s.run(testContext(t), []step{does("a", nil), does("b", nil), does("c", broken), does("d", nil)})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), `boot step "c"`) {
		t.Errorf("got %v", err)
	}
	if got := strings.Join(did, ", "); got != "a, b, c, undo b, undo a" {
		t.Errorf("got %s", got)
	}
	if !strings.HasSuffix(shown.String(), "cloister: "+FatalInitdata.String()+"\n") {
		t.Errorf("console shows %q, want the step's fatal message last", shown.String())
	}
	if strings.Contains(shown.String(), "broken") {
		t.Error("the console shows the error itself")
	}
}

// The order the steps rely on.
func TestStepOrder(t *testing.T) {
	var names []string
	for _, s := range steps {
		if s.do == nil || s.fatal < FatalBoot {
			t.Errorf("step %q: incomplete row", s.name)
		}
		names = append(names, s.name)
	}
	for _, pair := range [][2]string{
		{"kernel file systems", "console"},     // /dev
		{"console", "parameters"},              // which may have to be complained about
		{"parameters", "standard streams"},     // CrashConsole
		{"standard streams", "root"},           // nothing may panic on the console
		{"kernel file systems", "root"},        // /proc/self/mountinfo; and the mounts move along
		{"root", "file systems"},               // else they stay below the old root
		{"file systems", "cgroup controllers"}, // cgroup2
		{"start loading modules", "modules"},
	} {
		before, after := slices.Index(names, pair[0]), slices.Index(names, pair[1])
		if before < 0 || after < 0 || before > after {
			t.Errorf("%q at %d, %q at %d", pair[0], before, pair[1], after)
		}
	}
}

func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for m := range messages {
		text := m.String()
		if text == "" || seen[text] || strings.ContainsAny(text, "%\n") {
			t.Errorf("message %d: %q is empty, repeated or has room for data", m, text)
		}
		if fatal := strings.HasPrefix(text, "fatal: "); fatal != (m >= FatalBoot) {
			t.Errorf("message %d: %q", m, text)
		}
		seen[text] = true
	}
	if Message(-1).String() != FatalInternal.String() || messages.String() != FatalInternal.String() {
		t.Error("a message outside the catalogue")
	}
}

func TestConsoleFallsSilent(t *testing.T) {
	var shown bytes.Buffer
	c := NewConsole(&shown)
	c.Say(MessageServing)
	c.Silence()
	c.Say(MessageServing)
	c.Say(MessagePowerOff)
	c.Say(FatalInternal)
	if got, want := shown.String(), fmt.Sprintf("cloister: %s\ncloister: %s\n", MessageServing, FatalInternal); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, none := range []*Console{nil, {}} {
		none.Say(FatalInternal)
		none.Silence()
	}
}

func TestOpenConsoleWritesThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	if _, err := openConsole(path); err == nil {
		t.Error("opened what is not there")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := openConsole(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Say(MessageStarting)
	_ = unix.Close(int(c.w.(fdWriter)))
	if got, _ := os.ReadFile(path); string(got) != "cloister: starting\n" {
		t.Errorf("got %q", got)
	}
}

func TestMountsBelowRoot(t *testing.T) {
	for _, tc := range []struct {
		name, info, want string
	}{
		{"fresh", "1 1 0:2 / / rw - rootfs rootfs rw\n", ""},
		{
			"as-pid-1-finds-it",
			"1 1 0:2 / / rw - rootfs rootfs rw\n" +
				"20 1 0:5 / /proc rw,nosuid - proc proc rw\n" +
				"21 1 0:6 / /sys rw - sysfs sysfs rw\n" +
				"22 1 0:7 / /dev rw - devtmpfs devtmpfs rw\n" +
				"23 21 0:8 / /sys/kernel/config rw - fuse.tsm tsm rw\n",
			"/proc /sys /dev",
		},
		{"root-mounted-twice", "1 1 0:2 / / rw - rootfs rootfs rw\n20 1 0:5 / /proc rw - proc proc rw\n30 1 0:9 / / rw - tmpfs t rw\n31 30 0:5 / /dev rw - d d rw\n", "/dev"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := mountsBelowRoot(tc.info)
			if err != nil || strings.Join(got, " ") != tc.want {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
	for _, bad := range []string{"1 1 0:2\n", "1 1 0:2 / / rw - r r rw\n2 1 0:3 / /a\\040b rw - r r rw\n"} {
		if got, err := mountsBelowRoot(bad); err == nil {
			t.Errorf("%q: got %q", bad, got)
		}
	}
}

func TestMountTables(t *testing.T) {
	for _, m := range slices.Concat(kernelMounts, dataMounts) {
		if m.flags&unix.MS_NOSUID == 0 {
			t.Errorf("%s: setuid files count", m)
		}
		if m.magic == 0 || m.mode == 0 || !strings.HasPrefix(m.target, "/") {
			t.Errorf("%s: incomplete row", m)
		}
	}
}

func TestPresent(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		m    mount
		want bool
	}{
		{"mounted", mount{target: "/proc", magic: unix.PROC_SUPER_MAGIC}, true},
		{"another-type", mount{target: "/proc", magic: unix.TMPFS_MAGIC}, false},
		{"plain-directory", mount{target: dir, magic: unix.TMPFS_MAGIC}, false},
		{"missing", mount{target: dir + "/x", magic: unix.TMPFS_MAGIC}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := tc.m.present(); err != nil || got != tc.want {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
	// A directory has the type of the file system it lies on: that alone must not pass for a mount.
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if got, _ := (mount{target: dir, magic: fs.Type}).present(); got {
		t.Error("a directory passes for a mount")
	}
}

func TestSettings(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"kernel", "fs"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sysrq := filepath.Join(root, "kernel/sysrq")
	if err := os.WriteFile(sysrq, []byte("438"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := applySettings(root); err != nil { // all others are missing
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(sysrq); string(got) != "0\n8" { // a kernel file takes a write as a whole
		t.Errorf("got %q", got)
	}
	if err := os.Mkdir(filepath.Join(root, "fs/suid_dumpable"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := applySettings(root); err == nil {
		t.Error("a setting that cannot be written was passed over")
	}
}

func TestEnableControllersOneByOne(t *testing.T) {
	root := t.TempDir()
	if err := enableControllers(root); err == nil {
		t.Error("no cgroup2 there")
	}
	control := filepath.Join(root, "cgroup.subtree_control")
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpuset cpu rdma pids\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(control, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if err := enableControllers(root); err != nil {
		t.Fatal(err)
	}
	var got [64]byte
	n, err := reader.Read(got[:])
	if err != nil || string(got[:n]) != "+cpu+cpuset+pids" {
		t.Errorf("got %q, %v, want those there are of ours", got[:n], err)
	}
}
