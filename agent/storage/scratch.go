package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// minScratch keeps a size of 0 away from tmpfs, where it means no limit.
const minScratch = 64 << 10

// MountScratchTmpfs mounts a tmpfs of the given size: a container's writable layer in the guest's (encrypted) memory. The
// directory is made if it is not there.
func (m *Manager) MountScratchTmpfs(ctx context.Context, dir string, sizeBytes int64) (*Mount, error) {
	t := m.newMount(dir)
	if err := t.mountScratch(ctx, sizeBytes); err != nil {
		return nil, t.rollBack(fmt.Errorf("mount scratch: %w", err))
	}
	return t, nil
}

func (t *Mount) mountScratch(ctx context.Context, size int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkName(t.target); err != nil {
		return err
	}
	if size < minScratch {
		return fmt.Errorf("size: got %d bytes, want at least %d", size, minScratch)
	}
	if err := os.MkdirAll(filepath.Dir(t.target), 0o755); err != nil {
		return err
	}
	if err := t.makeDir(t.target, 0o700); err != nil {
		return err
	}
	return t.attach(func() error {
		data := fmt.Sprintf("size=%d,mode=0700", size)
		if err := unix.Mount("scratch", t.target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
			return fmt.Errorf("mount tmpfs at %q: %w", t.target, err)
		}
		return nil
	})
}
