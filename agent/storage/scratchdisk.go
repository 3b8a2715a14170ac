package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity/dm"
)

// scratchModules are loaded before the first writable disk. dm_crypt brings its cipher with it.
var scratchModules = []string{"dm_integrity", "dm_crypt", "ext4"}

// edge is how much of either end of a fresh device is written before mke2fs looks at it. Blocks that were never written have no tag and read as EIO, and
// mke2fs looks there for what it may overwrite.
const edge = 1 << 20

// mke2fsArguments make an ext4 that reads nothing it has not written, and needs no recovery: it does not outlive the guest.
var mke2fsArguments = []string{
	"-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal,^resize_inode,sparse_super2",
	"-E", "num_backup_sb=0,lazy_itable_init=1,nodiscard,root_owner=0:0",
}

// MountScratchDisk makes a container's writable layer of a writable disk: encrypted and authenticated with a key of this mount alone, a fresh ext4, mounted at
// dir, which is made if it is not there. What was on the disk is lost, and after Unmount nobody can read what was written.
//
// The host sees sizes, places and times of writes. A block it changes reads as EIO (by direct I/O as EILSEQ). A block it replaces by what stood there before under the same mount
// is not noticed.
func (m *Manager) MountScratchDisk(ctx context.Context, a Address, dir string) (*Mount, error) {
	t := m.newMount(dir)
	if err := t.mountScratchDisk(ctx, a); err != nil {
		return nil, t.rollBack(fmt.Errorf("mount scratch disk %s: %w", a, err))
	}
	return t, nil
}

func (t *Mount) mountScratchDisk(ctx context.Context, a Address) error {
	if err := checkName(t.target); err != nil {
		return err
	}
	if t.m.cfg.RunProgram == nil {
		return errors.New("no program can be run here")
	}
	for _, module := range scratchModules {
		if err := t.m.cfg.LoadModule(module); err != nil {
			return err
		}
	}
	var disk *os.File
	var number dm.Number
	err := t.m.await(ctx, a, func() (err error) {
		disk, number, err = t.m.openWritable(a)
		return err
	})
	if err != nil {
		return err
	}
	defer disk.Close() // the mapped device holds the disk
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if size < minDisk || size > maxDisk {
		return fmt.Errorf("got a disk of %d bytes, want %d to %d: %w", size, minDisk, int64(maxDisk), ErrDisk)
	}
	device, err := t.encrypt(ctx, disk, number, size)
	if err != nil {
		return err
	}
	if err := t.makeFileSystem(ctx, device); err != nil {
		return err
	}
	return t.mountDevice(device)
}

// openWritable opens a disk that nobody uses. Direct I/O: the mapped devices write around the page cache of the disk itself.
func (m *Manager) openWritable(a Address) (*os.File, dm.Number, error) {
	at, err := sysfs{m.cfg.Sysfs}.find(a)
	if err != nil {
		return nil, dm.Number{}, err
	}
	f, err := os.OpenFile(filepath.Join(m.cfg.Dev, at.name), os.O_RDWR|unix.O_DIRECT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return nil, dm.Number{}, fmt.Errorf("%w: %w", errNotYet, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return nil, dm.Number{}, fmt.Errorf("it cannot be written to: %w: %w", ErrDisk, err)
	case err != nil:
		return nil, dm.Number{}, err
	}
	if err := checkNumber(f, at.number); err != nil {
		f.Close()
		return nil, dm.Number{}, err
	}
	return f, at.number, nil
}

func (t *Mount) makeFileSystem(ctx context.Context, device *node) error {
	if err := writeEdges(ctx, device); err != nil {
		return fmt.Errorf("write zeros through dm-crypt: %w", err)
	}
	return t.m.cfg.RunProgram(ctx, "/sbin/mke2fs", append(mke2fsArguments[:len(mke2fsArguments):len(mke2fsArguments)], device.path)...)
}

func writeEdges(ctx context.Context, device *node) error {
	f, err := os.OpenFile(device.path, os.O_WRONLY|unix.O_DIRECT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkNumber(f, device.number); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	zeros, err := newAligned(edge)
	if err != nil {
		return err
	}
	defer zeros.free()
	for _, at := range []int64{0, size - edge} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	return nil
}

// mountDevice mounts the file system for a writable layer. A block of its own tables that was changed makes it read-only.
func (t *Mount) mountDevice(device *node) error {
	if err := os.MkdirAll(filepath.Dir(t.target), 0o755); err != nil {
		return err
	}
	if err := t.makeDir(t.target, 0o700); err != nil {
		return err
	}
	return t.attach(func() error {
		if err := unix.Mount(device.path, t.target, "ext4", unix.MS_NOSUID|unix.MS_NODEV, "errors=remount-ro,nodiscard"); err != nil {
			return fmt.Errorf("mount ext4 at %q: %w", t.target, err)
		}
		return nil
	})
}
