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
	io     *stdio

	opened  chan struct{} // closed once crun has the FIFO open to read, and we have it to write
	config  *os.File      // then
	openErr error

	done chan struct{} // closed once crun has ended
	err  error         // then

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
	b := &begun{bundle: bundle, opened: make(chan struct{}), done: make(chan struct{})}
	if b.io, err = newPipeStdio(); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	go func() {
		defer close(b.opened)
		b.config, b.openErr = os.OpenFile(path, os.O_WRONLY, 0) // returns when there is a reader
	}()
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

// give is the one answer to crun's read of the bundle. It waits until crun has come to the FIFO: only then may anything else take its name.
func (b *begun) give(text []byte) (err error) {
	err = errors.New("it was given a specification before")
	b.settle.Do(func() {
		if err = b.reader(); err == nil {
			err = errors.Join(b.answer(text), b.config.Close())
		}
	})
	return err
}

// reader waits until crun has opened the FIFO, or has ended without.
func (b *begun) reader() error {
	select {
	case <-b.opened:
		return b.openErr
	case <-b.done:
	}
	// Nobody will read. The open for writing waits for a reader: it gets one for a moment.
	r, err := os.OpenFile(filepath.Join(b.bundle, configName), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	<-b.opened
	return errors.Join(errors.New("the runtime ended before it read the bundle"), b.openErr, b.config.Close())
}

// answer writes the specification. A file with it takes the FIFO's name first, because crun reads the bundle a second time, for the copy it keeps; it has the FIFO
// open and reads until the end of file.
func (b *begun) answer(text []byte) error {
	path := filepath.Join(b.bundle, configName)
	err := os.WriteFile(path+".new", text, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		// crun reads an end of file and ends. What was written of the file may hold a part of the environment.
		return errors.Join(err, os.RemoveAll(path+".new"))
	}
	_, err = b.config.Write(text)
	return err
}

// abandon ends a crun that got no specification, and waits for it: its read finds nothing, and it leaves as it would with any bundle that is not
// one, before it has made anything.
func (b *begun) abandon() {
	b.settle.Do(func() {
		if b.reader() == nil {
			b.config.Close()
		}
	})
	<-b.done
	b.io.abort()
}
