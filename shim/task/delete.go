package task

import (
	"context"
	"errors"

	"github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/shim/sandbox"
)

var errDeleted = errors.New("it was deleted meanwhile")

// Delete takes away a process that has ended or was never started. With the pod's own container the pod ends.
func (s *Service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	if r.ExecID == "" {
		if err := s.interrupt(ctx, r.ID); err != nil {
			return nil, wire(err)
		}
	}
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, wire(err)
	}
	if err := p.take(ctx); err != nil {
		return nil, wire(err)
	}
	defer p.give()
	if err := p.require("delete", task.Status_CREATED, task.Status_STOPPED); err != nil {
		return nil, wire(err)
	}
	if r.ExecID == "" {
		err = s.remove(ctx, c)
	} else {
		s.removeExec(ctx, c, p)
	}
	if err != nil {
		return nil, wire(err)
	}
	p.closeStreams()
	return s.deleted(c, p), nil
}

// deleted forgets a process and makes the answer.
func (s *Service) deleted(c *container, p *process) *taskapi.DeleteResponse {
	status, at := p.exited()
	p.drop()
	pid := p.number()
	if p.name.Exec != "" {
		c.mu.Lock()
		delete(c.execs, p.name.Exec)
		c.mu.Unlock()
	} else {
		c.close()
		for _, p := range c.processes() {
			p.drop()
		}
		s.mu.Lock()
		delete(s.containers, c.id)
		s.mu.Unlock()
		s.events.push(&events.TaskDelete{ContainerID: c.id, Pid: pid, ExitStatus: status, ExitedAt: at})
	}
	return &taskapi.DeleteResponse{Pid: pid, ExitStatus: status, ExitedAt: at}
}

// interrupt ends a Create that is under way, and waits for its end.
func (s *Service) interrupt(ctx context.Context, id string) error {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c.ready:
		return nil
	default:
	}
	c.cancel(errDeleted)
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// remove takes a container out of the guest, or the pod with its own container. What cannot be taken away from a dead pod is the pod's stop to clean up.
func (s *Service) remove(ctx context.Context, c *container) error {
	pod, err := s.machine()
	if err != nil {
		return nil //nolint:nilerr // the pod is gone, and all in it
	}
	if c.id == s.config.Sandbox {
		if err := s.stopPod(ctx); err != nil {
			// containerd runs the shim's `delete` next, which tries once more
			logOf(ctx, c.id).WithError(err).Error("stop pod")
		}
		return nil
	}
	err = pod.Remove(ctx, c.id)
	if err == nil || over(pod) || errdefs.IsNotFound(err) {
		return nil
	}
	return s.overruleRemove(pod, c, err)
}

// forgetter is what a pod may do for an exec that nobody asks for any more.
type forgetter interface {
	Forget(ctx context.Context, p sandbox.Process) error
}

func (s *Service) removeExec(ctx context.Context, c *container, p *process) {
	pod, err := s.machine()
	if f, ok := pod.(forgetter); err == nil && ok && p.state() == task.Status_STOPPED {
		if err := f.Forget(ctx, p.name); err != nil {
			p.log(ctx).WithError(err).Debug("forget exec")
		}
	}
}

// Shutdown ends the shim once it has neither containers nor a sandbox.
func (s *Service) Shutdown(ctx context.Context, _ *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	busy := len(s.containers) > 0 || s.api != nil || s.exiting
	if !busy {
		s.exiting = true
	}
	s.mu.Unlock()
	if !busy {
		s.exitAfter(ctx)
	}
	return &emptypb.Empty{}, nil
}
