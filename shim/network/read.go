package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// dumpTries bounds how often a listing is asked for again because something changed meanwhile.
const dumpTries = 16

// guestName is what the agent takes for a name.
var guestName = regexp.MustCompile(`^eth[0-9]{1,2}$`)

// port is an interface of the pod on its way to a tap.
type port struct {
	link    netlink.Link
	addrs   []netlink.Addr
	guest   string // its name in the guest
	tapLink netlink.Link
}

func (p *port) name() string { return p.link.Attrs().Name }

func (p *port) tap() string { return tapPrefix + strconv.Itoa(p.link.Attrs().Index) }

// found is what a namespace holds for a guest.
type found struct {
	ports []port
	guest Guest
	notes []string
}

func (f *found) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// read looks at the calling thread's namespace and changes nothing.
func read(ctx context.Context, handle *netlink.Handle) (*found, error) {
	f := new(found)
	if err := f.readPorts(ctx, handle); err != nil {
		return nil, err
	}
	var routes []netlink.Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := dump(ctx, func() ([]netlink.Route, error) {
			return handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		routes = append(routes, list...)
	}
	if err := f.addRoutes(routes); err != nil {
		return nil, err
	}
	if err := f.addInterfaces(routes); err != nil {
		return nil, err
	}
	return f, f.readNeighbors(ctx, handle)
}

// dump repeats a listing that something changed under.
func dump[T any](ctx context.Context, list func() ([]T, error)) ([]T, error) {
	for range dumpTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		items, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return items, err
		}
	}
	return nil, netlink.ErrDumpInterrupted
}

func (f *found) readPorts(ctx context.Context, handle *netlink.Handle) error {
	links, err := dump(ctx, handle.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	for _, link := range links {
		addrs, err := dump(ctx, func() ([]netlink.Addr, error) { return handle.AddrList(link, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list addresses of %q: %w", link.Attrs().Name, err)
		}
		if err := f.addPort(link, addrs); err != nil {
			return err
		}
	}
	f.nameInGuest()
	return nil
}

// addPort takes an interface that a guest can have. One without addresses is left alone: namespaces are born with such (tunl0, sit0).
func (f *found) addPort(link netlink.Link, addrs []netlink.Addr) error {
	attrs := link.Attrs()
	if attrs.Flags&net.FlagLoopback != 0 || len(addrs) == 0 {
		return nil
	}
	switch kind := link.Type(); kind {
	case "tuntap":
		if strings.HasPrefix(attrs.Name, tapPrefix) {
			return fmt.Errorf("interface %q: the namespace is joined to a VM already", attrs.Name)
		}
		return fmt.Errorf("interface %q: a tap's other end is a program, which a VM cannot stand for", attrs.Name)
	case "ipvlan", "ipvtap":
		return fmt.Errorf("interface %q: type %s has the MAC address of its parent, so frames of a VM cannot be told from the node's: use a CNI plugin "+
			"that makes veth or macvlan interfaces (bridge, ptp, macvlan, or a network policy provider)", attrs.Name, kind)
	case "veth", "macvlan", "vlan", "dummy", "device", "netkit":
	default:
		return fmt.Errorf("interface %q: got type %s, want veth, macvlan, vlan, dummy or a device", attrs.Name, kind)
	}
	if mac := attrs.HardwareAddr; len(mac) != 6 || mac[0]&1 != 0 || slices.Max(mac) == 0 {
		return fmt.Errorf("interface %q: got hardware address %q, want an Ethernet station's", attrs.Name, mac)
	}
	for _, other := range f.ports {
		if slices.Equal(other.link.Attrs().HardwareAddr, attrs.HardwareAddr) {
			return fmt.Errorf("interfaces %q and %q have one MAC address, %s: the guest knows its devices by it", other.name(), attrs.Name, attrs.HardwareAddr)
		}
	}
	f.ports = append(f.ports, port{link: link, addrs: addrs})
	return nil
}

// nameInGuest keeps names that the agent takes, and gives the others the next free one.
func (f *found) nameInGuest() {
	taken := make(map[string]bool)
	for i := range f.ports {
		if name := f.ports[i].name(); guestName.MatchString(name) {
			f.ports[i].guest, taken[name] = name, true
		}
	}
	next := 0
	for i := range f.ports {
		if f.ports[i].guest != "" {
			continue
		}
		for taken["eth"+strconv.Itoa(next)] {
			next++
		}
		f.ports[i].guest = "eth" + strconv.Itoa(next)
		taken[f.ports[i].guest] = true
		f.note("interface %q is %q in the guest", f.ports[i].name(), f.ports[i].guest)
	}
}

// byIndex finds the port of a link.
func (f *found) byIndex(index int) *port {
	for i := range f.ports {
		if f.ports[i].link.Attrs().Index == index {
			return &f.ports[i]
		}
	}
	return nil
}

// addInterfaces describes each port and its addresses.
func (f *found) addInterfaces(routes []netlink.Route) error {
	for i := range f.ports {
		p := &f.ports[i]
		attrs := p.link.Attrs()
		out := &api.Interface{Device: p.guest, Name: p.guest, HwAddr: attrs.HardwareAddr.String(), Mtu: uint64(attrs.MTU)}
		for j := range p.addrs {
			addr := &p.addrs[j]
			if addr.Flags&unix.IFA_F_DADFAILED != 0 {
				return fmt.Errorf("interface %q: somebody else in the network has its address %s", p.name(), addr.IPNet)
			}
			// The guest has the same MAC address and makes the same link-local address from it.
			if addr.IP.To4() == nil && addr.IP.IsLinkLocalUnicast() {
				continue
			}
			out.IPAddresses = append(out.IPAddresses, guestAddress(addr, attrs.Index, routes))
		}
		f.guest.Interfaces = append(f.guest.Interfaces, out)
	}
	return nil
}

// guestAddress hands an address over with its prefix when the namespace has the route that a kernel makes for this prefix. Where a plugin
// took that route away (ptp does), the guest gets the address alone: its kernel would make the route again, and it would win over the plugin's.
func guestAddress(addr *netlink.Addr, link int, routes []netlink.Route) *api.IPAddress {
	bits, size := addr.Mask.Size()
	network := net.IPNet{IP: addr.IP.Mask(addr.Mask), Mask: addr.Mask}
	connected := slices.ContainsFunc(routes, func(r netlink.Route) bool {
		return r.LinkIndex == link && r.Table == unix.RT_TABLE_MAIN && r.Protocol == unix.RTPROT_KERNEL && r.Gw == nil &&
			r.Dst != nil && r.Dst.String() == network.String()
	})
	if !connected {
		bits = size
	}
	return &api.IPAddress{Family: familyOf(addr.IP), Address: addr.IP.String(), Mask: strconv.Itoa(bits)}
}

func familyOf(ip net.IP) api.IPFamily {
	if ip.To4() != nil {
		return api.IPFamily_v4
	}
	return api.IPFamily_v6
}
