package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Dial opens a session on the host's end of a port. It owns port from here on: the port is closed with the returned connection, or when Dial
// fails. It waits for as long as ctx allows, so it may be called while the guest still boots.
func Dial(ctx context.Context, port io.ReadWriteCloser) (net.Conn, error) {
	session := newSession()
	stop := context.AfterFunc(ctx, func() { _ = port.Close() })
	d, w, err := shake(port, session)
	if !stop() && err == nil {
		err = ctx.Err() // the port is closed already
	}
	if err != nil {
		_ = port.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("dial session: %w", err)
	}
	c := newConn(session, w, func(c *conn) error { return closeDialled(c, port) })
	go receive(d, c)
	return c, nil
}

// newSession chooses a number that neither an old session nor data in flight can guess.
func newSession() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: the process ends instead
	return binary.BigEndian.Uint64(b[:])
}

// shake completes what a predecessor left half-written, says HELLO and waits for the WELCOME. Both directions run at once: the guest
// may not read before its old replies have gone out. On failure the port is closed, which ends both.
func shake(port io.ReadWriteCloser, session uint64) (*decoder, *frameWriter, error) {
	sent := make(chan error, 1)
	go func() {
		_, err := port.Write(appendFrame(make([]byte, MaxFrame), frameHello, session, nil))
		if err != nil {
			_ = port.Close()
		}
		sent <- err
	}()
	d := newDecoder(port)
	if err := d.awaitWelcome(session); err != nil {
		_ = port.Close()
		if wrote := <-sent; wrote != nil && !errors.Is(wrote, net.ErrClosed) && !errors.Is(wrote, io.ErrClosedPipe) {
			return nil, nil, fmt.Errorf("write hello: %w", wrote)
		}
		return nil, nil, fmt.Errorf("wait for welcome: %w", err)
	}
	if err := <-sent; err != nil {
		return nil, nil, fmt.Errorf("write hello: %w", err)
	}
	return d, &frameWriter{w: port}, nil
}

// receive fills the connection until the stream or the session ends.
func receive(d *decoder, c *conn) {
	for {
		f, err := d.next()
		switch {
		case errors.Is(err, errBrokenFrame) && f.session != c.session:
		case err != nil:
			c.end(endOfStream(err), false)
			return
		case f.session != c.session:
		case f.kind == frameClose:
			c.end(io.EOF, false)
			return
		case f.kind == frameData:
			if !c.in.push(f.payload) {
				return
			}
		}
	}
}

// endOfStream turns an end in the middle of a frame into a plain end: to the reader of the session the peer is gone either way.
func endOfStream(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

// closeTimeout bounds the farewell to a guest that does not read; the port is closed anyway.
const closeTimeout = 100 * time.Millisecond

func closeDialled(c *conn, port io.Closer) error {
	// A write that holds the lock may be stuck in a full port; only closing the port frees it.
	if c.open() && c.w.mu.TryLock() {
		if p, ok := port.(interface{ SetWriteDeadline(time.Time) error }); ok && c.w.err == nil {
			if p.SetWriteDeadline(time.Now().Add(closeTimeout)) == nil {
				_, _ = c.w.w.Write(appendFrame(nil, frameClose, c.session, nil))
			}
		}
		c.w.mu.Unlock()
	}
	c.ended.Store(true)
	return port.Close()
}
