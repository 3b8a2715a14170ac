package task

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/sandbox"
	"github.com/cloister-cc/cloister/shim/spec"
)

// maxSpec is the most that is read of a bundle's config.json, in bytes.
const maxSpec = 16 << 20

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// Create makes a container, and the pod before it if it is the pod's own: a sandbox container, or the only one of `ctr run`.
func (s *Service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	if !idForm.MatchString(r.ID) {
		return nil, wire(fail(errdefs.ErrInvalidArgument, "create: container id %.128q: want letters, digits, _ . -, at most 128", r.ID))
	}
	if r.Checkpoint != "" {
		return nil, wire(fail(errdefs.ErrNotImplemented, "create container %.128q from a checkpoint: a confidential VM has none", r.ID))
	}
	ctx, c, err := s.reserve(ctx, r)
	if err != nil {
		return nil, wire(err)
	}
	defer c.cancel(nil)
	if err := s.create(ctx, c, r); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		s.forget(c)
		return nil, wire(err)
	}
	c.init.mu.Lock()
	c.init.pid = uint32(c.record.PID)
	c.init.mu.Unlock()
	s.events.push(&events.TaskCreate{
		ContainerID: r.ID, Bundle: r.Bundle, Rootfs: r.Rootfs, Pid: uint32(c.record.PID),
		IO: &events.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
	})
	close(c.ready)
	return &taskapi.CreateTaskResponse{Pid: uint32(c.record.PID)}, nil
}

// reserve takes the id. The context ends also when the container is deleted while it is being created.
func (s *Service) reserve(ctx context.Context, r *taskapi.CreateTaskRequest) (context.Context, *container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exiting {
		return nil, nil, fail(errdefs.ErrUnavailable, "create container %.128q: the shim is ending", r.ID)
	}
	if s.containers[r.ID] != nil {
		return nil, nil, fail(errdefs.ErrAlreadyExists, "container %.128q: is there already", r.ID)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c := &container{
		id: r.ID, bundle: r.Bundle, ready: make(chan struct{}), cancel: cancel, execs: map[string]*process{},
		init:   newProcess(sandbox.Process{Container: r.ID}, stdio{r.Stdin, r.Stdout, r.Stderr, r.Terminal}),
		record: s.config.Record(),
	}
	s.containers[r.ID] = c
	return ctx, c, nil
}

func (s *Service) stateDir() string {
	return StateDir(s.config.Node.StateDir, s.config.Namespace, s.config.Sandbox)
}

// forget takes away what a failed Create left.
func (s *Service) forget(c *container) {
	c.init.closeStreams()
	s.mu.Lock()
	delete(s.containers, c.id)
	s.mu.Unlock()
	c.failed = true
	close(c.ready)
}

func (s *Service) create(ctx context.Context, c *container, r *taskapi.CreateTaskRequest) (err error) {
	oci, err := readSpec(r.Bundle)
	if err != nil {
		return err
	}
	// From here on a delete after the end of this process knows what there may be to clean up.
	if err := WriteRecord(r.Bundle, c.record); err != nil {
		return err
	}
	made := sandbox.Container{ID: r.ID, Spec: oci, Stdin: r.Stdin != ""}
	if !spec.IsSandbox(oci) {
		if made.Rootfs, err = s.config.Rootfs(r.Rootfs); err != nil {
			return fmt.Errorf("create container %.128q: %w", r.ID, err)
		}
	}
	pod, own, err := s.podOf(ctx, c, oci)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && own {
			s.dropPod(ctx, pod)
		}
	}()
	st, err := openStreams(ctx, s.config.Namespace, r.ID, c.init.stdio)
	if err != nil {
		return fmt.Errorf("create container %.128q: %w", r.ID, err)
	}
	c.init.setStreams(st)
	notes, err := pod.Create(ctx, made)
	if err != nil {
		return err
	}
	for _, n := range notes {
		s.events.push(noteEvent(r.ID, n))
	}
	c.record.PID = pod.PID()
	return WriteRecord(r.Bundle, c.record)
}

// podOf is the pod that a container belongs to. The pod's own container starts it, unless the sandbox API did; own says so.
func (s *Service) podOf(ctx context.Context, c *container, oci *specs.Spec) (pod Pod, own bool, err error) {
	if c.id != s.config.Sandbox {
		pod, err = s.alive()
		return pod, false, err
	}
	pod, err = s.boot(ctx, sandbox.Config{
		ID: s.config.Sandbox, Namespace: s.config.Namespace, Spec: oci, Netns: netns(oci), Dir: s.stateDir(), Node: s.config.Node,
	})
	return pod, err == nil, err
}

// dropPod takes away a pod whose own container could not be made.
func (s *Service) dropPod(ctx context.Context, pod Pod) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := pod.Stop(ctx); err != nil {
		logOf(ctx, s.config.Sandbox).WithError(err).Error("stop pod")
	}
	s.mu.Lock()
	s.pod = nil
	s.mu.Unlock()
}

// netns is the network namespace that a specification joins: "" for none of its own, or a new one that nobody has put anything in.
func netns(oci *specs.Spec) string {
	if oci.Linux == nil {
		return ""
	}
	for _, n := range oci.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace {
			return n.Path
		}
	}
	return ""
}

func readSpec(bundle string) (*specs.Spec, error) {
	f, err := os.Open(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read specification: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read specification: %w", err)
	}
	if info.Size() > maxSpec {
		return nil, fail(errdefs.ErrInvalidArgument, "read specification %q: got %d bytes, want at most %d", f.Name(), info.Size(), maxSpec)
	}
	oci := &specs.Spec{}
	if err := json.NewDecoder(f).Decode(oci); err != nil {
		return nil, fmt.Errorf("read specification %q: %w", f.Name(), err)
	}
	return oci, nil
}
