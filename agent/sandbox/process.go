package sandbox

import (
	"context"
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/eventlog"
)

const (
	execMessage   = "ExecProcessRequest"
	signalMessage = "SignalProcessRequest"
)

// errDead is what Kata's shims take for success (agent API contract 1.4).
func errDead() error { return notFound("ESRCH: No such process") }

// StartContainer lets a created container run. From here on the policy's state is never rolled back.
func (s *Sandbox) StartContainer(ctx context.Context, id string) error {
	return s.changeContainer(ctx, id, func(ctx context.Context, c *Container) error {
		if c.started || c.deleted {
			return wrongMoment("container %.128q was started already", id)
		}
		c.started = true
		// Before it runs, so that it finds its own start in the evidence it asks for.
		s.happened(eventlog.KindContainerStarted, c.Key)
		if c.pause != nil {
			return nil
		}
		s.watchExit(c)
		if err := s.cfg.Runtime.Start(ctx, c.Key); err != nil {
			s.logRuntime(err)
			s.event(eventlog.Entry{Kind: eventlog.KindContainerFailed, Container: c.Key, Rule: "the start failed"})
			return internalRuntime(err)
		}
		return nil
	})
}

// ExecRequest is an ExecProcess request after its form check.
type ExecRequest struct {
	ID, ExecID string
	Process    *container.ProcessRequest
}

// Exec runs one more process in a container, if the policy lists it.
func (s *Sandbox) Exec(ctx context.Context, req ExecRequest) error {
	if err := CheckID("exec", req.ExecID); err != nil {
		return err
	}
	return s.changeContainer(ctx, req.ID, func(ctx context.Context, c *Container) error {
		switch {
		case c.pause != nil:
			return wrongMoment("nothing can be run in the built-in pause container")
		case !c.started || c.deleted || !c.Running():
			return wrongMoment("container %.128q is not running", req.ID)
		}
		if err := c.room(req.ExecID); err != nil {
			return err
		}
		d, err := s.decideExec(ctx, c, req.Process)
		if err != nil {
			return err
		}
		if req.Process.Terminal && !c.stdio {
			s.executed(c.Key, d, req.Process.Args, "a terminal without stdio")
			return invalid("Process.Terminal: the policy allows no stdio")
		}
		s.execs++
		spec := container.ProcessSpec(req.Process, d.Env, fromCaps(d.Capabilities), umask)
		// Before it runs, so that it finds its own start in the evidence it asks for.
		s.executed(c.Key, d, req.Process.Args, "")
		p, err := s.cfg.Runtime.Exec(ctx, c.Key, s.execs, spec, c.stdio)
		if err != nil && errors.Is(err, container.ErrNotStarted) {
			s.logRuntime(err)
			s.executed(c.Key, d, req.Process.Args, "it did not start")
			return internalRuntime(err) // nothing ran: the decision is not committed
		}
		if _, commitErr := d.Commit(); commitErr != nil {
			s.executed(c.Key, d, req.Process.Args, "it may have started")
			return internal("commit exec_in_container: %v", commitErr)
		}
		if err != nil {
			s.logRuntime(err)
			s.executed(c.Key, d, req.Process.Args, "it may have started")
			return internalRuntime(err)
		}
		c.addExec(req.ExecID, p)
		return nil
	})
}

func (s *Sandbox) decideExec(ctx context.Context, c *Container, p *container.ProcessRequest) (*gate.Decision, error) {
	users, err := lookUpUsers(s.fs(rootfsName(c.Key)), p)
	if err != nil {
		return nil, err
	}
	return s.cfg.Gate.Decide(ctx, execMessage, enforcer.ExecInContainerInput{
		ContainerID: c.Key, ArgList: p.Args, EnvList: p.Env, WorkingDir: p.Cwd, NoNewPrivileges: p.NoNewPrivileges,
		User: users.user, Groups: users.groups, Umask: umaskText, Capabilities: toCaps(p.Capabilities),
	})
}

// Signal sends a signal. SIGKILL to the init, or to no process in particular, is a shutdown of the container; everything else
// is judged by the target's arguments (docs/architecture.md).
func (s *Sandbox) Signal(ctx context.Context, id, execID string, signal uint32) error {
	if signal > 64 {
		return invalid("signal %d: want at most 64", signal)
	}
	sig := unix.Signal(signal)
	if sig == 0 {
		sig = unix.SIGKILL // policy contract 2.2: signal 0 means SIGKILL
	}
	return s.changeContainer(ctx, id, func(ctx context.Context, c *Container) error {
		if c.pause != nil {
			if !c.Running() {
				return errDead()
			}
			if sig == unix.SIGKILL || sig == unix.SIGTERM || sig == unix.SIGINT {
				s.sends(c.Key, "pause", sig)
				c.pause.kill(128 + int32(sig))
			}
			return nil
		}
		isInit := execID == "" || execID == c.ID
		if isInit && sig == unix.SIGKILL {
			return s.shutdown(ctx, c, signalMessage, execID == "")
		}
		p, err := c.process(execID)
		if err != nil {
			return err
		}
		d, err := s.cfg.Gate.Decide(ctx, signalMessage, enforcer.SignalContainerProcessInput{
			ContainerID: c.Key, Signal: int(sig), IsInitProcess: isInit, ArgList: p.Args,
		})
		if err != nil {
			return err
		}
		if _, err := d.Commit(); err != nil {
			return internal("commit signal_container_process: %v", err)
		}
		return s.deliver(c, p, sig)
	})
}

func (s *Sandbox) deliver(c *Container, p *container.Process, sig unix.Signal) error {
	select {
	case <-p.Done():
		return errDead()
	default:
	}
	target := "exec"
	if p == c.init {
		target = "init"
	}
	s.sends(c.Key, target, sig)
	err := p.Signal(sig)
	if errors.Is(err, unix.ESRCH) {
		return errDead()
	}
	if err != nil {
		return internal("signal: %v", err)
	}
	return nil
}

// shutdown kills the init, or everything, once the policy allows it. The decision is kept whatever comes of it.
func (s *Sandbox) shutdown(ctx context.Context, c *Container, message string, all bool) error {
	d, err := s.cfg.Gate.Decide(ctx, message, enforcer.ShutdownContainerInput{ContainerID: c.Key})
	if err != nil {
		return err
	}
	if _, err := d.Commit(); err != nil {
		return internal("commit shutdown_container: %v", err)
	}
	if !c.Running() {
		return errDead()
	}
	if all {
		s.sends(c.Key, "all", unix.SIGKILL)
		if err := c.group.Kill(ctx); err != nil {
			return internal("kill container: %v", err)
		}
		return nil
	}
	return s.deliver(c, c.init, unix.SIGKILL)
}

// Update changes a container's limits.
func (s *Sandbox) Update(ctx context.Context, id string, res *specs.LinuxResources) error {
	return s.withLiving(ctx, id, func(ctx context.Context, c *Container) error {
		if err := s.cfg.Runtime.Update(ctx, c.Key, res); err != nil {
			s.logRuntime(err)
			return internal("the container runtime refused the limits")
		}
		return nil
	})
}

// Pause stops all processes of a container.
func (s *Sandbox) Pause(ctx context.Context, id string) error {
	return s.withLiving(ctx, id, func(ctx context.Context, c *Container) error { return c.group.Freeze(ctx) })
}

// Resume lets them go on.
func (s *Sandbox) Resume(ctx context.Context, id string) error {
	return s.withLiving(ctx, id, func(ctx context.Context, c *Container) error { return c.group.Thaw(ctx) })
}

func (s *Sandbox) withLiving(ctx context.Context, id string, f func(context.Context, *Container) error) error {
	return s.changeContainer(ctx, id, func(ctx context.Context, c *Container) error {
		if c.pause != nil {
			return nil
		}
		if c.deleted || !c.Running() {
			return wrongMoment("container %.128q is not running", id)
		}
		return f(ctx, c)
	})
}

// Group returns a container's control group; nil for the built-in pause container.
func (s *Sandbox) Group(id string) (Group, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	return c.group, nil
}
