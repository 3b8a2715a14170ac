package storage

import "errors"

var (
	// ErrStateUnknown says that a mount may or may not still be there, or is gone by half: policy and kernel could disagree
	// from now on. Without it, an error of Unmount means that the mount is as it was.
	ErrStateUnknown = errors.New("state of the mount is unknown")
	// ErrAddress marks an address of a form that is not accepted.
	ErrAddress = errors.New("malformed disk address")
	// ErrDisk marks a disk that is there and will never do.
	ErrDisk = errors.New("not an acceptable disk")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("storage is closed")

	// errNotYet means that the kernel has not finished with the disk: an event will follow.
	errNotYet = errors.New("disk is not there")
)
