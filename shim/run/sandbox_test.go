package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// fakeVM is a machine whose agent is the fake one.
type fakeVM struct {
	config  vm.Config
	connect func() net.Conn

	mu     sync.Mutex
	disks  []string // by LUN; "" is free
	events []string
	stop   sync.Once
	done   chan struct{}
	err    error
}

func (m *fakeVM) Plug(_ context.Context, d vm.Disk) (vm.Address, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.HasSuffix(d.Path, "missing") {
		return vm.Address{}, fs.ErrNotExist
	}
	m.events = append(m.events, "plug "+d.Path)
	m.disks = append(m.disks, d.Path)
	return vm.Address{LUN: len(m.disks) - 1}, nil
}

func (m *fakeVM) Unplug(_ context.Context, a vm.Address) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, "unplug "+m.disks[a.LUN])
	m.disks[a.LUN] = ""
	return nil
}

func (m *fakeVM) Dial(context.Context, int) (net.Conn, error) {
	return m.connect(), nil
}

func (m *fakeVM) Stop(context.Context) error {
	m.stop.Do(func() { close(m.done) })
	return nil
}

func (m *fakeVM) Done() <-chan struct{} { return m.done }
func (m *fakeVM) Err() error            { return m.err }

func (m *fakeVM) plugged() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.disks), func(s string) bool { return s == "" })
}

// testbed is a fake agent in a fake machine, and options that boot it.
type testbed struct {
	agent   *fakeAgent
	machine *fakeVM
	options Options
}

// authorityDir is one for all tests: making its keys takes seconds.
var authorityDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "cloister-run-test-") })

func newTestbed(t *testing.T) *testbed {
	authority, err := authorityDir()
	if err != nil {
		t.Fatal(err)
	}
	a := newFakeAgent()
	b := &testbed{agent: a, machine: &fakeVM{connect: a.serve(t), done: make(chan struct{})}}
	guest := t.TempDir()
	for name, content := range map[string]string{"vmlinuz": "kernel", "initrd.img": "initrd", "cmdline": "quiet\n"} {
		if err := os.WriteFile(filepath.Join(guest, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.options = Options{
		Name: "pod", Policy: []byte("package policy"), TEE: vm.TEEEmulated, Guest: guest, Emulator: filepath.Join(authority, "authority"),
		StateDir: filepath.Join(t.TempDir(), "state", "pod"),
	}
	before := startVM
	t.Cleanup(func() { startVM = before })
	startVM = func(_ context.Context, c vm.Config) (vm.VM, error) {
		b.machine.config = c
		return b.machine, nil
	}
	return b
}

func testContainer(name string, disks ...string) *Container {
	c := &Container{Container: &pod.Container{Name: name, Args: []string{"/bin/" + name}, Cwd: "/"}}
	for _, d := range disks {
		c.Disks = append(c.Disks, Layer{Path: "/layers/" + d, Root: strings.Repeat("a", 63) + d})
	}
	return c
}

func (b *testbed) checkGone(t *testing.T) {
	t.Helper()
	b.checkGoneDir(t)
	select {
	case <-b.machine.done:
	default:
		t.Error("the VM still runs")
	}
}

func (b *testbed) checkGoneDir(t *testing.T) {
	t.Helper()
	if _, err := os.Lstat(b.options.StateDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("state directory: got %v, want it gone", err)
	}
}

func TestRunPodOrder(t *testing.T) {
	b := newTestbed(t)
	b.options.Network = true
	b.agent.onCreate = func(r *api.CreateContainerRequest) {
		b.agent.mu.Lock()
		defer b.agent.mu.Unlock()
		b.agent.output[r.ContainerId] = []byte("hello\n")
		b.agent.status[r.ContainerId] = int32(len(b.agent.create))
	}
	var out, errOut bytes.Buffer
	result, err := RunPod(testContext(t), b.options, []*Container{testContainer("web", "1", "2"), testContainer("db", "1", "3")}, &out, &errOut)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Check", "SetPolicy", "UpdateInterface", "UpdateRoutes", "CreateSandbox",
		"CreateContainer", "StartContainer", "CreateContainer", "StartContainer",
	}
	got := slices.DeleteFunc(b.agent.recorded(), func(s string) bool { return s == "SignalProcess" })
	want = append(want, "RemoveContainer", "RemoveContainer", "DestroySandbox")
	if !slices.Equal(got, want) {
		t.Errorf("calls got %q, want %q", got, want)
	}
	wantEvents := []string{
		"plug /layers/1", "plug /layers/2", "plug /layers/3",
		"unplug /layers/3", "unplug /layers/2", "unplug /layers/1",
	}
	if !slices.Equal(b.machine.events, wantEvents) {
		t.Errorf("disks got %q, want %q", b.machine.events, wantEvents)
	}
	if result.Exit["web"] != 1 || result.Exit["db"] != 2 {
		t.Errorf("exit got %v, want web 1 and db 2", result.Exit)
	}
	if got := out.String(); !strings.Contains(got, "web | hello\n") || !strings.Contains(got, "db  | hello\n") || errOut.Len() != 0 {
		t.Errorf("output got %q and %q", got, errOut.String())
	}
	if b.agent.policy != "package policy" {
		t.Errorf("policy got %q", b.agent.policy)
	}
	b.checkGone(t)
}

func TestCreateRequestStorages(t *testing.T) {
	b := newTestbed(t)
	s, err := Start(testContext(t), b.options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(testContext(t))
	c := testContainer("web", "1", "2", "3")
	if err := s.CreateContainer(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	request := b.agent.create[0]
	if request.ContainerId != c.ID || request.ExecId != c.ID {
		t.Errorf("ids got %q and %q, want %q", request.ContainerId, request.ExecId, c.ID)
	}
	var layers []string
	for i, st := range request.Storages[:3] {
		if st.Driver != "scsi" || st.Fstype != "ext4" || st.Options[0] != "ro" || st.Options[3] != "X-kata.dmverity.roothash="+c.Disks[i].Root {
			t.Errorf("storage %d got %v", i, st)
		}
		layers = append(layers, st.MountPoint)
	}
	slices.Reverse(layers)
	overlay := request.Storages[3]
	if want := "lowerdir=" + strings.Join(layers, ":"); overlay.Options[0] != want {
		t.Errorf("overlay got %q, want %q: the top layer comes first", overlay.Options[0], want)
	}
	if request.OCI.Root.Path != overlay.MountPoint {
		t.Errorf("root got %q, want %q", request.OCI.Root.Path, overlay.MountPoint)
	}
}

func TestHostAliasesAreCopied(t *testing.T) {
	b := newTestbed(t)
	b.options.HostAliases = []pod.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"db", "db.local"}}}
	s, err := Start(testContext(t), b.options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(testContext(t))
	if err := s.CreateContainer(testContext(t), testContainer("web", "1")); err != nil {
		t.Fatal(err)
	}
	mounts := b.agent.create[0].OCI.Mounts
	last := mounts[len(mounts)-1]
	if len(b.agent.copied) != 1 || last.Destination != "/etc/hosts" || last.Source != b.agent.copied[0].Path {
		t.Fatalf("copied got %v, mount got %v", b.agent.copied, last)
	}
	if got := string(b.agent.copied[0].Data); got != "10.1.2.3\tdb\tdb.local\n" {
		t.Errorf("file got %q", got)
	}
}

func TestTEEDiskCarriesHostData(t *testing.T) {
	lie := [32]byte{1, 2, 3}
	for name, c := range map[string]struct {
		carrier  Carrier
		hostData *[32]byte
		want     func(t *testing.T, b *testbed) [32]byte
	}{
		"setpolicy": {CarrierSetPolicy, nil, func(t *testing.T, b *testbed) [32]byte { return sha256.Sum256(b.options.Policy) }},
		"initdata": {CarrierInitdata, nil, func(t *testing.T, b *testbed) [32]byte {
			image, err := os.ReadFile(b.machine.config.InitdataDisk)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := initdata.Read(bytes.NewReader(image), int64(len(image)))
			if err != nil {
				t.Fatal(err)
			}
			if doc.Data[initdata.PolicyKey] != string(b.options.Policy) {
				t.Errorf("policy on the disk got %q", doc.Data[initdata.PolicyKey])
			}
			return doc.HostData()
		}},
		"another": {CarrierSetPolicy, &lie, func(*testing.T, *testbed) [32]byte { return lie }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTestbed(t)
			b.options.Carrier, b.options.HostData = c.carrier, c.hostData
			s, err := Start(testContext(t), b.options)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop(testContext(t))
			f, err := os.Open(b.machine.config.TEEDisk)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			params, err := emulator.ReadTEEDisk(f)
			if err != nil {
				t.Fatal(err)
			}
			want := c.want(t, b)
			if params.HostData != want || b.machine.config.HostData != want {
				t.Errorf("HOST_DATA got %x and %x, want %x", params.HostData, b.machine.config.HostData, want)
			}
			if params.Measurement == [48]byte{} {
				t.Error("measurement is zero")
			}
			if got := slices.Contains(b.agent.recorded(), "SetPolicy"); got != (c.carrier == CarrierSetPolicy) {
				t.Errorf("SetPolicy was sent: %v", got)
			}
		})
	}
}

func TestRefusedCreateLeavesNothing(t *testing.T) {
	b := newTestbed(t)
	b.agent.refuse["CreateContainer"] = status.Error(codes.PermissionDenied, "CreateContainerRequest is blocked by policy: create_container: invalid command")
	_, err := RunPod(testContext(t), b.options, []*Container{testContainer("web", "1", "2")}, &bytes.Buffer{}, &bytes.Buffer{})
	refusal, ok := AsRefusal(err)
	if !ok || refusal.Point != "create_container" {
		t.Errorf("got %v, want the agent's refusal", err)
	}
	if left := b.machine.plugged(); len(left) != 0 {
		t.Errorf("still plugged: %q", left)
	}
	if slices.Contains(b.agent.recorded(), "RemoveContainer") {
		t.Error("a container that was never created was removed")
	}
	b.checkGone(t)
}

func TestFailedPlugGivesBackTheOthers(t *testing.T) {
	b := newTestbed(t)
	_, err := RunPod(testContext(t), b.options, []*Container{testContainer("web", "1", "2", "missing")}, &bytes.Buffer{}, &bytes.Buffer{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	if left := b.machine.plugged(); len(left) != 0 {
		t.Errorf("still plugged: %q", left)
	}
	b.checkGone(t)
}

func TestRefusedPolicyLeavesNothing(t *testing.T) {
	b := newTestbed(t)
	b.agent.refuse["SetPolicy"] = status.Error(codes.PermissionDenied, "SetPolicyRequest is blocked by policy: the policy's hash is 00, HOST_DATA is 01")
	_, err := Start(testContext(t), b.options)
	if refusal, ok := AsRefusal(err); !ok || refusal.Request != "SetPolicyRequest" || refusal.Point != "" {
		t.Errorf("got %v, want the agent's refusal", err)
	}
	b.checkGone(t)
}

func TestInterruptTakesEverythingDown(t *testing.T) {
	b := newTestbed(t)
	ctx, cancel := context.WithCancel(testContext(t))
	b.agent.onCreate = func(*api.CreateContainerRequest) { go cancel() }
	_, err := RunPod(ctx, b.options, []*Container{testContainer("web", "1")}, &bytes.Buffer{}, &bytes.Buffer{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	b.checkGone(t)
}

func TestVMThatEndsEndsTheRun(t *testing.T) {
	b := newTestbed(t)
	b.machine.err = errors.New("guest panic")
	b.agent.onCreate = func(*api.CreateContainerRequest) { b.machine.Stop(context.Background()) }
	_, err := RunPod(testContext(t), b.options, []*Container{testContainer("web", "1")}, &bytes.Buffer{}, &bytes.Buffer{})
	if !errors.Is(err, boot.ErrVMEnded) || !errors.Is(err, b.machine.err) {
		t.Errorf("got %v, want %v", err, b.machine.err)
	}
	b.checkGone(t)
}

func TestOOMIsReported(t *testing.T) {
	b := newTestbed(t)
	var log syncBuffer
	b.options.Log = &log
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	b.agent.onCreate = func(r *api.CreateContainerRequest) { b.agent.ooms <- r.ContainerId }
	log.after("out of memory", cancel)
	result, _ := RunPod(ctx, b.options, []*Container{testContainer("web", "1")}, &bytes.Buffer{}, &bytes.Buffer{})
	if len(result.OOM) != 1 {
		t.Errorf("out of memory got %q, want one container", result.OOM)
	}
}

// syncBuffer calls a function once a text was written.
type syncBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	text string
	call func()
}

func (s *syncBuffer) after(text string, call func()) { s.text, s.call = text, call }

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Write(p)
	if s.call != nil && strings.Contains(s.b.String(), s.text) {
		s.call()
		s.call = nil
	}
	return len(p), nil
}

func TestKeepLeavesTheStateDirectory(t *testing.T) {
	b := newTestbed(t)
	b.options.Keep = true
	s, err := Start(testContext(t), b.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.options.StateDir, "tee.img")); err != nil {
		t.Error(err)
	}
}

func TestExecReturnsStatusAndOutput(t *testing.T) {
	b := newTestbed(t)
	s, err := Start(testContext(t), b.options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(testContext(t))
	var out bytes.Buffer
	code, err := s.Client().Exec(testContext(t), "c", &api.Process{Args: []string{"ls", "-l"}}, ProcessIO{Stdout: &out, Stderr: &out})
	if err != nil || code != 7 || out.String() != "ls -l" {
		t.Errorf("got %d, %v, %q, want 7 and %q", code, err, out.String(), "ls -l")
	}
}

func TestTEEIsNeverGuessed(t *testing.T) {
	for _, tee := range []vm.TEE{"", "auto", vm.TEESNP} {
		b := newTestbed(t)
		b.options.TEE = tee
		if _, err := Start(testContext(t), b.options); err == nil {
			t.Errorf("%q: got nil, want an error", tee)
		}
		if _, err := os.Lstat(b.options.StateDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: state directory: got %v, want it gone", tee, err)
		}
	}
}
