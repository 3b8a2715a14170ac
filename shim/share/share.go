package share

import (
	"context"
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
)

// Copier is the agent's call that takes files.
type Copier interface {
	CopyFile(ctx context.Context, r *api.CopyFileRequest) (*emptypb.Empty, error)
}

// Option changes a set.
type Option func(*Set)

// OnFailure is told each refresh that failed; the guest keeps what it has.
func OnFailure(f func(containerID, destination string, err error)) Option {
	return func(s *Set) { s.failed = f }
}

// Set is what one pod was given. Its methods may be called from several goroutines.
type Set struct {
	failed func(containerID, destination string, err error)
}

// New is a set with nothing in it.
func New(copier Copier, sandboxID string, options ...Option) *Set { return &Set{} }

// Add copies the file or directory that a mount names, watches it, and returns the guest's name for it.
func (s *Set) Add(ctx context.Context, containerID string, mount specs.Mount) (string, error) {
	return "", errors.New("not built yet")
}

// Remove stops watching what was copied for a container. The agent removes the files itself when the container goes.
func (s *Set) Remove(containerID string) {}

// Close stops watching everything and waits for a refresh under way.
func (s *Set) Close() error { return nil }
