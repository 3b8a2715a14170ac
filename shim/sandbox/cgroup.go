package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// unifiedRoot is where a host with control groups of version 2 has them.
const unifiedRoot = "/sys/fs/cgroup"

// cgroupDirs names the directories of a pod's control group: one of version 2, or one in each hierarchy of version 1, which a hybrid host counts as. An
// empty path has none: QEMU stays in the shim's own group then.
func cgroupDirs(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	path, err := cgroupPath(path)
	if err != nil {
		return nil, err
	}
	if cgroups.Mode() == cgroups.Unified {
		return []string{filepath.Join(unifiedRoot, path)}, nil
	}
	hierarchies, err := cgroup1.Default()
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	var dirs []string
	for _, h := range hierarchies {
		if at, ok := h.(interface{ Path(string) string }); ok {
			dirs = append(dirs, at.Path(path))
		}
	}
	return dirs, nil
}

// vacant refuses a control group that is there with processes in it: they are somebody else's. An empty one is what was to be made.
func vacant(dirs []string) error {
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		case err != nil:
			return fmt.Errorf("processes of control group: %w", err)
		case len(strings.Fields(string(text))) > 0:
			n := len(strings.Fields(string(text)))
			return fault(errdefs.ErrAlreadyExists, "control group %q: got %d processes in it, want none before the pod", dir, n)
		}
	}
	return nil
}

// makeCgroup makes the group that cgroupDirs names. No limit is set on it: the VM's size is the limit, and the group above it is the orchestrator's.
func makeCgroup(path string) error {
	path, err := cgroupPath(path)
	if err != nil {
		return err
	}
	if cgroups.Mode() == cgroups.Unified {
		err = os.MkdirAll(filepath.Join(unifiedRoot, path), 0o755) // cgroups' manager would add eBPF to this for limits that we do not set
	} else {
		_, err = cgroup1.New(cgroup1.StaticPath(path), &specs.LinuxResources{})
	}
	if err != nil {
		return fmt.Errorf("make control group %q: %w", path, err)
	}
	return nil
}

// cgroupPath is an OCI cgroupsPath as a path below the root of the hierarchies. The systemd form "slice:prefix:name" becomes the path systemd would make;
// the group is made directly, beneath a slice that exists.
func cgroupPath(path string) (string, error) {
	if slice, rest, ok := strings.Cut(path, ":"); ok {
		prefix, name, ok := strings.Cut(rest, ":")
		if !ok || name == "" || strings.Contains(rest, "/") {
			return "", fault(errdefs.ErrInvalidArgument, "cgroups path: got %.256q, want a path or slice:prefix:name", path)
		}
		scope := name
		if prefix != "" {
			scope = prefix + "-" + name
		}
		if !strings.HasSuffix(scope, ".slice") {
			scope += ".scope"
		}
		path = filepath.Join(slicePath(slice), scope)
	}
	clean := filepath.Join("/", path)
	if clean == "/" || clean != filepath.Clean("/"+strings.TrimPrefix(path, "/")) {
		return "", fault(errdefs.ErrInvalidArgument, "cgroups path: got %.256q, want a path below the root", path)
	}
	return clean, nil
}

// slicePath is where systemd has a slice: each dash in its name is a level, "a-b.slice" is /a.slice/a-b.slice.
func slicePath(slice string) string {
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok {
		return slice
	}
	path, whole := "/", ""
	for part := range strings.SplitSeq(name, "-") {
		if whole != "" {
			whole += "-"
		}
		whole += part
		path = filepath.Join(path, whole+".slice")
	}
	return path
}

// removeCgroups ends what still runs in the directories and removes them. Directories that are gone are what was wanted.
func removeCgroups(ctx context.Context, dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		if err := killCgroup(ctx, dir); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := removeCgroup(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("remove control group: %w", err))
		}
	}
	return errors.Join(errs...)
}

// killCgroup kills the processes of one group and waits for their ends.
func killCgroup(ctx context.Context, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("processes of control group: %w", err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid <= 0 || pid == os.Getpid() { // 0 is a process of another namespace
			continue
		}
		if err := killProcess(ctx, pid, nil); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup removes one directory. The kernel lets go of a group a moment after the last process in it has ended, and says so in no file that both
// versions have: this is the one wait here that asks again.
func removeCgroup(ctx context.Context, dir string) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EAGAIN):
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return &fs.PathError{Op: "rmdir", Path: dir, Err: errors.Join(err, ctx.Err())}
		}
	}
}
