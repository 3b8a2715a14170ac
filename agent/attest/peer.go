package attest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/attest/internal/sockdiag"
	"github.com/cloister-cc/cloister/agent/boot"
)

// kernel is what the kernel says about who is at the other end of a connection.
type kernel interface {
	// unixPeer is the control group, below the root of the unified hierarchy, of the process at the other end.
	unixPeer(c *net.UnixConn) (cgroup string, err error)
	// tcpPeer is the id of the control group that the socket at the other end was made in. mayAsk is asked once there is a first answer, which proves nothing yet; unless it agrees,
	// the error is errTooOften.
	tcpPeer(c *net.TCPConn, mayAsk func(cgroupID uint64) bool) (cgroupID uint64, err error)
	// cgroupID is the id of a control group by its path below the root.
	cgroupID(path string) (uint64, error)
}

// cgroupRoot is where the agent mounts the unified hierarchy.
const cgroupRoot = "/sys/fs/cgroup"

// soPeerPidFD is SO_PEERPIDFD of asm-generic/socket.h, since Linux 6.5.
const soPeerPidFD = 77

// maxDescriptors bounds how many descriptors of a peer are looked at: it is the container that says how many there are, and the agent that pays.
const maxDescriptors = 1 << 14

// errPeerGone says that the process that connected has ended: nobody can be named any more.
var errPeerGone = errors.New("the process that connected has ended")

// realKernel asks the kernel this runs on. Its root is where the unified hierarchy is mounted.
type realKernel struct{ root string }

// cgroupID: the inode of a control group's directory is its id.
func (k realKernel) cgroupID(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(k.root+path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: k.root + path, Err: err}
	}
	return st.Ino, nil
}

// tcpPeer asks for the other end by the connection's addresses, and again by the number the kernel gave that socket. The addresses cannot be anybody
// else's while this end is connected: it is looked at last, so they were not during either question.
func (realKernel) tcpPeer(c *net.TCPConn, mayAsk func(cgroupID uint64) bool) (uint64, error) {
	if err := loadModule("tcp_diag"); err != nil {
		return 0, err
	}
	client, server := plainAddr(c.RemoteAddr()), plainAddr(c.LocalAddr())
	first, err := sockdiag.TCP(client, server, 0)
	if err != nil {
		return 0, err
	}
	if !mayAsk(first.Cgroup) {
		return 0, errTooOften
	}
	again, err := sockdiag.TCP(client, server, first.Cookie)
	switch {
	case err != nil:
		return 0, err
	case first.Cookie == 0 || *again != *first:
		return 0, fmt.Errorf("socket %d changed while it was looked at", first.Cookie)
	case first.State != sockdiag.Established:
		return 0, fmt.Errorf("socket %d is in state %d, want a connected one", first.Cookie, first.State)
	case first.Cgroup == 0:
		return 0, errors.New("the kernel does not say which control group a socket is of")
	}
	var state uint8
	err = control(c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
		if err == nil {
			state = info.State
		}
		return os.NewSyscallError("getsockopt", err)
	})
	if err == nil && state != sockdiag.Established {
		err = errPeerGone
	}
	return first.Cgroup, err
}

// loadModule loads a module on its first use. One that the image does not have may be built in; if it is not, the question fails.
func loadModule(name string) error {
	if err := boot.LoadModule(name); err != nil && !errors.Is(err, boot.ErrNoModule) {
		return err
	}
	return nil
}

func plainAddr(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// unixPeer finds the process that connected. Its number alone proves nothing: when the process ends, the number can become another's, of another container. A pidfd
// that the kernel gives for the connection (Linux 6.5) is that process for ever. Without one, a pidfd of the number is opened and the process has to
// hold the other end of this very connection; either way it must still live when everything was read.
func (realKernel) unixPeer(c *net.UnixConn) (cgroup string, err error) {
	err = control(c, func(fd int) error {
		cgroup, err = peerCgroup(fd)
		return err
	})
	return cgroup, err
}

func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}

func peerCgroup(fd int) (string, error) {
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, soPeerPidFD)
	switch {
	case err == nil:
		defer unix.Close(pidfd)
		return cgroupOfPeer(pidfd, nil)
	case errors.Is(err, unix.ENOPROTOOPT):
		return cgroupByHolder(fd)
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENODATA), errors.Is(err, unix.EINVAL):
		return "", errPeerGone
	}
	return "", os.NewSyscallError("getsockopt", err)
}

// cgroupByHolder is for kernels without SO_PEERPIDFD.
func cgroupByHolder(fd int) (string, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return "", os.NewSyscallError("getsockopt", err)
	}
	if cred.Pid <= 0 {
		return "", errors.New("the process that connected is outside this guest's process numbers")
	}
	if err := loadModule("unix_diag"); err != nil {
		return "", err
	}
	pidfd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return "", errPeerGone
	}
	defer unix.Close(pidfd)
	return cgroupOfPeer(pidfd, func(pid int) error { return holdsOtherEnd(pid, fd) })
}

// cgroupOfPeer reads the control group of a process, and has it checked by its number. The number is the process's as long as it lives, and that is asked last.
func cgroupOfPeer(pidfd int, check func(pid int) error) (string, error) {
	pid, err := pidOf(pidfd)
	if err != nil {
		return "", err
	}
	cgroup, err := cgroupOf(pid)
	if err != nil {
		return "", errPeerGone
	}
	if check != nil {
		if err := check(pid); err != nil {
			return "", err
		}
	}
	ended, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	switch {
	case err != nil:
		return "", os.NewSyscallError("poll", err)
	case ended != 0:
		return "", errPeerGone
	}
	return cgroup, nil
}

// pidOf reads the number of a pidfd's process, as this process sees it.
func pidOf(pidfd int) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil || pid <= 0 {
				return 0, errPeerGone // -1: reaped; 0: not in this process's numbers
			}
			return pid, nil
		}
	}
	return 0, errors.New("the kernel does not say whose a pidfd is")
}

// cgroupOf reads the path of a process in the unified hierarchy.
func cgroupOf(pid int) (string, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n"), nil
		}
	}
	return "", errors.New("the process is in no control group of the unified hierarchy")
}

// holdsOtherEnd is nil when the process has the other end of the connection fd open. An inode number is one socket's while that socket is open, so the
// question is put again at the end.
func holdsOtherEnd(pid, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	peer, err := sockdiag.UnixPeer(uint32(st.Ino))
	switch {
	case err != nil:
		return err
	case peer == 0:
		return errPeerGone
	}
	held, err := holds(pid, "socket:["+strconv.FormatUint(uint64(peer), 10)+"]")
	switch {
	case err != nil:
		return err
	case !held:
		return errors.New("the process with the number of the one that connected does not hold the connection")
	}
	again, err := sockdiag.UnixPeer(uint32(st.Ino))
	if err == nil && again != peer {
		err = errPeerGone
	}
	return err
}

// holds says whether a process has a descriptor that its links in /proc name so.
func holds(pid int, link string) (bool, error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return false, errPeerGone
	}
	defer dir.Close()
	buf := make([]byte, 64) // longer links are cut, and are not sockets'
	for range maxDescriptors / 256 {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
			if err == nil && string(buf[:n]) == link {
				return true, nil
			}
		}
		if err != nil {
			return false, nil // the end
		}
	}
	return false, fmt.Errorf("the process that connected has more than %d descriptors", maxDescriptors)
}
