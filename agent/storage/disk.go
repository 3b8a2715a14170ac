package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/dm"
)

// Candidate is a disk that was read once and not mounted. Its descriptor stays open until Close: as long as it is, the kernel
// gives the disk's number to no other.
type Candidate struct {
	address Address
	number  dm.Number
	image   *verity.Image

	close func() error
}

// RootHash is the root that was computed from the disk, as policies spell it.
func (c *Candidate) RootHash() string { return c.image.Root.String() }

// Close lets go of the disk. It may be called more than once, and after MountLayer: the mapped device holds the disk itself.
func (c *Candidate) Close() error { return c.close() }

// diskModules make the kernel see the disks of a driver.
var diskModules = map[string][]string{
	driverSCSI: {"virtio_scsi", "sd_mod"},
	driverBlk:  {"virtio_blk"},
}

// Open waits until the disk is there and reads its superblocks and the top of its tree, once. It changes nothing but the
// disk's read-only flag. The wait ends with the context, or after the configured time; a read of a disk that does not answer
// ends when the kernel gives it up.
func (m *Manager) Open(ctx context.Context, a Address) (c *Candidate, err error) {
	err = m.await(ctx, a, func() error {
		c, err = m.tryOpen(a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open disk %s: %w", a, err)
	}
	return c, nil
}

// await calls open until the disk is there.
func (m *Manager) await(ctx context.Context, a Address, open func() error) error {
	for _, module := range diskModules[a.driver] {
		if err := m.cfg.LoadModule(module); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.DeviceTimeout)
	defer cancel()
	changed, unsubscribe := m.events.subscribe()
	defer unsubscribe()
	for {
		err := open()
		if !errors.Is(err, errNotYet) {
			return err
		}
		select {
		case _, ok := <-changed:
			if !ok {
				return ErrClosed
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

func (m *Manager) tryOpen(a Address) (*Candidate, error) {
	at, err := sysfs{m.cfg.Sysfs}.find(a)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(m.cfg.Dev, at.name)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	// The node appears some milliseconds before the disk can be opened; its event comes after both.
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("%w: %w", errNotYet, err)
	case err != nil:
		return nil, err
	}
	c, err := m.candidate(a, at.number, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

func (m *Manager) candidate(a Address, number dm.Number, f *os.File) (*Candidate, error) {
	if err := checkNumber(f, number); err != nil {
		return nil, err
	}
	if err := makeReadOnly(f); err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd) // of a block device; Stat has no size for it
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	img, err := verity.Inspect(f, size, verity.InspectOptions{})
	if err != nil {
		return nil, err
	}
	token := m.hold(Held{Kind: "disk", Name: a.String()})
	c := &Candidate{address: a, number: number, image: img}
	c.close = sync.OnceValue(func() error {
		m.release(token)
		return f.Close()
	})
	return c, nil
}

// checkNumber makes sure that the node is the block device that sysfs meant.
func checkNumber(f *os.File, want dm.Number) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return fmt.Errorf("its node is not a block device: %w", ErrDisk)
	}
	if got := (dm.Number{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}); got != want {
		return fmt.Errorf("%w: its node is %s, want %s", errNotYet, got, want)
	}
	return nil
}

// makeReadOnly sets the kernel's read-only flag if the host did not: no path in the guest can then write to a layer.
func makeReadOnly(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var got int
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		if got, ioctlErr = unix.IoctlGetInt(int(fd), unix.BLKROGET); ioctlErr != nil || got != 0 {
			return
		}
		if ioctlErr = unix.IoctlSetPointerInt(int(fd), unix.BLKROSET, 1); ioctlErr != nil {
			return
		}
		got, ioctlErr = unix.IoctlGetInt(int(fd), unix.BLKROGET)
	})
	if err := errors.Join(err, ioctlErr); err != nil {
		return fmt.Errorf("make read-only: %w", err)
	}
	if got == 0 {
		return fmt.Errorf("it stays writable: %w", ErrDisk)
	}
	return nil
}
