package network

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNamespace is the calling thread's own network namespace.
const threadNamespace = "/proc/thread-self/ns/net"

// errNoNamespace says that a path names no network namespace (any more).
var errNoNamespace = errors.New("no network namespace")

// namespace is an open network namespace of a pod. It stays there while it is open, whatever becomes of its path.
type namespace struct {
	path string
	fd   int
}

// openNamespace opens the network namespace at path, and refuses the one we run in: its interfaces are the node's.
func openNamespace(path string) (*namespace, error) {
	if path == "" {
		return nil, errors.New("open network namespace: got no path")
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open network namespace", Path: path, Err: err}
	}
	n := &namespace{path: path, fd: fd}
	if err := n.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("open network namespace %q: %w", path, err), n.close())
	}
	return n, nil
}

func (n *namespace) check() error {
	var in unix.Statfs_t
	if err := unix.Fstatfs(n.fd, &in); err != nil {
		return err
	}
	if in.Type != unix.NSFS_MAGIC {
		return fmt.Errorf("%w: got a file of a file system %#x, want %#x", errNoNamespace, in.Type, unix.NSFS_MAGIC)
	}
	kind, err := unix.IoctlRetInt(n.fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return fmt.Errorf("ask for its type: %w", err)
	}
	if kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%w: got a namespace of type %#x, want %#x", errNoNamespace, kind, unix.CLONE_NEWNET)
	}
	var theirs, ours unix.Stat_t
	if err := unix.Fstat(n.fd, &theirs); err != nil {
		return err
	}
	if err := unix.Stat(threadNamespace, &ours); err != nil {
		return &fs.PathError{Op: "stat", Path: threadNamespace, Err: err}
	}
	if theirs.Ino == ours.Ino && theirs.Dev == ours.Dev {
		return errors.New("it is the node's own (a pod with hostNetwork: true): a VM cannot have the node's interfaces")
	}
	return nil
}

func (n *namespace) close() error { return unix.Close(n.fd) }

// do calls f on a thread inside the namespace. f must not start goroutines that need to be there: they run on other threads.
func (n *namespace) do(f func() error) error {
	result := make(chan error, 1)
	go func() { result <- n.enter(f) }()
	return <-result
}

// enter moves the goroutine's thread into the namespace and back. A thread that does not come back stays locked to its goroutine, which ends next:
// the runtime then throws the thread away, and nobody else ever runs on it.
func (n *namespace) enter(f func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return &fs.PathError{Op: "open", Path: threadNamespace, Err: err}
	}
	defer unix.Close(own)
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %q: %w", n.path, err)
	}
	result := f()
	if err := unix.Setns(own, unix.CLONE_NEWNET); err != nil {
		return errors.Join(result, fmt.Errorf("leave network namespace %q: %w", n.path, err))
	}
	runtime.UnlockOSThread()
	return result
}
