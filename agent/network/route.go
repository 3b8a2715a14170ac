package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// routePlan is a checked route; its link is filled in once the device is known to be virtio-net.
type routePlan struct {
	device string
	route  netlink.Route
}

func planRoute(req *api.Route) (*routePlan, error) {
	dst, err := parseDestination(req.GetDest(), req.GetFamily())
	if err != nil {
		return nil, err
	}
	name := "route to " + dst.String()
	if !deviceName.MatchString(req.GetDevice()) {
		return nil, invalid("%s: got device %s, want eth0 to eth99", name, quote(req.GetDevice()))
	}
	plan := &routePlan{device: req.GetDevice(), route: netlink.Route{
		Dst:      ipNet(dst),
		Family:   familyOf(dst.Addr()),
		Table:    unix.RT_TABLE_MAIN,
		Type:     unix.RTN_UNICAST,
		Protocol: unix.RTPROT_STATIC,
	}}
	if plan.route.Gw, err = optionalIP(name+": gateway", req.GetGateway(), dst.Addr()); err != nil {
		return nil, err
	}
	if plan.route.Src, err = optionalIP(name+": source", req.GetSource(), dst.Addr()); err != nil {
		return nil, err
	}
	switch req.GetScope() {
	case unix.RT_SCOPE_UNIVERSE, unix.RT_SCOPE_SITE, unix.RT_SCOPE_LINK:
		plan.route.Scope = netlink.Scope(req.GetScope())
	default: // RT_SCOPE_HOST says that the destination is this machine
		return nil, invalid("%s: got scope %d, want universe, site or link", name, req.GetScope())
	}
	if req.GetFlags()&^uint32(unix.RTNH_F_ONLINK) != 0 {
		return nil, invalid("%s: got flags %#x, want none but RTNH_F_ONLINK", name, req.GetFlags())
	}
	plan.route.Flags = int(req.GetFlags())
	if mtu := req.GetMtu(); mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		return nil, invalid("%s: got MTU %d, want %d to %d", name, mtu, minMTU, maxMTU)
	}
	plan.route.MTU = int(req.GetMtu())
	return plan, nil
}

func optionalIP(what, s string, dst netip.Addr) (net.IP, error) {
	if s == "" {
		return nil, nil
	}
	addr, err := parseHostIP(what, s)
	if err != nil {
		return nil, err
	}
	if addr.BitLen() != dst.BitLen() {
		return nil, invalid("%s %s: not of the route's family", what, quote(s))
	}
	return net.IP(addr.AsSlice()), nil
}

// UpdateRoutes replaces every route of the main table that the kernel did not make itself, and answers the whole table.
func (n *Network) UpdateRoutes(ctx context.Context, routes []*api.Route) ([]*api.Route, error) {
	if len(routes) > maxRoutes {
		return nil, invalid("update routes: got %d routes, want at most %d", len(routes), maxRoutes)
	}
	plans := make([]*routePlan, 0, len(routes))
	for _, r := range routes {
		plan, err := planRoute(r)
		if err != nil {
			return nil, err
		}
		plans = append(plans, plan)
	}
	// A gateway is reachable only once the route to its own network is there; the host's order need not respect that.
	slices.SortStableFunc(plans, func(a, b *routePlan) int { return b2i(a.route.Gw != nil) - b2i(b.route.Gw != nil) })

	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := n.resolveDevices(plans); err != nil {
		return nil, err
	}
	var back undo
	if err := n.replaceRoutes(plans, &back); err != nil {
		return nil, back.run(fmt.Errorf("update routes: %w", err))
	}
	return n.listRoutes()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (n *Network) resolveDevices(plans []*routePlan) error {
	links, err := n.virtioLinks()
	if err != nil {
		return err
	}
	for _, plan := range plans {
		link, err := findByName(links, plan.device)
		if err != nil {
			return fmt.Errorf("route to %s: %w", plan.route.Dst, err)
		}
		plan.route.LinkIndex = link.Attrs().Index
	}
	return nil
}

func findByName(links []netlink.Link, name string) (netlink.Link, error) {
	for _, link := range links {
		if link.Attrs().Name == name {
			return link, nil
		}
	}
	return nil, fmt.Errorf("%w: no virtio-net device is named %q", ErrLinkNotFound, name)
}

func (n *Network) replaceRoutes(plans []*routePlan, back *undo) error {
	table, err := n.mainTable()
	if err != nil {
		return err
	}
	var old []netlink.Route
	for _, r := range table {
		if r.Protocol != unix.RTPROT_KERNEL {
			old = append(old, r)
		}
	}
	// Routes through a gateway go first and, the undo being last in first out, come back last.
	slices.SortStableFunc(old, func(a, b netlink.Route) int { return b2i(b.Gw != nil) - b2i(a.Gw != nil) })
	for i := range old {
		r := &old[i]
		if err := n.kernel.RouteDel(r); err != nil {
			return fmt.Errorf("remove route to %s: %w", r.Dst, err)
		}
		back.push(func() error { return n.kernel.RouteAdd(restorableRoute(r)) })
	}
	for _, plan := range plans {
		r := plan.route
		if kernelHas(table, &r) {
			continue
		}
		if err := n.kernel.RouteAdd(&r); err != nil {
			return fmt.Errorf("add route to %s by %s: %w", r.Dst, plan.device, err)
		}
		back.push(func() error { return n.kernel.RouteDel(&r) })
	}
	return nil
}

// kernelHas says whether the kernel itself made a route, as it does for the network of every address: hosts send those too.
func kernelHas(table []netlink.Route, want *netlink.Route) bool {
	return want.Gw == nil && want.Dst != nil && slices.ContainsFunc(table, func(r netlink.Route) bool {
		return r.Protocol == unix.RTPROT_KERNEL && r.LinkIndex == want.LinkIndex && r.Gw == nil &&
			r.Dst != nil && r.Dst.String() == want.Dst.String()
	})
}

// restorableRoute clears what a listing reports and an addition refuses: the state of the next hop.
func restorableRoute(r *netlink.Route) *netlink.Route {
	c := *r
	c.Flags &= unix.RTNH_F_ONLINK
	return &c
}

func (n *Network) mainTable() ([]netlink.Route, error) {
	var table []netlink.Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := n.kernel.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		table = append(table, routes...)
	}
	return table, nil
}

// ListRoutes answers the main table of both families.
func (n *Network) ListRoutes(ctx context.Context) ([]*api.Route, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return n.listRoutes()
}

func (n *Network) listRoutes() ([]*api.Route, error) {
	links, err := n.kernel.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	table, err := n.mainTable()
	if err != nil {
		return nil, err
	}
	list := make([]*api.Route, 0, len(table))
	for _, r := range table {
		list = append(list, describeRoute(&r, names[r.LinkIndex]))
	}
	return list, nil
}

func describeRoute(r *netlink.Route, device string) *api.Route {
	out := &api.Route{
		Device: device,
		Scope:  uint32(r.Scope),
		Flags:  uint32(r.Flags & unix.RTNH_F_ONLINK),
		Mtu:    uint32(max(r.MTU, 0)),
		Family: api.IPFamily_v4,
	}
	if r.Family == unix.AF_INET6 {
		out.Family = api.IPFamily_v6
	}
	// Kata writes the default route as an empty destination; the library as a prefix of length 0.
	if r.Dst != nil {
		if bits, _ := r.Dst.Mask.Size(); bits != 0 {
			out.Dest = r.Dst.String()
		}
	}
	if r.Gw != nil {
		out.Gateway = r.Gw.String()
	}
	if r.Src != nil {
		out.Source = r.Src.String()
	}
	return out
}
