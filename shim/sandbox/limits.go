package sandbox

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
)

// Pause stops all processes of a running container.
func (p *Pod) Pause(ctx context.Context, id string) error {
	ctx, ct, done, err := p.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if err := p.require(ct, "pause", phaseRunning); err != nil {
		return err
	}
	err = p.call(ctx, fmt.Sprintf("pause container %.128q", id), func(ctx context.Context) error {
		_, err := p.client.PauseContainer(ctx, &api.PauseContainerRequest{ContainerId: id})
		return err
	})
	if err == nil {
		p.advance(ct, phasePaused)
	}
	return err
}

// Resume lets the processes of a paused container go on.
func (p *Pod) Resume(ctx context.Context, id string) error {
	ctx, ct, done, err := p.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if err := p.require(ct, "resume", phasePaused); err != nil {
		return err
	}
	err = p.call(ctx, fmt.Sprintf("resume container %.128q", id), func(ctx context.Context) error {
		_, err := p.client.ResumeContainer(ctx, &api.ResumeContainerRequest{ContainerId: id})
		return err
	})
	if err == nil {
		p.advance(ct, phaseRunning)
	}
	return err
}

// Update changes a container's limits. A VM that can grow grows with them.
func (p *Pod) Update(ctx context.Context, id string, r *specs.LinuxResources) error {
	ctx, ct, done, err := p.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if err := p.require(ct, "update", phaseCreated, phaseRunning, phasePaused); err != nil {
		return err
	}
	wire, err := spec.Resources(r)
	if err != nil {
		return fault(errdefs.ErrInvalidArgument, "update container %.128q: %v", id, err)
	}
	if err := p.grow(ctx, ct, containerLimits(r)); err != nil {
		return err
	}
	return p.call(ctx, fmt.Sprintf("update container %.128q", id), func(ctx context.Context) error {
		_, err := p.client.UpdateContainer(ctx, &api.UpdateContainerRequest{ContainerId: id, Resources: wire})
		return err
	})
}

// growFor makes room for a container that is being created.
func (p *Pod) growFor(ctx context.Context, ct *container) error {
	if ct.spec.Linux == nil {
		return nil
	}
	return p.grow(ctx, ct, containerLimits(ct.spec.Linux.Resources))
}

// grow makes a VM that can grow large enough for the sum of its containers' limits, one of which is new. A limit that is not given stays. What a VM was given
// it keeps. A VM of fixed size, such as any confidential one, was made for the pod's limits when it was started.
func (p *Pod) grow(ctx context.Context, ct *container, l limits) error {
	machine, ok := p.machine.(vm.Growable)
	if !ok || !growable(&p.config.Node) {
		p.setLimits(ct, l)
		return nil
	}
	p.growing.Lock()
	defer p.growing.Unlock()
	before := p.setLimits(ct, l)
	want, err := sizeFor(p.sum(), &p.config.Node)
	if err == nil {
		err = p.growTo(ctx, machine, want)
	}
	if err != nil {
		p.restoreLimits(ct, before)
	}
	return err
}

// setLimits changes what is known of a container's limits, and returns what was.
func (p *Pod) setLimits(ct *container, l limits) (before limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = ct.limits
	if l.milliCPU > 0 {
		ct.limits.milliCPU = l.milliCPU
	}
	if l.bytes > 0 {
		ct.limits.bytes = l.bytes
	}
	return before
}

func (p *Pod) restoreLimits(ct *container, l limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ct.limits = l
}

func (p *Pod) sum() limits {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l limits
	for _, c := range p.containers {
		l = l.plus(c.limits)
	}
	return l
}

// growTo plugs processors and memory in and has the agent bring them online.
func (p *Pod) growTo(ctx context.Context, machine vm.Growable, want vm.Size) error {
	now := p.Size()
	if want.VCPUs <= now.VCPUs && want.MemoryMiB <= now.MemoryMiB {
		return nil
	}
	size, err := machine.Resize(ctx, max(want.VCPUs, now.VCPUs), max(want.MemoryMiB, now.MemoryMiB))
	p.mu.Lock()
	if size.VCPUs > 0 {
		p.size = size
	}
	p.mu.Unlock()
	if m := p.config.Metrics; m != nil && size.VCPUs > 0 {
		m.VM(p.PID(), size.VCPUs, size.MemoryMiB)
	}
	if err != nil {
		return fmt.Errorf("grow the pod's VM to %d processors and %d MiB: %w", want.VCPUs, want.MemoryMiB, p.lost(err))
	}
	log.G(ctx).WithField("vcpus", size.VCPUs).WithField("memory_mib", size.MemoryMiB).Info("the pod's VM has grown")
	return p.call(ctx, "bring processors and memory online", func(ctx context.Context) error {
		_, err := p.client.OnlineCPUMem(ctx, &api.OnlineCPUMemRequest{
			Wait: true, NbCpus: uint32(max(0, size.VCPUs-now.VCPUs)), CpuOnly: size.MemoryMiB == now.MemoryMiB,
		})
		return err
	})
}
