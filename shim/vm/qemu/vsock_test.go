package qemu

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

func TestTakeCID(t *testing.T) {
	tries := 0
	cid, err := takeCID(func(cid uint64) error {
		if tries++; tries < 3 {
			return unix.EADDRINUSE
		}
		if cid < 3 || cid >= 1<<32-1 {
			t.Errorf("asked for %d, which is not a guest's", cid)
		}
		return nil
	})
	if err != nil || cid < 3 || tries != 3 {
		t.Errorf("got %d, %v after %d tries, want the third", cid, err, tries)
	}
	tries = 0
	if _, err := takeCID(func(uint64) error { tries++; return unix.EADDRINUSE }); err == nil || tries > cidTries {
		t.Errorf("got %v after %d tries, want to give up", err, tries)
	}
	if _, err := takeCID(func(uint64) error { return unix.EACCES }); !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v, want %v", err, unix.EACCES)
	}
}

func TestReadCID(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := readCID(dir); ok || err != nil {
		t.Errorf("without a file: got %v, %v", ok, err)
	}
	for text, want := range map[string]uint32{"1234567\n": 1234567, "3": 3, "": 0, "x": 0, "-1": 0, "4294967296": 0} {
		if err := os.WriteFile(filepath.Join(dir, cidName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, ok, err := readCID(dir)
		if ok != (want != 0) || (err == nil) != ok || got != want {
			t.Errorf("%q: got %d, %v, %v, want %d", text, got, ok, err, want)
		}
	}
}

func TestTransportIsFoundOut(t *testing.T) {
	want := vm.TransportSerial
	if f, err := os.OpenFile(vsockNode, os.O_RDWR, 0); err == nil {
		_ = f.Close()
		want = vm.TransportVsock
	}
	if got := transport(""); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, asked := range []vm.Transport{vm.TransportSerial, vm.TransportVsock} {
		if got := transport(asked); got != asked {
			t.Errorf("got %q, want %q as asked", got, asked)
		}
	}
}

func TestDialVsockWaitsForTheGuest(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	answers := []error{unix.ENODEV, unix.ETIMEDOUT, unix.ECONNRESET, nil}
	conn, err := dialVsock(testContext(t), func() (net.Conn, error) {
		err := answers[0]
		answers = answers[1:]
		if err != nil {
			return nil, os.NewSyscallError("connect", err)
		}
		return ours, nil
	})
	if err != nil || conn != ours {
		t.Errorf("got %v, %v", conn, err)
	}
	if _, err := dialVsock(testContext(t), func() (net.Conn, error) { return nil, unix.EACCES }); !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v, want %v at once", err, unix.EACCES)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	if _, err := dialVsock(ctx, func() (net.Conn, error) { cancel(); return nil, unix.ECONNRESET }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

// A connection that comes about after its caller has gone is closed.
func TestLateConnectionIsClosed(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	ctx, cancel := context.WithCancel(testContext(t))
	given := make(chan struct{})
	go cancel()
	if _, err := dialVsock(ctx, func() (net.Conn, error) { <-given; return ours, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	close(given)
	if _, err := theirs.Read(make([]byte, 1)); err == nil { // ends only when the other end is closed
		t.Error("the connection is open")
	}
}
