// Package sockdiag asks the kernel about single sockets of this machine (NETLINK_SOCK_DIAG): in which control group the socket at the other end of
// a loopback connection was made, and which socket is the other end of a Unix connection.
//
// The kernel is trusted; its answers are still read within bounds. Every question names one socket exactly; an answer about another one is an error.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Numbers of linux/sock_diag.h, linux/inet_diag.h and linux/unix_diag.h that package unix does not have.
const (
	sockDiagByFamily = 20

	inetDiagCgroupID = 21 // attribute, since Linux 5.9
	inetRequestSize  = 56
	inetMessageSize  = 72

	unixRequestSize = 24
	unixMessageSize = 16
	unixDiagPeer    = 2 // attribute
	unixShowPeer    = 4 // what a request wants to see

	headerSize = 16
	noCookie   = ^uint64(0)
)

// Established is the state of a TCP or Unix socket that is connected.
const Established = 1

// answerTimeout bounds the wait for an answer. The kernel writes it before the request returns.
var answerTimeout = unix.Timeval{Sec: 5}

// TCPSocket is what the kernel says of one end of a TCP connection.
type TCPSocket struct {
	State         uint8
	Local, Remote netip.AddrPort
	Cookie        uint64 // the kernel's number for the socket; never given twice
	Cgroup        uint64 // id of the control group that the socket was made in; 0 when the kernel does not say
}

// TCP finds the socket whose own address is local and whose peer's is remote, both IPv4. A cookie other than zero must be the socket's.
func TCP(local, remote netip.AddrPort, cookie uint64) (*TCPSocket, error) {
	req, err := tcpRequest(local, remote, cookie)
	if err != nil {
		return nil, err
	}
	answer, err := ask(req)
	if err != nil {
		return nil, fmt.Errorf("sock_diag of %s to %s: %w", local, remote, err)
	}
	s, err := parseTCP(answer)
	if err != nil {
		return nil, err
	}
	if s.Local != local || s.Remote != remote || (cookie != 0 && s.Cookie != cookie) {
		return nil, fmt.Errorf("sock_diag of %s to %s: got the socket %s to %s", local, remote, s.Local, s.Remote)
	}
	return s, nil
}

func tcpRequest(local, remote netip.AddrPort, cookie uint64) ([]byte, error) {
	if !local.Addr().Is4() || !remote.Addr().Is4() {
		return nil, fmt.Errorf("sock_diag: got %s and %s, want IPv4", local, remote)
	}
	if cookie == 0 {
		cookie = noCookie
	}
	b := header(inetRequestSize)
	r := b[headerSize:]
	r[0], r[1] = unix.AF_INET, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[4:], ^uint32(0)) // any state
	binary.BigEndian.PutUint16(r[8:], local.Port())
	binary.BigEndian.PutUint16(r[10:], remote.Port())
	src, dst := local.Addr().As4(), remote.Addr().As4()
	copy(r[12:], src[:])
	copy(r[28:], dst[:])
	putCookie(r[48:], cookie)
	return b, nil
}

func parseTCP(m []byte) (*TCPSocket, error) {
	if len(m) < inetMessageSize {
		return nil, fmt.Errorf("sock_diag: got a message of %d bytes, want at least %d", len(m), inetMessageSize)
	}
	s := &TCPSocket{State: m[1], Cookie: cookieOf(m[44:])}
	local, err1 := address(m[0], m[8:24])
	remote, err2 := address(m[0], m[24:40])
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	s.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(m[4:]))
	s.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(m[6:]))
	id, err := attribute(m[inetMessageSize:], inetDiagCgroupID, 8)
	if err != nil {
		return nil, err
	}
	if id != nil {
		s.Cgroup = binary.NativeEndian.Uint64(id)
	}
	return s, nil
}

// address reads an address; IPv4 on an IPv6 socket comes mapped.
func address(family uint8, b []byte) (netip.Addr, error) {
	switch family {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(b)), nil
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b)).Unmap(), nil
	}
	return netip.Addr{}, fmt.Errorf("sock_diag: got address family %d", family)
}

// UnixPeer returns the inode of the socket that is connected to the Unix socket with this inode, or 0 when there is none any more.
func UnixPeer(inode uint32) (peer uint32, err error) {
	answer, err := ask(unixRequest(inode))
	if err != nil {
		return 0, fmt.Errorf("sock_diag of unix socket %d: %w", inode, err)
	}
	about, peer, err := parseUnix(answer)
	if err == nil && about != inode {
		err = fmt.Errorf("sock_diag of unix socket %d: got socket %d", inode, about)
	}
	return peer, err
}

func unixRequest(inode uint32) []byte {
	b := header(unixRequestSize)
	r := b[headerSize:]
	r[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(r[4:], ^uint32(0))
	binary.NativeEndian.PutUint32(r[8:], inode)
	binary.NativeEndian.PutUint32(r[12:], unixShowPeer)
	putCookie(r[16:], noCookie)
	return b
}

func parseUnix(m []byte) (inode, peer uint32, err error) {
	if len(m) < unixMessageSize {
		return 0, 0, fmt.Errorf("sock_diag: got a message of %d bytes, want at least %d", len(m), unixMessageSize)
	}
	if m[0] != unix.AF_UNIX {
		return 0, 0, fmt.Errorf("sock_diag: got address family %d", m[0])
	}
	a, err := attribute(m[unixMessageSize:], unixDiagPeer, 4)
	if err != nil {
		return 0, 0, err
	}
	if a != nil {
		peer = binary.NativeEndian.Uint32(a)
	}
	return binary.NativeEndian.Uint32(m[4:]), peer, nil
}

// attribute finds a netlink attribute of a size; it is nil when there is none.
func attribute(b []byte, kind uint16, size int) ([]byte, error) {
	for len(b) >= 4 {
		n, k := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			return nil, fmt.Errorf("sock_diag: got an attribute of %d bytes in %d", n, len(b))
		}
		if k == kind {
			if n-4 != size {
				return nil, fmt.Errorf("sock_diag: attribute %d: got %d bytes, want %d", kind, n-4, size)
			}
			return b[4:n], nil
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil, nil
}

// header begins a request of so many bytes.
func header(size int) []byte {
	b := make([]byte, headerSize+size)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	return b
}

// A cookie is two words, the low one first.
func putCookie(b []byte, c uint64) {
	binary.NativeEndian.PutUint32(b, uint32(c))
	binary.NativeEndian.PutUint32(b[4:], uint32(c>>32))
}

func cookieOf(b []byte) uint64 {
	return uint64(binary.NativeEndian.Uint32(b)) | uint64(binary.NativeEndian.Uint32(b[4:]))<<32
}

// ask sends one request over a socket of its own, so that no answer to an earlier question can be read, and returns the answer's payload.
func ask(req []byte) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &answerTimeout); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if k, ok := from.(*unix.SockaddrNetlink); !ok || k.Pid != 0 {
			continue // another process may send to this socket; only the kernel's word counts
		}
		return payload(buf[:n])
	}
}

// payload takes the header off an answer; an error message is the error in it.
func payload(b []byte) ([]byte, error) {
	if len(b) < headerSize {
		return nil, fmt.Errorf("got an answer of %d bytes, want a header of %d", len(b), headerSize)
	}
	n := binary.NativeEndian.Uint32(b)
	if n < headerSize || int64(n) > int64(len(b)) {
		return nil, fmt.Errorf("got an answer that says it has %d bytes in %d", n, len(b))
	}
	body := b[headerSize:n]
	switch kind := binary.NativeEndian.Uint16(b[4:]); kind {
	case sockDiagByFamily:
		return body, nil
	case unix.NLMSG_ERROR:
		if len(body) < 4 {
			return nil, errors.New("got an error message without an error")
		}
		if errno := -int32(binary.NativeEndian.Uint32(body)); errno > 0 {
			return nil, unix.Errno(errno)
		}
		return nil, errors.New("got an acknowledgement, want an answer")
	default:
		return nil, fmt.Errorf("got an answer of type %d, want %d", kind, sockDiagByFamily)
	}
}
