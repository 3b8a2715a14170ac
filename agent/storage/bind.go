package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// beneath resolves a name within its root and follows nothing: what is there may have been made by a workload.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// Bind mounts the file or directory name, found beneath root, at target, which is made if it is not there. The object is
// opened once and that descriptor is what gets mounted, so that nobody can swap a link for it in between. Set-user-id bits and
// device nodes are dead in the mount.
func (m *Manager) Bind(ctx context.Context, root, name, target string) (*Mount, error) {
	t := m.newMount(target)
	if err := t.bind(ctx, root, name); err != nil {
		return nil, t.rollBack(fmt.Errorf("bind %.128q: %w", name, err))
	}
	return t, nil
}

func (t *Mount) bind(ctx context.Context, root, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkName(t.target); err != nil {
		return err
	}
	source, isDir, err := openBeneath(root, name)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := os.MkdirAll(filepath.Dir(t.target), 0o755); err != nil {
		return err
	}
	if isDir {
		err = t.makeDir(t.target, 0o755)
	} else {
		err = t.makeFile(t.target)
	}
	if err != nil {
		return err
	}
	return t.attach(func() error { return moveClone(source, t.target) })
}

// openBeneath returns an O_PATH descriptor of a regular file or a directory.
func openBeneath(root, name string) (_ *os.File, isDir bool, err error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, fmt.Errorf("open its root: %w", err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: beneath})
	if err != nil {
		return nil, false, fmt.Errorf("open it beneath its root: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	info, err := f.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = fmt.Errorf("got a file of type %s, want a regular file or a directory", info.Mode().Type())
	}
	if err != nil {
		f.Close()
		return nil, false, err
	}
	return f, info.IsDir(), nil
}

// makeFile makes an empty file to mount over.
func (t *Mount) makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case err == nil:
		t.did(Held{"file", path}, func() error { return os.Remove(path) })
		return f.Close()
	case os.IsExist(err):
		info, err := os.Lstat(path)
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%q is not a regular file", path)
		}
		return err
	default:
		return err
	}
}

// moveClone clones the mount behind source and attaches it at target.
func moveClone(source *os.File, target string) error {
	raw, err := source.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		var tree int
		if tree, inner = unix.OpenTree(int(fd), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH); inner != nil {
			inner = os.NewSyscallError("open_tree", inner)
			return
		}
		defer unix.Close(tree)
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
		if inner = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); inner != nil {
			inner = os.NewSyscallError("mount_setattr", inner)
			return
		}
		inner = os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH))
	})
	if err != nil {
		return err
	}
	return inner
}
