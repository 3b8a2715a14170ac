package session

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// frameWriter puts whole frames on the port, one at a time.
type frameWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	err error // the first failure; what follows half a frame would be read as its rest
}

// write sends one frame unless allowed says no. The question is asked under the lock, so nothing of an ended session can follow
// the WELCOME of the next.
func (w *frameWriter) write(kind frameType, session uint64, payload []byte, allowed func() bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if allowed != nil && !allowed() {
		return net.ErrClosed
	}
	if w.err != nil {
		return w.err
	}
	w.buf = appendFrame(w.buf[:0], kind, session, payload)
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	w.err = err
	return err
}

// conn is one session, seen from either side.
type conn struct {
	session uint64
	w       *frameWriter
	in      *inbox
	ended   atomic.Bool
	once    sync.Once
	closer  func(*conn) error // the side's own part of Close; runs once
}

func newConn(session uint64, w *frameWriter, closer func(*conn) error) *conn {
	return &conn{session: session, w: w, in: newInbox(), closer: closer}
}

func (c *conn) open() bool { return !c.ended.Load() }

// end stops both directions without a word to the peer.
func (c *conn) end(err error, discard bool) {
	c.ended.Store(true)
	c.in.end(err, discard)
}

func (c *conn) Read(p []byte) (int, error) { return c.in.read(p) }

func (c *conn) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		chunk := p[written:min(len(p), written+MaxPayload)]
		if err := c.w.write(frameData, c.session, chunk, c.open); err != nil {
			return written, err
		}
		written += len(chunk)
	}
	return written, nil
}

// Close ends the session and tells the peer.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.in.end(net.ErrClosed, true)
		err = c.closer(c)
	})
	return err
}

func (c *conn) LocalAddr() net.Addr               { return addr{} }
func (c *conn) RemoteAddr() net.Addr              { return addr{} }
func (c *conn) SetReadDeadline(t time.Time) error { c.in.setDeadline(t); return nil }

// SetWriteDeadline is not supported: half a frame on the port would cut the stream for the peer.
func (c *conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
func (c *conn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }

type addr struct{}

func (addr) Network() string { return "virtio-serial" }
func (addr) String() string  { return "virtio-serial" }
