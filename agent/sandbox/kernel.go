package sandbox

import (
	"context"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/storage"
)

// Storage makes the mounts a container needs; agent/storage does it with the kernel.
type Storage interface {
	// Open waits for the disk and reads its root hash once; it changes nothing.
	Open(ctx context.Context, a storage.Address) (Candidate, error)
	MountLayer(ctx context.Context, c Candidate, target string) (Mount, error)
	MountScratch(ctx context.Context, dir string, size int64) (Mount, error)
	// MountScratchDisk makes the writable layer of a disk, encrypted with a key of its own.
	MountScratchDisk(ctx context.Context, a storage.Address, dir string) (Mount, error)
	MountOverlay(ctx context.Context, lowers []string, upper, work, target string) (Mount, error)
	Bind(ctx context.Context, root, name, target string) (Mount, error)
}

// Candidate is a disk that was read and not yet mounted.
type Candidate interface {
	RootHash() string
	Close() error
}

// Mount is something mounted. Unmount's error is storage.ErrStateUnknown when it may or may not have happened.
type Mount interface {
	Unmount(ctx context.Context) error
}

// Runtime starts containers; container.Runtime does it with crun.
type Runtime interface {
	// Begin is a head start for Create; the function it returns ends what Create did not take.
	Begin(key, bundle string) (abandon func())
	Create(ctx context.Context, key, bundle string, spec *specs.Spec, stdio bool) (*container.Process, error)
	Start(ctx context.Context, key string) error
	Exec(ctx context.Context, key string, number uint64, spec *specs.Process, stdio bool) (*container.Process, error)
	Update(ctx context.Context, key string, res *specs.LinuxResources) error
	Delete(ctx context.Context, key string) error
}

// Group is a container's control group.
type Group interface {
	Stats() (*api.CgroupStats, error)
	WatchOOM(ctx context.Context, event func()) error
	OOMKills() (uint64, error)
	Kill(ctx context.Context) error
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) error
}

// Broker serves evidence to the containers that have a grant.
type Broker interface {
	// Listen makes the container's own socket in dir, by which it is known.
	Listen(ctx context.Context, id attest.Identity, dir string) (socket string, stop func(), err error)
}

// Staging holds the files the host copied.
type Staging interface {
	Copy(req *api.CopyFileRequest) error
	// Resolve returns the guest path of a complete entry.
	Resolve(entry string) (string, error)
	// RemoveOwned forgets the entries that were copied for a container.
	RemoveOwned(id string) error
}

// KernelStorage makes a sandbox use the kernel's storage.
func KernelStorage(m *storage.Manager) Storage { return kernelStorage{m} }

type kernelStorage struct{ m *storage.Manager }

func (k kernelStorage) Open(ctx context.Context, a storage.Address) (Candidate, error) {
	return asInterface[Candidate](k.m.Open(ctx, a))
}

func (k kernelStorage) MountLayer(ctx context.Context, c Candidate, target string) (Mount, error) {
	disk, ok := c.(*storage.Candidate)
	if !ok {
		return nil, fmt.Errorf("mount layer: got a %T, want a disk that was opened here", c)
	}
	return asInterface[Mount](k.m.MountLayer(ctx, disk, target))
}

func (k kernelStorage) MountScratch(ctx context.Context, dir string, size int64) (Mount, error) {
	return asInterface[Mount](k.m.MountScratchTmpfs(ctx, dir, size))
}

func (k kernelStorage) MountScratchDisk(ctx context.Context, a storage.Address, dir string) (Mount, error) {
	return asInterface[Mount](k.m.MountScratchDisk(ctx, a, dir))
}

func (k kernelStorage) MountOverlay(ctx context.Context, lowers []string, upper, work, target string) (Mount, error) {
	return asInterface[Mount](k.m.MountOverlay(ctx, lowers, upper, work, target))
}

func (k kernelStorage) Bind(ctx context.Context, root, name, target string) (Mount, error) {
	return asInterface[Mount](k.m.Bind(ctx, root, name, target))
}

// asInterface makes a concrete result an interface's, and a failed one a nil interface.
func asInterface[I any, T any](v T, err error) (I, error) {
	var none I
	if err != nil {
		return none, err
	}
	return any(v).(I), nil
}
