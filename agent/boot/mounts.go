package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one row of the tables below.
type mount struct {
	fstype string
	target string
	flags  uintptr
	data   string
	magic  int64
	mode   os.FileMode // of the directory, where it has to be made
}

func (m mount) String() string { return fmt.Sprintf("%s on %s", m.fstype, m.target) }

const (
	sealed = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	data   = unix.MS_NOSUID | unix.MS_NODEV
)

// kernelMounts come before the root moves: what follows needs them.
var kernelMounts = []mount{
	{"proc", "/proc", sealed, "", unix.PROC_SUPER_MAGIC, 0o555},
	{"sysfs", "/sys", sealed, "", unix.SYSFS_MAGIC, 0o555},
	{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755", unix.TMPFS_MAGIC, 0o755},
}

// dataMounts come after. /run is not noexec: containers' root file systems are made of directories in it.
var dataMounts = []mount{
	{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5", unix.DEVPTS_SUPER_MAGIC, 0o755},
	{"tmpfs", "/dev/shm", sealed, "mode=1777", unix.TMPFS_MAGIC, 0o1777},
	{"mqueue", "/dev/mqueue", sealed, "", mqueueMagic, 0o1777},
	{"tmpfs", "/run", data, "mode=0755", unix.TMPFS_MAGIC, 0o755},
	{"tmpfs", "/tmp", data, "mode=1777", unix.TMPFS_MAGIC, 0o1777},
	{"cgroup2", "/sys/fs/cgroup", sealed, "nsdelegate", unix.CGROUP2_SUPER_MAGIC, 0o755},
}

const mqueueMagic = 0x19800202

// mountAll mounts the rows in order and returns what undoes that. A row that is mounted already is left as it is: in the development image the report device's
// server ran before us.
func mountAll(rows []mount) (undo func() error, err error) {
	var mounted []string
	undo = func() error {
		var errs []error
		for i := len(mounted) - 1; i >= 0; i-- {
			errs = append(errs, os.NewSyscallError("umount", unix.Unmount(mounted[i], unix.MNT_DETACH)))
		}
		return errors.Join(errs...)
	}
	for _, m := range rows {
		there, err := m.present()
		if err == nil && !there {
			err = m.mount()
			if err == nil {
				mounted = append(mounted, m.target)
			}
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("mount %s: %w", m, err), undo())
		}
	}
	return undo, nil
}

func (m mount) mount() error {
	if err := os.Mkdir(m.target, m.mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.NewSyscallError("mount", unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data))
}

// present reports whether a file system of the row's type is mounted right there. The type alone does not tell: the initramfs may be a tmpfs too.
func (m mount) present() (bool, error) {
	var here, above unix.Stat_t
	err := unix.Lstat(m.target, &here)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err == nil {
		err = unix.Lstat(filepath.Dir(m.target), &above)
	}
	var fs unix.Statfs_t
	if err == nil {
		err = unix.Statfs(m.target, &fs)
	}
	if err != nil {
		return false, os.NewSyscallError("stat", err)
	}
	return here.Dev != above.Dev && fs.Type == m.magic, nil
}
