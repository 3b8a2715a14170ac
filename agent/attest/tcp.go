package attest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// TCPAddress is where CoCo's workloads look for evidence (attestation contract, section 4.1). Containers of a pod share it, so the connection itself has to
// say whose it is; who wrote each byte in it it does not say, so no call is answered there that names a container (route.ownSocket).
const TCPAddress = "127.0.0.1:8006"

// maxStrangers bounds the connections that are kept only to be told that they may not ask.
const maxStrangers = 16

// Connections of control groups without the grant that are looked at closely: so many at once, and so many a second. For the others one question was enough.
const (
	strangerBurst = 64
	strangerRate  = 10
	maxRated      = 256 // control groups
)

var (
	errNotLoopback = errors.New("evidence is for this guest's own containers: the connection does not come from loopback")
	errTooOften    = errors.New("a container without the grant connects too often")
	errNoGrant     = errors.New("this container has no grant cloister://attest")
)

// tcpServer is the loopback listener.
type tcpServer struct {
	server *http.Server
	served chan struct{}
	addr   net.Addr
}

// ListenTCP opens the loopback listener at TCPAddress. It is opened before any container runs, so that none of them can take the address and answer in the agent's
// place. It serves until Close; ctx bounds the opening only.
func (b *Broker) ListenTCP(ctx context.Context) error {
	_, err := b.listenTCP(ctx, TCPAddress)
	return err
}

func (b *Broker) listenTCP(ctx context.Context, address string) (net.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tcp != nil {
		return nil, errors.New("open evidence listener: it is open already")
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // sock_diag knows an MPTCP connection's parts by another family
	l, err := config.Listen(ctx, "tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("open evidence listener: %w", err)
	}
	t := &tcpServer{served: make(chan struct{}), addr: l.Addr()}
	t.server = newServer(b, http.HandlerFunc(serveTCP))
	b.tcp = t
	go func() {
		defer close(t.served)
		_ = t.server.Serve(&ownerListener{Listener: l, broker: b, strangers: make(chan struct{}, maxStrangers)})
	}()
	return t.addr, nil
}

func (t *tcpServer) stop() {
	_ = t.server.Close()
	<-t.served
}

// ownerListener finds out whose a connection is before it is served. Connections are never waited for: a place is free, or the connection is
// closed, so that no container can keep the others from the door.
type ownerListener struct {
	net.Listener
	broker    *Broker
	strangers chan struct{}
}

// ownedConn is a connection of a container's, or one with what is wrong with it.
type ownedConn struct {
	net.Conn
	owner   *subject
	wrong   error
	release func()
}

func (c *ownedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

func (l *ownerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if owned := l.admit(c.(*net.TCPConn)); owned != nil {
			return owned, nil
		}
		_ = c.Close()
	}
}

// admit is nil when there is no place, or a stranger comes too often.
func (l *ownerListener) admit(c *net.TCPConn) *ownedConn {
	owned := &ownedConn{Conn: c}
	owned.owner, owned.wrong = l.broker.ownerOf(c)
	if errors.Is(owned.wrong, errTooOften) {
		return nil
	}
	if s := owned.owner; s != nil {
		if !s.connects.take(l.broker.now()) || !s.adopt(owned) {
			return nil
		}
		owned.release = func() { s.release(owned) }
		return owned
	}
	select {
	case l.strangers <- struct{}{}:
		owned.release = sync.OnceFunc(func() { <-l.strangers })
		return owned
	default:
		return nil
	}
}

// ownerOf finds the container, among those with the grant, in whose control group the connecting socket was made.
func (b *Broker) ownerOf(c *net.TCPConn) (*subject, error) {
	if peer := c.RemoteAddr().(*net.TCPAddr); !peer.IP.IsLoopback() {
		return nil, errNotLoopback
	}
	id, err := b.kernel.tcpPeer(c, b.mayAsk)
	if err != nil {
		return nil, fmt.Errorf("the agent cannot tell which container asks: %w", err)
	}
	if s := b.subjectOf(id); s != nil {
		return s, nil
	}
	return nil, errNoGrant
}

// mayAsk says whether more is asked about a connection that seems to be of a control group. Of a container's it is, and which one's is known from then on.
func (b *Broker) mayAsk(id uint64) bool {
	if b.subjectOf(id) != nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	rated := b.strangers[id]
	if rated == nil {
		if len(b.strangers) >= maxRated {
			clear(b.strangers) // a stranger has another burst then, and no more
		}
		rated = newBucket(strangerRate, strangerBurst, b.now())
		b.strangers[id] = rated
	}
	if !rated.take(b.now()) {
		return false
	}
	for _, s := range b.subjects {
		// A container's control group is made after its listener; until then there is no process of it either.
		if own, err := b.kernel.cgroupID(s.id.Cgroup); err == nil {
			s.cgroup = own
		}
	}
	return true
}

// subjectOf is the container whose control group was found to have this id, which the kernel gives to one only; or nil.
func (b *Broker) subjectOf(id uint64) *subject {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subjects {
		if id != 0 && s.cgroup == id {
			return s
		}
	}
	return nil
}

func serveTCP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*ownedConn)
	if c.owner == nil {
		turnAway(w, c.wrong)
		return
	}
	c.owner.serve(w, r)
}
