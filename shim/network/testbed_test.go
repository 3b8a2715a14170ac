package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for.
const patience = 20 * time.Second

func context20(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// needRoot skips where namespaces and taps cannot be made.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and taps (sudo go test ./shim/network)")
	}
	if _, err := os.Stat(tunDevice); err != nil {
		t.Skipf("needs %s: modprobe tun (%v)", tunDevice, err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip and tc: install iproute2")
	}
}

// bed is a network namespace of a test.
type bed struct {
	*namespace
	t *testing.T
}

// newBed makes a network namespace with lo up, gone at the test's end.
func newBed(t *testing.T) *bed {
	t.Helper()
	fd := -1
	// Back again afterwards, and not left to end with its goroutine: the process's first thread cannot end, and /proc/self is it.
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Unshare(unix.CLONE_NEWNET)
		}
		if err == nil {
			fd, err = unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			err = errors.Join(err, unix.Setns(own, unix.CLONE_NEWNET), unix.Close(own))
		}
		if err == nil {
			runtime.UnlockOSThread()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	b := &bed{t: t, namespace: &namespace{path: "/proc/self/fd/" + strconv.Itoa(fd), fd: fd}}
	t.Cleanup(func() { _ = b.close() })
	b.run("ip link set lo up")
	return b
}

// run runs commands of iproute2 inside, one a line.
func (b *bed) run(script string) string {
	b.t.Helper()
	out, err := b.try(script)
	if err != nil {
		b.t.Fatalf("%v", err)
	}
	return out
}

func (b *bed) try(script string) (string, error) {
	var all strings.Builder
	for line := range strings.SplitSeq(script, "\n") {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		err := b.do(func() error {
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			all.Write(out)
			if err != nil {
				return fmt.Errorf("%s: %w: %s", line, err, out)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return all.String(), nil
}

// wire makes a veth pair between two namespaces.
func wire(t *testing.T, a *bed, nameA string, b *bed, nameB string) {
	t.Helper()
	// The descriptors are this process's: ip's own /proc/self is another.
	a.run(fmt.Sprintf("ip link add %s type veth peer name %s netns /proc/%d/fd/%d", nameA, nameB, os.Getpid(), b.fd))
}

// newPod makes a node with a bridge and a pod on it with both families, as the bridge plugin does.
func newPod(t *testing.T, mtu int) (node, pod *bed) {
	t.Helper()
	needRoot(t)
	node, pod = newBed(t), newBed(t)
	wire(t, pod, "eth0", node, "veth0")
	node.run(fmt.Sprintf(`ip link add br0 type bridge
		ip link set veth0 mtu %[1]d master br0 up
		ip link set br0 mtu %[1]d up
		ip addr add 10.88.0.1/24 dev br0
		ip addr add fd00:88::1/64 dev br0 nodad`, mtu))
	pod.run(fmt.Sprintf(`ip link set eth0 mtu %d up
		ip addr add 10.88.0.5/24 dev eth0
		ip addr add fd00:88::5/64 dev eth0 nodad
		ip route add default via 10.88.0.1
		ip -6 route add default via fd00:88::1`, mtu))
	return node, pod
}

// join joins a pod's namespace, until the test's end.
func join(t *testing.T, b *bed, queues int) *Pod {
	t.Helper()
	pod, err := Join(context20(t), b.path, queues)
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	t.Cleanup(func() {
		if err := pod.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return pod
}

// newGuest is a machine behind the pod's first tap: a namespace with a tap of its own, which the two directions of frames are copied to and from as QEMU
// does. It is configured with what the guest is told, and nothing else.
func newGuest(t *testing.T, pod *Pod) *bed {
	t.Helper()
	g := newBed(t)
	link := pod.Links()[0]
	var files []*os.File
	must(t, g.do(func() (err error) { files, err = openTap(link.Name, 1); return err }))
	g.run(fmt.Sprintf("ip link set %[1]s address %[2]s\nip link set %[1]s mtu %[3]d up", link.Name, link.MAC, link.MTU))
	var pumps sync.WaitGroup
	for _, way := range [][2]*os.File{{link.Tap, files[0]}, {files[0], link.Tap}} {
		pumps.Go(func() { pump(way[0], way[1]) })
	}
	t.Cleanup(func() {
		_ = link.Tap.Close()
		_ = files[0].Close()
		pumps.Wait()
	})
	g.configure(pod.Guest())
	return g
}

// pump copies frames, each with its virtio-net header, until a tap is closed. A frame that does not get through is lost, as on a wire.
func pump(from, to *os.File) {
	frame := make([]byte, 1<<17)
	for {
		n, err := from.Read(frame)
		if err != nil {
			return
		}
		if _, err := to.Write(frame[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

// configure does with the guest's words what the agent does.
func (b *bed) configure(guest Guest) {
	b.t.Helper()
	for _, iface := range guest.Interfaces {
		for _, ip := range iface.GetIPAddresses() {
			b.run(fmt.Sprintf("ip addr add %s/%s dev %s%s", ip.GetAddress(), ip.GetMask(), iface.GetName(), noDAD(ip.GetFamily())))
		}
	}
	for _, gateway := range []bool{false, true} {
		for _, r := range guest.Routes {
			if (r.GetGateway() != "") == gateway {
				b.run(routeCommand(r))
			}
		}
	}
	for _, n := range guest.Neighbors {
		b.run(fmt.Sprintf("ip neigh replace %s dev %s lladdr %s nud permanent", n.GetToIPAddress().GetAddress(), n.GetDevice(), n.GetLladdr()))
	}
}

func noDAD(family api.IPFamily) string {
	if family == api.IPFamily_v6 {
		return " nodad"
	}
	return ""
}

func routeCommand(r *api.Route) string {
	words := []string{"ip"}
	if r.GetFamily() == api.IPFamily_v6 {
		words = append(words, "-6")
	}
	dest := r.GetDest()
	if dest == "" {
		dest = "default"
	}
	words = append(words, "route", "add", dest, "dev", r.GetDevice(), "scope", strconv.Itoa(int(r.GetScope())))
	if r.GetGateway() != "" {
		words = append(words, "via", r.GetGateway())
	}
	if r.GetSource() != "" {
		words = append(words, "src", r.GetSource())
	}
	if r.GetFlags()&unix.RTNH_F_ONLINK != 0 {
		words = append(words, "onlink")
	}
	return strings.Join(words, " ")
}

// state is all that a namespace holds which Join could have changed.
func (b *bed) state() string {
	b.t.Helper()
	var out []string
	must(b.t, b.do(func() error {
		handle, err := openHandle()
		if err != nil {
			return err
		}
		defer handle.Close()
		links, err := handle.LinkList()
		if err != nil {
			return err
		}
		for _, link := range links {
			attrs := link.Attrs()
			out = append(out, fmt.Sprintf("link %d %s %s mtu %d %s", attrs.Index, attrs.Name, link.Type(), attrs.MTU, attrs.Flags))
			qdisc, filters, err := ingress(handle, link)
			if err != nil {
				return err
			}
			if qdisc != nil {
				out = append(out, fmt.Sprintf("ingress %s %s", attrs.Name, qdisc.Type()))
			}
			for _, f := range filters {
				out = append(out, fmt.Sprintf("filter %s %s %d", attrs.Name, f.Type(), f.Attrs().Priority))
			}
			addrs, err := handle.AddrList(link, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if !a.IP.IsLinkLocalUnicast() || a.IP.To4() != nil {
					out = append(out, "address "+attrs.Name+" "+a.IPNet.String())
				}
			}
		}
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTables()
		for _, table := range tables {
			out = append(out, "table "+table.Name)
		}
		return err
	}))
	out = append(out, strings.Split(b.run("ip -4 route show table main\nip rule"), "\n")...)
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// sent counts the packets that an interface sent.
func (b *bed) sent(name string) uint64 { return b.statistics(name).TxPackets }

func (b *bed) statistics(name string) (s netlink.LinkStatistics) {
	b.t.Helper()
	must(b.t, b.do(func() error {
		handle, err := openHandle()
		if err != nil {
			return err
		}
		defer handle.Close()
		link, err := handle.LinkByName(name)
		if err == nil {
			s = *link.Attrs().Statistics
		}
		return err
	}))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen serves TCP inside: each connection gets back, once it is half closed, what it sent.
func (b *bed) listen(network, address string) int {
	b.t.Helper()
	var l net.Listener
	must(b.t, b.do(func() (err error) { l, err = net.Listen(network, address); return err }))
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				data, err := io.ReadAll(conn)
				if err == nil {
					_, _ = conn.Write(data)
				}
			})
		}
	})
	b.t.Cleanup(func() { _ = l.Close(); served.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// dial connects from inside.
func (b *bed) dial(network, address string) (net.Conn, error) {
	var conn net.Conn
	err := b.do(func() (err error) { conn, err = net.DialTimeout(network, address, patience); return err })
	return conn, err
}

// echo sends data to an address from inside, and reads it back.
func (b *bed) echo(network, address string, data []byte) ([]byte, error) {
	conn, err := b.dial(network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(data); err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

// ping sends one echo request from inside and waits for its answer.
func (b *bed) ping(address string) error {
	network, kind, answer := "ip4:icmp", byte(8), byte(0)
	if strings.Contains(address, ":") {
		network, kind, answer = "ip6:ipv6-icmp", 128, 129
	}
	var conn net.Conn
	if err := b.do(func() (err error) { conn, err = net.Dial(network, address); return err }); err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	request := []byte{kind, 0, 0, 0, 0x0c, 0x10, 0, 1}
	var sum uint32
	for i := 0; i < len(request); i += 2 {
		sum += uint32(request[i])<<8 | uint32(request[i+1])
	}
	sum = sum>>16 + sum&0xffff
	request[2], request[3] = byte(^sum>>8), byte(^sum)
	if _, err := conn.Write(request); err != nil {
		return err
	}
	for reply := make([]byte, 1500); ; {
		n, err := conn.Read(reply)
		if err != nil {
			return err
		}
		message := reply[:n]
		if kind == 8 && n >= 20 { // raw IPv4 comes with its header
			message = message[int(message[0]&15)*4:]
		}
		if len(message) >= 8 && message[0] == answer && message[4] == request[4] && message[5] == request[5] {
			return nil
		}
	}
}
