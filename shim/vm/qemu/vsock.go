package qemu

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

const (
	vsockNode = "/dev/vhost-vsock"
	// vsockPort is where the agent listens.
	vsockPort = 1024
	// cidName is the file, in the VM's directory, that tells the guest's context id to commands that join later.
	cidName = "vsock.cid"
	// setGuestCIDRequest is VHOST_VSOCK_SET_GUEST_CID: _IOW(0xaf, 0x60, u64), linux/vhost.h.
	setGuestCIDRequest = 0x4008af60
	// cidTries bounds the search for a context id that nobody has, of four thousand million.
	cidTries = 32
	// redialAfter is how long to leave a guest that boots alone: neither side's kernel says when somebody listens.
	redialAfter = 20 * time.Millisecond
)

// transport says how the agent will be reached: as asked, or over vsock where the device opens.
func transport(asked vm.Transport) vm.Transport {
	if asked != "" {
		return asked
	}
	f, err := os.OpenFile(vsockNode, os.O_RDWR, 0)
	if err != nil {
		return vm.TransportSerial
	}
	_ = f.Close()
	return vm.TransportVsock
}

// openVsock takes a context id and writes it down. The kernel keeps the id for whoever has the descriptor, which is QEMU from here on.
func (l *launch) openVsock(dir string) error {
	f, err := os.OpenFile(vsockNode, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	l.vsock = l.give(f)
	if l.cid, err = takeCID(func(cid uint64) error { return setGuestCID(f, cid) }); err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, cidName), []byte(strconv.FormatUint(uint64(l.cid), 10)+"\n"), 0o600)
}

// takeCID asks for random context ids until one is free. The first three, and the last, have a meaning.
func takeCID(set func(uint64) error) (uint32, error) {
	for range cidTries {
		var b [4]byte
		rand.Read(b[:])
		cid := binary.NativeEndian.Uint32(b[:])
		if cid < 3 || cid == 1<<32-1 {
			continue
		}
		err := set(uint64(cid))
		if err == nil {
			return cid, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return 0, fmt.Errorf("set the guest's context id: %w", err)
		}
	}
	return 0, errors.New("no context id is free")
}

func setGuestCID(f *os.File, cid uint64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, setGuestCIDRequest, uintptr(unsafe.Pointer(&cid)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

// readCID returns the context id of the VM in dir; ok is false for one with virtio-serial.
func readCID(dir string) (cid uint32, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, cidName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0, false, fmt.Errorf("read %s: %w", cidName, err)
	}
	return uint32(n), true, nil
}

// dialVsock connects to the agent, again and again until somebody listens there or ctx ends.
func dialVsock(ctx context.Context, connect func() (net.Conn, error)) (net.Conn, error) {
	for {
		conn, err := connectOnce(ctx, connect)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.ETIMEDOUT) && !errors.Is(err, unix.ENODEV) {
			return nil, err
		}
		again := time.NewTimer(redialAfter)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// connectOnce gives up with ctx; the kernel ends an attempt that nobody waits for after two seconds.
func connectOnce(ctx context.Context, connect func() (net.Conn, error)) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		conn, err := connect()
		select {
		case done <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func connectVsock(cid uint32) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		conn, err := vsock.Dial(cid, vsockPort, nil)
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
}
