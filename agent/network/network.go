package network

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Limits on what one request may ask for.
const (
	maxAddresses  = 64
	maxRoutes     = 512
	maxNeighbours = 1024
	maxMTU        = 65535
	minMTU        = 68 // RFC 791
	minMTU6       = 1280
)

var deviceName = regexp.MustCompile(`^eth[0-9]{1,2}$`)

// Network is the guest's network configuration. Its methods may be called from several goroutines; changes are made one
// at a time.
type Network struct {
	mu       sync.Mutex
	kernel   kernel
	sysctls  string
	isVirtio func(name string) bool
	hardened bool
}

// New opens the network of the calling thread's namespace. It changes nothing yet: an agent that runs as a process on
// somebody's machine must not switch off what that machine forwards.
func New() (*Network, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// rtnetlink answers at once or not at all; without a limit a lost answer would hold the lock for ever.
	if err := handle.SetSocketTimeout(10 * time.Second); err != nil {
		handle.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &Network{
		kernel:   handle,
		sysctls:  "/proc/sys/net",
		isVirtio: func(name string) bool { return isVirtioNet("/sys", name) },
	}, nil
}

// Close releases the netlink socket. The configuration stays.
func (n *Network) Close() { n.kernel.Close() }

// harden closes, once, the doors that lead from outside to loopback. It runs at start and, whatever a caller forgot,
// before the first device is configured.
func (n *Network) harden() error {
	if n.hardened {
		return nil
	}
	settings := []sysctl{{"ipv4/ip_forward", "0"}}
	settings = append(settings, closed("all")...)
	settings = append(settings, closed("default")...)
	if err := apply(n.sysctls, settings); err != nil {
		return err
	}
	n.hardened = true
	return nil
}

// SetupLoopback is for the start of the guest: it closes the doors to loopback and brings lo up. It is the only change
// the package makes to lo, and no request leads to it.
func (n *Network) SetupLoopback(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.harden(); err != nil {
		return err
	}
	links, err := n.kernel.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		if link.Attrs().Name == "lo" {
			if err := n.kernel.LinkSetUp(link); err != nil {
				return fmt.Errorf(`bring "lo" up: %w`, err)
			}
			return nil
		}
	}
	return fmt.Errorf(`bring "lo" up: %w`, ErrLinkNotFound)
}

// virtioLinks lists the links that requests may name.
func (n *Network) virtioLinks() ([]netlink.Link, error) {
	links, err := n.kernel.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var found []netlink.Link
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Flags&loopbackFlag != 0 || attrs.Name == "lo" || !n.isVirtio(attrs.Name) {
			continue
		}
		found = append(found, link)
	}
	return found, nil
}

// undo is the list of what takes back the steps made so far.
type undo []func() error

func (u *undo) push(f func() error) { *u = append(*u, f) }

// run takes back every step, last first, and adds to cause what could not be taken back.
func (u undo) run(cause error) error {
	errs := []error{cause}
	for i := len(u) - 1; i >= 0; i-- {
		if err := u[i](); err != nil {
			errs = append(errs, fmt.Errorf("undo: %w", err))
		}
	}
	if len(errs) == 1 {
		return cause
	}
	return errors.Join(errs...)
}
