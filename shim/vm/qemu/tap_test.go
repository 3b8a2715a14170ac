package qemu

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

// inNewNetns runs f on a thread in a network namespace of its own, which ends with it.
func inNewNetns(t *testing.T, f func() error) {
	t.Helper()
	needRoot(t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unshare: %w", err)
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// openTap makes a tap as the pod's network has them: one queue with a virtio-net header, gone with its last descriptor.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("TUNSETIFF: %w", err)
	}
	return f, nil
}

func hasLink(name string) (bool, error) {
	links, err := net.Interfaces()
	for _, l := range links {
		if l.Name == name {
			return true, err
		}
	}
	return false, err
}

// A tap of another network namespace, given to a QEMU that may make none itself, lives as long as QEMU does.
func TestTap(t *testing.T) {
	inNewNetns(t, func() error {
		c := tinyConfig(t, guestHalts)
		tap, err := openTap("tap0")
		if err != nil {
			return err
		}
		c.User = stranger
		c.Taps = []vm.Tap{{MAC: "02:00:00:00:00:01", MTU: 1450, File: tap}}
		m, err := Start(testContext(t), c)
		if err != nil {
			return err
		}
		if err := tap.Close(); err != nil {
			return err
		}
		answer, err := m.monitor.ask(testContext(t), "human-monitor-command", map[string]string{"command-line": "info network"})
		if err != nil {
			return err
		}
		var text string
		if err := json.Unmarshal(answer, &text); err != nil {
			return err
		}
		if !strings.Contains(text, "tap0: index=0,type=tap,") || !strings.Contains(text, "macaddr=02:00:00:00:00:01") {
			t.Errorf("got network %q, want the tap and its address", text)
		}
		if there, err := hasLink("tap0"); err != nil || !there {
			t.Errorf("while QEMU runs: link got %v, %v", there, err)
		}
		if err := m.Stop(testContext(t)); err != nil {
			return err
		}
		if there, err := hasLink("tap0"); err != nil || there {
			t.Errorf("after QEMU: link got %v, %v", there, err)
		}
		return nil
	})
}

// A tap stays its owner's: a machine that is started again, as one that was silent is, finds it as it was.
func TestTapStaysItsOwners(t *testing.T) {
	inNewNetns(t, func() error {
		tap, err := openTap("tap0")
		if err != nil {
			return err
		}
		defer func() { _ = tap.Close() }()
		for range 2 {
			c := tinyConfig(t, guestHalts)
			c.Taps = []vm.Tap{{MAC: "02:00:00:00:00:01", File: tap}}
			m, err := Start(testContext(t), c)
			if err != nil {
				return err
			}
			if err := m.Stop(testContext(t)); err != nil {
				return err
			}
		}
		if there, err := hasLink("tap0"); err != nil || !there {
			t.Errorf("got link %v, %v, want it to be there", there, err)
		}
		return nil
	})
}
