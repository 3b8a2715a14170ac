package storage

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mount is something this package mounted, with what it takes to undo it.
type Mount struct {
	m      *Manager
	target string
	steps  []step
	begun  bool // at least one step of the undo has happened
}

// step is one thing that was done, and its undo.
type step struct {
	token uint64
	undo  func() error
}

func (m *Manager) newMount(target string) *Mount { return &Mount{m: m, target: target} }

// did records a thing that was done.
func (t *Mount) did(h Held, undo func() error) {
	t.steps = append(t.steps, step{token: t.m.hold(h), undo: undo})
}

// Unmount undoes everything in reverse. An error without ErrStateUnknown means that nothing has been undone: the mount is in
// use (EBUSY) and stands as before. After any error Unmount may be called again; it goes on where it stopped.
func (t *Mount) Unmount(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("unmount %q: %w", t.target, err)
	}
	for len(t.steps) > 0 {
		last := t.steps[len(t.steps)-1]
		if err := last.undo(); err != nil {
			if t.begun && !errors.Is(err, ErrStateUnknown) {
				err = fmt.Errorf("%w: %w", ErrStateUnknown, err)
			}
			return fmt.Errorf("unmount %q: %w", t.target, err)
		}
		t.begun = true
		t.m.release(last.token)
		t.steps = t.steps[:len(t.steps)-1]
	}
	return nil
}

// rollBack undoes a mount that failed half-way and returns the error to report. What could not be undone stays in Held.
func (t *Mount) rollBack(cause error) error {
	if err := t.Unmount(context.Background()); err != nil {
		return errors.Join(cause, ErrStateUnknown, err)
	}
	return cause
}

// makeDir makes a directory of the agent's unless it is there; only one that was made here is removed again.
func (t *Mount) makeDir(dir string, mode os.FileMode) error {
	switch err := os.Mkdir(dir, mode); {
	case err == nil:
		t.did(Held{"directory", dir}, func() error { return os.Remove(dir) })
		return nil
	case errors.Is(err, os.ErrExist):
		return isDir(dir)
	default:
		return err
	}
}

func isDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%q: %w", dir, unix.ENOTDIR)
	}
	return nil
}

// attach calls mount, which must put something at the target, and records it by its mount id.
func (t *Mount) attach(mount func() error) error {
	before, err := mountID(t.target)
	if err != nil {
		return err
	}
	if err := mount(); err != nil {
		return err
	}
	id, err := mountID(t.target)
	if err == nil && id == before {
		err = errors.New("nothing was mounted")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStateUnknown, err)
	}
	t.did(Held{"mount", t.target}, func() error { return detach(t.target, id) })
	return nil
}

// detach unmounts the mount with the given id and makes sure of it. Only EBUSY is known to have done nothing.
func detach(target string, id uint64) error {
	if got, err := mountID(target); err != nil || got != id {
		return fmt.Errorf("mount point %q: another mount is there: %w", target, errors.Join(ErrStateUnknown, err))
	}
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	switch {
	case errors.Is(err, unix.EBUSY):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrStateUnknown, err)
	}
	if got, err := mountID(target); err != nil || got == id {
		return fmt.Errorf("mount point %q: it is still mounted: %w", target, errors.Join(ErrStateUnknown, err))
	}
	return nil
}

// mountID identifies the topmost mount at a path. Linux 5.8 and later report it.
func mountID(path string) (uint64, error) {
	var st unix.Statx_t
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if err := unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_MNT_ID, &st); err != nil {
		return 0, fmt.Errorf("stat %q: %w", path, err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, fmt.Errorf("stat %q: the kernel gives no mount id", path)
	}
	return st.Mnt_id, nil
}
