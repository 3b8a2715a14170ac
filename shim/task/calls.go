package task

import (
	"context"
	"encoding/json"
	"os"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/shim/sandbox"
)

// metricsURL is the type by which containerd knows cgroup v2 metrics: the message's name, without a host.
const metricsURL = "io.containerd.cgroups.v2.Metrics"

func done(err error) (*emptypb.Empty, error) {
	if err != nil {
		return nil, wire(err)
	}
	return &emptypb.Empty{}, nil
}

// State tells what a process is doing.
func (s *Service) State(_ context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, wire(err)
	}
	status, at := p.exited()
	id := r.ExecID
	if id == "" {
		id = r.ID
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &taskapi.StateResponse{
		ID: id, Bundle: c.bundle, Pid: p.pid, Status: p.status, ExecID: r.ExecID,
		Stdin: p.stdio.stdin, Stdout: p.stdio.stdout, Stderr: p.stdio.stderr, Terminal: p.stdio.terminal,
		ExitStatus: status, ExitedAt: at,
	}, nil
}

// Wait answers when a process has ended.
func (s *Service) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, wire(err)
	}
	select {
	case <-p.done:
	case <-p.gone:
		if p.state() != task.Status_STOPPED {
			return nil, wire(notFound(p.name)) // it never ran
		}
	case <-ctx.Done():
		return nil, wire(context.Cause(ctx))
	case <-s.life.Done():
		return nil, wire(fail(errdefs.ErrUnavailable, "wait for %s: the shim is ending", describe(p.name)))
	}
	status, at := p.exited()
	return &taskapi.WaitResponse{ExitStatus: status, ExitedAt: at}, nil
}

// Kill sends a signal to a process, or to all of a container.
func (s *Service) Kill(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	return done(s.kill(ctx, r))
}

func (s *Service) kill(ctx context.Context, r *taskapi.KillRequest) error {
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return err
	}
	state := p.state()
	switch {
	case state == task.Status_STOPPED:
		return fail(errdefs.ErrNotFound, "kill %s: it has ended already", describe(p.name))
	case state == task.Status_CREATED && r.ExecID != "":
		return fail(errdefs.ErrFailedPrecondition, "kill %s: it was never started", describe(p.name))
	}
	pod, err := s.alive()
	if err != nil {
		return err
	}
	fatal := r.Signal == uint32(unix.SIGKILL)
	if fatal {
		s.enforce(pod, p)
	}
	err = pod.Signal(ctx, p.name, r.Signal, r.All && r.ExecID == "")
	if fatal && r.ExecID == "" {
		err = s.overrule(pod, p, err)
	}
	if err != nil {
		return err
	}
	if fatal && state == task.Status_CREATED {
		s.killCreated(ctx, c, p)
	}
	return nil
}

// killCreated tells of the end of a container that was killed before it was started. A start that came first tells of it itself.
func (s *Service) killCreated(ctx context.Context, c *container, p *process) {
	if p.take(ctx) != nil {
		return
	}
	defer p.give()
	if p.state() == task.Status_CREATED {
		s.finish(c, p, sandbox.Exit{Status: statusKilled})
	}
}

// Pause freezes a container.
func (s *Service) Pause(ctx context.Context, r *taskapi.PauseRequest) (*emptypb.Empty, error) {
	return done(s.change(ctx, r.ID, "pause", task.Status_RUNNING, task.Status_PAUSED, Pod.Pause, &events.TaskPaused{ContainerID: r.ID}))
}

// Resume thaws a container.
func (s *Service) Resume(ctx context.Context, r *taskapi.ResumeRequest) (*emptypb.Empty, error) {
	return done(s.change(ctx, r.ID, "resume", task.Status_PAUSED, task.Status_RUNNING, Pod.Resume, &events.TaskResumed{ContainerID: r.ID}))
}

func (s *Service) change(ctx context.Context, id, what string, from, to task.Status, act func(Pod, context.Context, string) error, e Event) error {
	_, p, err := s.process(id, "")
	if err != nil {
		return err
	}
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	if err := p.require(what, from); err != nil {
		return err
	}
	pod, err := s.alive()
	if err != nil {
		return err
	}
	if err := act(pod, ctx, id); err != nil {
		return err
	}
	p.advance(to, s.events, e)
	return nil
}

// ResizePty sets the size of a terminal; before the start it is kept for then.
func (s *Service) ResizePty(ctx context.Context, r *taskapi.ResizePtyRequest) (*emptypb.Empty, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, wire(err)
	}
	p.mu.Lock()
	early := p.status == task.Status_CREATED
	if early {
		p.size = &window{r.Width, r.Height}
	}
	p.mu.Unlock()
	if early {
		return &emptypb.Empty{}, nil
	}
	pod, err := s.alive()
	if err != nil {
		return nil, wire(err)
	}
	return done(pod.Resize(ctx, p.name, r.Width, r.Height))
}

// CloseIO ends standard input after what was written to it.
func (s *Service) CloseIO(_ context.Context, r *taskapi.CloseIORequest) (*emptypb.Empty, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, wire(err)
	}
	if r.Stdin {
		p.closeInput()
	}
	return &emptypb.Empty{}, nil
}

// Pids lists a container's processes that containerd knows. Their number is that of the machine: those inside it are nobody's business.
func (s *Service) Pids(_ context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	c, err := s.find(r.ID)
	if err != nil {
		return nil, wire(err)
	}
	answer := &taskapi.PidsResponse{}
	for _, p := range c.processes() {
		if p.require("", task.Status_RUNNING, task.Status_PAUSED) != nil && (p != c.init || p.state() != task.Status_CREATED) {
			continue
		}
		info := &task.ProcessInfo{Pid: s.pid()}
		if p.name.Exec != "" {
			if info.Info, err = anypb.New(&options.ProcessDetails{ExecID: p.name.Exec}); err != nil {
				return nil, wire(err)
			}
		}
		answer.Processes = append(answer.Processes, info)
	}
	return answer, nil
}

// Update changes a container's limits.
func (s *Service) Update(ctx context.Context, r *taskapi.UpdateTaskRequest) (*emptypb.Empty, error) {
	return done(s.update(ctx, r))
}

func (s *Service) update(ctx context.Context, r *taskapi.UpdateTaskRequest) error {
	c, err := s.find(r.ID)
	if err != nil {
		return err
	}
	resources := &specs.LinuxResources{}
	if err := json.Unmarshal(r.Resources.GetValue(), resources); err != nil {
		return fail(errdefs.ErrInvalidArgument, "update container %.128q: resources: %v", r.ID, err)
	}
	if err := c.init.require("update", task.Status_CREATED, task.Status_RUNNING, task.Status_PAUSED); err != nil {
		return err
	}
	pod, err := s.alive()
	if err != nil {
		return err
	}
	return pod.Update(ctx, r.ID, resources)
}

// Stats are a container's figures in the form of cgroup v2.
func (s *Service) Stats(ctx context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	c, err := s.find(r.ID)
	if err != nil {
		return nil, wire(err)
	}
	if c.init.state() == task.Status_STOPPED {
		return nil, wire(fail(errdefs.ErrNotFound, "figures of container %.128q: it has ended", r.ID))
	}
	pod, err := s.alive()
	if err != nil {
		return nil, wire(err)
	}
	figures, err := pod.Stats(ctx, r.ID)
	if err != nil {
		return nil, wire(err)
	}
	packed, err := pack(figures)
	if err != nil {
		return nil, wire(err)
	}
	return &taskapi.StatsResponse{Stats: packed}, nil
}

func pack(m *stats.Metrics) (*anypb.Any, error) {
	value, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: metricsURL, Value: value}, nil
}

// Connect tells which processes are behind the connection. A container that is not there is no error: containerd asks after its restart, about a
// sandbox too.
func (s *Service) Connect(_ context.Context, r *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	answer := &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: "3"}
	if c, err := s.find(r.ID); err == nil {
		answer.TaskPid = c.init.number()
	}
	return answer, nil
}

// Checkpoint is not implemented: the host cannot read a confidential machine's memory.
func (s *Service) Checkpoint(context.Context, *taskapi.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return nil, wire(fail(errdefs.ErrNotImplemented, "checkpoint: a confidential VM has none"))
}
