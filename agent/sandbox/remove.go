package sandbox

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/eventlog"
)

const removeMessage = "RemoveContainerRequest"

// RemoveContainer takes a container away: shutdown when it runs, then its mounts in reverse, then the disks it was the last to
// use. Each part that is gone stays gone when a later one is refused, so that the request can be sent again.
func (s *Sandbox) RemoveContainer(ctx context.Context, id string, timeout time.Duration) error {
	return s.changeContainer(ctx, id, func(ctx context.Context, c *Container) error {
		if timeout > 0 && timeout < stepLimit {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		if c.pause != nil {
			c.pause.kill(137)
			s.drop(c)
			s.happened(eventlog.KindContainerRemoved, c.Key)
			return nil
		}
		if err := s.stop(ctx, c); err != nil {
			return err
		}
		if err := s.unmountRootfs(ctx, c); err != nil {
			return err
		}
		if err := s.releaseLayers(ctx, c); err != nil {
			return err
		}
		c.release()
		if c.Key != s.pod.key {
			if err := removeTree(s.fs(containerDir(c.Key))); err != nil {
				return internal("%v", err)
			}
		}
		s.drop(c)
		s.happened(eventlog.KindContainerRemoved, c.Key)
		return nil
	})
}

// forgetCopies removes the files that were copied for a container that is gone or never came to be: a host that tries again copies them again, under a new name, and the
// area is one for the whole pod.
func (s *Sandbox) forgetCopies(id string) {
	if s.cfg.Staging == nil {
		return
	}
	if err := s.cfg.Staging.RemoveOwned(id); err != nil {
		s.cfg.Log.Warn("copied files stay", zap.String("container_id", id), zap.Error(err))
	}
}

func (s *Sandbox) drop(c *Container) {
	s.forgetCopies(c.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[c.Key] == c {
		delete(s.containers, c.Key)
		delete(s.ids, c.Key)
	}
}

// stop ends the container's processes and removes it from the runtime.
func (s *Sandbox) stop(ctx context.Context, c *Container) error {
	if c.deleted {
		return nil
	}
	if c.Running() {
		if err := s.shutdown(ctx, c, removeMessage, true); err != nil {
			return err
		}
		if _, err := c.init.Wait(ctx); err != nil {
			return internal("container %.128q did not end in time", c.ID)
		}
	}
	if c.exitLogged != nil {
		<-c.exitLogged // the init has ended
	}
	c.unwatch()
	if err := s.cfg.Runtime.Delete(ctx, c.Key); err != nil {
		s.logRuntime(err)
		return internalRuntime(err)
	}
	c.deleted = true
	if c.stopBroker != nil {
		c.stopBroker()
		c.stopBroker = nil
	}
	return nil
}

// unmountRootfs takes the binds, the overlay and the scratch away, asking for the two that have a point.
func (s *Sandbox) unmountRootfs(ctx context.Context, c *Container) error {
	// c.mounts is scratch, overlay, then binds.
	for len(c.mounts) > 2 {
		if err := s.unmountLast(ctx, c, "a bind of the container"); err != nil {
			return err
		}
	}
	if !c.overlayGone {
		target := rootfsName(c.Key)
		if err := s.unmountStep(ctx, c, enforcer.UnmountOverlayInput{UnmountTarget: target}, target); err != nil {
			return err
		}
		c.overlayGone = true
	}
	if !c.scratchGone {
		if err := s.unmountScratch(ctx, c); err != nil {
			return err
		}
		c.scratchGone = true
	}
	return nil
}

func (s *Sandbox) unmountStep(ctx context.Context, c *Container, in enforcer.Input, target string) error {
	d, err := s.cfg.Gate.Decide(ctx, removeMessage, in)
	if err != nil {
		return err
	}
	if err := s.unmountLast(ctx, c, target); err != nil {
		return err
	}
	if _, err := d.Commit(); err != nil {
		return internal("commit %s: %v", in.Point(), err)
	}
	return nil
}

func (s *Sandbox) unmountLast(ctx context.Context, c *Container, what string) error {
	last := len(c.mounts) - 1
	if err := s.unmounted(what, c.mounts[last].Unmount(ctx)); err != nil {
		return internal("%v", err)
	}
	s.mu.Lock()
	c.mounts = c.mounts[:last]
	s.mu.Unlock()
	return nil
}

// releaseLayers gives the container's disks back; the last user of one unmounts it.
func (s *Sandbox) releaseLayers(ctx context.Context, c *Container) error {
	for len(c.layers) > 0 {
		a := c.layers[len(c.layers)-1]
		d := s.devices[a]
		if d.users == 1 {
			decision, err := s.cfg.Gate.Decide(ctx, removeMessage, enforcer.UnmountDeviceInput{UnmountTarget: d.target})
			if err != nil {
				return err
			}
			if err := s.unmounted(d.target, d.mount.Unmount(ctx)); err != nil {
				return internal("%v", err)
			}
			if _, err := decision.Commit(); err != nil {
				return internal("commit unmount_device: %v", err)
			}
			s.mu.Lock()
			delete(s.devices, a)
			s.mu.Unlock()
		}
		d.users--
		c.layers = c.layers[:len(c.layers)-1]
	}
	return nil
}
