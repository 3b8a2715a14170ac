package sockdiag

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// answer6x is what a 6.x kernel answered about 127.0.0.1:35326 to 127.0.0.1:35225, without the attributes before the control group.
const answer6x = "5800000014000000000000006d680000" +
	"02010200" + "89fe8999" + "7f000001000000000000000000000000" + "7f000001000000000000000000000000" + "00000000" + "0100000000000000" +
	"983a0000" + "00000000" + "00000000" + "00000000" + "ceb60000" +
	"0500080000000000" + "0c001500" + "2a00000000000000"

func answer(t testing.TB, size int) []byte {
	t.Helper()
	b, err := hex.DecodeString(answer6x)
	if err != nil {
		t.Fatal(err)
	}
	binary.NativeEndian.PutUint32(b, uint32(size))
	return b
}

func TestParseTCP(t *testing.T) {
	raw := answer(t, len(answer6x)/2)
	m, err := payload(raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseTCP(m)
	want := TCPSocket{
		State: Established, Local: netip.MustParseAddrPort("127.0.0.1:35326"), Remote: netip.MustParseAddrPort("127.0.0.1:35225"), Cookie: 1, Cgroup: 42,
	}
	if err != nil || *got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	mapped := append([]byte(nil), m...)
	mapped[0] = unix.AF_INET6
	for _, at := range []int{8, 24} {
		copy(mapped[at:], append(make([]byte, 10), 0xff, 0xff, 127, 0, 0, 1))
	}
	if got, err := parseTCP(mapped); err != nil || *got != want {
		t.Errorf("mapped: got %+v, %v, want %+v", got, err, want)
	}
	for name, b := range map[string][]byte{
		"short":           m[:inetMessageSize-1],
		"family":          append([]byte{99}, m[1:]...),
		"attribute-cut":   m[:len(m)-1],
		"attribute-small": append(append([]byte(nil), m[:inetMessageSize]...), 3, 0, 21, 0),
		"cgroup-4-bytes":  append(append([]byte(nil), m[:inetMessageSize]...), 8, 0, 21, 0, 1, 0, 0, 0),
	} {
		if got, err := parseTCP(b); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
	if got, err := parseTCP(m[:inetMessageSize]); err != nil || got.Cgroup != 0 {
		t.Errorf("without a control group: got %+v, %v", got, err)
	}
}

func TestPayload(t *testing.T) {
	noent := make([]byte, headerSize+20)
	binary.NativeEndian.PutUint32(noent, uint32(len(noent)))
	binary.NativeEndian.PutUint16(noent[4:], unix.NLMSG_ERROR)
	errno := -int32(unix.ENOENT)
	binary.NativeEndian.PutUint32(noent[headerSize:], uint32(errno))
	if _, err := payload(noent); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error message: got %v, want ENOENT", err)
	}
	binary.NativeEndian.PutUint32(noent[headerSize:], 0)
	if _, err := payload(noent); err == nil {
		t.Error("acknowledgement: accepted")
	}
	raw := answer(t, 10)
	if _, err := payload(raw); err == nil {
		t.Error("length below the header: accepted")
	}
	if _, err := payload(answer(t, 4000)); err == nil {
		t.Error("length above the bytes: accepted")
	}
	other := answer(t, len(answer6x)/2)
	binary.NativeEndian.PutUint16(other[4:], unix.NLMSG_DONE)
	if _, err := payload(other); err == nil {
		t.Error("other type: accepted")
	}
	if _, err := payload(nil); err == nil {
		t.Error("nothing: accepted")
	}
}

// kernelAnswers skips where the kernel has no sock_diag of a kind.
func kernelAnswers(t *testing.T, err error, option string) {
	t.Helper()
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Skipf("this kernel has no %s: %v", option, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestKernelTCP(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	local, remote := client.LocalAddr().(*net.TCPAddr).AddrPort(), client.RemoteAddr().(*net.TCPAddr).AddrPort()
	s, err := TCP(local, remote, 0)
	kernelAnswers(t, err, "CONFIG_INET_TCP_DIAG (module tcp_diag)")
	if s.State != Established || s.Cgroup == 0 || s.Cookie == 0 {
		t.Errorf("got %+v, want an established socket with a control group", s)
	}
	if again, err := TCP(local, remote, s.Cookie); err != nil || *again != *s {
		t.Errorf("by cookie: got %+v, %v, want %+v", again, err, s)
	}
	if other, err := TCP(local, remote, s.Cookie+1); err == nil {
		t.Errorf("another cookie: got %+v", other)
	}
	// The listener's end has the addresses the other way round.
	if other, err := TCP(remote, local, 0); err == nil && other.Cookie == s.Cookie {
		t.Errorf("the other end: got the same socket %+v", other)
	}
	client.Close()
	if gone, err := TCP(local, remote, s.Cookie); err == nil && gone.State == Established {
		t.Errorf("after close: got %+v", gone)
	}
}

func TestKernelUnixPeer(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	var inodes [2]uint32
	for i, fd := range pair {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		inodes[i] = uint32(st.Ino)
	}
	peer, err := UnixPeer(inodes[0])
	kernelAnswers(t, err, "CONFIG_UNIX_DIAG (module unix_diag)")
	if peer != inodes[1] {
		t.Errorf("got peer %d, want %d", peer, inodes[1])
	}
	unix.Close(pair[1])
	if peer, err := UnixPeer(inodes[0]); err != nil || peer != 0 {
		t.Errorf("after close: got peer %d, %v, want none", peer, err)
	}
	if peer, err := UnixPeer(inodes[1]); err == nil {
		t.Errorf("a socket that is gone: got peer %d", peer)
	}
}

func TestRequestRefusesIPv6(t *testing.T) {
	if _, err := TCP(netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[::1]:2"), 0); err == nil {
		t.Error("accepted")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(answer(f, len(answer6x)/2))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := payload(b)
		if err != nil {
			return
		}
		if s, err := parseTCP(m); err != nil && s != nil {
			t.Fatal("an error came with a socket")
		}
		if _, peer, err := parseUnix(m); err != nil && peer != 0 {
			t.Fatal("an error came with a peer")
		}
	})
}
