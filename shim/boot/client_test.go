package boot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// fakeAgent is an agent with one process. The embedded nil interface makes every call that a test does not expect a panic.
type fakeAgent struct {
	api.AgentServiceService

	output []byte
	input  bytes.Buffer
	closed int
	status api.HealthCheckResponse_ServingStatus
}

func (a *fakeAgent) Check(context.Context, *api.CheckRequest) (*api.HealthCheckResponse, error) {
	return &api.HealthCheckResponse{Status: a.status}, nil
}

func (a *fakeAgent) Version(context.Context, *api.CheckRequest) (*api.VersionCheckResponse, error) {
	return &api.VersionCheckResponse{}, nil
}

func (a *fakeAgent) ReadStdout(_ context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	n := min(len(a.output), int(r.Len))
	out := a.output[:n]
	a.output = a.output[n:]
	return &api.ReadStreamResponse{Data: out}, nil
}

func (a *fakeAgent) ReadStderr(context.Context, *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	return &api.ReadStreamResponse{}, nil
}

// WriteStdin takes at most three bytes at a time, so that the client has to go on after a short write.
func (a *fakeAgent) WriteStdin(_ context.Context, r *api.WriteStreamRequest) (*api.WriteStreamResponse, error) {
	n := min(3, len(r.Data))
	a.input.Write(r.Data[:n])
	return &api.WriteStreamResponse{Len: uint32(n)}, nil
}

func (a *fakeAgent) CloseStdin(context.Context, *api.CloseStdinRequest) (*emptypb.Empty, error) {
	a.closed++
	return &emptypb.Empty{}, nil
}

// serve serves the agent on a unix socket and returns a way to connect to it.
func (a *fakeAgent) serve(t *testing.T) func() net.Conn {
	t.Helper()
	return serveAgent(t, a)
}

func serveAgent(t *testing.T, a interface {
	api.AgentServiceService
	api.HealthService
},
) func() net.Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	api.RegisterAgentServiceService(server, a)
	api.RegisterHealthService(server, a)
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(context.Background(), listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return func() net.Conn {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

func newTestClient(t *testing.T, a *fakeAgent, opts ...ttrpc.ClientOpts) *Client {
	c := NewClient(a.serve(t)(), opts...)
	t.Cleanup(func() { c.Close() })
	return c
}

// Options reach ttrpc, but do not take away how the client learns of its connection's end.
func TestClientOptions(t *testing.T) {
	var calls atomic.Int32
	count := func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, info *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
		calls.Add(1)
		return invoke(ctx, req, resp)
	}
	a := &fakeAgent{status: api.HealthCheckResponse_SERVING}
	c := newTestClient(t, a, ttrpc.WithUnaryClientInterceptor(count), ttrpc.WithOnClose(func() {}))
	if err := c.Check(testContext(t)); err != nil || calls.Load() != 1 {
		t.Errorf("got %v after %d intercepted calls, want one", err, calls.Load())
	}
	c.Close()
	select {
	case <-c.Done():
	default:
		t.Error("the client does not know that it is closed")
	}
}

func TestCheckWantsServing(t *testing.T) {
	if err := newTestClient(t, &fakeAgent{}).Check(testContext(t)); err == nil {
		t.Error("an agent that does not serve passed")
	}
}

func TestCopyOutputUntilEmptyAnswer(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 3*readSize/16+1)
	a := &fakeAgent{output: bytes.Clone(want)}
	var got, gotErr bytes.Buffer
	if err := newTestClient(t, a).CopyOutput(testContext(t), Process{Container: "c"}, &got, &gotErr); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) || gotErr.Len() != 0 {
		t.Errorf("got %d and %d bytes, want %d and 0", got.Len(), gotErr.Len(), len(want))
	}
}

// failWriter fails after the first write, as a closed pipe does.
type failWriter struct{ writes int }

func (w *failWriter) Write(p []byte) (int, error) {
	if w.writes++; w.writes > 1 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestCopyOutputReportsFailedWriter(t *testing.T) {
	a := &fakeAgent{output: make([]byte, 2*readSize)}
	err := newTestClient(t, a).CopyOutput(testContext(t), Process{Container: "c"}, &failWriter{}, io.Discard)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want %v", err, io.ErrClosedPipe)
	}
}

func TestCopyInputGoesOnAfterShortWrites(t *testing.T) {
	a := &fakeAgent{}
	err := newTestClient(t, a).CopyInput(testContext(t), Process{Container: "c", Exec: "e"}, strings.NewReader("hello, world"))
	if err != nil {
		t.Fatal(err)
	}
	if got := a.input.String(); got != "hello, world" {
		t.Errorf("input got %q", got)
	}
	if a.closed != 1 {
		t.Errorf("standard input was closed %d times, want once", a.closed)
	}
}

func TestClientDoneWhenAgentGoes(t *testing.T) {
	host, guest := net.Pipe()
	c := NewClient(host)
	guest.Close()
	select {
	case <-c.Done():
	case <-testContext(t).Done():
		t.Fatal("the client did not notice that its peer is gone")
	}
	c.Close()
}
