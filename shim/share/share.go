package share

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/staging"
	"github.com/cloister-cc/cloister/shim/spec"
)

// refreshTimeout bounds one refresh of one mount.
const refreshTimeout = time.Minute

// ErrClosed is the answer of a set after Close.
var ErrClosed = errors.New("the pod's files are closed")

// Copier is the agent's call that takes files.
type Copier interface {
	CopyFile(ctx context.Context, r *api.CopyFileRequest) (*emptypb.Empty, error)
}

// Option changes a set.
type Option func(*Set)

// OnFailure is told each refresh that failed; the guest keeps what it has. It is called from another goroutine.
func OnFailure(f func(containerID, destination string, err error)) Option {
	return func(s *Set) { s.failed = f }
}

// Set is what one pod was given. Its methods may be called from several goroutines.
type Set struct {
	copier  Copier
	sandbox string
	failed  func(containerID, destination string, err error)
	ctx     context.Context // of refreshes
	cancel  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	volumes map[*volume]bool
	used    usage // of all volumes
	watch   *watcher
}

// New is a set with nothing in it.
func New(copier Copier, sandboxID string, options ...Option) *Set {
	s := &Set{copier: copier, sandbox: sandboxID, failed: func(string, string, error) {}, volumes: map[*volume]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, o := range options {
		o(s)
	}
	return s
}

// Add copies the file or directory that a mount names, watches it if it is a directory, and returns the guest's name for it, a source that the agent's create request
// takes. The name ends as the mount's destination does, for the policy knows the mount by that.
func (s *Set) Add(ctx context.Context, containerID string, mount specs.Mount) (string, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	entry := containerID + "-" + hex.EncodeToString(random[:]) + "-" + spec.CopyName(mount.Destination)
	v := &volume{set: s, container: containerID, mount: mount, path: staging.SharedDir + entry}
	if _, err := staging.ParseName(v.path); err != nil {
		return "", v.error(err)
	}
	if err := s.add(v); err != nil {
		return "", v.error(err)
	}
	if err := v.bring(ctx); err != nil {
		s.remove(v)
		return "", v.error(err)
	}
	return v.path, nil
}

func (s *Set) add(v *volume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.volumes[v] = true
	return nil
}

// Remove forgets what was copied for a container and watches it no longer. The agent removes the files itself when the container goes.
func (s *Set) Remove(containerID string) {
	s.mu.Lock()
	var gone []*volume
	for v := range s.volumes {
		if v.container == containerID {
			gone = append(gone, v)
		}
	}
	s.mu.Unlock()
	for _, v := range gone {
		s.remove(v)
	}
}

func (s *Set) remove(v *volume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.volumes[v] {
		return
	}
	delete(s.volumes, v)
	s.used = s.used.minus(v.used)
	if s.watch != nil {
		s.watch.remove(v)
	}
}

// Close stops watching everything and waits for a refresh under way, which it cancels.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	watch := s.watch
	s.mu.Unlock()
	s.cancel()
	if watch == nil {
		return nil
	}
	return watch.close()
}

// observe watches a directory for changes. Without inotify the files are there all the same and stay as they are.
func (s *Set) observe(v *volume, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.watch == nil {
		w, err := newWatcher(s.refresh)
		if err != nil {
			return err
		}
		s.watch = w
	}
	return s.watch.add(v, dir)
}

// refresh brings a volume again.
func (s *Set) refresh(v *volume) {
	ctx, cancel := context.WithTimeout(s.ctx, refreshTimeout)
	defer cancel()
	s.mu.Lock()
	known := s.volumes[v]
	s.mu.Unlock()
	if !known || ctx.Err() != nil {
		return
	}
	if err := v.bring(ctx); err != nil && s.ctx.Err() == nil {
		s.failed(v.container, v.mount.Destination, v.error(err))
	}
}

// reserve takes a volume's new size into account, or says that the pod's area is too small for it while old and new are both there.
func (s *Set) reserve(v *volume, next usage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.used.plus(next); all.bytes > staging.MaxBytes || all.entries > staging.MaxEntries {
		return fmt.Errorf("its %d files with %d bytes are too large: the copied files of a pod are at most %d with %d bytes, and %d with %d bytes are there already",
			next.entries, next.bytes, staging.MaxEntries, int64(staging.MaxBytes), s.used.entries, s.used.bytes)
	}
	return nil
}

// settle says what a volume has in the guest now.
func (s *Set) settle(v *volume, now usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.volumes[v] {
		s.used = s.used.minus(v.used).plus(now)
		v.used = now
	}
}

// usage is what files take from the guest's area.
type usage struct {
	entries int
	bytes   int64
}

func (u usage) plus(o usage) usage  { return usage{u.entries + o.entries, u.bytes + o.bytes} }
func (u usage) minus(o usage) usage { return usage{u.entries - o.entries, u.bytes - o.bytes} }

// page is what the guest's file system takes for each begun piece of a file, in bytes.
const page = 4096

func charge(size int64) int64 { return (size + page - 1) / page * page }
