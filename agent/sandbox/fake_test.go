package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// fakeStorage mounts nothing, counts what would be mounted, and fails where it is told to.
type fakeStorage struct {
	t     *testing.T
	roots map[string]string // address -> root hash

	mu      sync.Mutex
	mounted map[string]bool
	log     []string
	fail    string // the operation that fails, e.g. "overlay" or "layer m1"
	unknown bool   // unmounts end in an unknown state
}

type fakeCandidate string

func (c fakeCandidate) RootHash() string { return string(c) }
func (c fakeCandidate) Close() error     { return nil }

type fakeMount struct {
	s      *fakeStorage
	target string
}

func (m *fakeMount) Unmount(context.Context) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.unknown {
		return fmt.Errorf("unmount: %w", storage.ErrStateUnknown)
	}
	if !m.s.mounted[m.target] {
		m.s.t.Errorf("%s is unmounted twice", m.target)
	}
	delete(m.s.mounted, m.target)
	m.s.log = append(m.s.log, "unmount "+m.target)
	return nil
}

func (s *fakeStorage) mount(op, target string) (Mount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == "panic "+op {
		panic("told to panic")
	}
	if s.fail == op || s.fail == op+" "+filepath.Base(target) {
		return nil, errors.New("told to fail")
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return nil, err
	}
	s.mounted[target] = true
	s.log = append(s.log, op+" "+target)
	return &fakeMount{s, target}, nil
}

func (s *fakeStorage) Open(_ context.Context, a storage.Address) (Candidate, error) {
	if s.fail == "panic open" {
		panic("told to panic")
	}
	root, ok := s.roots[a.String()]
	if !ok {
		return nil, errors.New("no such disk")
	}
	return fakeCandidate(root), nil
}

func (s *fakeStorage) MountLayer(_ context.Context, _ Candidate, target string) (Mount, error) {
	return s.mount("layer", target)
}

func (s *fakeStorage) MountScratch(_ context.Context, dir string, _ int64) (Mount, error) {
	return s.mount("scratch", dir)
}

func (s *fakeStorage) MountScratchDisk(_ context.Context, a storage.Address, dir string) (Mount, error) {
	s.mu.Lock()
	s.log = append(s.log, "encrypt "+a.String())
	s.mu.Unlock()
	return s.mount("scratch disk", dir)
}

func (s *fakeStorage) MountOverlay(_ context.Context, _ []string, _, _, target string) (Mount, error) {
	return s.mount("overlay", target)
}

func (s *fakeStorage) Bind(_ context.Context, _, _, target string) (Mount, error) {
	return s.mount("bind", target)
}

// fakeRuntime runs nothing; its processes end when they are told to.
type fakeRuntime struct {
	specs   map[string]*specs.Spec
	exits   map[string]fakeExit
	fail    map[string]error // by operation
	deleted []string
	begun   int // head starts that were neither taken nor abandoned
	onExec  func()
}

type fakeExit chan unix.WaitStatus

func (e fakeExit) Wait(ctx context.Context) (unix.WaitStatus, error) {
	select {
	case s := <-e:
		return s, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (r *fakeRuntime) Begin(string, string) func() {
	r.begun++
	return func() { r.begun-- }
}

func (r *fakeRuntime) Create(_ context.Context, key, _ string, spec *specs.Spec, _ bool) (*container.Process, error) {
	if err := r.fail["create"]; err != nil {
		return nil, err
	}
	r.specs[key] = spec
	r.exits[key] = make(fakeExit, 1)
	return container.NewProcess(1<<22+1, r.exits[key], spec.Process.Args), nil
}

func (r *fakeRuntime) Start(context.Context, string) error { return r.fail["start"] }

func (r *fakeRuntime) Exec(_ context.Context, _ string, _ uint64, spec *specs.Process, _ bool) (*container.Process, error) {
	if r.onExec != nil {
		r.onExec()
	}
	if err := r.fail["exec"]; err != nil {
		return nil, err
	}
	return container.NewProcess(1<<22+1, make(fakeExit, 1), spec.Args), nil
}

func (r *fakeRuntime) Update(context.Context, string, *specs.LinuxResources) error {
	return r.fail["update"]
}

func (r *fakeRuntime) Delete(_ context.Context, key string) error {
	r.deleted = append(r.deleted, key)
	return nil
}

// fakeGroup ends the container's process when it is killed.
type fakeGroup struct {
	r   *fakeRuntime
	key string
}

func (g fakeGroup) Stats() (*api.CgroupStats, error)           { return &api.CgroupStats{}, nil }
func (g fakeGroup) OOMKills() (uint64, error)                  { return 0, nil }
func (g fakeGroup) Freeze(context.Context) error               { return nil }
func (g fakeGroup) Thaw(context.Context) error                 { return nil }
func (g fakeGroup) WatchOOM(c context.Context, _ func()) error { <-c.Done(); return c.Err() }
func (g fakeGroup) Kill(context.Context) error {
	g.r.exits[g.key] <- unix.WaitStatus(unix.SIGKILL)
	return nil
}

// Two layers of two images, and one that no policy names.
var (
	rootBase  = strings.Repeat("aa", 32)
	rootWeb   = strings.Repeat("bb", 32)
	rootOther = strings.Repeat("cc", 32)
)

const allPoints = `
mount_device := data.framework.mount_device
unmount_device := data.framework.unmount_device
mount_overlay := data.framework.mount_overlay
unmount_overlay := data.framework.unmount_overlay
scratch_mount := data.framework.scratch_mount
scratch_unmount := data.framework.scratch_unmount
create_container := data.framework.create_container
exec_in_container := data.framework.exec_in_container
shutdown_container := data.framework.shutdown_container
signal_container_process := data.framework.signal_container_process
get_properties := data.framework.get_properties
runtime_logging := data.framework.runtime_logging
dump_stacks := data.framework.dump_stacks
reason := data.framework.reason
`

func testPolicy(extra string) string {
	return `package policy
api_version := "0.12.0"
framework_version := "0.5.0"
containers := [{
  "name": "web", "command": ["/bin/web"], "working_dir": "/", "layers": ["` + rootBase + `", "` + rootWeb + `"],
  "env_rules": [{"pattern": "PATH=/bin", "strategy": "string", "required": false}],
  "mounts": [{"destination": "/data", "source": "sandbox:///data", "type": "bind", "options": ["rbind", "rw"]}],
  "exec_processes": [{"command": ["/bin/check"], "signals": [10]}], "signals": [15],
  "user": {"user_idname": {"pattern": "", "strategy": "any"}, "group_idnames": [{"pattern": "", "strategy": "any"}], "umask": "0022"},
  "capabilities": null, "seccomp_profile_sha256": "", "allow_elevated": false, "allow_stdio_access": true, "no_new_privileges": false
}]
allow_properties_access := true
` + extra + allPoints
}

type bench struct {
	*Sandbox
	storage *fakeStorage
	runtime *fakeRuntime
}

func newBench(t *testing.T, policy string) *bench {
	t.Helper()
	g := gate.New(gate.Options{Enforcer: enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()}})
	if err := g.BindPolicy(t.Context(), []byte(policy)); err != nil {
		t.Fatal(err)
	}
	st := &fakeStorage{t: t, mounted: map[string]bool{}, roots: map[string]string{"scsi 0:1": rootBase, "scsi 0:2": rootWeb, "scsi 0:3": rootOther}}
	rt := &fakeRuntime{specs: map[string]*specs.Spec{}, exits: map[string]fakeExit{}, fail: map[string]error{}}
	s := New(Config{
		Gate: g, Storage: st, Runtime: rt, Log: zap.NewNop(), Prefix: t.TempDir(),
		Group: func(path string) (Group, error) { return fakeGroup{rt, strings.TrimPrefix(path, "/cloister/")}, nil },
	})
	t.Cleanup(func() {
		if rt.begun != 0 {
			t.Errorf("got %d head starts of the runtime left, want none", rt.begun)
		}
	})
	key := Key("pod")
	if err := os.MkdirAll(s.fs(sandboxDir(key)), 0o755); err != nil {
		t.Fatal(err)
	}
	// The pod's namespaces need privileges; everything else of it is as CreatePod makes it.
	s.pod = &pod{id: "pod", key: key, hostname: "pod", shm: s.fs("/shm")}
	if err := g.Policy().Enforcer.AddDefaultMounts(networkMounts(key)); err != nil {
		t.Fatal(err)
	}
	return &bench{s, st, rt}
}

func address(t *testing.T, s string) storage.Address {
	t.Helper()
	a, err := storage.ParseAddress("scsi", s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// web is the request that the policy allows; change makes another of it.
func web(t *testing.T, id string, change func(*CreateRequest)) CreateRequest {
	t.Helper()
	caps := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
	r := CreateRequest{
		ID: id,
		OCI: &container.Request{
			Process: container.ProcessRequest{
				Args: []string{"/bin/web"}, Env: []string{"PATH=/bin"}, Cwd: "/",
				Capabilities: container.Capabilities{Bounding: caps, Effective: caps, Permitted: caps},
			},
			Resources: &specs.LinuxResources{},
			Mounts:    []specs.Mount{{Destination: "/data", Source: "sandbox:///data", Type: "bind", Options: []string{"rbind", "rw"}}},
			SandboxID: "pod", HasSandboxID: true,
		},
		Layers: []storage.Address{address(t, "0:2"), address(t, "0:1")},
	}
	if change != nil {
		change(&r)
	}
	return r
}
