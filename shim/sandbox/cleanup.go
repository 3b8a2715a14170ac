package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/network"
)

// Cleanup removes what a shim that was killed left of the pod in a state directory: the machine, redirects and taps, control groups, the directory. It may be
// called for a directory that is not there. A directory that a live shim holds is a FailedPrecondition.
func Cleanup(ctx context.Context, dir string) error { return cleanUp(ctx, dir, network.Clean) }

func cleanUp(ctx context.Context, dir string, cleanNetwork func(context.Context, string) error) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Not made here: a pod that is just taking its directory away would find a file in it again.
	lock, err := lockDir(dir, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(dir) // nothing is made before there is a lock
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := cleanDir(ctx, dir, cleanNetwork); err != nil {
		return lineError{fmt.Errorf("clean up pod in %q: %w", dir, err)}
	}
	return os.RemoveAll(dir)
}

// cleanDir takes away what the state names, but leaves the directory: it is tried again when something fails. The lock is held.
func cleanDir(ctx context.Context, dir string, cleanNetwork func(context.Context, string) error) error {
	state, err := ReadState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was killed before it made anything
	}
	if err != nil {
		return err
	}
	var errs []error
	if state.VM.PID > 0 {
		errs = append(errs, killProcess(ctx, state.VM.PID, func() bool {
			start, err := startTime(state.VM.PID)
			return err == nil && start == state.VM.Start
		}))
	}
	errs = append(errs, removeCgroups(ctx, state.Cgroups))
	if state.Netns != "" {
		if _, err := os.Lstat(state.Netns); err == nil {
			errs = append(errs, cleanNetwork(ctx, state.Netns))
		}
	}
	return errors.Join(errs...)
}

// killProcess kills a process and waits for its end. same, if not nil, is asked once the process cannot be replaced by another of the same id any more, and
// tells whether it is the one that is meant.
func killProcess(ctx context.Context, pid int, same func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if same != nil && !same() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return awaitExit(ctx, pid, fd)
}

// pollSlice is how often a wait for the end of a process that is not our child looks at its context.
const pollSlice = 100 * time.Millisecond

func awaitExit(ctx context.Context, pid, fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(pollSlice.Milliseconds()))
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case ctx.Err() != nil:
			return fmt.Errorf("wait for process %d: %w", pid, ctx.Err())
		}
	}
}
