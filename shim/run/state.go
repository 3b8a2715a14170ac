package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
)

const (
	stateFile = "state.json"
	lockFile  = "lock"
)

// State is what another process has to know of a running sandbox: `cloister exec` reads it. It lies in the state directory,
// which is the user's alone.
type State struct {
	Version    int                       `json:"version"`
	Name       string                    `json:"name"`
	Sandbox    string                    `json:"sandbox"`
	Containers map[string]ContainerState `json:"containers"` // by name
}

// ContainerState is what a command needs to run one more process in a container: the policy allows it only with the
// container's own user, environment, working directory and capabilities.
type ContainerState struct {
	ID      string `json:"id"`
	Encoded []byte `json:"process"`
}

// Process returns the container's own process, for another command line.
func (c ContainerState) Process() (*api.Process, error) {
	p := &api.Process{}
	if err := proto.Unmarshal(c.Encoded, p); err != nil {
		return nil, fmt.Errorf("read sandbox state: process: %w", err)
	}
	return p, nil
}

const stateVersion = 1

// podName is a Kubernetes pod name: it becomes part of a path.
var podName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// StateDir is where a pod's VM lives by default: the user's runtime directory, else the system's for root, else /tmp.
func StateDir(pod string) (string, error) {
	if !podName.MatchString(pod) {
		return "", fmt.Errorf("state directory of %.128q: not a pod name", pod)
	}
	root := filepath.Join(os.TempDir(), fmt.Sprintf("cloister-%d", os.Getuid()))
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		root = filepath.Join(dir, "cloister")
	} else if os.Getuid() == 0 {
		root = "/run/cloister"
	}
	return filepath.Join(root, pod), nil
}

// ReadState reads the state of a sandbox that runs.
func ReadState(dir string) (*State, error) {
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read sandbox state: no pod runs in %q", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read sandbox state: %w", err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read sandbox state %q: %w", dir, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("read sandbox state %q: version got %d, want %d", dir, s.Version, stateVersion)
	}
	return &s, nil
}

// write replaces the state file in one step, so that a reader sees the old or the new one.
func (s *State) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, stateFile+".new")
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write sandbox state: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, stateFile)); err != nil {
		return fmt.Errorf("write sandbox state: %w", err)
	}
	return nil
}

// claim makes a state directory this process's own. What a killed run left in it is removed; a directory that a live run
// holds is refused. The returned file holds the lock until it is closed.
func claim(dir string) (*os.File, error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("claim state directory: %w", err)
	}
	// In /tmp somebody else may have made the directory first and would own every socket in it.
	if err := ownedByUs(parent); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("claim state directory: %w", err)
	}
	if err := ownedByUs(dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("claim state directory %q: another run holds it: %w", dir, err)
	}
	if err := errors.Join(stillThere(lock), empty(dir)); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// stillThere catches a run that ended, and removed the directory, between our open and our lock.
func stillThere(lock *os.File) error {
	held, err := lock.Stat()
	if err != nil {
		return fmt.Errorf("claim state directory: %w", err)
	}
	named, err := os.Lstat(lock.Name())
	if err != nil || !os.SameFile(held, named) {
		return fmt.Errorf("claim state directory %q: it went away: try again", filepath.Dir(lock.Name()))
	}
	return nil
}

func ownedByUs(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("claim state directory %q: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("claim state directory %q: not a directory of user %d", dir, os.Getuid())
	}
	return nil
}

// empty removes all but the lock.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("claim state directory: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("claim state directory: %w", err)
		}
	}
	return nil
}

func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}
