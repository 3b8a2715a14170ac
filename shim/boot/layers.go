package boot

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/vm"
)

// Layer is one read-only verity disk on the host, named by the root hash its policy knows it by.
type Layer struct {
	Path   string
	Root   string // lower-case hex
	Format string // file system: FormatExt4, which "" stands for, or FormatEROFS
}

// The file systems a layer's disk may have.
const (
	FormatExt4  = "ext4"
	FormatEROFS = "erofs"
)

func (l Layer) fstype() string {
	if l.Format == "" {
		return FormatExt4
	}
	return l.Format
}

// Plugger is the part of a VM that layers need.
type Plugger interface {
	Plug(ctx context.Context, disk vm.Disk) (vm.Address, error)
	Unplug(ctx context.Context, address vm.Address) error
}

// Layers plugs each layer once, however many containers use it. A layer is known by file and root: a disk whose content
// is not what its name says must not stand in for an honest one of the same root. Its methods may be called from several goroutines.
type Layers struct {
	vm Plugger

	mu      sync.Mutex
	plugged map[Layer]*pluggedLayer
}

type pluggedLayer struct {
	address vm.Address
	users   int
}

// NewLayers is a set with nothing plugged.
func NewLayers(vm Plugger) *Layers {
	return &Layers{vm: vm, plugged: map[Layer]*pluggedLayer{}}
}

// Acquire plugs the layers that are not there yet and returns the addresses in the order of the layers. When one cannot be
// plugged, those taken before it are given back.
func (s *Layers) Acquire(ctx context.Context, layers []Layer) ([]vm.Address, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addresses []vm.Address
	for i, layer := range layers {
		p := s.plugged[layer]
		if p == nil {
			address, err := s.vm.Plug(ctx, vm.Disk{Path: layer.Path, ReadOnly: true})
			if err != nil {
				undo := s.releaseLocked(context.WithoutCancel(ctx), layers[:i])
				return nil, errors.Join(fmt.Errorf("plug layer %d: %w", i, err), undo)
			}
			p = &pluggedLayer{address: address}
			s.plugged[layer] = p
		}
		p.users++
		addresses = append(addresses, p.address)
	}
	return addresses, nil
}

// Release gives back one use of each layer and unplugs those without users, last plugged first.
func (s *Layers) Release(ctx context.Context, layers []Layer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.releaseLocked(ctx, layers)
}

func (s *Layers) releaseLocked(ctx context.Context, layers []Layer) error {
	var errs []error
	for i := len(layers) - 1; i >= 0; i-- {
		p := s.plugged[layers[i]]
		if p == nil {
			continue
		}
		if p.users--; p.users > 0 {
			continue
		}
		delete(s.plugged, layers[i])
		if err := s.vm.Unplug(ctx, p.address); err != nil {
			errs = append(errs, fmt.Errorf("unplug layer at %s: %w", p.address, err))
		}
	}
	return errors.Join(errs...)
}

// Storages describes a container's root file system on the wire: its layers from the base up, then the overlay that names
// them from the top down. The mount points only link the storages of one request; the agent makes its own names.
func Storages(containerID string, layers []Layer, addresses []vm.Address) []*api.Storage {
	var list []*api.Storage
	lower := ""
	for i, address := range addresses {
		point := fmt.Sprintf("/run/kata-containers/sandbox/layers/%d", address.LUN)
		list = append(list, &api.Storage{
			Driver: "scsi", Source: address.String(), Fstype: layers[i].fstype(), MountPoint: point,
			Options: []string{
				"ro", "X-kata.overlay-lower", "X-kata.dmverity-enabled=true",
				"X-kata.dmverity.roothash=" + layers[i].Root,
			},
		})
		if lower != "" {
			point += ":" + lower
		}
		lower = point
	}
	return append(list, &api.Storage{
		Driver: "overlayfs", Source: "overlay", Fstype: "overlay", MountPoint: RootPath(containerID),
		Options: []string{"lowerdir=" + lower},
	})
}

// RootPath is where the root file system of a container is said to be: it links the overlay storage of a create request with its OCI root. The agent
// mounts at a path of its own.
func RootPath(containerID string) string {
	return "/run/kata-containers/" + containerID + "/rootfs"
}
