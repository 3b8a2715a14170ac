package sandbox

import (
	"context"

	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/network"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

// host is what a pod does to the machine it runs on. Tests put other functions in their place.
type host struct {
	launch     func(context.Context, vm.Config) (vm.VM, error)
	prepareTEE func(context.Context, *boot.TEE, *vm.Config) error
	join       func(ctx context.Context, netns string, queues int) (joined, error)
	clean      func(ctx context.Context, netns string) error
	cgroupDirs func(path string) ([]string, error)
	makeCgroup func(path string) error
	scratchDir string // where the disks of writable layers lie; they have no names in it
}

// joined is a network namespace whose interfaces are joined to taps.
type joined interface {
	Links() []network.Link
	Guest() network.Guest
	Notes() []string
	Close() error
}

func realHost() host {
	return host{
		launch:     func(ctx context.Context, c vm.Config) (vm.VM, error) { return qemu.Start(ctx, c) },
		prepareTEE: func(ctx context.Context, t *boot.TEE, c *vm.Config) error { return t.Prepare(ctx, c) },
		join: func(ctx context.Context, netns string, queues int) (joined, error) {
			return network.Join(ctx, netns, queues)
		},
		clean:      network.Clean,
		cgroupDirs: cgroupDirs,
		makeCgroup: makeCgroup,
		scratchDir: "/var/lib/cloister/scratch",
	}
}
