package task

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloister-cc/cloister/shim/sandbox"
)

// drainTimeout is how long an exit waits for a reader of its output that takes nothing. It is told after that; what is left still goes out until the process is deleted.
const drainTimeout = 10 * time.Second

// drainLimit is how long an exit waits for the output in all: a guest that never ends it, a byte at a time, does not keep a process from having ended.
const drainLimit = time.Minute

var running = []task.Status{task.Status_RUNNING, task.Status_PAUSED}

// Exec adds a process to a container. It runs at Start.
func (s *Service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	return done(s.exec(ctx, r))
}

func (s *Service) exec(ctx context.Context, r *taskapi.ExecProcessRequest) error {
	if !idForm.MatchString(r.ExecID) {
		return fail(errdefs.ErrInvalidArgument, "exec: id %.128q: want letters, digits, _ . -, at most 128", r.ExecID)
	}
	c, err := s.find(r.ID)
	if err != nil {
		return err
	}
	if _, err := s.alive(); err != nil {
		return err
	}
	if err := c.init.require("exec in", task.Status_CREATED, task.Status_RUNNING, task.Status_PAUSED); err != nil {
		return err
	}
	process := &specs.Process{}
	if err := json.Unmarshal(r.Spec.GetValue(), process); err != nil {
		return fail(errdefs.ErrInvalidArgument, "exec in container %.128q: process: %v", r.ID, err)
	}
	process.Terminal = r.Terminal
	p := newProcess(sandbox.Process{Container: r.ID, Exec: r.ExecID}, stdio{r.Stdin, r.Stdout, r.Stderr, r.Terminal})
	p.spec = process
	if err := c.add(p); err != nil {
		return err
	}
	s.events.push(&events.TaskExecAdded{ContainerID: r.ID, ExecID: r.ExecID})
	return nil
}

func (c *container) add(p *process) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.execs[p.name.Exec] != nil || p.name.Exec == c.id {
		return fail(errdefs.ErrAlreadyExists, "%s: is there already", describe(p.name))
	}
	c.execs[p.name.Exec] = p
	return nil
}

// Start runs what was created.
func (s *Service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, wire(err)
	}
	if err := p.take(ctx); err != nil {
		return nil, wire(err)
	}
	defer p.give()
	pod, err := s.alive()
	if err != nil {
		return nil, wire(err)
	}
	if err := p.require("start", task.Status_CREATED); err != nil {
		return nil, wire(err)
	}
	if err := s.launch(ctx, pod, c, p); err != nil {
		return nil, wire(err)
	}
	return &taskapi.StartResponse{Pid: p.number()}, nil
}

func (p *process) number() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

func (s *Service) launch(ctx context.Context, pod Pod, c *container, p *process) error {
	pid := uint32(pod.PID())
	if p.name.Exec == "" {
		if err := p.openInput(ctx); err != nil {
			return fmt.Errorf("start %s: %w", describe(p.name), err)
		}
		if err := pod.Start(ctx, c.id); err != nil {
			return err
		}
	} else if err := s.launchExec(ctx, pod, c, p); err != nil {
		return err
	}
	p.mu.Lock()
	p.pid = pid
	size := p.size
	p.mu.Unlock()
	p.advance(task.Status_RUNNING, s.events, started(p.name, pid))
	s.work.Go(func() { s.watch(pod, c, p) })
	if size != nil {
		if err := pod.Resize(ctx, p.name, size.width, size.height); err != nil {
			p.log(ctx).WithError(err).Warn("resize terminal")
		}
	}
	return nil
}

func (s *Service) launchExec(ctx context.Context, pod Pod, c *container, p *process) error {
	if err := c.init.require("exec in", running...); err != nil {
		return err
	}
	st, err := openStreams(ctx, s.config.Namespace, p.name.Exec, p.stdio)
	if err != nil {
		return fmt.Errorf("start %s: %w", describe(p.name), err)
	}
	p.setStreams(st)
	if err := p.openInput(ctx); err != nil {
		st.close()
		return fmt.Errorf("start %s: %w", describe(p.name), err)
	}
	if err := pod.Exec(ctx, p.name, p.spec, p.stdio.stdin != ""); err != nil {
		st.close()
		return err
	}
	return nil
}

func started(name sandbox.Process, pid uint32) Event {
	if name.Exec == "" {
		return &events.TaskStart{ContainerID: name.Container, Pid: pid}
	}
	return &events.TaskExecStarted{ContainerID: name.Container, ExecID: name.Exec, Pid: pid}
}

// watch copies a running process's streams until it has ended, and tells of its end: its output first, and those of a container's other processes before that
// of its first one.
func (s *Service) watch(pod Pod, c *container, p *process) {
	copying := copyStreams(s.life, &s.work, pod, p)
	exit, err := pod.Wait(s.life, p.name)
	if err != nil {
		if s.life.Err() != nil {
			copying.streams.close()
			<-copying.out
			return
		}
		exit = sandbox.Exit{Status: statusLost, At: time.Now(), Err: err}
	}
	copying.streams.endInput()
	if exit.Err != nil {
		p.log(s.life).WithError(exit.Err).Warn("process was lost with its machine")
	}
	copying.drain(s.life, drainTimeout, drainLimit)
	if p.name.Exec == "" {
		s.awaitExecs(c)
	}
	s.finish(c, p, exit)
}

// awaitExecs waits until the other processes of a container whose first one has ended were told as ended: the guest has killed them.
func (s *Service) awaitExecs(c *container) {
	late := time.NewTimer(drainTimeout + time.Second)
	defer late.Stop()
	for _, p := range c.processes() {
		if p == c.init || p.require("", running...) != nil {
			continue
		}
		select {
		case <-p.done:
		case <-late.C:
			return
		case <-s.life.Done():
			return
		}
	}
}

func (s *Service) finish(c *container, p *process, exit sandbox.Exit) {
	if !p.stop(exit, s.events, exitEvent) || p.name.Exec != "" {
		return
	}
	status, at := p.exited()
	c.mu.Lock()
	c.record.Exit = &ExitState{Status: status, At: at.AsTime()}
	record := c.record
	c.mu.Unlock()
	if err := WriteRecord(c.bundle, record); err != nil {
		p.log(s.life).WithError(err).Warn("write exit into the bundle")
	}
}

// exitEvent is called with the process's lock held.
func exitEvent(p *process) Event {
	id := p.name.Exec
	if id == "" {
		id = p.name.Container
	}
	return &events.TaskExit{
		ContainerID: p.name.Container, ID: id, Pid: p.pid,
		ExitStatus: p.exit.Status, ExitedAt: timestamppb.New(p.exit.At),
	}
}
