package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// kernelGroup is the multicast group of the kernel's own events; udev's are in another.
	kernelGroup = 1
	// maxUevent is longer than any the kernel makes (2 KiB of variables and the path).
	maxUevent = 8 << 10
)

// events tells its subscribers that something happened to a block device. What an event says is not used: the subscriber
// looks at sysfs again.
type events struct {
	socket *os.File
	done   chan struct{} // closed when the reader has ended

	mu          sync.Mutex
	subscribers map[chan struct{}]struct{}
	closed      bool
}

func listenEvents() (*events, error) {
	socket, err := openEvents()
	if err != nil {
		return nil, err
	}
	e := &events{socket: socket, done: make(chan struct{}), subscribers: map[chan struct{}]struct{}{}}
	go e.read()
	return e, nil
}

func openEvents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open uevent socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind uevent socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// read runs until the socket is closed.
func (e *events) read() {
	defer close(e.done)
	buf := make([]byte, maxUevent)
	for {
		n, from, err := receive(e.socket, buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			e.wake() // events were lost: everybody looks again
		case err != nil:
			e.shut()
			return
		case fromKernel(from) && isBlockEvent(buf[:n]):
			e.wake()
		}
	}
}

// receive waits in the runtime's poller, so that Close wakes it.
func receive(socket *os.File, buf []byte) (n int, from unix.Sockaddr, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var got error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, from, got = unix.Recvfrom(int(fd), buf, 0)
			if got != unix.EINTR {
				return got != unix.EAGAIN
			}
		}
	})
	return n, from, errors.Join(err, got)
}

// fromKernel: only the kernel sends with port number 0. A process in a container that was given CAP_NET_ADMIN over the pod's
// network could send to the group as well, and would learn by it when the agent looks.
func fromKernel(from unix.Sockaddr) bool {
	nl, ok := from.(*unix.SockaddrNetlink)
	return ok && nl.Pid == 0 && nl.Groups == kernelGroup
}

// isBlockEvent looks for the variable among the NUL-separated strings of an event ("add@/devices/…", "ACTION=add", …).
func isBlockEvent(b []byte) bool {
	header, vars, ok := bytes.Cut(b, []byte{0})
	if !ok || !bytes.Contains(header, []byte("@/")) {
		return false
	}
	for v := range bytes.SplitSeq(vars, []byte{0}) {
		if string(v) == "SUBSYSTEM=block" {
			return true
		}
	}
	return false
}

// subscribe returns a channel that has one element after any event from now on. It is closed with the listener.
func (e *events) subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		close(ch)
		return ch, func() {}
	}
	e.subscribers[ch] = struct{}{}
	return ch, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subscribers, ch)
	}
}

func (e *events) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ch := range e.subscribers {
		select {
		case ch <- struct{}{}:
		default: // it has not looked since the last event, and will
		}
	}
}

func (e *events) shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.closed = true
	for ch := range e.subscribers {
		close(ch)
	}
	e.subscribers = nil
}

func (e *events) close() error {
	err := e.socket.Close()
	<-e.done
	return err
}
