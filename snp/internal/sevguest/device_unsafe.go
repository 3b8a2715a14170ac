package sevguest

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl issues one request and returns what the kernel left in exitinfo2.
func ioctl(fd int, cmd uintptr, req, resp Pointer) (uint64, error) {
	arg := &GuestRequest{MsgVersion: 1, ReqData: req, RespData: resp, ExitInfo2: FirmwareUnset}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), cmd, uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(arg)
	if errno != 0 {
		return arg.ExitInfo2, errno
	}
	return arg.ExitInfo2, nil
}
