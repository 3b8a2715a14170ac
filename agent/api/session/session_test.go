package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/api/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// health records what it was asked and answers with it.
type health struct {
	mu    sync.Mutex
	calls []string
}

func (h *health) Check(_ context.Context, r *api.CheckRequest) (*api.HealthCheckResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, r.Service)
	return &api.HealthCheckResponse{Status: api.HealthCheckResponse_SERVING}, nil
}

func (h *health) Version(_ context.Context, r *api.CheckRequest) (*api.VersionCheckResponse, error) {
	return &api.VersionCheckResponse{AgentVersion: r.Service}, nil
}

func (h *health) asked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.calls...)
}

func serve(t *testing.T, port *fakePort) *health {
	t.Helper()
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	h := &health{}
	api.RegisterHealthService(server, h)
	l := session.Listen(port)
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close()
		<-done
	})
	return h
}

// dial connects a client; hangup cuts it off without a farewell.
func dial(t *testing.T, ctx context.Context, port *fakePort) (conn net.Conn, client *ttrpc.Client, end *fakeClient) {
	t.Helper()
	end = port.connect()
	conn, err := session.Dial(ctx, end)
	if err != nil {
		t.Fatal(err)
	}
	return conn, ttrpc.NewClient(conn), end
}

func version(t *testing.T, ctx context.Context, client *ttrpc.Client, word string) {
	t.Helper()
	r, err := api.NewHealthClient(client).Version(ctx, &api.CheckRequest{Service: word})
	if err != nil {
		t.Fatalf("version: %v", err)
	}
	if r.AgentVersion != word {
		t.Fatalf("got somebody else's reply of %d bytes, want %d bytes", len(r.AgentVersion), len(word))
	}
}

// checkRequest is Health/Check as a ttrpc client sends it, with stream id 1.
func checkRequest(t *testing.T, word string) []byte {
	t.Helper()
	payload, err := proto.Marshal(&api.CheckRequest{Service: word})
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&ttrpc.Request{Service: "grpc.Health", Method: "Check", Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
	header := []byte{0, 0, byte(len(body) >> 8), byte(len(body)), 0, 0, 0, 1, 1, 0}
	return append(header, body...)
}

func TestCallsAndLargeMessages(t *testing.T) {
	ctx, port := testContext(t), newFakePort()
	serve(t, port)
	_, client, _ := dial(t, ctx, port)
	for _, size := range []int{0, 1, session.MaxPayload - 64, session.MaxPayload, session.MaxPayload + 1, 300_000, 3 << 20} {
		version(t, ctx, client, strings.Repeat("x", size))
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
}

// A client dies after each byte of a frame it was sending. The next one must get its own answers, and the cut request must not run: not even
// completed by the zeros that the next client sends.
func TestCutAtEachByteThenRedial(t *testing.T) {
	for _, kind := range []struct {
		name string
		kind uint8
	}{{"data", session.FrameData}, {"close", session.FrameClose}} {
		t.Run(kind.name, func(t *testing.T) {
			ctx, port := testContext(t), newFakePort()
			h := serve(t, port)
			whole := len(session.EncodeFrame(session.FrameData, 0, checkRequest(t, "cut")))
			for cut := 0; cut < whole; cut++ {
				conn, client, end := dial(t, ctx, port)
				var payload []byte
				if kind.kind == session.FrameData {
					payload = checkRequest(t, "cut")
				}
				raw := session.EncodeFrame(kind.kind, session.Number(conn), payload)
				if _, err := end.Write(raw[:min(cut, len(raw))]); err != nil {
					t.Fatal(err)
				}
				_ = end.Close() // as a killed process leaves it
				_ = client.Close()

				_, client, _ = dial(t, ctx, port)
				version(t, ctx, client, fmt.Sprintf("after cut at %d", cut))
				if got := h.asked(); len(got) != 0 {
					t.Fatalf("cut at byte %d of %d: the cut request ran", cut, whole)
				}
				_ = client.Close()
			}
		})
	}
}

// The longest frame is the one that needs all the zeros.
func TestCutInLongestFrame(t *testing.T) {
	ctx, port := testContext(t), newFakePort()
	serve(t, port)
	for _, cut := range []int{session.HeaderSize - 1, session.HeaderSize, session.HeaderSize + 1, session.MaxFrame - 1} {
		conn, client, end := dial(t, ctx, port)
		raw := session.EncodeFrame(session.FrameData, session.Number(conn), make([]byte, session.MaxPayload))
		_, _ = end.Write(raw[:cut])
		_ = end.Close()
		_ = client.Close()
		_, client, _ = dial(t, ctx, port)
		version(t, ctx, client, "longest")
		_ = client.Close()
	}
}

// A dialler dies in the middle of its own greeting.
func TestCutInGreeting(t *testing.T) {
	ctx, port := testContext(t), newFakePort()
	serve(t, port)
	greeting := append(make([]byte, session.MaxFrame), session.EncodeFrame(session.FrameHello, 42, nil)...)
	for _, cut := range []int{0, 1, 100, session.MaxFrame} {
		end := port.connect()
		_, _ = end.Write(greeting[:cut])
		_ = end.Close()
	}
	for cut := session.MaxFrame; cut <= len(greeting); cut++ {
		end := port.connect()
		_, _ = end.Write(greeting[:cut])
		_ = end.Close()
		_, client, _ := dial(t, ctx, port)
		version(t, ctx, client, "after greeting")
		_ = client.Close()
	}
}

// A reply is cut after each byte; the next client finds its tail, or nothing, before its own WELCOME.
func TestReplyCutAtEachByteThenRedial(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep-tail-%v", keep), func(t *testing.T) {
			ctx, port := testContext(t), newFakePort()
			port.keepTail = keep
			serve(t, port)
			for read := 0; read < 60; read++ {
				end := port.connect()
				id := uint64(read + 1)
				_, _ = end.Write(append(make([]byte, session.MaxFrame), session.EncodeFrame(session.FrameHello, id, nil)...))
				_, _ = end.Write(session.EncodeFrame(session.FrameData, id, checkRequest(t, "reply")))
				if _, err := io.ReadFull(end, make([]byte, read)); err != nil {
					t.Fatal(err)
				}
				_ = end.Close()
				_, client, _ := dial(t, ctx, port)
				version(t, ctx, client, fmt.Sprintf("reply cut at %d", read))
				_ = client.Close()
			}
		})
	}
}

// Old replies may hold anything, also bytes that look like a WELCOME.
func TestWelcomeOfAnotherSessionIsNotTaken(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	host, guest := net.Pipe()
	defer func() { _ = guest.Close() }()
	go func() { _, _ = io.Copy(io.Discard, guest) }()
	go func() { _, _ = guest.Write(session.EncodeFrame(session.FrameWelcome, 1, nil)) }()
	if c, err := session.Dial(ctx, host); err == nil {
		_ = c.Close()
		t.Fatal("took the welcome of another session")
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
}

func TestFramesThatAreDropped(t *testing.T) {
	ctx, port := testContext(t), newFakePort()
	h := serve(t, port)
	conn, client, end := dial(t, ctx, port)
	id := session.Number(conn)
	tooLong := session.EncodeFrame(session.FrameData, id, nil)
	copy(tooLong[16:], []byte{0xff, 0xff, 0xff, 0xff})
	reserved := session.EncodeFrame(session.FrameClose, id, nil)
	reserved[6] = 1
	for _, raw := range [][]byte{
		session.EncodeFrame(session.FrameData, id+1, checkRequest(t, "foreign session")),
		session.EncodeFrame(session.FrameClose, id+1, nil),
		session.EncodeFrame(9, id, checkRequest(t, "unknown type")),
		session.EncodeFrame(session.FrameWelcome, id, nil),
		tooLong, reserved,
		[]byte("noise"),
		// A HELLO inside a payload is somebody's data.
		session.EncodeFrame(session.FrameData, id+1, session.EncodeFrame(session.FrameHello, 5, nil)),
	} {
		if _, err := end.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	version(t, ctx, client, "still the same session")
	if got := h.asked(); len(got) != 0 {
		t.Fatalf("ran %q", got)
	}
	_ = client.Close()
}

func TestHelloEndsThePreviousConnection(t *testing.T) {
	ctx, port := testContext(t), newFakePort()
	l := session.Listen(port)
	defer func() { _ = l.Close() }()
	end := port.connect()
	first, err := session.Dial(ctx, end)
	if err != nil {
		t.Fatal(err)
	}
	old, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = end.Close()
	_ = first.Close()
	second, err := session.Dial(ctx, port.connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("old read: got %v, want EOF", err)
	}
	if _, err := old.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("old write: got %v, want ErrClosed", err)
	}
	if err := old.Close(); err != nil {
		t.Fatalf("old close: %v", err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2)
	if _, err := io.ReadFull(second, got); err != nil || string(got) != "hi" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Read(got); err != io.EOF {
		t.Fatalf("after the guest's close: got %v, want EOF", err)
	}
	_ = second.Close()
}

func TestReadDeadline(t *testing.T) {
	ctx, port := testContext(t), newFakePort()
	serve(t, port)
	conn, err := session.Dial(ctx, port.connect())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	if err := conn.SetWriteDeadline(time.Now()); !errors.Is(err, os.ErrNoDeadline) {
		t.Fatalf("got %v, want no deadline", err)
	}
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	port := newFakePort() // nobody listens: the guest still boots
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := session.Dial(ctx, port.connect()); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want canceled", err)
	}
}

func TestListenerEndsWithItsPort(t *testing.T) {
	port := newFakePort()
	l := session.Listen(port)
	_ = port.Close()
	if _, err := l.Accept(); err == nil {
		t.Fatal("accepted on a closed port")
	}
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("got %v, want ErrClosed", err)
	}
}
