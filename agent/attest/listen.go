package attest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SocketName is the socket's name in the directory that a container is given.
const SocketName = "attest.sock"

// Bounds of one HTTP exchange.
const (
	maxHeader     = 16 << 10
	maxBody       = 128 << 10
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	writeTimeout  = 10 * time.Second // after the deadline of the request itself
	idleTimeout   = 60 * time.Second
)

// listener is one container's socket.
type listener struct {
	broker *Broker
	key    string
	path   string
	bucket *bucket
	server *http.Server
	served chan struct{}
	large  chan struct{} // held while an answer that carries the policy is made and sent
	made   bool          // the directory was made here
	once   sync.Once

	mu      sync.Mutex
	stopped bool
	active  sync.WaitGroup // handlers
}

// Listen opens the socket of one container in dir, a directory that is this container's alone and that the agent mounts
// into it. It serves until stop, which waits for what is being answered; ctx bounds the opening only.
func (b *Broker) Listen(ctx context.Context, containerKey, dir string) (socketPath string, stop func(), err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	l := &listener{
		broker: b,
		key:    containerKey,
		path:   filepath.Join(dir, SocketName),
		bucket: newBucket(b.opt.Rate, b.opt.Burst, b.now()),
		served: make(chan struct{}),
		large:  make(chan struct{}, 1),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.listeners[containerKey]; ok {
		return "", nil, fmt.Errorf("open evidence socket of %q: it has one already", containerKey)
	}
	socket, err := l.open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("open evidence socket of %q: %w", containerKey, err)
	}
	l.server = &http.Server{
		Handler:           http.HandlerFunc(l.serve),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      b.opt.Deadline + writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// net/http would write a container's doings to standard error, and that is the console: the host's.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	b.listeners[containerKey] = l
	go func() {
		defer close(l.served)
		_ = l.server.Serve(newLimitListener(socket, b.opt.Connections)) // ends with stop, and only then
	}()
	return l.path, l.stop, nil
}

// open makes the directory and the socket in it. The socket's own address goes through a descriptor, because a socket
// path holds 107 bytes and the agent's directories need not be that short.
func (l *listener) open(dir string) (net.Listener, error) {
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		l.made = true
		// Mkdir's mode went through the umask, and any user of the container must get in.
		if err := os.Chmod(dir, 0o755); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	short := "/proc/self/fd/" + strconv.Itoa(fd) + "/" + SocketName
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	socket.SetUnlinkOnClose(false) // it would unlink by the descriptor's number, which is another file's by then
	// Whoever is in the container may ask: the listener says which container it is, and that is the identity.
	if err := os.Chmod(l.path, 0o666); err != nil {
		socket.Close()
		return nil, errors.Join(err, os.Remove(l.path))
	}
	return socket, nil
}

// stop closes the socket and its connections, waits for the handlers, and removes what open made.
func (l *listener) stop() {
	l.once.Do(func() {
		l.mu.Lock()
		l.stopped = true
		l.mu.Unlock()
		_ = l.server.Close() // its error is that of closing sockets; they are closed
		<-l.served
		l.active.Wait()
		_ = os.Remove(l.path)
		if l.made {
			_ = os.Remove(filepath.Dir(l.path))
		}
		l.broker.mu.Lock()
		defer l.broker.mu.Unlock()
		delete(l.broker.listeners, l.key)
	})
}

// enter counts a handler in, unless the listener is stopping.
func (l *listener) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return false
	}
	l.active.Add(1)
	return true
}
