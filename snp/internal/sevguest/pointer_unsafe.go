package sevguest

import (
	"structs"
	"unsafe"
)

// Pointer is a user-space address inside an ioctl structure. It is not an uintptr, so that the garbage collector sees what it points to.
type Pointer struct {
	_   structs.HostLayout
	ptr unsafe.Pointer
}

func pointerTo[T any](p *T) Pointer { return Pointer{ptr: unsafe.Pointer(p)} }

func pointerToSlice(b []byte) Pointer { return Pointer{ptr: unsafe.Pointer(unsafe.SliceData(b))} }
