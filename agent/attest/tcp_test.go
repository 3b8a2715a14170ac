package attest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// overTCP starts the loopback listener of a broker with containers "granted" (control group 7) and "other" (8). Each connection is from the
// control group that the channel gives.
func overTCP(t *testing.T, opt Options) (b *Broker, address string, from chan uint64) {
	t.Helper()
	b = New(&fakeDevice{}, opt)
	from = make(chan uint64, 64)
	b.kernel = fakeKernel{
		tcp: func(*net.TCPConn) (uint64, error) {
			if id := <-from; id != 0 {
				return id, nil
			}
			return 0, errors.New("no such socket")
		},
		ids: map[string]uint64{"/cloister/granted": 7, "/cloister/other": 8},
	}
	t.Cleanup(b.Close)
	for _, key := range []string{"granted", "other", "not-created-yet"} {
		if _, _, err := b.Listen(t.Context(), Identity{Key: key, Cgroup: "/cloister/" + key}, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	addr, err := b.listenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return b, addr.String(), from
}

func tcpClient(t *testing.T, address string) *client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, &http.Client{Transport: rewrite{transport, address}, Timeout: 30 * time.Second}}
}

type rewrite struct {
	http.RoundTripper
	address string
}

func (r rewrite) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Host = r.address
	return r.RoundTripper.RoundTrip(req)
}

func TestTCPAsksWhoConnects(t *testing.T) {
	_, address, from := overTCP(t, Options{})
	var answer any
	from <- 7
	granted := tcpClient(t, address)
	granted.ok("POST", "/attest/raw", azureBody([]byte("key")), &answer)
	granted.ok("GET", "/aa/evidence?runtime_data=x", "", &answer) // on the same connection: it is asked once
	from <- 8
	tcpClient(t, address).ok("GET", "/info", "", &answer)
	for _, c := range []struct {
		from uint64
		text string
	}{{9, "no grant cloister://attest"}, {0, "cannot tell which container asks: no such socket"}} {
		from <- c.from
		tcpClient(t, address).refused("GET", "/aa/evidence?runtime_data=x", "", http.StatusForbidden, c.text)
	}
	granted.refused("POST", "/v1/evidence", nonceBody(testNonce), http.StatusForbidden, "own socket only")
	if len(from) != 0 {
		t.Errorf("%d connections were not looked at", len(from))
	}
}

// TestTCPQuotaIsTheContainers: both ways in draw on one quota.
func TestTCPQuotaIsTheContainers(t *testing.T) {
	b, address, from := overTCP(t, Options{Rate: 1, Burst: 2})
	b.now = func() time.Time { return time.Unix(1000, 0) }
	for _, s := range b.subjects {
		s.questions = newQuestions(b)
	}
	from <- 7
	from <- 8
	var answer any
	c, other := tcpClient(t, address), tcpClient(t, address)
	for i := range 2 {
		c.ok("POST", "/attest/raw", azureBody([]byte{byte(i)}), &answer)
	}
	c.refused("POST", "/attest/raw", azureBody([]byte("more")), http.StatusTooManyRequests, "questions")
	other.ok("POST", "/attest/raw", azureBody([]byte("key")), &answer)
}

// TestTCPPlaces: a container has its places and strangers have theirs; who finds none is closed, and nobody waits for anybody.
func TestTCPPlaces(t *testing.T) {
	_, address, from := overTCP(t, Options{Connections: 2})
	dial := func(id uint64) net.Conn {
		from <- id
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn) string {
		fmt.Fprint(c, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
		buf := make([]byte, 12)
		n, err := c.Read(buf)
		if err != nil {
			return "closed"
		}
		return string(buf[:n])
	}
	first, second := dial(7), dial(7)
	if a, b := ask(first), ask(second); a != "HTTP/1.1 200" || b != a {
		t.Errorf("two connections: got %q, %q", a, b)
	}
	if got := ask(dial(7)); got != "closed" {
		t.Errorf("third connection: got %q, want it closed", got)
	}
	for range maxStrangers {
		dial(9)
	}
	if got := ask(dial(9)); got != "closed" {
		t.Errorf("a stranger too many: got %q, want it closed", got)
	}
	if got := ask(dial(8)); got != "HTTP/1.1 200" {
		t.Errorf("a neighbour: got %q", got)
	}
}

// TestTCPEndsWithTheContainer: what a container asked on TCP ends with it, and its number is nobody's afterwards.
func TestTCPEndsWithTheContainer(t *testing.T) {
	d := &fakeDevice{wait: make(chan struct{}), entered: make(chan struct{}, 1)}
	defer close(d.wait)
	b, address, from := overTCP(t, Options{})
	b.device = d
	from <- 7
	c, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /aa/evidence?runtime_data=x HTTP/1.1\r\nHost: x\r\n\r\n")
	<-d.entered
	b.mu.Lock()
	granted := b.subjects["granted"]
	b.mu.Unlock()
	granted.stop()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after stop: got %d bytes, %v, want the end", n, err)
	}
	from <- 7
	tcpClient(t, address).refused("GET", "/status", "", http.StatusForbidden, "no grant")
}

func TestTCPOpensOnce(t *testing.T) {
	b, address, _ := overTCP(t, Options{})
	if _, err := b.listenTCP(t.Context(), "127.0.0.1:0"); err == nil {
		t.Error("opened twice")
	}
	other := newBroker(&fakeDevice{}, Options{})
	if _, err := other.listenTCP(t.Context(), address); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("an address that is taken: got %v", err)
	}
}

// TestTCPRealKernel connects from processes in control groups and lets the kernel say which they are.
func TestTCPRealKernel(t *testing.T) {
	h := cgroups(t, "a", "b", "none")
	b, _ := listenIn(t, h, "a", "b")
	addr, err := b.listenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{"a": "200 OK", "b": "200 OK", "none": "403 Forbidden", "": "403 Forbidden"} {
		cgroup := ""
		if in != "" {
			cgroup = h.dir(in)
		}
		p := startHelper(t, "connect tcp4 "+addr.String(), cgroup)
		p.line()
		if got := p.say("get /status"); got != "HTTP/1.1 "+want+" <nil>" {
			t.Errorf("from %q: got %s, want %s", in, got, want)
		}
		p.end()
	}
	// A socket that talks IPv4 through IPv6 is found by its IPv4 addresses.
	mapped := startHelper(t, "connect tcp [::ffff:127.0.0.1]:"+addr.String()[strings.LastIndex(addr.String(), ":")+1:], h.dir("a"))
	mapped.line()
	if got := mapped.say("get /status"); got != "HTTP/1.1 200 OK <nil>" {
		t.Errorf("mapped: got %s", got)
	}
	mapped.end()
}

func always(uint64) bool { return true }

// TestTCPKernelNamesTheSocket: the answer is about the connecting socket, and there is none once it is closed.
func TestTCPKernelNamesTheSocket(t *testing.T) {
	h := cgroups(t, "a")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := startHelper(t, "connect tcp4 "+l.Addr().String(), h.dir("a"))
	p.line()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := realKernel{h.root}
	want, err := k.cgroupID(h.path + "/a")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.tcpPeer(c.(*net.TCPConn), always); err != nil || got != want {
		t.Errorf("got control group %d, %v, want %d", got, err, want)
	}
	p.end()
	if got, err := k.tcpPeer(c.(*net.TCPConn), always); err == nil {
		t.Errorf("after the peer's end: got control group %d", got)
	}
}

// TestTCPOtherAddress: a client that is not on loopback is refused though it reached the listener.
func TestTCPOtherAddress(t *testing.T) {
	address := otherAddress(t)
	h := cgroups(t, "a")
	b, _ := listenIn(t, h, "a")
	addr, err := b.listenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startHelper(t, "connect tcp4 "+addr.String()+" from "+address, h.dir("a"))
	if got := p.line(); got != "connected" {
		t.Skipf("this machine does not let %s talk to loopback: %s", address, got)
	}
	if got := p.say("get /status"); got != "HTTP/1.1 403 Forbidden <nil>" {
		t.Errorf("got %s, want it refused", got)
	}
	p.end()
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp4", net.JoinHostPort(address, port)); err == nil {
		c.Close()
		t.Errorf("the listener answers on %s", address)
	}
}

// otherAddress is an IPv4 address of this machine beside loopback.
func otherAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address beside loopback: ip addr add 192.0.2.1/32 dev lo")
	return ""
}

// TestConnectionsAreRated: who connects over and over is closed on, at either door, and gets in again later.
func TestConnectionsAreRated(t *testing.T) {
	var now atomic.Int64
	b := New(&fakeDevice{}, Options{Connects: 1, ConnectBurst: 3})
	b.now = func() time.Time { return time.Unix(1000+now.Load(), 0) }
	b.kernel = fakeKernel{tcp: func(*net.TCPConn) (uint64, error) { return 7, nil }, ids: map[string]uint64{"/cloister/c1": 7}}
	t.Cleanup(b.Close)
	path, _, err := b.Listen(t.Context(), container("c1"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	addr, err := b.listenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := func(network, to string) bool {
		t.Helper()
		c, err := net.Dial(network, to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n") // it may be closed by now
		n, _ := c.Read(make([]byte, 64))
		return n > 0
	}
	for i := range 3 {
		if !answered("unix", path) {
			t.Fatalf("connection %d was closed", i)
		}
	}
	if answered("unix", path) || answered("tcp4", addr.String()) {
		t.Error("more connections than allowed were served")
	}
	now.Add(1)
	if !answered("tcp4", addr.String()) {
		t.Error("a second later the connection was closed")
	}
}

// TestStrangersAreRated: who has no grant and connects over and over costs one question a connection from then on; its neighbours are not closed on, and it is answered again later.
func TestStrangersAreRated(t *testing.T) {
	var now atomic.Int64
	b := New(&fakeDevice{}, Options{})
	b.now = func() time.Time { return time.Unix(1000+now.Load(), 0) }
	stats := 0
	k := fakeKernel{ids: map[string]uint64{"/cloister/c1": 7}}
	b.kernel = countingKernel{k, &stats}
	t.Cleanup(b.Close)
	if _, _, err := b.Listen(t.Context(), container("c1"), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	for i := range strangerBurst {
		if !b.mayAsk(9) {
			t.Fatalf("question %d was not put", i)
		}
	}
	looked := stats
	if b.mayAsk(9) || stats != looked {
		t.Errorf("a stranger's questions have no bound: %d looks, then %d", looked, stats)
	}
	for range 2 * strangerBurst {
		if !b.mayAsk(7) {
			t.Fatal("a container with the grant was counted as a stranger")
		}
	}
	if stats != looked {
		t.Errorf("a container that is known was looked up %d times more", stats-looked)
	}
	if s := b.subjectOf(7); s == nil || s.id.Key != "c1" {
		t.Errorf("got %v, want c1", s)
	}
	if !b.mayAsk(10) {
		t.Error("another stranger pays for the first")
	}
	now.Add(1)
	if !b.mayAsk(9) {
		t.Error("a second later it is still refused")
	}
	for id := range uint64(3 * maxRated) {
		b.mayAsk(100 + id)
	}
	if n := len(b.strangers); n > maxRated {
		t.Errorf("%d strangers are kept, want at most %d", n, maxRated)
	}
	if b.subjectOf(0) != nil {
		t.Error("no control group is somebody's")
	}
}

type countingKernel struct {
	fakeKernel
	looks *int
}

func (k countingKernel) cgroupID(path string) (uint64, error) {
	*k.looks++
	return k.fakeKernel.cgroupID(path)
}
