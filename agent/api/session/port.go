package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	portClass     = "/sys/class/virtio-ports"
	virtioDevices = "/sys/bus/virtio/devices"
	// consoleID is the virtio device id of consoles and ports, as sysfs prints it.
	consoleID = "0x0003"
)

// Present reports whether the machine has a virtio-serial device. Its ports may still be on their way.
func Present() bool { return present(virtioDevices) }

func present(dir string) bool {
	ids, _ := filepath.Glob(filepath.Join(dir, "*", "device"))
	for _, path := range ids {
		if id, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(id)) == consoleID {
			return true
		}
	}
	return false
}

// OpenPort opens the virtio-serial port of that name, waiting until the host has announced it. Reads of the returned port
// wait while no host client is there instead of ending.
func OpenPort(ctx context.Context, name string) (io.ReadWriteCloser, error) {
	// Subscribed before the first look, so that a port announced in between is not missed.
	events, err := openUevents()
	if err != nil {
		return nil, fmt.Errorf("open port %q: %w", name, err)
	}
	defer func() { _ = events.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	defer stop()
	for {
		node, err := findPort(portClass, name)
		if err != nil {
			return nil, fmt.Errorf("open port %q: %w", name, err)
		}
		if node != "" {
			f, err := openNode(filepath.Join("/dev", node))
			if err == nil {
				return f, nil
			}
			if !errors.Is(err, os.ErrNotExist) { // devtmpfs makes the node right after the class entry
				return nil, fmt.Errorf("open port %q: %w", name, err)
			}
		}
		if err := awaitUevent(events); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return nil, fmt.Errorf("open port %q: wait for it: %w", name, err)
		}
	}
}

// findPort returns the device name of the port called name, or "". There is no udev in the guest, so sysfs is asked.
func findPort(class, name string) (string, error) {
	entries, err := os.ReadDir(class)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		got, err := os.ReadFile(filepath.Join(class, e.Name(), "name"))
		if err == nil && strings.TrimSuffix(string(got), "\n") == name {
			return e.Name(), nil
		}
	}
	return "", nil
}

// port is a guest's end. The kernel ends reads at once and polls POLLHUP for as long as no host client is there; poll(2) would spin on that. The runtime's
// poller is edge-triggered: after a read that found nothing it sleeps until the driver wakes the port again, which it does for data, for room and
// for a client that arrives.
type port struct {
	f *os.File
	c syncConn
}

// syncConn is the part of syscall.RawConn that is used. (*os.File).Fd is never called: it would make the file blocking.
type syncConn interface {
	Read(func(fd uintptr) bool) error
	Write(func(fd uintptr) bool) error
}

func openNode(path string) (*port, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return newPort(os.NewFile(uintptr(fd), path))
}

func newPort(f *os.File) (*port, error) {
	c, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &port{f: f, c: c}, nil
}

func (p *port) Close() error { return p.f.Close() }

func (p *port) Read(b []byte) (int, error) {
	var n int
	var failed error
	err := p.c.Read(func(fd uintptr) bool {
		n, failed = ignoringEINTR(func() (int, error) { return unix.Read(int(fd), b) })
		return n > 0 || len(b) == 0 || (failed != nil && failed != unix.EAGAIN)
	})
	return result(n, err, failed, "read")
}

func (p *port) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		var n int
		var failed error
		err := p.c.Write(func(fd uintptr) bool {
			n, failed = ignoringEINTR(func() (int, error) { return unix.Write(int(fd), b[written:]) })
			return n > 0 || (failed != nil && failed != unix.EAGAIN)
		})
		n, err = result(n, err, failed, "write")
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func result(n int, err, failed error, op string) (int, error) {
	switch {
	case err != nil:
		return 0, &os.PathError{Op: op, Path: "port", Err: os.ErrClosed} // without deadlines the poller says no for no other reason
	case n > 0:
		return n, nil
	case failed != nil:
		return 0, os.NewSyscallError(op, failed)
	}
	return 0, nil
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
