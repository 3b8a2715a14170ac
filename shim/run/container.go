package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/pod"
)

// killGrace is how long a container may take to end after SIGTERM.
const killGrace = 5 * time.Second

// Container is one container of a pod: what it is made of, and its id once it is prepared.
type Container struct {
	*pod.Container
	Disks []Layer // its layers as disks, from the base up

	ID      string
	started bool
}

// Prepare gives a container its id, plugs its layers and returns the request that would create it. The caller sends it,
// changed or not, and calls Created or Discard.
func (s *Sandbox) Prepare(ctx context.Context, c *Container) (*api.CreateContainerRequest, error) {
	if len(c.Disks) == 0 {
		return nil, fmt.Errorf("prepare container %q: no layers", c.Name)
	}
	addresses, err := s.layers.Acquire(ctx, c.Disks)
	if err != nil {
		return nil, fmt.Errorf("prepare container %q: %w", c.Name, err)
	}
	c.ID = boot.NewID()
	request := &api.CreateContainerRequest{
		ContainerId: c.ID, ExecId: c.ID,
		Storages: boot.Storages(c.ID, c.Disks, addresses),
		OCI:      c.OCI(pod.Names{SandboxID: s.id, ContainerID: c.ID}),
	}
	if err := s.copyHosts(ctx, request); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare container %q: %w", c.Name, err), s.Discard(context.WithoutCancel(ctx), c))
	}
	return request, nil
}

// Discard gives back what Prepare took, for a container that was not created.
func (s *Sandbox) Discard(ctx context.Context, c *Container) error {
	return s.layers.Release(ctx, c.Disks)
}

// CreateContainer plugs a container's layers and creates it. When it is refused, the layers are unplugged again.
func (s *Sandbox) CreateContainer(ctx context.Context, c *Container) error {
	request, err := s.Prepare(ctx, c)
	if err != nil {
		return err
	}
	if _, err := s.client.CreateContainer(ctx, request); err != nil {
		return errors.Join(fmt.Errorf("create container %q: %w", c.Name, err), s.Discard(context.WithoutCancel(ctx), c))
	}
	return s.Created(c)
}

// Created records a container that the agent has created.
func (s *Sandbox) Created(c *Container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers = append(s.containers, c)
	return s.writeState()
}

// StartContainer starts a created container.
func (s *Sandbox) StartContainer(ctx context.Context, c *Container) error {
	if _, err := s.client.StartContainer(ctx, &api.StartContainerRequest{ContainerId: c.ID}); err != nil {
		return fmt.Errorf("start container %q: %w", c.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.started = true
	return nil
}

// Wait waits for a container's first process and returns its status.
func (s *Sandbox) Wait(ctx context.Context, c *Container) (int, error) {
	return s.client.Wait(ctx, Process{Container: c.ID})
}

// Kill sends a signal to a container's first process.
func (s *Sandbox) Kill(ctx context.Context, c *Container, signal uint32) error {
	_, err := s.client.SignalProcess(ctx, &api.SignalProcessRequest{ContainerId: c.ID, ExecId: c.ID, Signal: signal})
	return err
}

// RemoveContainer removes a container, running or not, and unplugs the layers nobody else uses.
func (s *Sandbox) RemoveContainer(ctx context.Context, c *Container) error {
	if _, err := s.client.RemoveContainer(ctx, &api.RemoveContainerRequest{ContainerId: c.ID}); err != nil {
		return fmt.Errorf("remove container %q: %w", c.Name, err)
	}
	if err := s.layers.Release(ctx, c.Disks); err != nil {
		return fmt.Errorf("remove container %q: %w", c.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers = slices.DeleteFunc(s.containers, func(other *Container) bool { return other == c })
	return s.writeState()
}
