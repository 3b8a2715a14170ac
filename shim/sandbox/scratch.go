package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/vm"
)

// scratch is a container's writable layer: a sparse file that the guest encrypts with a key of its own.
type scratch struct {
	address vm.Address
}

// plugScratch makes a file without a name, so that nothing is left of it however the VM ends, and plugs it in.
func (p *Pod) plugScratch(ctx context.Context, id string, made *undo) (_ *scratch, err error) {
	if err := os.MkdirAll(p.host.scratchDir, 0o700); err != nil {
		return nil, fmt.Errorf("writable layer: %w", err)
	}
	f, err := os.OpenFile(p.host.scratchDir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("writable layer: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }() // QEMU has its own descriptor
	if err := f.Truncate(int64(p.config.Node.ScratchMiB) * mib); err != nil {
		return nil, fmt.Errorf("writable layer: %w", err)
	}
	var address vm.Address
	err = p.within(ctx, func(ctx context.Context) (err error) {
		address, err = p.machine.Plug(ctx, vm.Disk{Path: fmt.Sprintf("/proc/self/fd/%d", f.Fd())})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("plug writable layer of %.128q: %w", id, err)
	}
	s := &scratch{address}
	made.push("unplug writable layer", func(ctx context.Context) error { return p.unplugScratch(ctx, s) })
	return s, nil
}

func (p *Pod) unplugScratch(ctx context.Context, s *scratch) error {
	if s == nil || !p.alive() {
		return nil
	}
	return p.ask(ctx, func(ctx context.Context) error { return p.machine.Unplug(ctx, s.address) })
}

// storage is the disk on the wire: the upper layer of the request's overlay, which the agent encrypts and formats.
func (s *scratch) storage() *api.Storage {
	return &api.Storage{
		Driver: "scsi", Source: s.address.String(), Fstype: "ext4", MountPoint: fmt.Sprintf("/run/kata-containers/sandbox/scratch/%d", s.address.LUN),
		Options: []string{"rw", "X-kata.overlay-upper"},
	}
}
