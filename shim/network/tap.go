package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tapPrefix begins the names of our taps; the joined interface's index follows. Clean knows them by it.
const tapPrefix = "cloister-"

const tunDevice = "/dev/net/tun"

// openTap makes a tap and opens each of its queues. It is gone when the last descriptor is closed, ours or QEMU's, however they end.
func openTap(name string, queues int) ([]*os.File, error) {
	var files []*os.File
	for i := range queues {
		file, err := openQueue(name, queues > 1, i == 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make tap %q: %w", name, err), closeFiles(files))
		}
		files = append(files, file)
	}
	return files, nil
}

func openQueue(name string, several, first bool) (*os.File, error) {
	// Not os.Open: the runtime's poller must not see the descriptor before it belongs to a tap.
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: tunDevice, Err: err}
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if several {
		flags |= unix.IFF_MULTI_QUEUE
	}
	if first {
		flags |= unix.IFF_TUN_EXCL // a tap that is there already is somebody's
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), tunDevice+":"+name), nil
}

// raiseTap gives the tap the interface's MTU and brings it up. The namespace's IPv6 stays off it: its neighbour discovery would reach the guest.
func raiseTap(handle *netlink.Handle, name string, mtu int) (netlink.Link, error) {
	if err := setSysctl("ipv6/conf/"+name+"/disable_ipv6", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	link, err := handle.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find tap %q: %w", name, err)
	}
	if err := handle.LinkSetMTU(link, mtu); err != nil {
		return nil, fmt.Errorf("set MTU %d of tap %q: %w", mtu, name, err)
	}
	if err := handle.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring tap %q up: %w", name, err)
	}
	return link, nil
}

// setSysctl writes a value below /proc/sys/net of the calling thread's namespace.
func setSysctl(name, value string) error {
	return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
}

// closeTap removes the tap, even when QEMU still has it open.
func closeTap(name string, files []*os.File) error {
	return errors.Join(closeFiles(files), removeLink(name))
}

func closeFiles(files []*os.File) error {
	var errs []error
	for _, f := range files {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func removeLink(name string) error {
	handle, err := openHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	link, err := handle.LinkByName(name)
	if err == nil {
		err = handle.LinkDel(link)
	}
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove tap %q: %w", name, err)
	}
	return nil
}

// gone says whether err tells that a link, and all that hung on it, is there no more.
func gone(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}
