package storage

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestIsBlockEvent(t *testing.T) {
	join := func(s ...string) []byte { return []byte(strings.Join(s, "\x00") + "\x00") }
	for _, c := range []struct {
		name string
		in   []byte
		want bool
	}{
		{"disk", join("add@/devices/x/block/sda", "ACTION=add", "DEVPATH=/devices/x/block/sda", "SUBSYSTEM=block"), true},
		{"other-subsystem", join("add@/devices/x", "ACTION=add", "SUBSYSTEM=scsi"), false},
		{"subsystem-in-a-value", join("add@/devices/x", "MODEL=a SUBSYSTEM=block", "SUBSYSTEM=scsi"), false},
		{"subsystem-in-the-header", join("add@/SUBSYSTEM=block", "ACTION=add"), false},
		{"udev-header", append([]byte("libudev\x00"), join("SUBSYSTEM=block")...), false},
		{"no-nul", []byte("add@/devices/x"), false},
		{"empty", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := isBlockEvent(c.in); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}

func FuzzIsBlockEvent(f *testing.F) {
	f.Add([]byte("add@/devices/x/block/sda\x00ACTION=add\x00SUBSYSTEM=block\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if isBlockEvent(b) && !strings.Contains(string(b), "\x00SUBSYSTEM=block") {
			t.Errorf("%q passed", b)
		}
	})
}

func TestFromKernel(t *testing.T) {
	for _, c := range []struct {
		name string
		from unix.Sockaddr
		want bool
	}{
		{"kernel", &unix.SockaddrNetlink{Pid: 0, Groups: 1}, true},
		{"process", &unix.SockaddrNetlink{Pid: 77, Groups: 1}, false},
		{"unicast", &unix.SockaddrNetlink{Pid: 0, Groups: 0}, false},
		{"udev-group", &unix.SockaddrNetlink{Pid: 0, Groups: 2}, false},
		{"none", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fromKernel(c.from); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}

// kernelEvent makes the kernel send an event about a block device.
func kernelEvent(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/sys/block/loop0/uevent", []byte("change"), 0); err != nil {
		t.Skipf("cannot make a block event (%v): run as root where the kernel has loop devices", err)
	}
}

// A message of a process to the kernel's group is told apart by what the kernel says of its sender.
func TestForgedEvent(t *testing.T) {
	needRoot(t)
	socket, err := openEvents()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	forged := "add@/devices/forged/block/sda\x00SUBSYSTEM=block\x00"
	if err := unix.Sendto(fd, []byte(forged), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		t.Fatalf("send forged event: %v", err)
	}
	buf := make([]byte, maxUevent)
	for {
		n, from, err := receive(socket, buf)
		if err != nil {
			t.Fatal(err)
		}
		if string(buf[:n]) != forged {
			continue // this machine's own
		}
		if !isBlockEvent(buf[:n]) || fromKernel(from) {
			t.Errorf("the forged event, sender %+v, passed as the kernel's", from)
		}
		return
	}
}

func TestKernelEventWakes(t *testing.T) {
	needRoot(t)
	e, err := listenEvents()
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	woken, cancel := e.subscribe()
	defer cancel()
	kernelEvent(t)
	select {
	case <-woken:
	case <-time.After(5 * time.Second):
		t.Error("the kernel's event was not seen")
	}
}

func TestEventsCloseWakesSubscribers(t *testing.T) {
	e, err := listenEvents()
	if err != nil {
		t.Fatal(err)
	}
	woken, cancel := e.subscribe()
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for range woken { // an event of this machine may be before the end
	}
	late, cancel := e.subscribe()
	defer cancel()
	if _, ok := <-late; ok {
		t.Error("a subscription after the end got an event")
	}
}
