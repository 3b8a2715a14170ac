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
	idleTimeout   = 15 * time.Second
)

// errStranger is why a process of another container is turned away at a container's own socket.
var errStranger = errors.New("this socket is another container's: evidence would name that one, not you")

// unixDoor is a container's own socket.
type unixDoor struct {
	server *http.Server
	path   string
	made   bool // the directory was made here
	served chan struct{}
}

// Listen opens the socket of one container in dir, a directory that is this container's alone and that the agent mounts
// into it. It serves until stop, which waits for what is being answered; ctx bounds the opening only.
func (b *Broker) Listen(ctx context.Context, id Identity, dir string) (socketPath string, stop func(), err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	if err := id.check(); err != nil {
		return "", nil, fmt.Errorf("open evidence socket of %q: %w", id.Key, err)
	}
	s := newSubject(b, id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.subjects[id.Key]; ok {
		return "", nil, fmt.Errorf("open evidence socket of %q: it has one already", id.Key)
	}
	socket, err := s.unix.open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("open evidence socket of %q: %w", id.Key, err)
	}
	s.unix.server = newServer(b, http.HandlerFunc(s.serveUnix))
	s.unix.served = make(chan struct{})
	b.subjects[id.Key] = s
	go func() {
		defer close(s.unix.served)
		_ = s.unix.server.Serve(newLimitListener(&checkedListener{socket, s}, b.opt.Connections)) // ends with stop, and only then
	}()
	return s.unix.path, s.stop, nil
}

// newServer is an HTTP server with every bound set. The connection is in each request's context.
func newServer(b *Broker, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      b.opt.Deadline + writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		// net/http would write a container's doings to standard error, and that is the console: the host's.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

type connKey struct{}

// open makes the directory and the socket in it. The socket's own address goes through a descriptor, because a socket
// path holds 107 bytes and the agent's directories need not be that short.
func (d *unixDoor) open(dir string) (*net.UnixListener, error) {
	d.path = filepath.Join(dir, SocketName)
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		d.made = true
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
	// Every user of the container may ask.
	if err := os.Chmod(d.path, 0o666); err != nil {
		socket.Close()
		return nil, errors.Join(err, os.Remove(d.path))
	}
	return socket, nil
}

// checkedListener looks at who connects. The check is made here, once a connection and before it is served: each costs the kernel's answer, and it is the container's own
// listener that waits for it.
type checkedListener struct {
	*net.UnixListener
	subject *subject
}

// checkedConn is a connection with what is wrong with its peer, if anything is.
type checkedConn struct {
	net.Conn
	wrong error
}

func (l *checkedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		s := l.subject
		if !s.connects.take(s.broker.now()) {
			_ = c.Close()
			continue
		}
		return &checkedConn{Conn: c, wrong: s.checkPeer(c)}, nil
	}
}

// checkPeer is nil for a process of the container whose listener this is.
func (s *subject) checkPeer(c *net.UnixConn) error {
	cgroup, err := s.broker.kernel.unixPeer(c)
	switch {
	case err != nil:
		return fmt.Errorf("the agent cannot tell which container asks: %w", err)
	case !s.id.holds(cgroup):
		return errStranger
	}
	return nil
}

func (s *subject) serveUnix(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*limitConn)
	if wrong := c.Conn.(*checkedConn).wrong; wrong != nil {
		turnAway(w, wrong)
		return
	}
	if c.last() {
		w.Header().Set("Connection", "close") // others wait for a place
	}
	s.serve(w, r)
}
