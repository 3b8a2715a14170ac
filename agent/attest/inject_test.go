package attest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// inject is a process with CAP_NET_RAW. It waits for the first answer that the server on a port of loopback gives to anybody, writes its own standard input's text into that
// connection as the client would, and prints the status line that comes back.
func inject(port string) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	var server uint16
	fmt.Sscan(port, &server)
	fmt.Println("ready")
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 1
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	buf := make([]byte, 1<<16)
	for next := uint32(0); ; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			fmt.Println("error:", err)
			return 1
		}
		tcp := buf[int(buf[0]&15)*4 : n]
		be := binary.BigEndian
		from, client, seq, ack, data := be.Uint16(tcp), be.Uint16(tcp[2:]), be.Uint32(tcp[4:]), be.Uint32(tcp[8:]), tcp[int(tcp[12]>>4)*4:]
		switch {
		case from != server || len(data) == 0:
		case next == 0:
			next = seq + uint32(len(data))
			if err := unix.Sendto(fd, segment(client, server, ack, next, request), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				fmt.Println("error:", err)
				return 1
			}
		case seq == next:
			line, _, _ := bytes.Cut(data, []byte("\r\n"))
			fmt.Printf("%s\n", line)
			return 0
		}
	}
}

// segment is a TCP segment with data from one port of 127.0.0.1 to another, PSH and ACK set.
func segment(from, to uint16, seq, ack uint32, data []byte) []byte {
	be := binary.BigEndian
	s := be.AppendUint16(nil, from)
	s = be.AppendUint16(s, to)
	s = be.AppendUint32(s, seq)
	s = be.AppendUint32(s, ack)
	s = append(s, 5<<4, 0x18, 0xff, 0xff, 0, 0, 0, 0)
	s = append(s, data...)
	pseudo := be.AppendUint16([]byte{127, 0, 0, 1, 127, 0, 0, 1, 0, unix.IPPROTO_TCP}, uint16(len(s)))
	sum := uint32(0)
	for pair := range bytesByTwo(append(pseudo, s...)) {
		sum += uint32(pair)
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	be.PutUint16(s[16:], ^uint16(sum))
	return s
}

func bytesByTwo(b []byte) func(func(uint16) bool) {
	return func(yield func(uint16) bool) {
		if len(b)%2 == 1 {
			b = append(b, 0)
		}
		for ; len(b) > 0; b = b[2:] {
			if !yield(binary.BigEndian.Uint16(b)) {
				return
			}
		}
	}
}

// TestRawSocketGetsNoIdentity: a container that may open raw sockets writes into a neighbour's connection. What it gets so names nobody.
func TestRawSocketGetsNoIdentity(t *testing.T) {
	body := nonceBody(testNonce)
	// The attack itself works, as it would for any service on loopback.
	t.Run("raw", func(t *testing.T) { injected(t, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK") })
	t.Run("identity", func(t *testing.T) {
		injected(t, fmt.Sprintf("POST /v1/evidence HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body), "HTTP/1.1 403 Forbidden")
	})
}

func injected(t *testing.T, request, want string) {
	h := cgroups(t, "a", "attacker")
	b, _ := listenIn(t, h, "a")
	opt := withPolicy(newLog())
	b.opt.Policy, b.opt.Events = opt.Policy, opt.Events // nothing but the door stands in the way
	addr, err := b.listenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	attacker := startHelper(t, fmt.Sprintf("inject %d", addr.(*net.TCPAddr).Port), h.dir("attacker"))
	if got := attacker.line(); got != "ready" {
		t.Skipf("no raw sockets here: %s", got)
	}
	fmt.Fprint(attacker.stdin, request)
	_ = attacker.stdin.Close()
	victim := startHelper(t, "connect tcp4 "+addr.String(), h.dir("a"))
	victim.line()
	if got := victim.say("get /status"); got != "HTTP/1.1 200 OK <nil>" {
		t.Fatalf("the neighbour: got %s", got)
	}
	if got := attacker.line(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
