package session

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// countingConn counts how often the port asked the kernel.
type countingConn struct {
	syncConn
	reads atomic.Int64
}

func (c *countingConn) Read(f func(uintptr) bool) error {
	return c.syncConn.Read(func(fd uintptr) bool {
		c.reads.Add(1)
		return f(fd)
	})
}

// testPort is a port over a socket pair. A socket whose peer has gone reads as ended at once and polls POLLHUP, like a port without a host.
func testPort(t *testing.T) (*port, *countingConn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPort(os.NewFile(uintptr(fds[0]), "port"))
	if err != nil {
		t.Fatal(err)
	}
	count := &countingConn{syncConn: p.c}
	p.c = count
	host := os.NewFile(uintptr(fds[1]), "host")
	t.Cleanup(func() { _ = p.Close(); _ = host.Close() })
	return p, count, host
}

func TestPortWaitsWithoutAHostAndDoesNotSpin(t *testing.T) {
	p, count, host := testPort(t)
	got := make(chan error, 1)
	go func() {
		var b [10]byte
		n, err := p.Read(b[:])
		if err == nil && string(b[:n]) != "hello" {
			err = errors.New("other bytes")
		}
		got <- err
		_, err = p.Read(b[:])
		got <- err
	}()
	if _, err := host.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	_ = host.Close()
	select {
	case err := <-got:
		t.Fatalf("the read ended with the host: %v", err)
	case <-time.After(50 * time.Millisecond): // time in which a spin would show
	}
	if n := count.reads.Load(); n > 10 {
		t.Errorf("asked the kernel %d times", n)
	}
	_ = p.Close()
	if err := <-got; !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v after Close, want closed", err)
	}
}

func TestPortWritesAllOfIt(t *testing.T) {
	p, _, host := testPort(t)
	const size = 1 << 20 // more than the socket takes at once
	done := make(chan error, 1)
	go func() {
		n, err := p.Write(make([]byte, size))
		if err == nil && n != size {
			err = io.ErrShortWrite
		}
		done <- err
	}()
	if _, err := io.ReadFull(host, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = host.Close()
	if _, err := p.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("got %v, want the kernel's word", err)
	}
}

func TestCloseEndsAWaitingWrite(t *testing.T) {
	p, _, _ := testPort(t)
	done := make(chan error, 1)
	go func() { _, err := p.Write(make([]byte, 1<<20)); done <- err }()
	_ = p.Close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want closed", err)
	}
}

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindPort(t *testing.T) {
	class := writeTree(t, map[string]string{
		"vport1p1/name": "cloister.agent.0\n",
		"vport1p2/name": "cloister.agent.1\n",
		"vport2p1/dev":  "245:1\n", // announced, not named yet
	})
	for name, want := range map[string]string{
		"cloister.agent.0": "vport1p1", "cloister.agent.1": "vport1p2", "cloister.agent": "", "": "",
	} {
		if got, err := findPort(class, name); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
	if got, err := findPort(filepath.Join(class, "missing"), "x"); err != nil || got != "" {
		t.Errorf("no class: got %q, %v", got, err)
	}
}

func TestPresent(t *testing.T) {
	if present(writeTree(t, map[string]string{"virtio0/device": "0x0008\n", "virtio1/vendor": "0x0003\n"})) {
		t.Error("a disk passes for a console")
	}
	if !present(writeTree(t, map[string]string{"virtio0/device": "0x0008\n", "virtio1/device": "0x0003\n"})) {
		t.Error("no console found")
	}
	if present(t.TempDir()) {
		t.Error("found one in nothing")
	}
}

func TestOpenPortGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := OpenPort(ctx, "no.such.port"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestOpenNodeMissing(t *testing.T) {
	if _, err := openNode(filepath.Join(t.TempDir(), "vport")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}
