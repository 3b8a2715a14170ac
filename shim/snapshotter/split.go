package snapshotter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// branch is a listener for the connections of one protocol.
type branch struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	close sync.Once
}

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (b *branch) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Servers call it more than once.
func (b *branch) Close() error {
	b.close.Do(func() { close(b.done) })
	return nil
}

func (b *branch) Addr() net.Addr { return b.addr }

// give hands a connection to whoever accepts, or closes it.
func (b *branch) give(c net.Conn) {
	select {
	case b.conns <- c:
	case <-b.done:
		c.Close()
	}
}

// greeting begins every connection of HTTP/2, and so of gRPC (RFC 9113, section 3.4). A ttrpc message begins with its length, whose first byte is 0.
var greeting = []byte("PRI * HTTP/2.0")

// patience is how long a new connection may say nothing.
const patience = 30 * time.Second

// split accepts connections and gives each to the branch whose protocol it speaks.
func split(ctx context.Context, l net.Listener, forGRPC, forTTRPC *branch) error {
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return net.ErrClosed
			}
			return err
		}
		go sort(c, forGRPC, forTTRPC)
	}
}

func sort(c net.Conn, forGRPC, forTTRPC *branch) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.Close()
		return
	}
	in := bufio.NewReaderSize(c, 4096)
	first, err := in.Peek(len(greeting))
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		c.Close()
		return
	}
	to := forTTRPC
	if bytes.Equal(first, greeting) {
		to = forGRPC
	}
	to.give(&peeked{Conn: c, in: in})
}

// peeked is a connection whose first bytes were looked at.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.in.Read(b) }
