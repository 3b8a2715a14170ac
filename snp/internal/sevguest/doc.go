// Package sevguest is the kernel interface of /dev/sev-guest: its ioctl structures, its request numbers and the calls themselves.
//
// It is the only place below snp that imports unsafe (in files ending _unsafe.go) and golang.org/x/sys/unix. The layouts are those of
// include/uapi/linux/sev-guest.h; a test pins size, offsets and request numbers, because a wrong one corrupts memory silently.
//
// The kernel is trusted. The certificate table that comes back with an extended report is the host's and is only bounded here.
package sevguest
