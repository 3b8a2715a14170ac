package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

// killTimeout is how long the guest may take to end a container's first process after SIGKILL. The signal is a request to the guest only; what the host has of
// its own is the end of the machine.
const killTimeout = 10 * time.Second

// enforce notes that a process is to be killed. A container's first one that has not ended in the guest after the service's limit of time ends with its pod.
// What its output still takes on the host is not the guest's fault.
func (s *Service) enforce(pod Pod, p *process) {
	p.mu.Lock()
	first := !p.killed && p.name.Exec == ""
	p.killed = true
	p.mu.Unlock()
	if !first {
		return
	}
	ctx, cancel := context.WithTimeout(s.life, s.killTimeout)
	s.work.Go(func() {
		select {
		case <-p.done: // also of a container that was never started: nobody tells of its end but this side
		case <-p.gone:
		case <-ctx.Done():
		}
		cancel()
	})
	s.work.Go(func() {
		_, err := pod.Wait(ctx, p.name)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && s.life.Err() == nil {
			s.lose(pod, p, fmt.Errorf("%s: has not ended within %v of SIGKILL", describe(p.name), s.killTimeout))
		}
		cancel()
	})
}

// overrule ends the pod where the guest refuses a SIGKILL to a container's first process: the host may do that at any time. The process has been killed then, as
// it has when the pod ended while the guest was asked.
func (s *Service) overrule(pod Pod, p *process, err error) error {
	if errdefs.IsPermissionDenied(err) {
		s.lose(pod, p, fmt.Errorf("%s: SIGKILL was refused: %w", describe(p.name), err))
	}
	if over(pod) {
		return nil
	}
	return err
}

// overruleRemove ends the pod where the guest refuses to remove a container that has stopped, or fails to a second time: nothing else would take it away.
func (s *Service) overruleRemove(pod Pod, c *container, err error) error {
	if c.init.state() != task.Status_STOPPED || errdefs.IsUnavailable(err) {
		return err
	}
	c.mu.Lock()
	again := c.removing
	c.removing = true
	c.mu.Unlock()
	if !again && !errdefs.IsPermissionDenied(err) {
		return err
	}
	s.lose(pod, c.init, fmt.Errorf("%s: it has stopped and cannot be removed: %w", describe(c.init.name), err))
	return nil
}

func (s *Service) lose(pod Pod, p *process, why error) {
	p.log(s.life).WithError(why).Error("the host ends the pod's VM: all other containers of the pod end with it")
	pod.Lose(why)
}

func over(pod Pod) bool {
	select {
	case <-pod.Done():
		return true
	default:
		return false
	}
}
