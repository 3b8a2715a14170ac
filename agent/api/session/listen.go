package session

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// listener serves the guest's end of one port: at any time at most one session lives on it.
type listener struct {
	port    io.ReadWriteCloser
	w       *frameWriter
	pending chan *conn // the newest session nobody has accepted yet
	done    chan struct{}
	stopped chan struct{} // serve has returned

	mu      sync.Mutex
	current *conn
	err     error // why serve ended
	once    sync.Once
}

// Listen serves sessions on the guest's end of a port, which it owns: closing the listener closes the port and every session. Accept returns one
// connection a HELLO; the next HELLO ends that connection with io.EOF.
func Listen(port io.ReadWriteCloser) net.Listener {
	l := &listener{
		port:    port,
		w:       &frameWriter{w: port},
		pending: make(chan *conn, 1),
		done:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go l.serve()
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.pending:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-l.stopped:
		l.mu.Lock()
		defer l.mu.Unlock()
		return nil, fmt.Errorf("accept session: %w", l.err)
	}
}

func (l *listener) Addr() net.Addr { return addr{} }

// Close ends the listener and its session.
func (l *listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.done)
		err = l.port.Close()
		l.replace(nil)
		<-l.stopped
	})
	return err
}

// serve is the only reader of the port.
func (l *listener) serve() {
	defer close(l.stopped)
	err := l.receive()
	l.mu.Lock()
	l.err = err
	l.mu.Unlock()
	l.replace(nil)
}

func (l *listener) receive() error {
	d := newDecoder(l.port)
	for {
		f, err := d.next()
		switch {
		case errors.Is(err, errBrokenFrame):
			if c := l.session(f.session); c != nil {
				c.end(io.ErrUnexpectedEOF, true) // bytes are missing in the middle
			}
		case err != nil:
			return endOfStream(err)
		default:
			if err := l.dispatch(f); err != nil {
				return err
			}
		}
	}
}

// dispatch acts on one frame. Unknown types and other sessions are dropped.
func (l *listener) dispatch(f frame) error {
	if f.kind == frameHello {
		return l.welcome(f.session)
	}
	c := l.session(f.session)
	if c == nil {
		return nil
	}
	switch f.kind {
	case frameData:
		c.in.push(f.payload)
	case frameClose:
		c.end(io.EOF, false)
	}
	return nil
}

// session returns the living connection of that number, if there is one.
func (l *listener) session(session uint64) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil || l.current.session != session || !l.current.open() {
		return nil
	}
	return l.current
}

// replace ends the present session and puts c in its place.
func (l *listener) replace(c *conn) {
	l.mu.Lock()
	old := l.current
	l.current = c
	l.mu.Unlock()
	if old != nil {
		old.end(io.EOF, true)
	}
}

func (l *listener) welcome(session uint64) error {
	l.replace(nil)
	if err := l.w.write(frameWelcome, session, nil, nil); err != nil {
		return fmt.Errorf("welcome session: %w", err)
	}
	c := newConn(session, l.w, closeAccepted)
	l.replace(c)
	select { // nobody took the one before; its session is over
	case <-l.pending:
	default:
	}
	l.pending <- c
	select {
	case <-l.done: // Close may have looked for a session to end before this one was there
		l.replace(nil)
	default:
	}
	return nil
}

// closeAccepted tells the host, unless it already went away or said another HELLO.
func closeAccepted(c *conn) error {
	err := c.w.write(frameClose, c.session, nil, c.open)
	c.ended.Store(true)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
