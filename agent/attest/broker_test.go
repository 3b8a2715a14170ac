package attest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// deadlineForTests is for cases in which the deadline must pass.
const deadlineForTests = 50 * time.Millisecond

func TestSocketAndDirectory(t *testing.T) {
	b := newBroker(&fakeDevice{}, Options{})
	for name, prepare := range map[string]bool{"made-here": false, "made-by-the-caller": true} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // a path longer than a socket address
			if prepare {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			path, stop, err := b.Listen(t.Context(), container("key"), dir)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Lstat(path)
			if err != nil || info.Mode() != fs.ModeSocket|0o666 || path != filepath.Join(dir, SocketName) {
				t.Errorf("got %v, %v at %q, want a socket with mode 0666", info, err, path)
			}
			if info, err = os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("directory: got %v, %v, want mode 0755", info, err)
			}
			stop()
			stop() // twice is no error
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after stop: got %v, want no socket", err)
			}
			if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) == prepare {
				t.Errorf("after stop: got %v, want only what Listen made to be gone", err)
			}
		})
	}
}

func TestListenRefuses(t *testing.T) {
	b := newBroker(&fakeDevice{}, Options{})
	defer b.Close()
	dir := t.TempDir()
	if _, _, err := b.Listen(t.Context(), container("c1"), dir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Listen(t.Context(), container("c1"), t.TempDir()); err == nil || !strings.Contains(err.Error(), "has one already") {
		t.Errorf("same container again: got %v", err)
	}
	if _, _, err := b.Listen(t.Context(), container("c2"), dir); err == nil {
		t.Error("the directory of another container: got no error")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Listen(t.Context(), container("c3"), link); err == nil {
		t.Error("a link for a directory: got no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := b.Listen(ctx, container("c4"), t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestListenerOutlivesItsContext: the request that made the container ends; the socket must not.
func TestListenerOutlivesItsContext(t *testing.T) {
	b := newBroker(&fakeDevice{}, Options{})
	t.Cleanup(b.Close)
	ctx, cancel := context.WithCancel(t.Context())
	path, _, err := b.Listen(ctx, container("c1"), filepath.Join(t.TempDir(), "attest"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	var answer any
	dialer(t, path).ok("POST", "/attest/raw", azureBody([]byte("key")), &answer)
}

func TestBucket(t *testing.T) {
	start := time.Unix(1000, 0)
	b := newBucket(2, 3, start)
	take := func(after time.Duration) int {
		n := 0
		for b.take(start.Add(after)) {
			n++
		}
		return n
	}
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 3}, {0, 0}, {time.Second, 2}, {100 * time.Second, 3}, {50 * time.Second, 0}, {50*time.Second + 500*time.Millisecond, 1}} {
		if got := take(tt.after); got != tt.want {
			t.Errorf("after %v: got %d tokens, want %d", tt.after, got, tt.want)
		}
	}
}

// TestConnectionsAreBounded: more connections than allowed wait, and go on when another ends.
func TestConnectionsAreBounded(t *testing.T) {
	b := newBroker(&fakeDevice{}, Options{Connections: 2})
	t.Cleanup(b.Close)
	path, _, err := b.Listen(t.Context(), container("c1"), filepath.Join(t.TempDir(), "attest"))
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]net.Conn, 3)
	for i := range conns {
		if conns[i], err = net.Dial("unix", path); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		fmt.Fprint(conns[i], "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	answered := make(chan int, len(conns))
	for i, c := range conns {
		go func() {
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				answered <- i
			}
		}()
	}
	first, second := <-answered, <-answered
	conns[first].Close()
	third := <-answered
	if slices.Contains([]int{first, second}, third) {
		t.Errorf("got answers on %d, %d, %d, want three connections", first, second, third)
	}
}

// TestGarbageEndsTheConnectionOnly: what is no HTTP, or too much of it, is answered or dropped, and others are served.
func TestGarbageEndsTheConnectionOnly(t *testing.T) {
	b := newBroker(&fakeDevice{}, Options{})
	t.Cleanup(b.Close)
	path, _, err := b.Listen(t.Context(), container("c1"), filepath.Join(t.TempDir(), "attest"))
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string]string{
		"binary":        "\x00\x01\x02\r\n\r\n",
		"long-header":   "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", maxHeader+8192) + "\r\n\r\n",
		"many-headers":  "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", maxHeader),
		"bad-length":    "POST /attest/raw HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"two-lengths":   "POST /attest/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"http2-preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, bytes) // the server may close in the middle
			answer, _ := io.ReadAll(conn)
			if strings.Contains(string(answer), " 200 ") {
				t.Errorf("got %.200q, want no success", answer)
			}
		})
	}
	var answer any
	dialer(t, path).ok("POST", "/attest/raw", azureBody([]byte("key")), &answer)
}

// TestStopEndsRequestsInFlight: a container's removal does not wait for the device.
func TestStopEndsRequestsInFlight(t *testing.T) {
	d := &fakeDevice{wait: make(chan struct{}), entered: make(chan struct{}, 1)}
	defer close(d.wait)
	b := newBroker(d, Options{Deadline: 10 * time.Second})
	path, stop, err := b.Listen(t.Context(), container("c1"), filepath.Join(t.TempDir(), "attest"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := azureBody([]byte("key"))
	fmt.Fprintf(conn, "POST /attest/raw HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	<-d.entered
	start := time.Now()
	stop()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("stop took %v", took)
	}
	if answer, _ := io.ReadAll(conn); bytes.Contains(answer, []byte(" 200 ")) {
		t.Errorf("got %q after stop", answer)
	}
	if _, _, err := b.Listen(t.Context(), container("c1"), filepath.Join(t.TempDir(), "attest")); err != nil {
		t.Errorf("the key is not free after stop: %v", err)
	}
	b.Close()
}
