package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// startIn starts cmd inside control groups: version 2 by the kernel, as part of the fork; version 1 while the child is stopped before the first instruction
// of its program, because the kernel has no such fork for it. The calling thread must be locked to its goroutine.
func startIn(cmd *exec.Cmd, cgroups []string) error {
	var gated []string
	for _, dir := range cgroups {
		unified, err := isUnified(dir)
		if err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		if !unified {
			gated = append(gated, dir)
			continue
		}
		if cmd.SysProcAttr.UseCgroupFD {
			return fmt.Errorf("cgroup: got a second one of version 2: %q", dir)
		}
		f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		defer func() { _ = f.Close() }()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	cmd.SysProcAttr.Ptrace = len(gated) > 0
	if err := cmd.Start(); err != nil {
		return err
	}
	if len(gated) == 0 {
		return nil
	}
	if err := gate(cmd.Process.Pid, gated); err != nil {
		_ = cmd.Process.Kill()
		_ = unix.PtraceDetach(cmd.Process.Pid)
		_ = cmd.Wait()
		return err
	}
	return nil
}

// gate moves a child, stopped at its exec, into control groups of version 1 and lets it go.
func gate(pid int, dirs []string) error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("wait4", err)
		}
		break
	}
	if !status.Stopped() {
		return fmt.Errorf("%s ended before its first instruction: %#x", Program, status)
	}
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return os.NewSyscallError("ptrace", unix.PtraceDetach(pid))
}

// isUnified tells a directory of version 2 from one of version 1.
func isUnified(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	switch st.Type {
	case unix.CGROUP2_SUPER_MAGIC:
		return true, nil
	case unix.CGROUP_SUPER_MAGIC:
		return false, nil
	}
	return false, fmt.Errorf("%q is not on a cgroup file system", dir)
}

// limit keeps QEMU from what it never needs: core dumps, locked memory (an SNP launch may pin some), more descriptors than its disks take. Limits of another
// user's process are only set by who has CAP_SYS_RESOURCE, as root on a node has; a root without it leaves them as they are.
func limit(pid int, lockMemory bool) error {
	limits := map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxFiles}
	if !lockMemory {
		limits[unix.RLIMIT_MEMLOCK] = 0
	}
	for resource, most := range limits {
		var now unix.Rlimit
		if err := unix.Prlimit(pid, resource, nil, &now); errors.Is(err, unix.EPERM) {
			return nil
		} else if err != nil {
			return os.NewSyscallError("prlimit", err)
		}
		most = min(most, now.Max)
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	return nil
}

// maxFiles is room for every disk twice over, a descriptor and the one it came as, and for the connections of a user network.
const maxFiles = 4096
