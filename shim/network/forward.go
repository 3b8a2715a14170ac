package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// The address pair that port forwarding uses on the first tap of each pod: link-local, so nobody routes it, and the same everywhere, as no frame for it
// leaves the tap.
var (
	HostHalf  = netip.MustParseAddr("169.254.242.1") // in the pod's namespace, on the tap
	GuestHalf = netip.MustParseAddr("169.254.242.2") // in the guest, on the interface of that tap
)

// forward lets connections to localhost in the namespace reach the guest behind a port. A node that cannot do it gets a note and a pod without.
func (p *Pod) forward(handle *netlink.Handle, port *port) error {
	reason := p.halvesTaken()
	if reason == "" {
		// An answer comes in by the tap and, once translated back, is for 127.0.0.1. Only packets for HostHalf get that far (see pass).
		err := setSysctl("ipv4/conf/"+port.tap()+"/route_localnet", "1")
		if err == nil {
			p.undo.push(removeNAT)
			err = addNAT(port.tap())
		}
		if err != nil {
			reason = err.Error()
		}
	}
	if reason != "" {
		p.notes = append(p.notes, "port forwarding does not reach the guest: "+reason)
		return nil
	}
	if err := linkHalves(handle, port); err != nil {
		return fmt.Errorf("port forwarding: %w", err)
	}
	p.tellGuest(port)
	return nil
}

// tellGuest gives the guest its half of the pair.
func (p *Pod) tellGuest(port *port) {
	first := p.guest.Interfaces[0]
	first.IPAddresses = append(first.IPAddresses, &api.IPAddress{Family: api.IPFamily_v4, Address: GuestHalf.String(), Mask: "32"})
	p.guest.Routes = append(p.guest.Routes, &api.Route{
		Dest: HostHalf.String() + "/32", Device: port.guest, Source: GuestHalf.String(), Scope: unix.RT_SCOPE_LINK, Family: api.IPFamily_v4,
	})
	// Without it the guest would ask for the address in the pod's network.
	p.guest.Neighbors = append(p.guest.Neighbors, &api.ARPNeighbor{
		ToIPAddress: &api.IPAddress{Family: api.IPFamily_v4, Address: HostHalf.String()},
		Device:      port.guest, Lladdr: port.tapLink.Attrs().HardwareAddr.String(), State: unix.NUD_PERMANENT,
	})
}

// halvesTaken says why the address pair cannot be used: a network that has it already.
func (p *Pod) halvesTaken() string {
	taken := func(s string) bool { return s == HostHalf.String() || s == GuestHalf.String() }
	for _, iface := range p.guest.Interfaces {
		for _, ip := range iface.GetIPAddresses() {
			if taken(ip.GetAddress()) {
				return "the pod has the address " + ip.GetAddress()
			}
		}
	}
	for _, r := range p.guest.Routes {
		if dst, err := netip.ParsePrefix(r.GetDest()); taken(r.GetGateway()) || err == nil && dst.IsSingleIP() && taken(dst.Addr().String()) {
			return "the pod has a route by or to " + HostHalf.String() + " or " + GuestHalf.String()
		}
	}
	return ""
}

// linkHalves gives the tap the host's half, and a way from it to the guest's that asks nobody. All of it goes with the tap.
func linkHalves(handle *netlink.Handle, port *port) error {
	tap := port.tapLink
	index := tap.Attrs().Index
	host := &netlink.Addr{IPNet: single(HostHalf), Scope: unix.RT_SCOPE_LINK}
	if err := handle.AddrAdd(tap, host); err != nil {
		return fmt.Errorf("add address %s: %w", HostHalf, err)
	}
	route := &netlink.Route{LinkIndex: index, Dst: single(GuestHalf), Src: net.IP(HostHalf.AsSlice()), Scope: unix.RT_SCOPE_LINK}
	if err := handle.RouteAdd(route); err != nil {
		return fmt.Errorf("add route to %s: %w", GuestHalf, err)
	}
	neighbour := &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_INET, State: unix.NUD_PERMANENT,
		IP: net.IP(GuestHalf.AsSlice()), HardwareAddr: port.link.Attrs().HardwareAddr,
	}
	if err := handle.NeighAdd(neighbour); err != nil {
		return fmt.Errorf("add neighbour %s: %w", GuestHalf, err)
	}
	return pass(handle, index, HostHalf)
}

func single(addr netip.Addr) *net.IPNet {
	return &net.IPNet{IP: net.IP(addr.AsSlice()), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
}
