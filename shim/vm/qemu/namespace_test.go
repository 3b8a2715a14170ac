package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

// startTiny starts a VM that ends with the test.
func startTiny(t *testing.T, c vm.Config) *VM {
	t.Helper()
	m, err := Start(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

// ours is the calling thread: the process's first one may be in another namespace, of a test that ended on it.
const ours = "thread-self"

// namespace names one of a process's namespaces.
func namespace(t *testing.T, process, kind string) string {
	t.Helper()
	name, err := os.Readlink("/proc/" + process + "/ns/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// interfaces are the names of all interfaces that a process sees.
func interfaces(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// A QEMU that has no network of its own to open sockets in sees none: no interface but lo, and none of the node's abstract sockets. Its ports are
// files, which are reached from any namespace.
func TestNamespaces(t *testing.T) {
	needNamespaces(t)
	for _, detached := range []bool{false, true} {
		t.Run(fmt.Sprintf("detached=%v", detached), func(t *testing.T) {
			c := tinyConfig(t, guestHalts)
			c.User, c.Detached, c.Transport = stranger, detached, vm.TransportSerial
			m := startTiny(t, c)
			for _, kind := range []string{"net", "ipc"} {
				if got := namespace(t, strconv.Itoa(m.Pid()), kind); got == namespace(t, ours, kind) {
					t.Errorf("%s namespace: got ours, %s", kind, got)
				}
			}
			if got := interfaces(t, m.Pid()); len(got) != 1 || got[0] != "lo" {
				t.Errorf("got interfaces %q, want lo alone", got)
			}
			conn, err := connect(testContext(t), c.Dir, socketName(0))
			if err != nil {
				t.Fatalf("port 0: %v", err)
			}
			_ = conn.Close()
		})
	}
}

// QEMU's user network is the host's.
func TestNamespacesWithUserNetwork(t *testing.T) {
	needNamespaces(t)
	c := tinyConfig(t, guestHalts)
	c.Network = true
	m := startTiny(t, c)
	if got, want := namespace(t, strconv.Itoa(m.Pid()), "net"), namespace(t, ours, "net"); got != want {
		t.Errorf("net namespace: got %s, want ours, %s", got, want)
	}
	if got := namespace(t, strconv.Itoa(m.Pid()), "ipc"); got == namespace(t, ours, "ipc") {
		t.Errorf("ipc namespace: got ours, %s", got)
	}
}

// needNamespaces skips where nobody may make any: QEMU is started in ours then.
func needNamespaces(t *testing.T) {
	t.Helper()
	needRoot(t)
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWIPC | unix.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		t.Skipf("namespaces: %v", err)
	}
}

// Whoever may not make namespaces gets a QEMU all the same: "cloister run" is for users too.
func TestNoRightToNamespaces(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	if os.Getuid() != 0 {
		startTiny(t, c)
		return
	}
	again := exec.CommandContext(testContext(t), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	again.Dir = "/"
	again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as user %d: got %v:\n%s", stranger, err, out)
	}
}
