package sandbox

import (
	"context"
	"fmt"
	"slices"

	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/enforcer"
)

// ScratchPathRegex is the form of a writable disk's name, as the policy is told it (policy contract 2.2): the container's directory.
const ScratchPathRegex = `/run/gcs/c/[0-9a-fA-F]{64}`

// The file system that a writable disk gets.
const scratchFileSystem = "ext4"

// mountScratch asks for and makes the writable layer: memory of the guest, or the disk that the request names. To the policy a disk is mounted at the
// container's directory, and the writable layer is a directory on it; the agent has the one directory of that disk that is used stand at the layer's name.
func (s *Sandbox) mountScratch(ctx context.Context, req CreateRequest, c *Container, u *undo) error {
	target := scratchName(c.Key)
	in := enforcer.ScratchMountInput{Target: target, Encrypted: true}
	if req.Scratch == nil {
		return s.mountStep(ctx, c, u, in, target, func() (Mount, error) {
			return s.cfg.Storage.MountScratch(ctx, s.fs(target), scratchSize(req.OCI))
		})
	}
	if err := s.scratchFree(req, *req.Scratch); err != nil {
		return err
	}
	disk := enforcer.RWMountDeviceInput{
		Target: containerDir(c.Key), Encrypted: true, EnsureFilesystem: true, Filesystem: scratchFileSystem, MountPathRegex: ScratchPathRegex,
	}
	c.scratch = req.Scratch
	err := s.mountStep(ctx, c, u, disk, target, func() (Mount, error) {
		return s.cfg.Storage.MountScratchDisk(ctx, *req.Scratch, s.fs(target))
	})
	if err != nil {
		return err
	}
	d, err := s.cfg.Gate.Decide(ctx, createMessage, in)
	if err != nil {
		return err
	}
	back, err := d.Commit()
	if err != nil {
		return fmt.Errorf("commit %s: %w", in.Point(), err)
	}
	u.pushPolicy(back)
	return nil
}

// scratchFree refuses a disk that something else in the pod uses. Encryption would keep one container's writes from the other, but not from being lost.
func (s *Sandbox) scratchFree(req CreateRequest, a storage.Address) error {
	if slices.Contains(req.Layers, a) || s.devices[a] != nil {
		return invalid("storages: the disk at %s is a layer too", a)
	}
	return s.notWritable(a)
}

// notWritable refuses a disk that is some container's writable layer.
func (s *Sandbox) notWritable(a storage.Address) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.containers {
		if other.scratch != nil && *other.scratch == a {
			return invalid("storages: the disk at %s is the writable layer of another container", a)
		}
	}
	return nil
}

// unmountScratch gives the writable layer up, and the disk it is on.
func (s *Sandbox) unmountScratch(ctx context.Context, c *Container) error {
	target := scratchName(c.Key)
	if c.scratch == nil {
		return s.unmountStep(ctx, c, enforcer.ScratchUnmountInput{UnmountTarget: target}, target)
	}
	if !c.scratchLeft {
		d, err := s.cfg.Gate.Decide(ctx, removeMessage, enforcer.ScratchUnmountInput{UnmountTarget: target})
		if err != nil {
			return err
		}
		if _, err := d.Commit(); err != nil {
			return internal("commit scratch_unmount: %v", err)
		}
		c.scratchLeft = true
	}
	if err := s.unmountStep(ctx, c, enforcer.RWUnmountDeviceInput{UnmountTarget: containerDir(c.Key)}, target); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.scratch = nil
	return nil
}
