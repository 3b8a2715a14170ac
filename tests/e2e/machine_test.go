package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
)

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// machine is a sandbox with what a case needs around it.
type machine struct {
	*run.Sandbox
	t   *testing.T
	ctx context.Context
	dir string
}

// vmOptions are what every VM of the suite has in common.
func vmOptions(policy []byte) (run.Options, error) {
	image, err := guestImage()
	if err != nil {
		return run.Options{}, err
	}
	kernel, err := guest.VMLinux(filepath.Join(image, "vmlinuz"))
	if err != nil {
		return run.Options{}, err
	}
	dir, err := os.MkdirTemp(scratch, "vm-")
	if err != nil {
		return run.Options{}, err
	}
	return run.Options{
		Name: "e2e", Policy: policy, TEE: vm.TEEEmulated, Guest: image, Kernel: kernel, MemoryMiB: 640, Network: true,
		HostAliases: []pod.HostAlias{{IP: "10.0.2.9", Hostnames: []string{"elsewhere"}}},
		StateDir:    filepath.Join(dir, "state"), Keep: true, Emulator: filepath.Join(scratch, "authority"),
	}, nil
}

// boot boots a VM of the case's own, up to the agent's first answer; nothing is bound yet.
func boot(t *testing.T, policy []byte, change func(*run.Options)) *machine {
	t.Helper()
	need(t)
	o, err := vmOptions(policy)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&o)
	}
	ctx := caseContext(t)
	s, err := run.Boot(ctx, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(filepath.Join(o.StateDir, "console.log")))
	}
	m := &machine{Sandbox: s, t: t, ctx: ctx, dir: o.StateDir}
	t.Cleanup(func() {
		m.attach()
		if err := s.Stop(context.Background()); err != nil && !t.Failed() {
			t.Errorf("stop: %v", err)
		}
	})
	return m
}

// start is boot, with the policy bound, the network up and the sandbox open.
func start(t *testing.T, policy []byte, change func(*run.Options)) *machine {
	t.Helper()
	m := boot(t, policy, change)
	if err := m.SetPolicy(m.ctx, policy); err != nil {
		t.Fatal(err)
	}
	m.open()
	return m
}

func (m *machine) open() {
	m.t.Helper()
	if err := errors.Join(m.ConfigureNetwork(m.ctx), m.Open(m.ctx)); err != nil {
		m.t.Fatal(err)
	}
}

func caseContext(t *testing.T) context.Context { return limitedContext(t, caseTimeout) }

func limitedContext(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

var sharedVM struct {
	sync.Mutex
	sandbox *run.Sandbox
	dir     string
}

// shared returns the VM that cases share. After the case, the agent must hold what it held before it.
func shared(t *testing.T) *machine {
	t.Helper()
	return sharedFor(t, caseTimeout)
}

// sharedFor is shared for a case that takes longer than others.
func sharedFor(t *testing.T, limit time.Duration) *machine {
	t.Helper()
	need(t)
	ctx := limitedContext(t, limit)
	sharedVM.Lock()
	defer sharedVM.Unlock()
	if s := sharedVM.sandbox; s != nil {
		select {
		case <-s.VM().Done(): // an earlier case has broken it, and failed
			s.Stop(context.Background())
			sharedVM.sandbox = nil
		default:
		}
	}
	if sharedVM.sandbox == nil {
		bootShared(t, ctx)
	}
	m := &machine{Sandbox: sharedVM.sandbox, t: t, ctx: ctx, dir: sharedVM.dir}
	t.Cleanup(func() { m.attach(); m.checkLeft() })
	return m
}

func bootShared(t *testing.T, ctx context.Context) {
	t.Helper()
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	o, err := vmOptions(policy)
	if err != nil {
		t.Fatal(err)
	}
	s, err := run.Start(ctx, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(filepath.Join(o.StateDir, "console.log")))
	}
	sharedVM.sandbox, sharedVM.dir = s, o.StateDir
}

func stopShared() error {
	if sharedVM.sandbox == nil {
		return nil
	}
	return sharedVM.sandbox.Stop(context.Background())
}

// held is what the agent counts of its own.
type held struct {
	Containers int `json:"containers"`
	Devices    int `json:"devices"`
	Mounts     int `json:"container_mounts"`
	Goroutines int `json:"goroutines"`
	FDs        int `json:"fds"`
	AllMounts  int `json:"mounts"`
	Mapped     int `json:"dm"`
	RSS        int `json:"rss_kib"`
}

// held asks the agent what it holds; the policy must allow stack dumps.
func (m *machine) held() held {
	m.t.Helper()
	answer, err := m.Client().GetDiagnosticData(context.WithoutCancel(m.ctx), &api.GetDiagnosticDataRequest{LogType: "held"})
	if err != nil {
		m.t.Fatalf("ask what the agent holds: %v", err)
	}
	var h held
	if err := json.Unmarshal([]byte(answer.Data), &h); err != nil {
		m.t.Fatal(err)
	}
	return h
}

// checkLeft fails a case that leaves something in the shared VM.
func (m *machine) checkLeft() {
	m.t.Helper()
	select {
	case <-m.VM().Done():
		m.t.Error("the shared VM ended during the case")
		return
	default:
	}
	h := m.held()
	if h.Containers != 0 || h.Devices != 0 || h.Mounts != 0 || h.Mapped != 0 {
		m.t.Errorf("left in the guest: %+v", h)
	}
}

// attach prints console and log with a failing case.
func (m *machine) attach() {
	if !m.t.Failed() {
		return
	}
	m.t.Logf("serial console:\n%s", tail(m.Console()))
	answer, err := m.Client().GetDiagnosticData(context.Background(), &api.GetDiagnosticDataRequest{LogType: "log"})
	if err != nil {
		m.t.Logf("agent log: %v", err)
		return
	}
	m.t.Logf("agent log:\n%s", lastBytes([]byte(answer.Data)))
}

func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return lastBytes(data)
}

func lastBytes(data []byte) string {
	const most = 6000
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return string(data)
}

// prepare gives a container its id, plugs its layers and returns the honest request. Layers are unplugged after the case
// unless the container was created and removed.
func (m *machine) prepare(c *pod.Container) (*run.Container, *api.CreateContainerRequest) {
	m.t.Helper()
	made := convert(m.t, m.ctx, c)[0]
	request, err := m.Prepare(m.ctx, made)
	if err != nil {
		m.t.Fatal(err)
	}
	return made, request
}

// create creates a container that must be allowed; it is removed after the case if it still is there.
func (m *machine) create(c *pod.Container) *run.Container {
	m.t.Helper()
	made := convert(m.t, m.ctx, c)[0]
	if err := m.CreateContainer(m.ctx, made); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if made.ID != "" {
			m.remove(made)
		}
	})
	return made
}

// remove removes a container once.
func (m *machine) remove(c *run.Container) {
	m.t.Helper()
	if err := m.RemoveContainer(context.WithoutCancel(m.ctx), c); err != nil {
		m.t.Errorf("remove %q: %v", c.Name, err)
	}
	c.ID = ""
}

// started creates and starts.
func (m *machine) started(c *pod.Container) *run.Container {
	m.t.Helper()
	made := m.create(c)
	if err := m.StartContainer(m.ctx, made); err != nil {
		m.t.Fatal(err)
	}
	return made
}

// finish reads a started container's output to its end, waits for it and removes it.
func (m *machine) finish(c *run.Container) (stdout, stderr string, code int) {
	m.t.Helper()
	var out, errOut bytes.Buffer
	if err := m.Client().CopyOutput(m.ctx, run.Process{Container: c.ID}, &out, &errOut); err != nil {
		m.t.Fatalf("read output of %q: %v", c.Name, err)
	}
	code, err := m.Wait(m.ctx, c)
	if err != nil {
		m.t.Fatalf("wait for %q: %v", c.Name, err)
	}
	m.remove(c)
	return out.String(), errOut.String(), code
}

// run runs a container from create to remove.
func (m *machine) run(c *pod.Container) (stdout, stderr string, code int) {
	m.t.Helper()
	return m.finish(m.started(c))
}

// waitLine reads a process's output until it has written a line.
func (m *machine) waitLine(p run.Process, line string) {
	m.t.Helper()
	var seen bytes.Buffer
	execID := p.Exec
	if execID == "" {
		execID = p.Container
	}
	for !strings.Contains(seen.String(), line+"\n") {
		answer, err := m.Client().ReadStdout(m.ctx, &api.ReadStreamRequest{ContainerId: p.Container, ExecId: execID, Len: 1024})
		if err != nil || len(answer.Data) == 0 {
			m.t.Fatalf("output ended before %q: %q, %v", line, seen.String(), err)
		}
		seen.Write(answer.Data)
	}
}

// tryCreate sends a request that may be refused and returns its error. A container that was created after all is removed.
func (m *machine) tryCreate(c *run.Container, request *api.CreateContainerRequest) error {
	m.t.Helper()
	_, err := m.Client().CreateContainer(m.ctx, request)
	if err == nil {
		if _, err := m.Client().RemoveContainer(m.ctx, &api.RemoveContainerRequest{ContainerId: request.ContainerId}); err != nil {
			m.t.Errorf("remove what should not have been created: %v", err)
		}
	}
	if err := m.Discard(context.WithoutCancel(m.ctx), c); err != nil {
		m.t.Errorf("unplug: %v", err)
	}
	return err
}

// wantRefusal fails unless err is a policy refusal that names all the words.
func wantRefusal(t *testing.T, err error, words ...string) {
	t.Helper()
	if _, ok := run.AsRefusal(err); !ok {
		t.Fatalf("got %v, want a refusal by the policy", err)
	}
	wantWords(t, err, words...)
}

// wantCode fails unless err has the status and names all the words.
func wantCode(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("got %v, want status %v", err, code)
	}
	wantWords(t, err, words...)
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(fmt.Sprint(err), w) {
			t.Errorf("got %v, want it to name %q", err, w)
		}
	}
}
