package session

import (
	"os"

	"golang.org/x/sys/unix"
)

// openUevents subscribes to the kernel's device events.
func openUevents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// awaitUevent returns after any event: what it says is not used, the caller looks at sysfs again.
func awaitUevent(events *os.File) error {
	var buf [4096]byte
	_, err := events.Read(buf[:])
	if pe, ok := err.(*os.PathError); ok && pe.Err == unix.ENOBUFS {
		return nil // events were lost, which is one more reason to look
	}
	return err
}
