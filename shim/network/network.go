package network

import (
	"context"
	"errors"
	"os"

	"github.com/cloister-cc/cloister/agent/api"
)

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

// Pod is a namespace whose interfaces are joined to taps, until Close.
type Pod struct {
	links []Link
	guest Guest
	notes []string
}

// Join joins every interface with an address in the network namespace at the path netns to a tap of its own, with that many queues.
func Join(ctx context.Context, netns string, queues int) (*Pod, error) {
	return nil, errors.New("join network: not built yet")
}

// Links answers the joined interfaces, in the order of the namespace.
func (p *Pod) Links() []Link { return p.links }

// Guest answers what the guest must be given.
func (p *Pod) Guest() Guest { return p.guest }

// Notes answers, a sentence each, what the guest does not get as the namespace has it.
func (p *Pod) Notes() []string { return p.notes }

// Close takes the redirects and taps away again. It may be called twice.
func (p *Pod) Close() error { return nil }

// Clean removes what a shim that was killed left in the network namespace at the path netns.
func Clean(ctx context.Context, netns string) error {
	return errors.New("clean network: not built yet")
}
