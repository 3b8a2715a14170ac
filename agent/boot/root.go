package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const newRoot = "/newroot"

// leaveInitramfs makes a mount of the initramfs's contents the root. pivot_root(2), which container runtimes need, gives EINVAL on the initramfs
// itself; a bind of it is as good as any file system, and nothing is copied.
func leaveInitramfs() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if fs.Type != unix.RAMFS_MAGIC && fs.Type != unix.TMPFS_MAGIC {
		return nil
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	below, err := mountsBelowRoot(string(info))
	if err != nil {
		return err
	}
	if err := os.Mkdir(newRoot, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount("/", newRoot, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the root: %w", err)
	}
	for _, target := range below {
		if err := unix.Mount(target, filepath.Join(newRoot, target), "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %q: %w", target, err)
		}
	}
	if err := unix.Chdir(newRoot); err != nil {
		return os.NewSyscallError("chdir", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return os.NewSyscallError("chroot", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// mountsBelowRoot returns the mount points directly below the root's mount, in order. Mounts below those move with them. Format: proc(5), mountinfo.
func mountsBelowRoot(info string) ([]string, error) {
	type line struct{ id, parent, target string }
	var all []line
	root := ""
	for text := range strings.Lines(info) {
		fields := strings.Fields(text)
		if len(fields) < 5 {
			return nil, fmt.Errorf("mountinfo: got %d fields, want at least 5", len(fields))
		}
		l := line{fields[0], fields[1], fields[4]}
		if l.target == "/" {
			root = l.id // the last one is on top
		}
		all = append(all, l)
	}
	var below []string
	for _, l := range all {
		if l.parent != root || l.target == "/" {
			continue
		}
		if strings.Contains(l.target, `\`) {
			return nil, fmt.Errorf("mountinfo: mount point %q has a character no path of ours has", l.target)
		}
		below = append(below, l.target)
	}
	return below, nil
}
