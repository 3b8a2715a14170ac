package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

func boot(t *testing.T, c vm.Config) *VM {
	t.Helper()
	m, err := Start(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(testContext(t)); err != nil {
			t.Error(err)
		}
	})
	return m
}

func ended(t *testing.T, m *VM) {
	t.Helper()
	select {
	case <-m.Done():
	case <-testContext(t).Done():
		t.Fatal("the VM did not end")
	}
}

func TestHowAVMEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		code []byte
		want error
	}{
		{"power-off", guestPowersOff, nil},
		{"reset", guestResets, ErrGuestReset},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := boot(t, tinyConfig(t, tc.code))
			ended(t, m)
			if err := m.Err(); !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestKilledBehindOurBack(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	m := boot(t, c)
	if m.Err() != nil {
		t.Fatalf("got %v while it runs", m.Err())
	}
	if err := unix.Kill(m.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, m)
	if m.Err() == nil {
		t.Error("got no error for a VM that was killed")
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
		t.Errorf("left in its directory: %v, %v", left, err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	m := boot(t, c)
	if err := m.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(testContext(t)); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if m.Err() != nil {
		t.Errorf("got %v after Stop", m.Err())
	}
	left, err := os.ReadDir(c.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in its directory: %v, %v", left, err)
	}
	if err := unix.Kill(m.Pid(), 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("QEMU: got %v, want no such process", err)
	}
}

func TestPlugAndUnplug(t *testing.T) {
	m := boot(t, tinyConfig(t, guestHalts))
	ctx, d := testContext(t), disk(t)
	for i := range 3 {
		a, err := m.Plug(ctx, d) // read-only: one file may be plugged several times
		if err != nil || a.LUN != i {
			t.Fatalf("got %v, %v, want unit %d", a, err, i)
		}
	}
	if err := m.Unplug(ctx, vm.Address{LUN: 1}); err != nil {
		t.Fatal(err)
	}
	if err := m.Unplug(ctx, vm.Address{LUN: 1}); err == nil {
		t.Error("unplugged twice")
	}
	if _, err := m.Plug(ctx, vm.Disk{Path: "/does/not/exist", ReadOnly: true}); err == nil || errors.Is(err, ErrDiskStateUnknown) {
		t.Errorf("missing file: got %v, want a plain refusal", err)
	}
	if _, err := m.Plug(ctx, vm.Disk{Path: "relative"}); err == nil {
		t.Error("took a relative path")
	}
	if open := openFiles(t, m.Pid(), d.Path); open != 2 {
		t.Errorf("QEMU has the file open %d times, want 2", open)
	}
}

func openFiles(t *testing.T, pid int, path string) (n int) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == path {
			n++
		}
	}
	return n
}

func TestDialNeedsAFreePort(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	m := boot(t, c)
	for _, port := range []int{-1, vm.Ports} {
		if conn, err := m.Dial(testContext(t), port); err == nil {
			_ = conn.Close()
			t.Errorf("dialled port %d", port)
		}
	}
	held, err := lockPort(c.Dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Dial(testContext(t), 1); !errors.Is(err, ErrPortBusy) {
		t.Errorf("got %v, want busy", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	// Nobody answers in this guest. Giving up must free the port.
	for range 2 {
		ctx, cancel := context.WithTimeout(testContext(t), 20*time.Millisecond)
		if _, err := DialPort(ctx, c.Dir, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		cancel()
	}
}

// The directory's path may be longer than the 108 bytes of a socket's name.
func TestLongDirectory(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	c.Dir = filepath.Join(c.Dir, strings.Repeat("long-", 40))
	boot(t, c)
	socket, err := connect(testContext(t), c.Dir, socketName(0))
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.Close()
}

func TestStartReportsWhatQEMUSays(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	c.InitdataDisk = "/does/not/exist"
	if _, err := Start(testContext(t), c); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v, want QEMU's words", err)
	}
	c = tinyConfig(t, guestHalts)
	c.VCPUs = 0
	if _, err := Start(testContext(t), c); err == nil || !strings.Contains(err.Error(), "vcpus") {
		t.Errorf("got %v, want a word about vcpus", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Start(ctx, tinyConfig(t, guestHalts)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

const helperVariable = "CLOISTER_TEST_VM"

// helperMain is the program of the test below: it starts a VM, says its pid and is killed.
func helperMain() bool {
	dir := os.Getenv(helperVariable)
	if dir == "" {
		return false
	}
	user, _ := strconv.Atoi(os.Getenv(helperVariable + "_USER"))
	m, err := Start(context.Background(), vm.Config{
		User: user, Cgroups: filepath.SplitList(os.Getenv(helperVariable + "_CGROUPS")),
		ID: "orphan", Dir: filepath.Join(dir, "vm"), Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"),
		Console: filepath.Join(dir, "console"), VCPUs: 1, MemoryMiB: 64, TEE: vm.TEENone, Accel: "tcg",
		Detached: os.Getenv(helperVariable+"_DETACHED") != "",
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(m.Pid())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

// kill -9 of the process that started a VM must not leave the VM behind, unless that was asked for.
func TestVMDiesWithItsParent(t *testing.T) {
	for _, tc := range []struct {
		name, detached, user string
	}{{"bound", "", "0"}, {"detached", "1", "0"}, {"another-user-in-control-groups", "", strconv.Itoa(stranger)}} {
		t.Run(tc.name, func(t *testing.T) {
			c := tinyConfig(t, guestHalts)
			if tc.user != "0" {
				needRoot(t)
				c.Cgroups = testCgroups(t)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			parent := exec.Command(self)
			parent.Env = append(os.Environ(), helperVariable+"="+filepath.Dir(c.Dir), helperVariable+"_DETACHED="+tc.detached,
				helperVariable+"_USER="+tc.user, helperVariable+"_CGROUPS="+strings.Join(c.Cgroups, ":"))
			stdin, err := parent.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdin.Close() }()
			stdout, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(stdout).ReadString('\n')
			var pid int
			if _, err := fmt.Sscan(line, &pid); err != nil {
				t.Fatalf("helper said %q", line)
			}
			child, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(child) }()
			_ = parent.Process.Kill()
			_ = parent.Wait()

			wait := 20_000
			if tc.detached != "" {
				wait = 300
			}
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, wait)
			if err != nil {
				t.Fatal(err)
			}
			if died := n > 0; died != (tc.detached == "") {
				t.Errorf("VM died: %v", died)
			}
			_ = unix.PidfdSendSignal(child, unix.SIGKILL, nil, 0)
		})
	}
}

func TestProbeWithADeadline(t *testing.T) {
	if f, err := os.OpenFile(kvmNode, os.O_RDWR, 0); err != nil {
		t.Skipf("%v: run on a machine with /dev/kvm, as a user of the group kvm", err)
	} else {
		_ = f.Close()
	}
	c := tinyConfig(t, guestHalts) // a guest that never gets anywhere, as a kernel that hangs
	ctx, cancel := context.WithTimeout(testContext(t), 200*time.Millisecond)
	defer cancel()
	if probeKVM(ctx, c.Kernel) {
		t.Error("a guest that hangs counts as one that works")
	}
}

func TestProbeAnswerIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloister", "kvm.json")
	question := kvmAnswer{BootID: "b", Program: "p"}
	if _, ok := recall(path, question); ok {
		t.Fatal("recalled what was never asked")
	}
	for _, works := range []bool{true, false} {
		answer := question
		answer.Works = works
		remember(path, answer)
		if got, ok := recall(path, question); !ok || got != works {
			t.Errorf("got %v, %v, want %v", got, ok, works)
		}
	}
	for _, other := range []kvmAnswer{{BootID: "other", Program: "p"}, {BootID: "b", Program: "other"}} {
		if _, ok := recall(path, other); ok {
			t.Errorf("recalled an answer for %+v", other)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := recall(path, question); ok {
		t.Error("recalled half an answer")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var s tail
	for range 100 {
		_, _ = s.Write([]byte(strings.Repeat("x", 1000)))
	}
	_, _ = s.Write([]byte("\nthe end\n"))
	if got := s.String(); len(got) > tailSize+2 || !strings.HasSuffix(got, "the end") {
		t.Errorf("got %d bytes ending in %q", len(got), got[max(0, len(got)-20):])
	}
}

var _ net.Conn = (*lockedConn)(nil)
