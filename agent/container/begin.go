package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const configName = "config.json"

// begun is a crun that was started before its specification was known. Most of a crun command's time is the dynamic linker's; it passes while
// the agent mounts layers and asks the policy. crun then waits at its first read of the bundle, which is a FIFO: it knows its own flags and the
// container's key, has made nothing, and gets a specification only when there is one that was allowed (docs/adr/0012).
type begun struct {
	bundle string
	config *os.File // both ends of the FIFO, so that opening it never waits
	io     *stdio
	done   chan struct{}
	err    error // of the command, when done is closed

	settle sync.Once
}

// Begin starts crun for a container that may be created soon: a head start, and nothing more. Create makes use of it if it can; when Begin
// fails, or was never called, Create starts a crun of its own. The function it returns ends what Create did not take, and is to be called before
// the bundle is removed.
func (r *Runtime) Begin(key, bundle string) (abandon func()) {
	b, err := r.begin(key, bundle)
	if err != nil {
		return func() {}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun[key] = b
	return func() {
		if r.take(key, b) {
			r.discard(key, b)
		}
	}
}

// discard ends a head start and removes what is left of it.
func (r *Runtime) discard(key string, b *begun) {
	b.abandon()
	pidFile, log := r.files(key)
	for _, path := range []string{filepath.Join(b.bundle, configName), pidFile, log} {
		_ = os.Remove(path) // most are not there
	}
}

// take removes a head start from the table; it says whether this one was there.
func (r *Runtime) take(key string, b *begun) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun[key] != b {
		return false
	}
	delete(r.begun, key)
	return true
}

// headStart is the begun crun of a container, for a process whose streams are pipes, which is what Begin bets on.
func (r *Runtime) headStart(key string, stdioAllowed, terminal bool) *begun {
	r.mu.Lock()
	b := r.begun[key]
	delete(r.begun, key)
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	if stdioAllowed && !terminal && !b.ended() {
		return b
	}
	r.discard(key, b)
	return nil
}

func (r *Runtime) begin(key, bundle string) (_ *begun, err error) {
	path := filepath.Join(bundle, configName)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	b := &begun{bundle: bundle, done: make(chan struct{})}
	defer func() {
		if err != nil {
			b.settle.Do(func() {})
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if b.config, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if b.io, err = newPipeStdio(); err != nil {
		b.config.Close()
		return nil, err
	}
	pidFile, log := r.files(key)
	opts := &runc.CreateOpts{IO: b.io, PidFile: pidFile, NoNewKeyring: true}
	go func() {
		defer close(b.done)
		// crun's time is bounded by the monitor, not by the request: it may have made something by the time a request gives up.
		b.err = r.cli(log).Create(context.Background(), key, bundle, opts)
	}()
	return b, nil
}

func (b *begun) ended() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// create gives crun its specification and waits until it has set the container up.
func (b *begun) create(spec *specs.Spec) error {
	text, err := json.Marshal(spec)
	if err == nil {
		err = b.give(text)
	}
	if err != nil {
		b.abandon()
		return fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	<-b.done
	return b.err
}

// give is the one answer to crun's read of the bundle: the text, through the FIFO if crun has opened it, as a file if it is not there yet. The file
// takes the FIFO's name first, because crun reads the bundle a second time for the copy it keeps.
func (b *begun) give(text []byte) (err error) {
	err = errors.New("it was given a specification before")
	b.settle.Do(func() { err = b.answer(text) })
	return err
}

func (b *begun) answer(text []byte) error {
	defer b.config.Close() // with it the last writer is gone: end of file
	path := filepath.Join(b.bundle, configName)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	// Room for all of it, so that the write never waits: nobody reads when crun comes after the rename.
	raw, err := b.config.SyscallConn()
	if err != nil {
		return err
	}
	var sizeErr error
	if err := raw.Control(func(fd uintptr) { _, sizeErr = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, len(text)+1) }); err != nil {
		return err
	}
	if sizeErr != nil && len(text) > minPipe {
		return os.NewSyscallError("fcntl", sizeErr)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	_, err = b.config.Write(text)
	return err
}

// minPipe is what a pipe holds without being asked, in bytes.
const minPipe = 4096

// abandon ends a crun that got no specification, and waits for it: its read finds nothing, and it leaves as it would with any bundle that is not
// one, before it has made anything.
func (b *begun) abandon() {
	b.settle.Do(func() {
		path := filepath.Join(b.bundle, configName)
		if os.WriteFile(path+".new", nil, 0o600) == nil {
			_ = os.Rename(path+".new", path)
		}
		b.config.Close()
	})
	<-b.done
	b.io.abort()
}
