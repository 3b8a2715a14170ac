package qemu

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/vm"
)

// fds are the numbers that descriptors have in QEMU. Zero, which nothing here can have, stands for one that is not there.
type fds struct {
	qmp                        int
	kernel, initrd, firmware   int // reopened by QEMU through /proc/self/fd
	console, teeDisk, initdata int // taken from a descriptor set
	kvm                        int // likewise; only for a user who may not open the device
	ports                      []int
	taps                       []int
	vsock                      int
	cid                        uint32 // of the guest, with vsock
}

// launch is what a VM is started with: QEMU opens nothing by a path that its user would need a right on.
type launch struct {
	fds
	inherited []*os.File // by QEMU, from descriptor 3 on
	ours      []io.Closer
	monitor   net.Conn
	copied    chan struct{} // closed when the console is in its file
}

// prepare opens everything that c names and makes the sockets of the ports. On an error nothing stays open.
func prepare(c vm.Config) (_ *launch, err error) {
	l := &launch{}
	defer func() {
		if err == nil {
			return
		}
		l.close()
		if l.monitor != nil {
			_ = l.monitor.Close()
		}
		if l.copied != nil {
			<-l.copied
		}
		removeSockets(c.Dir)
	}()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	l.monitor = ours
	l.qmp = l.give(theirs)
	if err := l.bootFiles(c); err != nil {
		return nil, err
	}
	console, copied, err := openConsole(c.Console, c.Detached)
	if err != nil {
		return nil, err
	}
	l.console, l.copied = l.give(console), copied
	if err := l.devices(c); err != nil {
		return nil, err
	}
	return l, nil
}

// give makes a descriptor QEMU's; ours is closed by close.
func (l *launch) give(f *os.File) int {
	l.ours = append(l.ours, f)
	return l.lend(f)
}

// lend is give for a descriptor that stays with its owner.
func (l *launch) lend(f *os.File) int {
	l.inherited = append(l.inherited, f)
	return 2 + len(l.inherited)
}

// close closes what QEMU has by now, or never will.
func (l *launch) close() {
	for _, c := range l.ours {
		_ = c.Close()
	}
	l.ours = nil
}

func (l *launch) bootFiles(c vm.Config) error {
	for _, f := range []struct {
		name, path string
		fd         *int
	}{{"kernel", c.Kernel, &l.kernel}, {"initrd", c.Initrd, &l.initrd}, {"firmware", c.Firmware, &l.firmware}} {
		if f.path == "" {
			continue
		}
		opened, err := openBootFile(f.path, c.User)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		*f.fd = l.give(opened)
	}
	return nil
}

func (l *launch) devices(c vm.Config) error {
	for _, d := range []struct {
		name, path string
		fd         *int
	}{{"tee disk", c.TEEDisk, &l.teeDisk}, {"initdata disk", c.InitdataDisk, &l.initdata}} {
		if d.path == "" {
			continue
		}
		f, _, err := openDisk(vm.Disk{Path: d.path, ReadOnly: true})
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		*d.fd = l.give(f)
	}
	for _, t := range c.Taps {
		l.taps = append(l.taps, l.lend(t.File))
	}
	if c.Accel == "kvm" && c.User != 0 {
		if err := l.devicesOfUser(c); err != nil {
			return err
		}
	}
	if c.Transport == vm.TransportVsock {
		return l.openVsock(c.Dir)
	}
	return l.openPorts(c.Dir)
}

// devicesOfUser is for an unprivileged QEMU on KVM. It gets /dev/kvm as a descriptor, which QEMU 9.0 and newer can take, where it may not open the device
// itself. It opens /dev/sev itself, in every version.
func (l *launch) devicesOfUser(c vm.Config) error {
	if allowed, err := mayOpen(kvmNode, c.User, true); err != nil {
		return err
	} else if !allowed {
		f, err := os.OpenFile(kvmNode, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		l.kvm = l.give(f)
	}
	if c.TEE != vm.TEESNP {
		return nil
	}
	allowed, err := mayOpen(sevNode, c.User, true)
	if err == nil && !allowed {
		err = fmt.Errorf("%s: user %d may not open it: give it to group %d with mode 0660", sevNode, c.User, c.User)
	}
	return err
}

// sevNode is the host kernel's interface to the security processor.
const sevNode = "/dev/sev"

// openPorts listens for the ports' clients in QEMU's place.
func (l *launch) openPorts(dir string) error {
	for port := range vm.Ports {
		f, err := listen(dir, socketName(port))
		if err != nil {
			return fmt.Errorf("port %d: %w", port, err)
		}
		l.ports = append(l.ports, l.give(f))
	}
	return nil
}

// openBootFile opens a file that QEMU reads by a path of its own. Opening /proc/self/fd checks the file's mode once more, though no directory's: what user
// may not read is copied to memory and sealed.
func openBootFile(path string, user int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	allowed, err := mayOpen(path, user, false)
	if err == nil && allowed {
		return f, nil
	}
	defer func() { _ = f.Close() }()
	if err != nil {
		return nil, err
	}
	return inMemory(f)
}

// mayOpen tells whether the mode of a file lets user, who is in the group of the same number alone, read it, or read and write it.
func mayOpen(path string, user int, write bool) (bool, error) {
	if user == 0 {
		return true, nil // ours; whoever calls has opened it or is about to
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	want := uint32(0o4)
	if write {
		want = 0o6
	}
	shift := 0
	switch user {
	case int(st.Uid):
		shift = 6
	case int(st.Gid):
		shift = 3
	}
	return st.Mode>>shift&want == want, nil
}

// inMemory copies a file into one that has no name, that everybody may read who has its descriptor, and that nobody can change.
func inMemory(f *os.File) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("cloister", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("cloister", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	m := os.NewFile(uintptr(fd), f.Name()+" in memory")
	if _, err = io.Copy(m, f); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy %q to memory: %w", f.Name(), err), m.Close())
	}
	return m, nil
}

// openDisk opens a disk's file. block tells a block device from a regular file; there is nothing else that a disk can be.
func openDisk(d vm.Disk) (f *os.File, block bool, err error) {
	if !filepath.IsAbs(d.Path) {
		return nil, false, errors.New("want an absolute path")
	}
	flags := unix.O_CLOEXEC | unix.O_NONBLOCK // a FIFO must not hold us up
	if d.ReadOnly {
		flags |= unix.O_RDONLY
	} else {
		flags |= unix.O_RDWR
	}
	fd, err := unix.Open(d.Path, flags, 0)
	if err != nil {
		return nil, false, &os.PathError{Op: "open", Path: d.Path, Err: err}
	}
	f = os.NewFile(uintptr(fd), d.Path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, false, errors.Join(os.NewSyscallError("fstat", err), f.Close())
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFBLK:
		return f, st.Mode&unix.S_IFMT == unix.S_IFBLK, nil
	}
	return nil, false, errors.Join(fmt.Errorf("%q is neither a regular file nor a block device", d.Path), f.Close())
}

// socketPair returns two connected ends; the second is for the child.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "qmp"), os.NewFile(uintptr(fds[1]), "qmp")
	conn, err := net.FileConn(ours)
	_ = ours.Close() // FileConn works on a duplicate
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// listen makes a socket that only we can connect to. Like connect, it takes the directory by its descriptor. What a killed process left is replaced.
func listen(dir, name string) (*os.File, error) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(at) }()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", at, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer func() { _ = l.Close() }() // File is a duplicate
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return l.File()
}
