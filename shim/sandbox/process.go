package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/spec"
)

// Start starts a created container.
func (p *Pod) Start(ctx context.Context, id string) error {
	ctx, ct, done, err := p.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if err := p.require(ct, "start", phaseCreated); err != nil {
		return err
	}
	err = p.call(ctx, fmt.Sprintf("start container %.128q", id), func(ctx context.Context) error {
		_, err := p.client.StartContainer(ctx, &api.StartContainerRequest{ContainerId: id})
		return err
	})
	if err != nil {
		return err
	}
	p.advance(ct, phaseRunning)
	if !ct.pause {
		p.withoutInput(ctx, ct.init)
	}
	return nil
}

// Exec starts one more process in a running container. An id may be used again when its process has ended.
func (p *Pod) Exec(ctx context.Context, name Process, s *specs.Process, stdin bool) error {
	if name.Exec == "" || s == nil {
		return fault(errdefs.ErrInvalidArgument, "exec in container %.128q: want an id and a process", name.Container)
	}
	ctx, ct, done, err := p.change(ctx, name.Container)
	if err != nil {
		return err
	}
	defer done()
	if err := p.require(ct, "exec in", phaseRunning); err != nil {
		return err
	}
	if _, old, err := p.process(name); err == nil && !old.ended() {
		return fault(errdefs.ErrAlreadyExists, "process %.128q of container %.128q: exists already", name.Exec, name.Container)
	}
	request, err := p.execRequest(ctx, ct, s)
	if err != nil {
		return err
	}
	err = p.call(ctx, fmt.Sprintf("exec in container %.128q", ct.id), func(ctx context.Context) error {
		_, err := p.client.ExecProcess(ctx, request)
		return err
	})
	wire := boot.Process{Container: ct.id, Exec: request.ExecId}
	if err != nil {
		if unsure(err) {
			p.killUnsure(ctx, wire)
		}
		return err
	}
	proc := newProcess(wire, stdin, s.Terminal)
	p.mu.Lock()
	ct.execs[name.Exec] = proc
	p.mu.Unlock()
	p.await(ct, proc)
	p.withoutInput(ctx, proc)
	return nil
}

// execRequest fits the process to the policy. Its id in the guest is new: the agent takes none twice, containerd gives some twice.
func (p *Pod) execRequest(ctx context.Context, ct *container, s *specs.Process) (*api.ExecProcessRequest, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("copy process: %w", err)
	}
	fitted := &specs.Process{}
	if err := json.Unmarshal(text, fitted); err != nil {
		return nil, fmt.Errorf("copy process: %w", err)
	}
	logNotes(ctx, ct.id, p.policy.FitExec(fitted, ct.spec, ct.roots))
	wire, err := spec.Process(fitted)
	if err != nil {
		return nil, fault(errdefs.ErrInvalidArgument, "exec in container %.128q: %v", ct.id, err)
	}
	return &api.ExecProcessRequest{ContainerId: ct.id, ExecId: boot.NewID(), Process: wire}, nil
}

// killUnsure ends a process that may have been started all the same: nobody could wait for it or end it by its name.
func (p *Pod) killUnsure(ctx context.Context, wire boot.Process) {
	err := undoStep{take: func(ctx context.Context) error {
		return p.signal(ctx, wire.Container, wire.Exec, 9)
	}}.run(ctx)
	if err != nil && p.alive() {
		log.G(ctx).WithError(err).WithField("container_id", wire.Container).Warn("a process may have been started, and was not ended")
	}
}

// withoutInput ends the input of a process that has none, so that it reads an end and not for ever.
func (p *Pod) withoutInput(ctx context.Context, proc *process) {
	if proc.stdin || proc.tty {
		return
	}
	ctx = context.WithoutCancel(ctx)
	p.loops.Go(func() {
		// Refused where the policy allows no stdio, and then there is no input: no refusal that anybody has to hear of.
		_ = p.within(ctx, func(ctx context.Context) error {
			_, err := p.client.CloseStdin(ctx, &api.CloseStdinRequest{ContainerId: proc.wire.Container, ExecId: proc.wire.ExecID()})
			return err
		})
	})
}

// Wait returns how a process ended, once it has. The error is the context's, or a NotFound. When the VM is lost, all processes end.
func (p *Pod) Wait(ctx context.Context, name Process) (Exit, error) {
	_, proc, err := p.process(name)
	if err != nil {
		return Exit{}, err
	}
	select {
	case <-proc.done:
		return proc.exit, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

// Forget forgets a process of an exec that has ended.
func (p *Pod) Forget(_ context.Context, name Process) error {
	ct, proc, err := p.process(name)
	switch {
	case err != nil:
		return err
	case name.Exec == "" || !proc.ended():
		return fault(errdefs.ErrFailedPrecondition, "forget process %.128q of container %.128q: it has not ended, or is the first one", name.Exec, name.Container)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(ct.execs, name.Exec)
	return nil
}

// Signal sends a signal; all sends it to all processes of a container. A process that has ended is no error.
func (p *Pod) Signal(ctx context.Context, name Process, signal uint32, all bool) error {
	_, proc, err := p.process(name)
	if err != nil {
		return err
	}
	if proc.ended() {
		return nil
	}
	target := proc.wire.ExecID()
	if all && name.Exec == "" {
		target = ""
	}
	return p.signal(ctx, proc.wire.Container, target, signal)
}

func (p *Pod) signal(ctx context.Context, container, target string, signal uint32) error {
	err := p.call(ctx, fmt.Sprintf("signal container %.128q", container), func(ctx context.Context) error {
		_, err := p.client.SignalProcess(ctx, &api.SignalProcessRequest{ContainerId: container, ExecId: target, Signal: signal})
		return err
	})
	if gone(err) {
		return nil
	}
	return err
}

// Resize sets the size of a process's terminal, in characters.
func (p *Pod) Resize(ctx context.Context, name Process, width, height uint32) error {
	_, proc, err := p.process(name)
	if err != nil || proc.ended() {
		return err
	}
	return p.call(ctx, fmt.Sprintf("resize terminal of %.128q", name.Container), func(ctx context.Context) error {
		_, err := p.client.TtyWinResize(ctx, &api.TtyWinResizeRequest{
			ContainerId: proc.wire.Container, ExecId: proc.wire.ExecID(), Row: height, Column: width,
		})
		return err
	})
}

// Pids answers the processes of the host that stand for a container's, which are the guest's own: the VM's.
func (p *Pod) Pids(_ context.Context, id string) ([]uint32, error) {
	if _, err := p.find(id); err != nil {
		return nil, err
	}
	if pid := p.PID(); pid > 0 {
		return []uint32{uint32(pid)}, nil
	}
	return nil, nil
}

// Remove takes a created or ended container away: its processes, mounts and disks in the guest, then what it had of the host. In a pod whose VM is lost nothing
// is left to do in the guest.
func (p *Pod) Remove(ctx context.Context, id string) error {
	ctx, ct, done, err := p.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if p.alive() {
		if err := p.require(ct, "remove", phaseCreated, phaseStopped); err != nil {
			return err
		}
	}
	return p.remove(ctx, ct)
}

// remove is Remove, whatever phase the container is in.
func (p *Pod) remove(ctx context.Context, ct *container) error {
	if err := p.removeInGuest(ctx, ct.id); err != nil {
		return err
	}
	p.share.Remove(ct.id)
	// The guest has let go of the disks: one that QEMU keeps is a file that it keeps open, nothing else.
	for _, step := range []undoStep{
		{"unplug writable layer", func(ctx context.Context) error { return p.unplugScratch(ctx, ct.scratch) }},
		{"unplug layers", func(ctx context.Context) error { return p.releaseLayers(ctx, ct) }},
	} {
		if err := step.run(ctx); err != nil && p.alive() {
			log.G(ctx).WithError(err).WithField("container_id", ct.id).Warn("a disk stays plugged")
		}
	}
	p.endProcesses(ct)
	p.drop(ct)
	return nil
}

// toldMoment is how long the ends of a removed container's processes may take to be told.
const toldMoment = time.Second

// endProcesses lets nobody wait for a process of a container that is gone. The agent tells of their ends itself; killed is what they are where it does not.
func (p *Pod) endProcesses(ct *container) {
	p.mu.Lock()
	left := slices.Collect(maps.Values(ct.execs))
	p.mu.Unlock()
	moment := time.NewTimer(toldMoment)
	defer moment.Stop()
	for _, proc := range append(left, ct.init) {
		select {
		case <-proc.done:
			continue
		case <-p.life.Done():
		case <-moment.C:
			moment.Reset(0)
		}
		proc.finish(Exit{Status: 137, At: time.Now()})
	}
}
