package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Names in a pod's state directory.
const (
	StateFile   = "state.json"
	ConsoleFile = "console.log" // the guest's serial console
	lockFile    = "lock"
)

const stateVersion = 1

// State is what a pod has of the host. Each thing is written down before it is made, so that Cleanup finds it however the shim ended. It names
// nothing of the pod's content.
type State struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Shim      ProcessID `json:"shim"`
	Netns     string    `json:"netns,omitempty"`   // path; it may have our redirects and taps in it
	Cgroups   []string  `json:"cgroups,omitempty"` // directories that are the pod's alone
	VM        ProcessID `json:"vm"`                // the machine's process; it dies with the shim, and is in Cgroups
}

// ProcessID is a process that no other one can be taken for.
type ProcessID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot
}

// ReadState reads the state of a pod. A directory without one is an fs.ErrNotExist.
func ReadState(dir string) (*State, error) {
	path := filepath.Join(dir, StateFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read pod state: %w", err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read pod state %q: %w", path, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("read pod state %q: version got %d, want %d", path, s.Version, stateVersion)
	}
	return &s, nil
}

// write replaces the state file in one step.
func (s *State) write(dir string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write pod state: %w", err)
	}
	temporary := filepath.Join(dir, StateFile+".new")
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write pod state: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, StateFile)); err != nil {
		return fmt.Errorf("write pod state: %w", err)
	}
	return nil
}

// processID names a process by its id and start time; the zero ProcessID if there is none.
func processID(pid int) ProcessID {
	start, err := startTime(pid)
	if err != nil {
		return ProcessID{}
	}
	return ProcessID{pid, start}
}

// startTime is field 22 of /proc/<pid>/stat; the name before it is in parentheses and may contain anything.
func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("read /proc/%d/stat: got %d fields after the name, want 20 or more", pid, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// claim makes the state directory this process's own until the returned file is closed. What another shim left in it is cleaned up first; one that a
// live shim holds is refused.
func claim(dir string) (*os.File, error) {
	if !filepath.IsAbs(dir) {
		return nil, fault(errdefs.ErrInvalidArgument, "state directory: got path %q, want an absolute one", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	return lockDir(dir, os.O_CREATE)
}

// lockDir takes the lock of a state directory that exists. flags may have os.O_CREATE.
func lockDir(dir string, flags int) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault(errdefs.ErrFailedPrecondition, "state directory %q: its shim still runs", dir)
		}
		return nil, fmt.Errorf("lock state directory %q: %w", dir, err)
	}
	held, err := lock.Stat()
	if err == nil {
		var named fs.FileInfo
		if named, err = os.Lstat(lock.Name()); err == nil && !os.SameFile(held, named) {
			err = fs.ErrNotExist // somebody removed the directory between our open and our lock
		}
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock state directory %q: %w", dir, err)
	}
	return lock, nil
}
