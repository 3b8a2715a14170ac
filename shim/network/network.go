package network

import (
	"os"

	"github.com/cloister-cc/cloister/agent/api"
)

// Link is one interface of the pod, joined to a tap.
type Link struct {
	Name string   // in the namespace and in the guest: eth0, eth1, ...
	MAC  string   // the guest's, which is the interface's own
	MTU  int      // bytes
	Tap  *os.File // the open tap, for QEMU; with a virtio-net header
}

// Guest is what the guest must be told, in the agent's terms.
type Guest struct {
	Interfaces []*api.Interface
	Routes     []*api.Route
	Neighbors  []*api.ARPNeighbor
}
