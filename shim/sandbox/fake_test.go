package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/network"
	"github.com/cloister-cc/cloister/shim/vm"
)

func TestMain(m *testing.M) {
	logrus.SetLevel(logrus.PanicLevel)
	log.L.Logger.SetLevel(logrus.PanicLevel)
	goleak.VerifyTestMain(m)
}

// fakeAgent is an agent behind a real ttrpc server: containers and processes whose ends the test decides. The embedded nil interface makes every call that it
// does not know a panic, so that a test fails when the host side starts to ask for more.
type fakeAgent struct {
	api.AgentServiceService

	// before is called first in each call; an error is the answer. It may block.
	before func(ctx context.Context, call string) error

	mu         sync.Mutex
	calls      []string
	requests   []any
	containers map[string]map[string]*fakeProcess // by container and exec id
	ooms       chan string
	oomFlood   atomic.Pointer[string] // a container that GetOOMEvent names each time
}

type fakeProcess struct {
	output chan []byte // closed at the end of the stream
	input  bytes.Buffer
	closed bool // input
	ended  chan struct{}
	once   sync.Once
	status int32
}

func newFakeAgent() *fakeAgent {
	return &fakeAgent{containers: map[string]map[string]*fakeProcess{}, ooms: make(chan string, 4)}
}

func newFakeProcess() *fakeProcess {
	return &fakeProcess{output: make(chan []byte, 16), ended: make(chan struct{})}
}

func (p *fakeProcess) end(status int32) {
	p.once.Do(func() { p.status = status; close(p.output); close(p.ended) })
}

// enter records a call and asks the test what to do with it.
func (a *fakeAgent) enter(ctx context.Context, call string, request any) error {
	a.mu.Lock()
	a.calls = append(a.calls, call)
	a.requests = append(a.requests, request)
	before := a.before
	a.mu.Unlock()
	if before != nil {
		return before(ctx, call)
	}
	return nil
}

func (a *fakeAgent) setBefore(f func(ctx context.Context, call string) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before = f
}

// recorded are the calls but those that come by themselves.
func (a *fakeAgent) recorded() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.calls), func(c string) bool {
		return c == "WaitProcess" || c == "GetOOMEvent" || c == "CloseStdin" || c == "Check"
	})
}

func (a *fakeAgent) process(container, exec string) (*fakeProcess, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.containers[container]
	if c == nil {
		return nil, status.Errorf(codes.InvalidArgument, "container %q is not known", container)
	}
	if exec == "" {
		exec = container
	}
	if p := c[exec]; p != nil {
		return p, nil
	}
	return nil, status.Errorf(codes.NotFound, "process %q of container %q is not known", exec, container)
}

func ok(err error) (*emptypb.Empty, error) {
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (a *fakeAgent) Check(ctx context.Context, r *api.CheckRequest) (*api.HealthCheckResponse, error) {
	return &api.HealthCheckResponse{Status: api.HealthCheckResponse_SERVING}, a.enter(ctx, "Check", r)
}

func (a *fakeAgent) Version(context.Context, *api.CheckRequest) (*api.VersionCheckResponse, error) {
	return &api.VersionCheckResponse{}, nil
}

func (a *fakeAgent) SetPolicy(ctx context.Context, r *api.SetPolicyRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "SetPolicy", r))
}

func (a *fakeAgent) UpdateInterface(ctx context.Context, r *api.UpdateInterfaceRequest) (*api.Interface, error) {
	return r.Interface, a.enter(ctx, "UpdateInterface", r)
}

func (a *fakeAgent) UpdateRoutes(ctx context.Context, r *api.UpdateRoutesRequest) (*api.Routes, error) {
	return r.Routes, a.enter(ctx, "UpdateRoutes", r)
}

func (a *fakeAgent) AddARPNeighbors(ctx context.Context, r *api.AddARPNeighborsRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "AddARPNeighbors", r))
}

func (a *fakeAgent) CreateSandbox(ctx context.Context, r *api.CreateSandboxRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "CreateSandbox", r))
}

func (a *fakeAgent) DestroySandbox(ctx context.Context, r *api.DestroySandboxRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "DestroySandbox", r))
}

func (a *fakeAgent) GetGuestDetails(ctx context.Context, r *api.GuestDetailsRequest) (*api.GuestDetailsResponse, error) {
	return &api.GuestDetailsResponse{}, a.enter(ctx, "GetGuestDetails", r)
}

func (a *fakeAgent) CopyFile(ctx context.Context, r *api.CopyFileRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "CopyFile", r))
}

func (a *fakeAgent) OnlineCPUMem(ctx context.Context, r *api.OnlineCPUMemRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "OnlineCPUMem", r))
}

func (a *fakeAgent) CreateContainer(ctx context.Context, r *api.CreateContainerRequest) (*emptypb.Empty, error) {
	if err := a.enter(ctx, "CreateContainer", r); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.containers[r.ContainerId] = map[string]*fakeProcess{r.ContainerId: newFakeProcess()}
	return &emptypb.Empty{}, nil
}

func (a *fakeAgent) StartContainer(ctx context.Context, r *api.StartContainerRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "StartContainer", r))
}

func (a *fakeAgent) RemoveContainer(ctx context.Context, r *api.RemoveContainerRequest) (*emptypb.Empty, error) {
	if err := a.enter(ctx, "RemoveContainer", r); err != nil {
		return nil, err
	}
	if _, err := a.process(r.ContainerId, ""); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.containers[r.ContainerId] {
		p.end(137)
	}
	delete(a.containers, r.ContainerId)
	return &emptypb.Empty{}, nil
}

func (a *fakeAgent) ExecProcess(ctx context.Context, r *api.ExecProcessRequest) (*emptypb.Empty, error) {
	if err := a.enter(ctx, "ExecProcess", r); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.containers[r.ContainerId][r.ExecId] != nil {
		return nil, status.Error(codes.InvalidArgument, "exec id is in use")
	}
	a.containers[r.ContainerId][r.ExecId] = newFakeProcess()
	return &emptypb.Empty{}, nil
}

func (a *fakeAgent) SignalProcess(ctx context.Context, r *api.SignalProcessRequest) (*emptypb.Empty, error) {
	if err := a.enter(ctx, "SignalProcess", r); err != nil {
		return nil, err
	}
	p, err := a.process(r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
		return nil, status.Error(codes.NotFound, "ESRCH: No such process")
	default:
	}
	if r.Signal == 9 {
		p.end(137)
	}
	return &emptypb.Empty{}, nil
}

func (a *fakeAgent) WaitProcess(ctx context.Context, r *api.WaitProcessRequest) (*api.WaitProcessResponse, error) {
	if err := a.enter(ctx, "WaitProcess", r); err != nil {
		return nil, err
	}
	p, err := a.process(r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
		return &api.WaitProcessResponse{Status: p.status}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *fakeAgent) ReadStdout(ctx context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	if err := a.enter(ctx, "ReadStdout", r); err != nil {
		return nil, err
	}
	p, err := a.process(r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	select {
	case data := <-p.output:
		return &api.ReadStreamResponse{Data: data}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *fakeAgent) ReadStderr(ctx context.Context, r *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	return &api.ReadStreamResponse{}, a.enter(ctx, "ReadStderr", r)
}

func (a *fakeAgent) WriteStdin(ctx context.Context, r *api.WriteStreamRequest) (*api.WriteStreamResponse, error) {
	if err := a.enter(ctx, "WriteStdin", r); err != nil {
		return nil, err
	}
	p, err := a.process(r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := min(len(r.Data), 3) // short writes go on
	p.input.Write(r.Data[:n])
	return &api.WriteStreamResponse{Len: uint32(n)}, nil
}

func (a *fakeAgent) CloseStdin(ctx context.Context, r *api.CloseStdinRequest) (*emptypb.Empty, error) {
	if err := a.enter(ctx, "CloseStdin", r); err != nil {
		return nil, err
	}
	p, err := a.process(r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	p.closed = true
	a.mu.Unlock()
	return &emptypb.Empty{}, nil
}

func (a *fakeAgent) TtyWinResize(ctx context.Context, r *api.TtyWinResizeRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "TtyWinResize", r))
}

func (a *fakeAgent) StatsContainer(ctx context.Context, r *api.StatsContainerRequest) (*api.StatsContainerResponse, error) {
	return &api.StatsContainerResponse{CgroupStats: &api.CgroupStats{PidsStats: &api.PidsStats{Current: 3}}}, a.enter(ctx, "StatsContainer", r)
}

func (a *fakeAgent) PauseContainer(ctx context.Context, r *api.PauseContainerRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "PauseContainer", r))
}

func (a *fakeAgent) ResumeContainer(ctx context.Context, r *api.ResumeContainerRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "ResumeContainer", r))
}

func (a *fakeAgent) UpdateContainer(ctx context.Context, r *api.UpdateContainerRequest) (*emptypb.Empty, error) {
	return ok(a.enter(ctx, "UpdateContainer", r))
}

func (a *fakeAgent) GetOOMEvent(ctx context.Context, r *api.GetOOMEventRequest) (*api.OOMEvent, error) {
	if err := a.enter(ctx, "GetOOMEvent", r); err != nil {
		return nil, err
	}
	if id := a.oomFlood.Load(); id != nil {
		return &api.OOMEvent{ContainerId: *id}, nil
	}
	select {
	case id := <-a.ooms:
		return &api.OOMEvent{ContainerId: id}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// end ends a process as a workload would.
func (a *fakeAgent) end(t *testing.T, container, exec string, status int32) {
	t.Helper()
	p, err := a.process(container, exec)
	if err != nil {
		t.Fatal(err)
	}
	p.end(status)
}

// request is the last request of a type.
func request[R any](a *fakeAgent) R {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found R
	for _, r := range a.requests {
		if r, is := r.(R); is {
			found = r
		}
	}
	return found
}

// fakeVM is a machine whose agent is the fake one.
type fakeVM struct {
	config  vm.Config
	pid     int // of a process that exists
	connect func() (net.Conn, error)
	hang    func(ctx context.Context, what string) error // may block or refuse

	mu    sync.Mutex
	conns []net.Conn
	disks map[int]string // by LUN
	next  int

	lastDisk string
	size     vm.Size
	once     sync.Once
	done     chan struct{}
	err      error
	stops    int
}

func (m *fakeVM) at(ctx context.Context, what string) error {
	if m.hang != nil {
		return m.hang(ctx, what)
	}
	return nil
}

// last is the path of the disk that is being plugged in, or was last.
func (m *fakeVM) last() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastDisk
}

func (m *fakeVM) Plug(ctx context.Context, d vm.Disk) (vm.Address, error) {
	m.mu.Lock()
	m.lastDisk = d.Path
	m.mu.Unlock()
	if err := m.at(ctx, "plug "+filepath.Base(d.Path)); err != nil {
		return vm.Address{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.HasSuffix(d.Path, "missing") {
		return vm.Address{}, fs.ErrNotExist
	}
	m.next++
	m.disks[m.next] = d.Path
	return vm.Address{LUN: m.next}, nil
}

func (m *fakeVM) Unplug(ctx context.Context, a vm.Address) error {
	if err := m.at(ctx, "unplug"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disks[a.LUN] == "" {
		return errors.New("nothing is plugged there")
	}
	delete(m.disks, a.LUN)
	return nil
}

func (m *fakeVM) Dial(ctx context.Context, _ int) (net.Conn, error) {
	if err := m.at(ctx, "dial"); err != nil {
		return nil, err
	}
	conn, err := m.connect()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, conn)
	return conn, err
}

func (m *fakeVM) Resize(ctx context.Context, vcpus, memoryMiB int) (vm.Size, error) {
	err := m.at(ctx, "resize")
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.size = vm.Size{VCPUs: vcpus, MemoryMiB: memoryMiB}
	}
	return m.size, err
}

// die ends the machine as a crash would: its channels end a little earlier or later.
func (m *fakeVM) die(err error) {
	m.once.Do(func() {
		m.err = err
		close(m.done)
	})
	m.cut()
}

func (m *fakeVM) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		c.Close()
	}
}

func (m *fakeVM) Stop(context.Context) error {
	m.mu.Lock()
	m.stops++
	m.mu.Unlock()
	m.die(nil)
	return nil
}

func (m *fakeVM) Pid() int              { return m.pid }
func (m *fakeVM) Done() <-chan struct{} { return m.done }
func (m *fakeVM) Err() error            { return m.err }

func (m *fakeVM) plugged() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.disks)
}

// fakeLinks is a network namespace with one interface.
type fakeLinks struct {
	mu     sync.Mutex
	closed int
}

func (l *fakeLinks) Links() []network.Link {
	return []network.Link{{Name: "eth0", MAC: "02:00:00:00:00:01", MTU: 1500, Tap: os.Stdin}}
}

func (l *fakeLinks) Guest() network.Guest {
	return network.Guest{
		Interfaces: []*api.Interface{{Name: "eth0", HwAddr: "02:00:00:00:00:01"}},
		Routes:     []*api.Route{{Gateway: "10.0.0.1", Device: "eth0"}},
		Neighbors:  []*api.ARPNeighbor{{Device: "eth0", Lladdr: "02:00:00:00:00:02", ToIPAddress: &api.IPAddress{Address: "10.0.0.1"}}},
	}
}

func (l *fakeLinks) Notes() []string { return nil }

func (l *fakeLinks) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed++
	return nil
}

// serve runs the agent behind a socket until the test ends.
func (a *fakeAgent) serve(t *testing.T) func() (net.Conn, error) {
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
	go func() { defer close(done); _ = server.Serve(context.Background(), listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return func() (net.Conn, error) { return net.Dial("unix", path) }
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}
