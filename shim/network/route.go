package network

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// addRoutes takes the routes of the main table that are not the kernel's own: those the guest's kernel makes itself.
func (f *found) addRoutes(routes []netlink.Route) error {
	// The API has no metric: of several routes to one destination the guest gets the one that the namespace uses.
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
	seen := make(map[string]bool)
	for i := range routes {
		r := &routes[i]
		if r.Table == unix.RT_TABLE_LOCAL || r.Protocol == unix.RTPROT_KERNEL || f.withoutPort(r) {
			continue
		}
		name := destination(r)
		switch {
		case r.Table != unix.RT_TABLE_MAIN:
			f.note("route to %s of table %d is not in the guest, which has the main table only", name, r.Table)
			continue
		case r.Type != unix.RTN_UNICAST:
			f.note("route to %s of type %d is not in the guest, which has unicast routes only", name, r.Type)
			continue
		case seen[name]:
			f.note("route to %s with metric %d is not in the guest, which has the one with the lowest metric", name, r.Priority)
			continue
		}
		out, err := f.guestRoute(r)
		if err != nil {
			return fmt.Errorf("route to %s: %w", name, err)
		}
		seen[name] = true
		f.guest.Routes = append(f.guest.Routes, out)
	}
	return nil
}

// withoutPort tells routes that concern no joined interface: those of lo, and of links without addresses.
func (f *found) withoutPort(r *netlink.Route) bool {
	if len(r.MultiPath) > 0 {
		return !slices.ContainsFunc(r.MultiPath, func(hop *netlink.NexthopInfo) bool { return f.byIndex(hop.LinkIndex) != nil })
	}
	// A blackhole route has no link in IPv4, and lo in IPv6; it is told of.
	return r.Type == unix.RTN_UNICAST && f.byIndex(r.LinkIndex) == nil
}

func (f *found) guestRoute(r *netlink.Route) (*api.Route, error) {
	switch {
	case len(r.MultiPath) > 0:
		return nil, fmt.Errorf("got %d next hops, want one: a guest's route has one", len(r.MultiPath))
	case r.Via != nil:
		return nil, fmt.Errorf("got a gateway of another family (%s), want one of the route's", r.Via)
	case r.Encap != nil, r.MPLSDst != nil, r.NewDst != nil:
		return nil, fmt.Errorf("encapsulated routes cannot be handed to a guest")
	}
	out := &api.Route{
		Device: f.byIndex(r.LinkIndex).guest,
		Scope:  uint32(r.Scope),
		Flags:  uint32(r.Flags & unix.RTNH_F_ONLINK),
		Mtu:    uint32(max(r.MTU, 0)),
		Family: api.IPFamily_v4,
	}
	if r.Family == unix.AF_INET6 {
		out.Family = api.IPFamily_v6
	}
	if !isDefault(r.Dst) {
		out.Dest = r.Dst.String()
	}
	if r.Gw != nil {
		out.Gateway = r.Gw.String()
	}
	if r.Src != nil {
		out.Source = r.Src.String()
	}
	return out, nil
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	bits, _ := dst.Mask.Size()
	return bits == 0
}

// destination names a route's destination; both families' default routes have names of their own.
func destination(r *netlink.Route) string {
	switch {
	case !isDefault(r.Dst):
		return r.Dst.String()
	case r.Family == unix.AF_INET6:
		return "::/0"
	}
	return "0.0.0.0/0"
}

// readNeighbors takes the entries that somebody set for good: a network without ARP (Cilium, ptp with static neighbours) needs them.
func (f *found) readNeighbors(ctx context.Context, handle *netlink.Handle) error {
	for i := range f.ports {
		p := &f.ports[i]
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			list, err := dump(ctx, func() ([]netlink.Neigh, error) { return handle.NeighList(p.link.Attrs().Index, family) })
			if err != nil {
				return fmt.Errorf("list neighbours of %q: %w", p.name(), err)
			}
			f.addNeighbors(p, list)
		}
	}
	return nil
}

func (f *found) addNeighbors(p *port, list []netlink.Neigh) {
	for _, n := range list {
		if n.State&unix.NUD_PERMANENT == 0 || len(n.HardwareAddr) != 6 || n.IP == nil || n.IP.IsMulticast() {
			continue
		}
		f.guest.Neighbors = append(f.guest.Neighbors, &api.ARPNeighbor{
			ToIPAddress: &api.IPAddress{Family: familyOf(n.IP), Address: n.IP.String()},
			Device:      p.guest,
			Lladdr:      n.HardwareAddr.String(),
			State:       unix.NUD_PERMANENT,
			Flags:       int32(n.Flags & unix.NTF_ROUTER),
		})
	}
}
