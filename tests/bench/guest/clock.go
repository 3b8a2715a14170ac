package main

import (
	"context"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/tests/bench/wire"
	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/dm"
)

// clock notes when steps end. A step's time is the time since the end of the one before, so that nothing is left out.
type clock struct {
	mu    sync.Mutex
	on    bool
	last  time.Time
	steps []wire.Step
}

func (c *clock) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on, c.last, c.steps = true, time.Now(), nil
}

func (c *clock) mark(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return
	}
	now := time.Now()
	c.steps = append(c.steps, wire.Step{Name: name, Took: now.Sub(c.last)})
	c.last = now
}

func (c *clock) stop() []wire.Step {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	return c.steps
}

// clockedStorage marks the end of each of storage's steps.
type clockedStorage struct {
	sandbox.Storage
	clock *clock
}

func (s clockedStorage) Open(ctx context.Context, a storage.Address) (sandbox.Candidate, error) {
	s.clock.mark("agent")
	defer s.clock.mark("open disk")
	return s.Storage.Open(ctx, a)
}

func (s clockedStorage) MountLayer(ctx context.Context, c sandbox.Candidate, target string) (sandbox.Mount, error) {
	s.clock.mark("agent")
	defer s.clock.mark("read superblock through, mount ext4")
	return s.Storage.MountLayer(ctx, c, target)
}

func (s clockedStorage) MountScratch(ctx context.Context, dir string, size int64) (sandbox.Mount, error) {
	s.clock.mark("agent")
	defer s.clock.mark("mount scratch")
	return s.Storage.MountScratch(ctx, dir, size)
}

func (s clockedStorage) MountOverlay(ctx context.Context, lowers []string, upper, work, target string) (sandbox.Mount, error) {
	s.clock.mark("agent")
	defer s.clock.mark("mount overlay")
	return s.Storage.MountOverlay(ctx, lowers, upper, work, target)
}

func (s clockedStorage) Bind(ctx context.Context, root, name, target string) (sandbox.Mount, error) {
	s.clock.mark("agent")
	defer s.clock.mark("bind")
	return s.Storage.Bind(ctx, root, name, target)
}

// clockedMapper marks the end of each device-mapper call.
type clockedMapper struct {
	verity.Mapper
	clock *clock
}

func (m clockedMapper) Create(name string) (dm.Number, error) {
	defer m.clock.mark("dm create")
	return m.Mapper.Create(name)
}

func (m clockedMapper) Load(name string, t dm.Target, readOnly bool) error {
	defer m.clock.mark("dm load")
	return m.Mapper.Load(name, t, readOnly)
}

func (m clockedMapper) Resume(name string) error {
	defer m.clock.mark("dm resume")
	return m.Mapper.Resume(name)
}

func (m clockedMapper) Status(name string) (dm.Status, error) {
	defer m.clock.mark("dm status")
	return m.Mapper.Status(name)
}

// clockedRuntime marks the end of crun's commands and keeps the last container's specification.
type clockedRuntime struct {
	sandbox.Runtime
	clock *clock
	spec  *specs.Spec
}

func (r *clockedRuntime) Create(ctx context.Context, key, bundle string, spec *specs.Spec, stdio bool) (*container.Process, error) {
	r.spec = spec
	r.clock.mark("agent")
	defer r.clock.mark("crun create")
	return r.Runtime.Create(ctx, key, bundle, spec, stdio)
}

func (r *clockedRuntime) Start(ctx context.Context, key string) error {
	r.clock.mark("agent")
	return r.Runtime.Start(ctx, key)
}
