package network

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// neighbourStates are the states a caller may set; 0 stands for permanent.
var neighbourStates = map[int32]int{
	0:                  unix.NUD_PERMANENT,
	unix.NUD_PERMANENT: unix.NUD_PERMANENT,
	unix.NUD_NOARP:     unix.NUD_NOARP,
	unix.NUD_REACHABLE: unix.NUD_REACHABLE,
	unix.NUD_STALE:     unix.NUD_STALE,
}

// neighbourPlan is a checked neighbour.
type neighbourPlan struct {
	device string
	neigh  netlink.Neigh
}

func planNeighbour(req *api.ARPNeighbor) (*neighbourPlan, error) {
	const what = "add neighbour"
	addr, err := parseHostIP(what, req.GetToIPAddress().GetAddress())
	if err != nil {
		return nil, err
	}
	if err := checkFamily(what, req.GetToIPAddress().GetFamily(), addr); err != nil {
		return nil, err
	}
	if !deviceName.MatchString(req.GetDevice()) {
		return nil, invalid("%s %s: got device %s, want eth0 to eth99", what, addr, quote(req.GetDevice()))
	}
	mac, err := parseMAC(what+" "+addr.String(), req.GetLladdr())
	if err != nil {
		return nil, err
	}
	state, ok := neighbourStates[req.GetState()]
	if !ok {
		return nil, invalid("%s %s: got state %#x, want permanent, noarp, reachable or stale", what, addr, req.GetState())
	}
	// NTF_PROXY would make the guest answer for others; NTF_ROUTER only says that the neighbour routes.
	if req.GetFlags()&^unix.NTF_ROUTER != 0 {
		return nil, invalid("%s %s: got flags %#x, want none but NTF_ROUTER", what, addr, req.GetFlags())
	}
	return &neighbourPlan{device: req.GetDevice(), neigh: netlink.Neigh{
		Family:       familyOf(addr),
		State:        state,
		Flags:        int(req.GetFlags()),
		IP:           net.IP(addr.AsSlice()),
		HardwareAddr: mac,
	}}, nil
}

// AddARPNeighbors adds or replaces neighbour entries.
func (n *Network) AddARPNeighbors(ctx context.Context, neighbours []*api.ARPNeighbor) error {
	if len(neighbours) > maxNeighbours {
		return invalid("add neighbours: got %d, want at most %d", len(neighbours), maxNeighbours)
	}
	plans := make([]*neighbourPlan, 0, len(neighbours))
	for _, req := range neighbours {
		plan, err := planNeighbour(req)
		if err != nil {
			return err
		}
		plans = append(plans, plan)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	links, err := n.virtioLinks()
	if err != nil {
		return err
	}
	for _, plan := range plans {
		link, err := findByName(links, plan.device)
		if err != nil {
			return fmt.Errorf("add neighbour %s: %w", plan.neigh.IP, err)
		}
		plan.neigh.LinkIndex = link.Attrs().Index
	}
	return n.setNeighbours(plans)
}

func (n *Network) setNeighbours(plans []*neighbourPlan) error {
	type table struct{ link, family int }
	before := make(map[table][]netlink.Neigh)
	var back undo
	for _, plan := range plans {
		neigh := &plan.neigh
		key := table{neigh.LinkIndex, neigh.Family}
		if _, ok := before[key]; !ok {
			have, err := n.kernel.NeighList(neigh.LinkIndex, neigh.Family)
			if err != nil {
				return back.run(fmt.Errorf("add neighbour %s: list neighbours: %w", neigh.IP, err))
			}
			before[key] = have
		}
		if err := n.kernel.NeighSet(neigh); err != nil {
			return back.run(fmt.Errorf("add neighbour %s: %w", neigh.IP, err))
		}
		back.push(n.takeBack(neigh, before[key]))
	}
	return nil
}

// takeBack returns what restores the entry of neigh's address as it was before.
func (n *Network) takeBack(neigh *netlink.Neigh, before []netlink.Neigh) func() error {
	for _, old := range before {
		if old.IP.Equal(neigh.IP) && old.HardwareAddr != nil {
			return func() error { return n.kernel.NeighSet(&old) }
		}
	}
	return func() error { return n.kernel.NeighDel(neigh) }
}
