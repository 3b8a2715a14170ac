package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// What CRI does to forward a port: localhost, tcp4 first, inside the pod's namespace.
func TestForwardReachesTheGuest(t *testing.T) {
	_, b := newPod(t, 1500)
	pod := join(t, b, 1)
	if len(pod.Notes()) != 0 {
		t.Fatalf("got notes %q, want none: does the kernel have nftables with NAT?", pod.Notes())
	}
	guest := newGuest(t, pod)
	data := bytes.Repeat([]byte("all the bytes there are "), 1<<14)
	all := guest.listen("tcp4", "0.0.0.0:0")
	dual := guest.listen("tcp", "[::]:0")
	for _, port := range []int{all, dual} {
		got, err := b.echo("tcp4", fmt.Sprintf("localhost:%d", port), data)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("port %d: got %d bytes (%v), want the %d sent", port, len(got), err, len(data))
		}
	}
	if _, err := b.dial("tcp4", "127.0.0.1:1"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port that nobody has: got %v, want a refusal", err)
	}
	// The guest's loopback is the guest's.
	own := guest.listen("tcp4", "127.0.0.1:0")
	if _, err := b.dial("tcp4", fmt.Sprintf("127.0.0.1:%d", own)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port of the guest's loopback: got %v, want a refusal", err)
	}
}

// The guest answers the namespace, it does not ask it: the workload is not the node's friend.
func TestForwardIsOneWay(t *testing.T) {
	_, b := newPod(t, 1500)
	guest := newGuest(t, join(t, b, 1))
	var l *net.UDPConn
	must(t, b.do(func() (err error) {
		l, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 0})
		return err
	}))
	defer l.Close()
	port := l.LocalAddr().(*net.UDPAddr).Port
	must(t, guest.do(func() error {
		conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: HostHalf.AsSlice(), Port: port})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("from the guest"))
		return err
	}))
	// Frames keep their order: when a connection that is allowed has been answered, the datagram before it was judged.
	echo := guest.listen("tcp4", "0.0.0.0:0")
	if _, err := b.echo("tcp4", fmt.Sprintf("127.0.0.1:%d", echo), []byte("x")); err != nil {
		t.Fatal(err)
	}
	raw, err := l.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		if n, _, err := unix.Recvfrom(int(fd), make([]byte, 100), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("the namespace received %d bytes (%v) that the guest sent unasked", n, err)
		}
	}))
}

func TestForwardAddressTaken(t *testing.T) {
	_, b := newPod(t, 1500)
	b.run("ip addr add 169.254.242.2/24 dev eth0")
	pod := join(t, b, 1)
	want := "port forwarding does not reach the guest: the pod has the address 169.254.242.2"
	if len(pod.Notes()) != 1 || pod.Notes()[0] != want {
		t.Errorf("got notes %q, want %q", pod.Notes(), want)
	}
}
