package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api/session"
	"github.com/cloister-cc/cloister/shim/vm"
)

// ErrPortBusy says that another process, or another caller here, has that port. A second client would end the first one's session.
var ErrPortBusy = errors.New("port is in use")

// DialPort opens a session on a port of the VM that lives in dir, from whatever process. It waits for the agent until ctx ends, but not for a
// port that somebody else has: that is ErrPortBusy.
func DialPort(ctx context.Context, dir string, port int) (net.Conn, error) {
	conn, err := dialPort(ctx, dir, port)
	if err != nil {
		return nil, fmt.Errorf("dial port %d: %w", port, err)
	}
	return conn, nil
}

func dialPort(ctx context.Context, dir string, port int) (net.Conn, error) {
	if port < 0 || port >= vm.Ports {
		return nil, fmt.Errorf("got port %d, want 0 to %d", port, vm.Ports-1)
	}
	cid, ok, err := readCID(dir)
	if err != nil {
		return nil, err
	}
	if ok { // the agent takes any number of connections
		return dialVsock(ctx, connectVsock(cid))
	}
	lock, err := lockPort(dir, port)
	if err != nil {
		return nil, err
	}
	socket, err := connect(ctx, dir, socketName(port))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return session.Dial(ctx, &lockedConn{Conn: socket, lock: lock})
}

func lockPort(dir string, port int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName(port)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrPortBusy
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// connect reaches a socket through a descriptor of its directory: the directory's path may be longer than a socket's name can be.
func connect(ctx context.Context, dir, name string) (net.Conn, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", fd, name))
}

// lockedConn gives the port back when the connection ends.
type lockedConn struct {
	net.Conn
	lock *os.File
	once sync.Once
}

func (c *lockedConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() { err = errors.Join(c.Conn.Close(), c.lock.Close()) })
	return err
}
