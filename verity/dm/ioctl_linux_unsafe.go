//go:build linux

package dm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl passes a buffer that starts with the header. The kernel reads and writes at most the data size the header names,
// which is the buffer's length.
func ioctl(fd uintptr, request uint, b []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(unsafe.Pointer(&b[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
