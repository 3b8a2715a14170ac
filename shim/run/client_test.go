package run

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir, err := authorityDir(); err == nil {
			os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

// fakeAgent answers the calls that a pod's life needs and records them. The embedded nil interface makes every other call
// a panic, so that a test fails when the host side starts to ask for more.
type fakeAgent struct {
	api.AgentServiceService

	mu    sync.Mutex
	calls []string
	// refuse holds errors by call name.
	refuse map[string]error
	// output by container or exec id, stdout only.
	output map[string][]byte
	// status by id; a process without one runs until it is signalled or removed.
	status map[string]int32
	// input by id.
	input  map[string]*bytes.Buffer
	ended  map[string]chan struct{}
	policy string
	ooms   chan string
	create []*api.CreateContainerRequest
	copied []*api.CopyFileRequest
	// onCreate sees each request before it is answered.
	onCreate func(*api.CreateContainerRequest)
}

func newFakeAgent() *fakeAgent {
	return &fakeAgent{
		refuse: map[string]error{}, output: map[string][]byte{}, status: map[string]int32{}, input: map[string]*bytes.Buffer{},
		ended: map[string]chan struct{}{}, ooms: make(chan string, 1),
	}
}

func (a *fakeAgent) record(call string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, call)
	return a.refuse[call]
}

func (a *fakeAgent) recorded() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.calls...)
}

func (a *fakeAgent) Check(context.Context, *api.CheckRequest) (*api.HealthCheckResponse, error) {
	return &api.HealthCheckResponse{Status: api.HealthCheckResponse_SERVING}, a.record("Check")
}

func (a *fakeAgent) Version(context.Context, *api.CheckRequest) (*api.VersionCheckResponse, error) {
	return &api.VersionCheckResponse{}, nil
}

func (a *fakeAgent) SetPolicy(_ context.Context, r *api.SetPolicyRequest) (*emptypb.Empty, error) {
	a.policy = r.Policy
	return &emptypb.Empty{}, a.record("SetPolicy")
}

func (a *fakeAgent) UpdateInterface(_ context.Context, r *api.UpdateInterfaceRequest) (*api.Interface, error) {
	return r.Interface, a.record("UpdateInterface")
}

func (a *fakeAgent) UpdateRoutes(_ context.Context, r *api.UpdateRoutesRequest) (*api.Routes, error) {
	return r.Routes, a.record("UpdateRoutes")
}

func (a *fakeAgent) CopyFile(_ context.Context, r *api.CopyFileRequest) (*emptypb.Empty, error) {
	a.mu.Lock()
	a.copied = append(a.copied, r)
	a.mu.Unlock()
	return &emptypb.Empty{}, a.record("CopyFile")
}

func (a *fakeAgent) CreateSandbox(context.Context, *api.CreateSandboxRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, a.record("CreateSandbox")
}

func (a *fakeAgent) DestroySandbox(context.Context, *api.DestroySandboxRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, a.record("DestroySandbox")
}

func (a *fakeAgent) CreateContainer(_ context.Context, r *api.CreateContainerRequest) (*emptypb.Empty, error) {
	a.mu.Lock()
	a.create = append(a.create, r)
	a.ended[r.ContainerId] = make(chan struct{})
	a.mu.Unlock()
	if a.onCreate != nil {
		a.onCreate(r)
	}
	return &emptypb.Empty{}, a.record("CreateContainer")
}

func (a *fakeAgent) StartContainer(context.Context, *api.StartContainerRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, a.record("StartContainer")
}

func (a *fakeAgent) ExecProcess(_ context.Context, r *api.ExecProcessRequest) (*emptypb.Empty, error) {
	a.mu.Lock()
	a.output[r.ExecId] = []byte(strings.Join(r.Process.Args, " "))
	a.status[r.ExecId] = 7
	a.input[r.ExecId] = &bytes.Buffer{}
	a.ended[r.ExecId] = make(chan struct{})
	a.mu.Unlock()
	return &emptypb.Empty{}, a.record("ExecProcess")
}

func (a *fakeAgent) ReadStdout(ctx context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	a.mu.Lock()
	out := a.output[r.ExecId]
	n := min(len(out), int(r.Len))
	a.output[r.ExecId] = out[n:]
	_, ends := a.status[r.ExecId]
	ended := a.ended[r.ExecId]
	a.mu.Unlock()
	if n == 0 && !ends {
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &api.ReadStreamResponse{Data: out[:n]}, nil
}

func (a *fakeAgent) ReadStderr(context.Context, *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	return &api.ReadStreamResponse{}, nil
}

// WriteStdin takes at most three bytes at a time, so that the client has to go on after a short write.
func (a *fakeAgent) WriteStdin(_ context.Context, r *api.WriteStreamRequest) (*api.WriteStreamResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := min(3, len(r.Data))
	a.input[r.ExecId].Write(r.Data[:n])
	return &api.WriteStreamResponse{Len: uint32(n)}, nil
}

func (a *fakeAgent) CloseStdin(_ context.Context, r *api.CloseStdinRequest) (*emptypb.Empty, error) {
	a.end(r.ExecId)
	return &emptypb.Empty{}, a.record("CloseStdin")
}

func (a *fakeAgent) WaitProcess(ctx context.Context, r *api.WaitProcessRequest) (*api.WaitProcessResponse, error) {
	a.mu.Lock()
	st, ends := a.status[r.ExecId]
	ended := a.ended[r.ExecId]
	a.mu.Unlock()
	if ends {
		return &api.WaitProcessResponse{Status: st}, nil
	}
	select {
	case <-ended:
		return &api.WaitProcessResponse{Status: 143}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *fakeAgent) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ch := a.ended[id]; ch != nil {
		select {
		case <-ch:
		default:
			close(ch)
		}
	}
}

func (a *fakeAgent) SignalProcess(_ context.Context, r *api.SignalProcessRequest) (*emptypb.Empty, error) {
	err := a.record("SignalProcess")
	if err == nil {
		a.end(r.ContainerId)
	}
	return &emptypb.Empty{}, err
}

func (a *fakeAgent) RemoveContainer(_ context.Context, r *api.RemoveContainerRequest) (*emptypb.Empty, error) {
	a.end(r.ContainerId)
	return &emptypb.Empty{}, a.record("RemoveContainer")
}

func (a *fakeAgent) GetOOMEvent(ctx context.Context, _ *api.GetOOMEventRequest) (*api.OOMEvent, error) {
	select {
	case id := <-a.ooms:
		return &api.OOMEvent{ContainerId: id}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve serves the agent on a unix socket and returns a way to connect to it.
func (a *fakeAgent) serve(t *testing.T) func() net.Conn {
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

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestLineMuxKeepsLinesWhole(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	cases := []struct {
		name   string
		writes []string
		want   string
	}{
		{"one-line", []string{"a\n"}, "n | a\n"},
		{"split-line", []string{"a", "b", "c\nd"}, "n | abc\nn | d\n"},
		{"several", []string{"a\nb\n\nc\n"}, "n | a\nn | b\nn | \nn | c\n"},
		{"carriage-return", []string{"a\r\nb\r\n"}, "n | a\nn | b\n"},
		{"no-output", nil, ""},
		{"longest", []string{long + "\n"}, "n | " + long + "\n"},
		{"too-long", []string{long + "y\nz\n"}, "n | " + long + "\nn | y\nn | z\n"},
		{"endless", []string{long, long, "z"}, "n | " + long + "\nn | " + long + "\nn | z\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			w := NewLineMux(&out).Writer("n | ")
			for _, s := range c.writes {
				if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
					t.Fatalf("write got %d, %v", n, err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != c.want {
				t.Errorf("got %d bytes %.80q, want %d bytes %.80q", len(got), got, len(c.want), c.want)
			}
		})
	}
}

func TestClaimStateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cloister", "pod")
	lock, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	state := State{Version: stateVersion, Name: "pod", Sandbox: "s", Containers: map[string]ContainerState{"a": {ID: "1"}}}
	if err := state.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadState(dir)
	if err != nil || got.Containers["a"].ID != "1" {
		t.Fatalf("state got %+v, %v", got, err)
	}
	if _, err := claim(dir); err == nil {
		t.Fatal("a second claim: got nil, want an error")
	}
	lock.Close() // as the kernel does for a killed run
	lock, err = claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := ReadState(dir); err == nil {
		t.Error("the killed run's state: got nil, want an error")
	}
}

func TestStateDirRefusesPaths(t *testing.T) {
	for _, name := range []string{"", "..", "a/b", "A", ".a", "a..", strings.Repeat("a", 254)} {
		if dir, err := StateDir(name); err == nil {
			t.Errorf("%q: got %q, want an error", name, dir)
		}
	}
}
