package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// maxQueues bounds the open descriptors of a tap; a queue more than the VM has CPUs is of no use.
const maxQueues = 64

// netlinkTimeout bounds one answer of rtnetlink, which comes at once or not at all.
const netlinkTimeout = 10 * time.Second

// Link is one interface of the pod, joined to a tap.
type Link struct {
	Name   string     // in the guest: eth0, eth1, ...; the interface's own name where that has this form
	Pod    string     // in the pod's namespace
	MAC    string     // the guest's, which is the interface's own
	MTU    int        // bytes
	Tap    *os.File   // the open tap, for QEMU; with a virtio-net header. The first of Queues
	Queues []*os.File // one open tap a queue
}

// Guest is what the guest must be told, in the agent's terms.
type Guest struct {
	Interfaces []*api.Interface
	Routes     []*api.Route
	Neighbors  []*api.ARPNeighbor
}

// Pod is a namespace whose interfaces are joined to taps, until Close. The files of its links are its own: who gives them to QEMU may close them, Close
// does it otherwise.
type Pod struct {
	links []Link
	guest Guest
	notes []string

	mu        sync.Mutex
	namespace *namespace
	undo      undo
}

// Join joins every interface with an address in the network namespace at the path netns to a tap of its own, with that many queues. A namespace
// without such interfaces gives a Pod without links. When Join fails, or ctx ends, nothing of it is left.
func Join(ctx context.Context, netns string, queues int) (*Pod, error) {
	if queues < 1 || queues > maxQueues {
		return nil, fmt.Errorf("join network: got %d queues, want 1 to %d", queues, maxQueues)
	}
	namespace, err := openNamespace(netns)
	if err != nil {
		return nil, fmt.Errorf("join network: %w", err)
	}
	pod := &Pod{namespace: namespace}
	if err := namespace.do(func() error { return pod.join(ctx, queues) }); err != nil {
		return nil, errors.Join(fmt.Errorf("join network %q: %w", netns, err), pod.Close())
	}
	return pod, nil
}

// Links answers the joined interfaces, in the order of the namespace.
func (p *Pod) Links() []Link { return p.links }

// Guest answers what the guest must be given. The interface's addresses and routes first: neighbours need the devices by name.
func (p *Pod) Guest() Guest { return p.guest }

// Notes answers, a sentence each, what the guest does not have as the namespace has it.
func (p *Pod) Notes() []string { return p.notes }

// Close takes the redirects and taps away again, and lets go of the namespace. It may be called twice; what could not be taken away is tried again then.
func (p *Pod) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.namespace == nil {
		return nil
	}
	if err := p.namespace.do(p.undo.run); err != nil {
		return fmt.Errorf("leave network %q: %w", p.namespace.path, err)
	}
	err := p.namespace.close()
	p.namespace = nil
	return err
}

// join runs inside the namespace.
func (p *Pod) join(ctx context.Context, queues int) error {
	handle, err := openHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	found, err := read(ctx, handle)
	if err != nil {
		return err
	}
	p.notes = append(p.notes, found.notes...)
	p.guest = found.guest
	for i := range found.ports {
		link, err := p.joinPort(ctx, handle, &found.ports[i], queues)
		if err != nil {
			return fmt.Errorf("interface %q: %w", found.ports[i].name(), err)
		}
		p.links = append(p.links, link)
	}
	if len(found.ports) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.forward(handle, &found.ports[0])
}

// joinPort makes a port's tap and lets frames pass between the two.
func (p *Pod) joinPort(ctx context.Context, handle *netlink.Handle, port *port, queues int) (Link, error) {
	if err := ctx.Err(); err != nil {
		return Link{}, err
	}
	if err := unclaimed(handle, port.link); err != nil {
		return Link{}, err
	}
	files, err := openTap(port.tap(), queues)
	if err != nil {
		return Link{}, err
	}
	p.undo.push(func() error { return closeTap(port.tap(), files) })
	tap, err := raiseTap(handle, port.tap(), port.link.Attrs().MTU)
	if err != nil {
		return Link{}, err
	}
	port.tapLink = tap
	for _, way := range []struct{ from, to netlink.Link }{{tap, port.link}, {port.link, tap}} {
		if err := ctx.Err(); err != nil {
			return Link{}, err
		}
		index := way.from.Attrs().Index
		p.undo.push(func() error { return removeRedirect(index) })
		if err := redirect(handle, index, way.to.Attrs().Index); err != nil {
			return Link{}, err
		}
	}
	attrs := port.link.Attrs()
	return Link{Name: port.guest, Pod: attrs.Name, MAC: attrs.HardwareAddr.String(), MTU: attrs.MTU, Tap: files[0], Queues: files}, nil
}

// openHandle opens rtnetlink in the calling thread's namespace.
func openHandle() (*netlink.Handle, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	if err := handle.SetSocketTimeout(netlinkTimeout); err != nil {
		handle.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return handle, nil
}

// undo is the list of what takes back the steps made so far.
type undo []func() error

func (u *undo) push(f func() error) { *u = append(*u, f) }

// run takes back every step, last first, and keeps those that failed.
func (u *undo) run() error {
	var errs []error
	var left undo
	for i := len(*u) - 1; i >= 0; i-- {
		if err := (*u)[i](); err != nil {
			errs = append(errs, err)
			left = append(undo{(*u)[i]}, left...)
		}
	}
	*u = left
	return errors.Join(errs...)
}
