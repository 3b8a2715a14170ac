package sandbox

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
)

// Create creates a container: its layers are plugged in, its files copied, and the agent is asked. The notes say what its specification lost on the way. When
// anything fails, what was made for it is undone before Create returns. The sandbox container of a CRI pod has nothing but the agent's built-in pause.
func (p *Pod) Create(ctx context.Context, c Container) ([]spec.Note, error) {
	if !idForm.MatchString(c.ID) || c.Spec == nil || c.Spec.Process == nil {
		return nil, fault(errdefs.ErrInvalidArgument, "create container %.128q: want an id of letters, digits, _ . - and a specification with a process", c.ID)
	}
	ctx, done, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	ct, err := p.reserve(c.ID)
	if err != nil {
		return nil, err
	}
	defer func() { <-ct.turn }()
	var made undo
	notes, err := p.create(ctx, ct, c, &made)
	if err != nil {
		if undone := made.run(ctx); undone != nil {
			log.G(ctx).WithError(undone).WithField("container_id", c.ID).Error("create container: not all was undone")
		}
		p.drop(ct)
		return nil, lineError{fmt.Errorf("create container %.128q: %w", c.ID, err)}
	}
	logNotes(ctx, c.ID, notes)
	p.mu.Lock()
	ct.phase = phaseCreated
	ct.init = newProcess(boot.Process{Container: c.ID}, c.Stdin, c.Spec.Process.Terminal)
	p.countLocked()
	p.mu.Unlock()
	p.await(ct, ct.init)
	return notes, nil
}

func (p *Pod) create(ctx context.Context, ct *container, c Container, made *undo) ([]spec.Note, error) {
	if !p.alive() {
		return nil, p.ended("create container")
	}
	ct.pause = spec.IsSandbox(c.Spec)
	fitted, err := cloneSpec(c.Spec)
	if err != nil {
		return nil, err
	}
	ct.spec = fitted
	in := spec.Input{Spec: fitted, Sandbox: ct.pause, SandboxID: p.guest, ContainerID: c.ID, Sysctl: p.sysctl}
	var notes []spec.Note
	if !ct.pause {
		if in.Storages, err = p.plug(ctx, ct, c.Rootfs, made); err != nil {
			return nil, err
		}
		in.KeepSeccomp = p.policy.Seccomp(fitted, ct.roots)
		notes = p.policy.Fit(fitted, ct.roots)
		if in.Copies, err = p.copyFiles(ctx, ct, made); err != nil {
			return nil, err
		}
		if err := p.growFor(ctx, ct); err != nil {
			return nil, err
		}
	}
	request, more, err := spec.Create(in)
	if err != nil {
		return nil, fault(errdefs.ErrInvalidArgument, "%v", err)
	}
	err = p.createInGuest(ctx, request, made)
	if errdefs.IsPermissionDenied(err) {
		logLayers(ctx, c)
	}
	return append(notes, more...), err
}

// logLayers says what the layers of a refused container are, for whoever compares them with the policy.
func logLayers(ctx context.Context, c Container) {
	for i, l := range c.Rootfs.Layers {
		fields := log.Fields{"container_id": c.ID, "layer": i, "diff_id": l.DiffID}
		for _, format := range []string{rootfs.Ext4, rootfs.EROFS} {
			if d := l.In(format); d != nil {
				fields[format+"_root"] = d.Root
			}
		}
		log.G(ctx).WithFields(fields).Warn("a layer of the refused container")
	}
}

// cloneSpec copies a specification, which is changed to fit the policy.
func cloneSpec(s *specs.Spec) (*specs.Spec, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("copy specification: %w", err)
	}
	c := &specs.Spec{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("copy specification: %w", err)
	}
	return c, nil
}

// plug chooses the disks whose roots the policy names, and plugs them in.
func (p *Pod) plug(ctx context.Context, ct *container, r rootfs.Rootfs, made *undo) ([]*api.Storage, error) {
	if len(r.Layers) == 0 {
		return nil, fault(errdefs.ErrInvalidArgument, "its root file system has no layers: is the image unpacked by a snapshotter that makes disks?")
	}
	var want func([]string) bool
	if p.policy.Known() {
		want = p.policy.Layers
	}
	n := &p.config.Node
	disks, err := r.Choose(ctx, want, n.LayerFormat, rootfs.Daemon(n.Snapshotter))
	if err != nil {
		return nil, fault(errdefs.ErrFailedPrecondition, "%v", err)
	}
	ct.roots = rootfs.Roots(disks)
	for _, d := range disks {
		ct.layers = append(ct.layers, boot.Layer{Path: d.Path, Root: d.Root, Format: d.Format})
	}
	var addresses []vm.Address
	err = p.within(ctx, func(ctx context.Context) (err error) {
		addresses, err = p.layers.Acquire(ctx, ct.layers)
		return err
	})
	if err != nil {
		return nil, p.lost(err)
	}
	made.push("unplug layers", func(ctx context.Context) error { return p.releaseLayers(ctx, ct) })
	storages := boot.Storages(ct.id, ct.layers, addresses)
	if n.Scratch != "block" {
		return storages, nil
	}
	if ct.scratch, err = p.plugScratch(ctx, ct.id, made); err != nil {
		return nil, p.lost(err)
	}
	return append(storages, ct.scratch.storage()), nil
}

// lost is the reason behind an error of the VM when its life is over.
func (p *Pod) lost(err error) error {
	if p.alive() {
		return err
	}
	return fault(errdefs.ErrUnavailable, "%v", p.Err())
}

// releaseLayers gives the container's layers back. Those of a VM that has ended are given back already.
func (p *Pod) releaseLayers(ctx context.Context, ct *container) error {
	if !p.alive() {
		return nil
	}
	return p.ask(ctx, func(ctx context.Context) error { return p.layers.Release(ctx, ct.layers) })
}

// copyFiles brings the small files that the container mounts, and returns the guest's names by destination.
func (p *Pod) copyFiles(ctx context.Context, ct *container, made *undo) (map[string]string, error) {
	mounts, err := spec.Copied(ct.spec)
	if err != nil {
		return nil, fault(errdefs.ErrInvalidArgument, "%v", err)
	}
	if len(mounts) == 0 {
		return nil, nil
	}
	made.push("forget copied files", func(context.Context) error { p.share.Remove(ct.id); return nil })
	copies := map[string]string{}
	for _, m := range mounts {
		if copies[m.Destination], err = p.share.Add(ctx, ct.id, m); err != nil {
			return nil, fmt.Errorf("copy the files of %q: %w", m.Destination, err)
		}
	}
	return copies, nil
}

// copier is the agent's call that takes files, with the limits of every other call: a refresh has no caller that gives up.
type copier struct{ pod *Pod }

func (c copier) CopyFile(ctx context.Context, r *api.CopyFileRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, c.pod.call(ctx, "copy file", func(ctx context.Context) error {
		_, err := c.pod.client.CopyFile(ctx, r)
		return err
	})
}

// createInGuest asks the agent. Where it gave no answer of its own it may have created the container, which is removed then before its layers are unplugged.
func (p *Pod) createInGuest(ctx context.Context, request *api.CreateContainerRequest, made *undo) error {
	err := p.call(ctx, "create", func(ctx context.Context) error {
		_, err := p.client.CreateContainer(ctx, request)
		return err
	})
	if err != nil && unsure(err) {
		made.push("remove container", func(ctx context.Context) error { return p.removeInGuest(ctx, request.ContainerId) })
	}
	return err
}

// removeInGuest removes a container from the guest. One that is not there, or a guest that is not, is what was wanted.
func (p *Pod) removeInGuest(ctx context.Context, id string) error {
	if !p.alive() {
		return nil
	}
	err := p.call(ctx, "remove container", func(ctx context.Context) error {
		_, err := p.client.RemoveContainer(ctx, &api.RemoveContainerRequest{ContainerId: id})
		return err
	})
	if gone(err) || errdefs.IsInvalidArgument(err) || !p.alive() { // the agent's word for an unknown container is InvalidArgument
		return nil
	}
	return err
}
