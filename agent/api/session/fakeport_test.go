package session_test

import (
	"io"
	"net"
	"sync"
)

// fakePort behaves like a virtio-serial port under QEMU: one stream for ever in the guest, host clients that come and go without the guest
// seeing it. What a client wrote before it went away still arrives; what the guest writes while nobody is there is dropped.
type fakePort struct {
	mu      sync.Mutex
	cond    sync.Cond
	toGuest []byte
	toHost  []byte
	client  *fakeClient
	closed  bool
	// keepTail leaves what a client had not read to the next one, as QEMU does with a buffer it had only half sent.
	keepTail bool
}

func newFakePort() *fakePort {
	p := &fakePort{}
	p.cond.L = &p.mu
	return p
}

const fakePortRoom = 128 << 10

func (p *fakePort) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.toGuest) == 0 && !p.closed {
		p.cond.Wait()
	}
	if p.closed {
		return 0, net.ErrClosed
	}
	n := copy(b, p.toGuest)
	p.toGuest = p.toGuest[n:]
	p.cond.Broadcast()
	return n, nil
}

func (p *fakePort) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.client != nil && len(p.toHost) > fakePortRoom && !p.closed {
		p.cond.Wait()
	}
	if p.closed {
		return 0, net.ErrClosed
	}
	if p.client != nil {
		p.toHost = append(p.toHost, b...)
		p.cond.Broadcast()
	}
	return len(b), nil
}

func (p *fakePort) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.cond.Broadcast()
	return nil
}

// connect attaches a host client; the one before must have gone.
func (p *fakePort) connect() *fakeClient {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil {
		panic("two clients on one port")
	}
	p.client = &fakeClient{port: p}
	return p.client
}

type fakeClient struct{ port *fakePort }

func (c *fakeClient) Read(b []byte) (int, error) {
	p := c.port
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.client == c && len(p.toHost) == 0 && !p.closed {
		p.cond.Wait()
	}
	if p.client != c {
		return 0, net.ErrClosed
	}
	if p.closed {
		return 0, io.EOF
	}
	n := copy(b, p.toHost)
	p.toHost = p.toHost[n:]
	p.cond.Broadcast()
	return n, nil
}

func (c *fakeClient) Write(b []byte) (int, error) {
	p := c.port
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.client == c && len(p.toGuest) > fakePortRoom && !p.closed {
		p.cond.Wait()
	}
	if p.client != c || p.closed {
		return 0, net.ErrClosed
	}
	p.toGuest = append(p.toGuest, b...)
	p.cond.Broadcast()
	return len(b), nil
}

func (c *fakeClient) Close() error {
	p := c.port
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == c {
		p.client = nil
		if !p.keepTail {
			p.toHost = nil
		}
	}
	p.cond.Broadcast()
	return nil
}
