package bed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// markOf is the node that a process belongs to: NAME=OWNER-ID, or empty.
func markOf(pid string) string {
	environ, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
	if err != nil {
		return ""
	}
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.HasPrefix(entry, []byte(markName+"=")) {
			return string(entry)
		}
	}
	return ""
}

// killMarked kills every process of a node, shims first in no order: each is the node's own, by its environment.
func killMarked(mark string) error {
	return killWhere(func(m string) bool { return m == mark })
}

func killWhere(ours func(mark string) bool) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		left := 0
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || pid == os.Getpid() {
				continue
			}
			if m := markOf(e.Name()); m == "" || !ours(m) {
				continue
			}
			left++
			if err := killed(pid, deadline); err != nil {
				return err
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes do not end", left)
		}
	}
}

// killed kills a process, which need not be ours, and waits for its end.
func killed(pid int, deadline time.Time) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("process %d does not end", pid)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
}

// unmountBelow takes away what is mounted below a directory.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %q: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// sweepStale removes the nodes of runs that did not come to their end: a test binary that ran out of time has no chance to.
func sweepStale() error {
	gone := func(owner string) bool {
		pid, err := strconv.Atoi(owner)
		return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	errs := []error{killWhere(func(mark string) bool {
		owner, _, _ := strings.Cut(strings.TrimPrefix(mark, markName+"="), "-")
		return gone(owner)
	})}
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	errs = append(errs, err)
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		if !gone(owner) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(dir, "bridge"))
		if link, lookup := netlink.LinkByName(strings.TrimSpace(string(name))); err == nil && lookup == nil {
			errs = append(errs, netlink.LinkDel(link))
		}
		errs = append(errs, unmountBelow(dir), removeCgroups("/"+strings.TrimSpace(string(name))), os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// removeCgroups removes a node's groups from each hierarchy, the deepest first.
func removeCgroups(parent string) error {
	if len(parent) < 4 {
		return nil
	}
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
	if err != nil {
		return err
	}
	tops = append(tops, "/sys/fs/cgroup"+parent)
	var errs []error
	for _, top := range tops {
		errs = append(errs, removeCgroup(top))
	}
	return errors.Join(errs...)
}

// removeCgroup ends what is left in a group: a QEMU of another user has no mark of the node any more, but it is in the node's group.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // not there
	}
	errs := []error{killGroup(dir)}
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, removeCgroup(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(append(errs, os.Remove(dir))...)
}

func killGroup(dir string) error {
	procs := filepath.Join(dir, "cgroup.procs")
	deadline := time.Now().Add(20 * time.Second)
	for {
		text, err := os.ReadFile(procs)
		if err != nil || len(text) == 0 {
			return err
		}
		for field := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			if err := killed(pid, deadline); err != nil {
				return fmt.Errorf("control group %q: %w", dir, err)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of %q do not end: %s", dir, text)
		}
	}
}
