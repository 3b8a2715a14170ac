package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
)

// devicePrefix starts the name of every mapped device; the number after it is never used twice.
const devicePrefix = "cloister-verity-"

// layerFlags: nothing is ever started from a layer's own mount, only through the overlay over it, which has its own flags.
const layerFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV

// layerData are the mount options of each file system. A journal must not be replayed: the device cannot be written to.
var layerData = map[verity.FileSystem]string{verity.Ext4: "noload", verity.EROFS: ""}

// MountLayer maps the candidate behind dm-verity with the root that RootHash returned, and so the one the policy allowed, and
// mounts it at target, which is made if it is not there. The candidate may be closed afterwards.
func (m *Manager) MountLayer(ctx context.Context, c *Candidate, target string) (*Mount, error) {
	t := m.newMount(target)
	if err := t.mountLayer(ctx, c); err != nil {
		return nil, t.rollBack(fmt.Errorf("mount layer %s: %w", c.address, err))
	}
	return t, nil
}

func (t *Mount) mountLayer(ctx context.Context, c *Candidate) error {
	if err := checkName(t.target); err != nil {
		return err
	}
	data, ok := layerData[c.image.FS]
	if !ok {
		return fmt.Errorf("file system %q: %w", c.image.FS, ErrDisk)
	}
	for _, module := range []string{"dm_verity", string(c.image.FS)} {
		if err := t.m.cfg.LoadModule(module); err != nil {
			return err
		}
	}
	device, err := t.activate(ctx, c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(t.target), 0o755); err != nil {
		return err
	}
	if err := t.makeDir(t.target, 0o755); err != nil {
		return err
	}
	return t.attach(func() error {
		if err := unix.Mount(device.Path, t.target, string(c.image.FS), layerFlags, data); err != nil {
			return fmt.Errorf("mount %s at %q: %w", c.image.FS, t.target, err)
		}
		return nil
	})
}

func (t *Mount) activate(ctx context.Context, c *Candidate) (*verity.Device, error) {
	mapper, err := t.m.deviceMapper()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s%d", devicePrefix, t.m.counter.Add(1)-1)
	activator := verity.Activator{Mapper: mapper, Dev: t.m.cfg.Dev}
	device, err := activator.Activate(ctx, name, c.number, c.image, c.image.Root)
	if err != nil {
		return nil, t.m.leftBehind(name, err)
	}
	t.did(Held{"device", name}, device.Deactivate)
	return device, nil
}
