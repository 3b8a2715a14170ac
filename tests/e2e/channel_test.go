package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/api/session"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

// socket connects to a virtio-serial port's socket, below the session framing.
func (m *machine) socket(port int) net.Conn {
	m.t.Helper()
	// By a short way: the path of a socket may not be longer than 107 bytes.
	link := filepath.Join(m.t.TempDir(), "d")
	if err := os.Symlink(m.dir, link); err != nil {
		m.t.Fatal(err)
	}
	conn, err := net.Dial("unix", filepath.Join(link, fmt.Sprintf("port%d.sock", port)))
	if err != nil {
		m.t.Fatal(err)
	}
	return conn
}

// tap is a connection that keeps what it received.
type tap struct {
	net.Conn
	mu     sync.Mutex
	bytes  bytes.Buffer
	client *run.Client
}

func (w *tap) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes.Write(p[:n])
	return n, err
}

func (w *tap) received() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.bytes.Bytes())
}

// tapped opens a second client whose incoming bytes are kept.
func (m *machine) tapped(port int) *tap {
	m.t.Helper()
	w := &tap{Conn: m.socket(port)}
	conn, err := session.Dial(m.ctx, w)
	if err != nil {
		m.t.Fatal(err)
	}
	w.client = run.NewClient(conn)
	m.t.Cleanup(func() { w.client.Close() })
	return w
}

// cutter is a port that breaks after so many written bytes.
type cutter struct {
	net.Conn
	mu   sync.Mutex
	left int
}

var errCut = errors.New("cut")

func (c *cutter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 { // not armed yet
		return c.Conn.Write(p)
	}
	if len(p) > c.left {
		n, _ := c.Conn.Write(p[:c.left])
		c.left = 0
		c.Conn.Close()
		return n, errCut
	}
	c.left -= len(p)
	return c.Conn.Write(p)
}

func (c *cutter) arm(after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = after
}

// TestChannelCutAtEveryByte breaks the channel inside a request that would start a process, at each of its bytes. The
// agent must neither run a request it got a part of nor lose the next client.
func TestChannelCutAtEveryByte(t *testing.T) {
	m := shared(t)
	c := m.started(fixture(t, "sleep"))
	m.waitLine(run.Process{Container: c.ID}, "ready")
	request := &api.SignalProcessRequest{ContainerId: c.ID, ExecId: c.ID, Signal: 15}
	size := m.frameSize(request)
	if size < 100 || size > 1000 {
		t.Fatalf("a request takes %d bytes on the wire", size)
	}
	for after := range size {
		m.cutDuring(request, after)
		if after%16 != 0 {
			continue
		}
		client := m.dial(1)
		if err := client.Check(m.ctx); err != nil {
			t.Fatalf("after a cut at byte %d of %d: %v", after, size, err)
		}
		client.Close()
	}
	// The signal was never whole: the container still runs.
	ctx, cancel := context.WithTimeout(m.ctx, 200*time.Millisecond)
	defer cancel()
	if status, err := m.Wait(ctx, c); err == nil {
		t.Fatalf("a request that was cut ran: the container ended with status %d", status)
	}
	client := m.dial(1)
	defer client.Close()
	if _, err := client.SignalProcess(m.ctx, request); err != nil {
		t.Fatal(err)
	}
	if _, _, code := m.finish(c); code != 0 {
		t.Errorf("status got %d, want 0", code)
	}
}

// counter counts what is written.
type counter struct {
	net.Conn
	mu sync.Mutex
	n  int
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	return n, err
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// frameSize measures a request on the wire, framing included, by a harmless one of the same length.
func (m *machine) frameSize(r *api.SignalProcessRequest) int {
	m.t.Helper()
	port := &counter{Conn: m.socket(1)}
	conn, err := session.Dial(m.ctx, port)
	if err != nil {
		m.t.Fatal(err)
	}
	before := port.count()
	client := run.NewClient(conn)
	missing := &api.SignalProcessRequest{ContainerId: strings.Repeat("0", len(r.ContainerId)), ExecId: r.ExecId, Signal: r.Signal}
	if _, err := client.SignalProcess(m.ctx, missing); err == nil {
		m.t.Fatal("a container that is not there was signalled")
	}
	after := port.count()
	client.Close()
	return after - before
}

// cutDuring opens a session, sends a request and breaks the channel after so many of its bytes.
func (m *machine) cutDuring(r *api.SignalProcessRequest, after int) {
	m.t.Helper()
	port := &cutter{Conn: m.socket(1), left: -1}
	conn, err := session.Dial(m.ctx, port)
	if err != nil {
		m.t.Fatalf("open a session before a cut at byte %d: %v", after, err)
	}
	port.arm(after)
	client := run.NewClient(conn)
	if _, err := client.SignalProcess(m.ctx, r); err == nil {
		m.t.Fatalf("a request cut at byte %d was answered", after)
	}
	client.Close()
	port.Conn.Close()
}

func (m *machine) dial(port int) *run.Client {
	m.t.Helper()
	conn, err := qemu.DialPort(m.ctx, m.dir, port)
	if err != nil {
		m.t.Fatal(err)
	}
	return run.NewClient(conn)
}

// Random bytes on a port must not disturb the agent.
func TestNoiseOnThePort(t *testing.T) {
	m := shared(t)
	for _, noise := range [][]byte{
		bytes.Repeat([]byte{0xff}, 100_000), bytes.Repeat([]byte("HELLO"), 20_000), []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 200_000),
	} {
		conn := m.socket(1)
		if _, err := conn.Write(noise); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		client := m.dial(1)
		if err := client.Check(m.ctx); err != nil {
			t.Errorf("after %d bytes of %q: %v", len(noise), noise[:4], err)
		}
		client.Close()
	}
}

// helperEnv makes the test binary a host side that can be killed.
const (
	helperEnv    = "CLOISTER_E2E_HELPER"
	helperCreate = "create"
)

// helper is the killed process: it sends the request of its standard input and waits for an answer that it never sees.
func helper(role string) int {
	if role != helperCreate || len(os.Args) < 2 {
		return 2
	}
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 1
	}
	var request api.CreateContainerRequest
	if err := protojson.Unmarshal(data, &request); err != nil {
		return 1
	}
	ctx := context.Background()
	conn, err := qemu.DialPort(ctx, os.Args[1], 1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := run.NewClient(conn).CreateContainer(ctx, &request); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestHostSideKilledDuringCreate: the request runs to its end, the next client finds the container, and nothing is left
// once that is removed.
func TestHostSideKilledDuringCreate(t *testing.T) {
	m := shared(t)
	made, request := m.prepare(fixture(t, "sleep"))
	data, err := protojson.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], m.dir)
	child.Env = append(os.Environ(), helperEnv+"="+helperCreate)
	child.Stdin = bytes.NewReader(data)
	var said bytes.Buffer
	child.Stderr = &said
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// As soon as the agent has a layer of it, the request is under way.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for m.held().Mapped == 0 {
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			t.Fatalf("the request did not arrive: %s", said.String())
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()

	client := m.dial(1) // a new session ends the old one, not its request
	defer client.Close()
	for m.held().Containers == 0 {
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			t.Fatal("the request of the killed host side did not run to its end")
		}
	}
	if _, err := client.StartContainer(m.ctx, &api.StartContainerRequest{ContainerId: made.ID}); err != nil {
		t.Errorf("start what the killed host side created: %v", err)
	}
	m.waitLine(run.Process{Container: made.ID}, "ready")
	if err := m.Created(made); err != nil {
		t.Fatal(err)
	}
	m.remove(made)
}
