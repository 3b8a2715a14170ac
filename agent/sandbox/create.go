package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

const createMessage = "CreateContainerRequest"

// umask is not on the wire; every container gets this one (docs/architecture.md).
const (
	umask     = 0o022
	umaskText = "0022"
)

// CreateRequest is a CreateContainer request after its form check.
type CreateRequest struct {
	ID     string
	OCI    *container.Request
	Layers []storage.Address // top first
	// Scratch is the writable disk of the container's writable layer; nil: the layer is in the guest's memory.
	Scratch *storage.Address
}

// CreateContainer runs the plan of docs/architecture.md: devices, scratch, overlay, users, create. Whatever fails, everything
// before it is undone.
func (s *Sandbox) CreateContainer(ctx context.Context, req CreateRequest) error {
	if err := CheckID("container", req.ID); err != nil {
		return err
	}
	return s.change(ctx, func(ctx context.Context) error {
		key := Key(req.ID)
		if err := s.mayCreate(req, key); err != nil {
			return err
		}
		c := &Container{ID: req.ID, Key: key, execs: map[string]*container.Process{}}
		if req.OCI.IsSandbox && len(req.Layers) == 0 {
			c.pause = &pause{done: make(chan struct{})}
			s.cfg.Log.Info("built-in pause container", zap.String("container_id", req.ID))
			s.keep(c)
			s.happened(eventlog.KindPauseCreated, c.Key)
			return nil
		}
		var u undo
		if err := s.create(ctx, req, c, &u); err != nil {
			err = s.rollBack(ctx, &u, err)
			s.forgetCopies(req.ID)
			s.failed(c.Key, err)
			return err
		}
		s.keep(c)
		return nil
	})
}

func (s *Sandbox) keep(c *Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[c.Key], s.ids[c.Key] = c, c.ID
}

// mayCreate checks the lifecycle: one pod, ids used once at a time, and two ids never share a key.
func (s *Sandbox) mayCreate(req CreateRequest, key string) error {
	switch {
	case s.pod == nil:
		return wrongMoment("there is no sandbox yet: send CreateSandbox first")
	case s.containers[key] != nil:
		return invalid("container %.128q exists already", req.ID)
	case req.OCI.HasSandboxID && req.OCI.SandboxID != s.pod.id:
		return invalid("sandbox id %.128q: want %q", req.OCI.SandboxID, s.pod.id)
	case req.OCI.IsSandbox && req.ID != s.pod.id:
		return invalid("sandbox container %.128q: want the sandbox's id %q", req.ID, s.pod.id)
	case !req.OCI.IsSandbox && len(req.Layers) == 0:
		return invalid("container %.128q: no storage holds a layer", req.ID)
	case req.Scratch != nil && len(req.Layers) == 0:
		return invalid("container %.128q: a writable disk without layers", req.ID)
	case key == s.pod.key && !req.OCI.IsSandbox:
		return invalid("container %.128q: the id is the sandbox's", req.ID)
	}
	return nil
}

func (s *Sandbox) create(ctx context.Context, req CreateRequest, c *Container, u *undo) error {
	if err := os.MkdirAll(s.fs(containerDir(c.Key)), 0o755); err != nil {
		return fmt.Errorf("make container directory: %w", err)
	}
	if !req.OCI.IsSandbox {
		u.push(func(context.Context) error { return removeTree(s.fs(containerDir(c.Key))) })
	}
	bundle := s.fs(bundleDir(c.Key))
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	// The runtime links while the layers are read, judged and mounted; it makes nothing until it has a specification.
	defer s.cfg.Runtime.Begin(c.Key, bundle)()
	targets, err := s.mountLayers(ctx, req, c, u)
	if err != nil {
		return err
	}
	if err := s.mountRootfs(ctx, req, c, targets, u); err != nil {
		return err
	}
	users, err := lookUpUsers(s.fs(rootfsName(c.Key)), &req.OCI.Process)
	if err != nil {
		return err
	}
	mounts, err := s.planMounts(req.OCI, c)
	if err != nil {
		return err
	}
	in, err := s.createInput(req.OCI, c, users, mounts)
	if err != nil {
		return err
	}
	d, err := s.cfg.Gate.Decide(ctx, createMessage, in)
	if err != nil {
		return err
	}
	if req.OCI.Process.Terminal && !d.AllowStdio {
		return invalid("OCI.Process.Terminal: the policy allows no stdio")
	}
	if err := s.startRuntime(ctx, req, c, mounts, d, u); err != nil {
		return err
	}
	back, err := d.Commit()
	if err != nil {
		return fmt.Errorf("commit create_container: %w", err)
	}
	u.pushPolicy(back)
	digest := identity.ArgsDigest(req.OCI.Process.Args)
	s.event(eventlog.Entry{Kind: eventlog.KindContainerCreated, Container: c.Key, Digest: digest[:], Decision: d.ID})
	return nil
}

// startRuntime makes the container's own binds and grants, and has the runtime create it; nothing of the workload runs yet.
func (s *Sandbox) startRuntime(ctx context.Context, req CreateRequest, c *Container, mounts []plannedMount, d *gate.Decision, u *undo) error {
	bound, err := s.bindMounts(ctx, req.OCI, c, mounts, u)
	if err != nil {
		return err
	}
	if err := s.setSysctls(req.OCI.Sysctl, u); err != nil {
		return err
	}
	env, devices := d.Env, s.grantedDevices(req.OCI, mounts)
	if m, err := s.securityContext(req.OCI); err != nil {
		return err
	} else if m != nil {
		bound = append(bound, *m)
		env = append(slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, contextVariable) }), contextVariable+m.Destination)
	}
	plan := &container.Plan{
		Request: req.OCI, Env: env, Capabilities: fromCaps(d.Capabilities), Umask: umask,
		Rootfs: s.fs(rootfsName(c.Key)), Mounts: bound, Namespaces: s.pod.ns, Hostname: s.pod.hostname,
		CgroupsPath: cgroupName(c.Key), Devices: devices,
	}
	c.stdio, c.cwd, c.user, c.privileged = d.AllowStdio, req.OCI.Process.Cwd, req.OCI.Process, req.OCI.Privileged
	bundle := s.fs(bundleDir(c.Key))
	defer os.Remove(bundle + "/config.json") // it holds the environment; crun keeps its own copy
	p, err := s.cfg.Runtime.Create(ctx, c.Key, bundle, plan.Spec(), d.AllowStdio)
	if err != nil {
		s.logRuntime(err)
		u.push(func(ctx context.Context) error { return s.forget(ctx, c) })
		return internalRuntime(err)
	}
	c.init = p
	u.push(func(ctx context.Context) error {
		c.unwatch()
		err := s.cfg.Runtime.Delete(ctx, c.Key)
		c.release()
		return err
	})
	return s.watch(c)
}

// forget clears a half-made container out of the runtime; that there is nothing to delete is the good case.
func (s *Sandbox) forget(ctx context.Context, c *Container) error {
	if err := s.cfg.Runtime.Delete(ctx, c.Key); err != nil {
		s.logRuntime(err)
	}
	return nil
}

// watch follows the container's control group for out-of-memory kills.
func (s *Sandbox) watch(c *Container) error {
	g, err := s.cfg.Group(cgroupName(c.Key))
	if err != nil {
		return fmt.Errorf("open control group: %w", err)
	}
	c.group = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.stopWatch = func() { cancel(); <-done }
	go func() {
		defer close(done)
		if err := g.WatchOOM(ctx, func() { s.oom.push(c.ID) }); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("memory events are lost", zap.String("container_id", c.ID), zap.Error(err))
		}
	}()
	return nil
}

// contextVariable tells a workload where its security context is (policy contract 4.3). It is the agent's to set, whatever the policy's rules match.
const contextVariable = "UVM_SECURITY_CONTEXT_DIR="

// createInput is the policy's view of the request (policy contract 2.3).
func (s *Sandbox) createInput(r *container.Request, c *Container, users *users, mounts []plannedMount) (enforcer.CreateContainerInput, error) {
	seccomp, err := container.SeccompSHA256(r.Seccomp)
	if err != nil {
		return enforcer.CreateContainerInput{}, err
	}
	p := &r.Process
	in := enforcer.CreateContainerInput{
		ContainerID: c.Key, ArgList: p.Args, EnvList: p.Env, WorkingDir: p.Cwd,
		SandboxDir: sandboxDir(s.pod.key), HugePagesDir: hugePagesDir(s.pod.key),
		Devices: []enforcer.Device{}, Privileged: r.Privileged, NoNewPrivileges: p.NoNewPrivileges,
		User: users.user, Groups: users.groups, Umask: umaskText, Capabilities: toCaps(p.Capabilities),
		SeccompProfileSHA256: seccomp, IsSandboxContainer: r.IsSandbox,
	}
	for _, m := range mounts {
		in.Mounts = append(in.Mounts, enforcer.Mount{
			Destination: m.spec.Destination, Source: m.judged, Type: m.spec.Type, Options: m.spec.Options,
		})
	}
	return in, nil
}

func toCaps(c container.Capabilities) enforcer.Capabilities {
	return enforcer.Capabilities{
		Bounding: some(c.Bounding), Effective: some(c.Effective), Inheritable: some(c.Inheritable),
		Permitted: some(c.Permitted), Ambient: some(c.Ambient),
	}
}

// some makes a nil list an empty one: the policy compares sets, and null is not a set.
func some(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func fromCaps(c *enforcer.Capabilities) container.Capabilities {
	if c == nil {
		return container.Capabilities{}
	}
	return container.Capabilities{
		Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable, Permitted: c.Permitted, Ambient: c.Ambient,
	}
}

// minScratchSize is the least a writable layer gets, in bytes.
const minScratchSize = 1 << 20

// scratchSize is the writable layer's size in bytes: the container's memory limit, for that is what it would count against, or half of the guest's
// memory, and never more than that half.
func scratchSize(r *container.Request) int64 {
	half := int64(1 << 30)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		half = int64(info.Totalram) * int64(info.Unit) / 2
	}
	if m := r.Resources.Memory; m != nil && m.Limit != nil && *m.Limit > 0 {
		return max(minScratchSize, min(half, *m.Limit))
	}
	return half
}

// internalRuntime is a runtime's failure as the host sees it: the reason's class, never the detail.
func internalRuntime(err error) error {
	var re *container.RuntimeError
	if errors.As(err, &re) {
		return internal("%s", re.Error())
	}
	return internal("the container runtime failed")
}

func (s *Sandbox) logRuntime(err error) {
	var re *container.RuntimeError
	if errors.As(err, &re) {
		s.cfg.Log.Warn("container runtime", zap.String("op", re.Op), zap.String("reason", re.Reason))
		return
	}
	s.cfg.Log.Warn("container runtime", zap.Error(err))
}

// grantedDevices are the nodes the container gets: what its grants name, or in policies without grants the report device for
// unprivileged containers (docs/architecture.md).
func (s *Sandbox) grantedDevices(r *container.Request, mounts []plannedMount) []specs.LinuxDevice {
	if s.cfg.ReportDevice == "" {
		return nil
	}
	path := ""
	if !s.cfg.Gate.Policy().Broker && !r.Privileged {
		path = s.cfg.ReportDevice
	}
	for _, m := range mounts {
		if m.grant == grantDevice {
			path = m.spec.Destination
		}
	}
	if path == "" {
		return nil
	}
	d, err := deviceNode(s.cfg.ReportDevice, path)
	if err != nil {
		s.cfg.Log.Warn("report device", zap.Error(err))
		return nil
	}
	return []specs.LinuxDevice{d}
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
