package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// sleeper is a process that ends with the test, or earlier.
func sleeper(t *testing.T) (pid int, ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	return cmd.Process.Pid, done
}

// left is the directory of a shim that was killed.
func left(t *testing.T, s State) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pod")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Version = stateVersion
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ConsoleFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCleanup(t *testing.T) {
	pid, ended := sleeper(t)
	group := filepath.Join(t.TempDir(), "group")
	if err := os.Mkdir(group, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := left(t, State{ID: podID, Netns: "/proc/self/ns/net", Cgroups: []string{group, group + "-gone"}, VM: processID(pid)})
	var cleaned []string
	clean := func(_ context.Context, netns string) error { cleaned = append(cleaned, netns); return nil }
	if err := cleanUp(testContext(t), dir, clean); err != nil {
		t.Fatal(err)
	}
	<-ended
	for _, path := range []string{dir, group} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want it gone", path, err)
		}
	}
	if !slices.Equal(cleaned, []string{"/proc/self/ns/net"}) {
		t.Errorf("network: got %q, want the one namespace", cleaned)
	}
	if err := cleanUp(testContext(t), dir, clean); err != nil {
		t.Errorf("again: got %v, want success", err)
	}
}

// TestCleanupSparesOthers: a process that has got the id of the pod's VM is not killed.
func TestCleanupSparesOthers(t *testing.T) {
	pid, ended := sleeper(t)
	other := processID(pid)
	other.Start++
	dir := left(t, State{ID: podID, VM: other})
	if err := Cleanup(testContext(t), dir); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Error("the process was killed")
	default:
	}
}

func TestCleanupFails(t *testing.T) {
	refuse := errors.New("no network today")
	clean := func(context.Context, string) error { return refuse }
	dir := left(t, State{ID: podID, Netns: "/proc/self/ns/net"})
	if err := cleanUp(testContext(t), dir, clean); !errors.Is(err, refuse) {
		t.Errorf("got %v, want %v", err, refuse)
	}
	if _, err := ReadState(dir); err != nil {
		t.Errorf("the state is gone although something is left: %v", err)
	}
	dir = left(t, State{ID: podID, Netns: "/does/not/exist"})
	if err := cleanUp(testContext(t), dir, clean); err != nil {
		t.Errorf("a namespace that is gone: got %v, want success", err)
	}
}

func TestCleanupOfOddDirectories(t *testing.T) {
	for _, files := range [][]string{nil, {lockFile}} {
		early := filepath.Join(t.TempDir(), "pod")
		if err := os.Mkdir(early, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(early, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Cleanup(testContext(t), early); err != nil {
			t.Errorf("with %q alone: got %v, want success", files, err)
		}
		if _, err := os.Lstat(early); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with %q alone: got %v, want it gone", files, err)
		}
	}
	broken := left(t, State{})
	if err := os.WriteFile(filepath.Join(broken, StateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Cleanup(testContext(t), broken); err == nil || !strings.Contains(err.Error(), StateFile) {
		t.Errorf("broken state: got %v, want an error that names the file", err)
	}
	newer := left(t, State{})
	if err := os.WriteFile(filepath.Join(newer, StateFile), []byte(`{"version":9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Cleanup(testContext(t), newer); err == nil || !strings.Contains(err.Error(), "version got 9") {
		t.Errorf("another version: got %v", err)
	}
}

// TestLiveShim: a directory that a pod holds is not cleaned up under it, nor taken by another.
func TestLiveShim(t *testing.T) {
	b := newBed(t)
	b.start(t)
	if err := cleanUp(testContext(t), b.config.Dir, b.host.clean); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("clean up: got %v, want FailedPrecondition", err)
	}
	if _, err := start(testContext(t), b.config, b.host); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("start: got %v, want FailedPrecondition", err)
	}
}

// TestStateIsWrittenFirst: at each step the state names what the step is about to make.
func TestStateIsWrittenFirst(t *testing.T) {
	b := newBed(t)
	seen := map[string]State{}
	b.at = func(_ context.Context, what string) error {
		s, err := ReadState(b.config.Dir)
		if err != nil {
			return err
		}
		seen[what] = *s
		return nil
	}
	b.start(t)
	if s := seen["join"]; s.Netns != b.config.Netns || s.ID != podID || s.Shim.PID != os.Getpid() {
		t.Errorf("before the network: got %+v", s)
	}
	if s := seen["cgroup"]; len(s.Cgroups) != 1 || filepath.Base(s.Cgroups[0]) != podID {
		t.Errorf("before the control group: got %+v", s)
	}
	if s := seen["dial"]; s.VM.PID != b.machine.Pid() || s.VM.Start == 0 {
		t.Errorf("once the VM runs: got %+v", s)
	}
}

// TestStartAfterKilledShim takes what an earlier pod of the same directory left.
func TestStartAfterKilledShim(t *testing.T) {
	b := newBed(t)
	pid, ended := sleeper(t)
	b.config.Dir = left(t, State{ID: podID, VM: processID(pid)})
	b.start(t)
	<-ended
	if _, err := os.Lstat(filepath.Join(b.config.Dir, ConsoleFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file of the earlier pod is still there: %v", err)
	}
}

func TestStartTime(t *testing.T) {
	if got := processID(os.Getpid()); got.Start == 0 {
		t.Errorf("got %+v, want a start time", got)
	}
	if got := processID(1 << 30); got != (ProcessID{}) {
		t.Errorf("no process: got %+v, want none", got)
	}
}

func TestCgroupPath(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"/kubepods/burstable/pod1/abc", "/kubepods/burstable/pod1/abc"},
		{"default/abc", "/default/abc"},
		{"kubepods-burstable-pod1.slice:cri-containerd:abc", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-abc.scope"},
		{"system.slice::abc", "/system.slice/abc.scope"},
		{"/", ""},
		{"/a/../..", ""},
		{"a.slice:b", ""},
		{"a.slice:b:../c", ""},
	} {
		got, err := cgroupPath(tc.in)
		if tc.want == "" && !errdefs.IsInvalidArgument(err) || tc.want != "" && (err != nil || got != tc.want) {
			t.Errorf("%q: got %q, %v, want %q", tc.in, got, err, tc.want)
		}
	}
}

// TestRealCgroup makes a group in whatever hierarchies this host has, puts a process into it, and removes both.
func TestRealCgroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a control group (sudo go test ./shim/sandbox)")
	}
	path := "/cloister-sandbox-test-" + strconv.Itoa(os.Getpid())
	dirs, err := cgroupDirs(path)
	if err != nil || len(dirs) == 0 {
		t.Fatalf("directories: got %q, %v", dirs, err)
	}
	if err := os.Mkdir(dirs[0], 0o755); err != nil {
		t.Skipf("no control group can be made here: %v", err)
	}
	if err := os.Remove(dirs[0]); err != nil {
		t.Fatal(err)
	}
	if err := makeCgroup(path); err != nil {
		t.Fatal(err)
	}
	if err := vacant(dirs); err != nil {
		t.Errorf("an empty group: %v", err)
	}
	pid, ended := sleeper(t)
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
			t.Errorf("join %s: %v", dir, err)
		}
	}
	for _, dir := range dirs {
		if err := vacant([]string{dir}); !errdefs.IsAlreadyExists(err) {
			t.Errorf("%s with a process in it: got %v, want it refused", dir, err)
		}
	}
	if err := removeCgroups(testContext(t), dirs); err != nil {
		t.Fatal(err)
	}
	<-ended
	for _, dir := range dirs {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want it gone", dir, err)
		}
	}
}

// TestForeignCgroup: processes that are in the control group already are not the pod's, and are not killed at its end.
func TestForeignCgroup(t *testing.T) {
	b := newBed(t)
	pid, ended := sleeper(t)
	procs := filepath.Join(b.groups, podID, "cgroup.procs")
	if err := os.Mkdir(filepath.Dir(procs), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := start(testContext(t), b.config, b.host); !errdefs.IsAlreadyExists(err) {
		t.Errorf("start: got %v, want AlreadyExists", err)
	}
	select {
	case <-ended:
		t.Error("the process was killed")
	default:
	}
	if _, err := os.Lstat(procs); err != nil {
		t.Error(err)
	}
}

// TestFailedStartIsCleanedUp: what a failed start could not undo is left, with its state, to a cleanup.
func TestFailedStartIsCleanedUp(t *testing.T) {
	b := newBed(t)
	b.machine.pid, _ = sleeper(t)
	busy := filepath.Join(b.groups, podID, "busy")
	b.on("CreateSandbox", func(context.Context) error {
		return errors.Join(os.Mkdir(busy, 0o700), errTest)
	})
	if _, err := start(testContext(t), b.config, b.host); err == nil {
		t.Fatal("got no error")
	}
	if s, err := ReadState(b.config.Dir); err != nil || len(s.Cgroups) != 1 {
		t.Fatalf("state: got %+v, %v, want the control group in it", s, err)
	}
	if err := os.Remove(busy); err != nil {
		t.Fatal(err)
	}
	b.at = nil
	if err := cleanUp(testContext(t), b.config.Dir, func(context.Context, string) error { return nil }); err == nil {
		b.checkGone(t, true)
	} else {
		t.Error(err)
	}
}
