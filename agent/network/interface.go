package network

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

const loopbackFlag = net.FlagLoopback

// interfacePlan is a checked UpdateInterface request.
type interfacePlan struct {
	mac   net.HardwareAddr
	name  string
	addrs []*netlink.Addr
	mtu   int // 0 leaves it
	noARP bool
}

func planInterface(req *api.Interface) (*interfacePlan, error) {
	if !deviceName.MatchString(req.GetName()) {
		return nil, invalid("update interface: got name %s, want eth0 to eth99", quote(req.GetName()))
	}
	plan := &interfacePlan{name: req.GetName()}
	var err error
	if plan.mac, err = parseMAC("update interface "+plan.name, req.GetHwAddr()); err != nil {
		return nil, err
	}
	if len(req.GetIPAddresses()) > maxAddresses {
		return nil, invalid("update interface %s: got %d addresses, want at most %d", plan.name, len(req.GetIPAddresses()), maxAddresses)
	}
	least := uint64(minMTU)
	for _, ip := range req.GetIPAddresses() {
		prefix, err := parseInterfaceAddress(ip)
		if err != nil {
			return nil, err
		}
		addr := &netlink.Addr{IPNet: ipNet(prefix)}
		if prefix.Addr().Is6() {
			least = minMTU6
			// The host assigned it, so nobody else has it; without this the address is "tentative" for a second, and a
			// route that names it as source fails until then.
			addr.Flags = unix.IFA_F_NODAD
		}
		plan.addrs = append(plan.addrs, addr)
	}
	if mtu := req.GetMtu(); mtu != 0 {
		if mtu < least || mtu > maxMTU {
			return nil, invalid("update interface %s: got MTU %d, want %d to %d", plan.name, mtu, least, maxMTU)
		}
		plan.mtu = int(mtu)
	}
	if req.GetRawFlags()&^uint32(unix.IFF_NOARP) != 0 {
		return nil, invalid("update interface %s: got flags %#x, want none but IFF_NOARP", plan.name, req.GetRawFlags())
	}
	plan.noARP = req.GetRawFlags()&unix.IFF_NOARP != 0
	return plan, nil
}

// UpdateInterface gives the virtio-net device with the request's MAC address the name, addresses and MTU of the
// request, and brings it up. It answers what the kernel then has.
func (n *Network) UpdateInterface(ctx context.Context, req *api.Interface) (*api.Interface, error) {
	plan, err := planInterface(req)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	links, err := n.virtioLinks()
	if err != nil {
		return nil, err
	}
	link, err := findByMAC(links, plan.mac)
	if err != nil {
		return nil, fmt.Errorf("update interface %q: %w", plan.name, err)
	}
	if err := n.harden(); err != nil {
		return nil, fmt.Errorf("update interface %q: %w", plan.name, err)
	}
	var back undo
	if err := n.applyInterface(link, plan, &back); err != nil {
		return nil, back.run(fmt.Errorf("update interface %q: %w", plan.name, err))
	}
	return n.readInterface(link.Attrs().Index)
}

func findByMAC(links []netlink.Link, mac net.HardwareAddr) (netlink.Link, error) {
	var found netlink.Link
	for _, link := range links {
		if !bytes.Equal(link.Attrs().HardwareAddr, mac) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("two virtio-net devices have MAC address %s", mac)
		}
		found = link
	}
	if found == nil {
		return nil, fmt.Errorf("%w: no virtio-net device has MAC address %s", ErrLinkNotFound, mac)
	}
	return found, nil
}

func (n *Network) applyInterface(link netlink.Link, plan *interfacePlan, back *undo) error {
	if err := n.rename(link, plan.name, back); err != nil {
		return err
	}
	if err := apply(n.sysctls, closed(plan.name)); err != nil {
		return err
	}
	attrs := link.Attrs()
	if plan.mtu != 0 && plan.mtu != attrs.MTU {
		old := attrs.MTU
		if err := n.kernel.LinkSetMTU(link, plan.mtu); err != nil {
			return fmt.Errorf("set MTU %d: %w", plan.mtu, err)
		}
		back.push(func() error { return n.kernel.LinkSetMTU(link, old) })
	}
	if hadNoARP := attrs.RawFlags&unix.IFF_NOARP != 0; hadNoARP != plan.noARP {
		if err := n.setARP(link, !plan.noARP); err != nil {
			return fmt.Errorf("set ARP: %w", err)
		}
		back.push(func() error { return n.setARP(link, !hadNoARP) })
	}
	if err := n.replaceAddresses(link, plan.addrs, back); err != nil {
		return err
	}
	if err := n.kernel.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}

func (n *Network) setARP(link netlink.Link, on bool) error {
	if on {
		return n.kernel.LinkSetARPOn(link)
	}
	return n.kernel.LinkSetARPOff(link)
}

// rename gives link the name. A virtio-net device that has it already gets link's name in exchange, so that the order
// in which QEMU plugged devices does not matter; any other device that has it is somebody else's.
func (n *Network) rename(link netlink.Link, name string, back *undo) error {
	old := link.Attrs().Name
	if old == name {
		return nil
	}
	links, err := n.kernel.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, other := range links {
		if other.Attrs().Name != name {
			continue
		}
		if !n.isVirtio(name) {
			return fmt.Errorf("rename %q: the name belongs to a device that is not virtio-net", old)
		}
		// The order matters: other leaves the name, link takes it, other takes link's.
		if err := n.setName(other, fmt.Sprintf("swap%d", other.Attrs().Index), name, back); err != nil {
			return err
		}
		if err := n.setName(link, name, old, back); err != nil {
			return err
		}
		return n.setName(other, old, fmt.Sprintf("swap%d", other.Attrs().Index), back)
	}
	return n.setName(link, name, old, back)
}

// setName renames a link, which the kernel allows only while it is down.
func (n *Network) setName(link netlink.Link, name, old string, back *undo) error {
	wasUp := link.Attrs().Flags&net.FlagUp != 0
	move := func(to string) error {
		if wasUp {
			if err := n.kernel.LinkSetDown(link); err != nil {
				return fmt.Errorf("bring down to rename: %w", err)
			}
		}
		err := n.kernel.LinkSetName(link, to)
		if err != nil {
			err = fmt.Errorf("rename to %q: %w", to, err)
		}
		if wasUp {
			if upErr := n.kernel.LinkSetUp(link); upErr != nil && err == nil {
				err = fmt.Errorf("bring up after renaming: %w", upErr)
			}
		}
		return err
	}
	// Pushed first: a move can fail after the name has changed, and going back to the old name is harmless if it has not.
	back.push(func() error { return move(old) })
	return move(name)
}

// replaceAddresses removes what the request does not name and adds what it does. The link-local address that the kernel
// itself made stays: IPv6 does not work without it, and it is not made again until the link goes down.
func (n *Network) replaceAddresses(link netlink.Link, want []*netlink.Addr, back *undo) error {
	have, err := n.kernel.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for i := range have {
		old := &have[i]
		if isKernelLinkLocal(old) || hasAddr(want, old) {
			continue
		}
		if err := n.kernel.AddrDel(link, old); err != nil {
			return fmt.Errorf("remove address %s: %w", old.IPNet, err)
		}
		back.push(func() error { return n.kernel.AddrReplace(link, restorable(old)) })
	}
	for _, addr := range want {
		if hasAddr(pointers(have), addr) {
			continue
		}
		if err := n.kernel.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", addr.IPNet, err)
		}
		back.push(func() error { return n.kernel.AddrDel(link, addr) })
	}
	return nil
}

func isKernelLinkLocal(addr *netlink.Addr) bool {
	return addr.IP.To4() == nil && addr.IP.IsLinkLocalUnicast()
}

func hasAddr(list []*netlink.Addr, addr *netlink.Addr) bool {
	for _, a := range list {
		if a.IPNet.String() == addr.IPNet.String() {
			return true
		}
	}
	return false
}

func pointers(addrs []netlink.Addr) []*netlink.Addr {
	list := make([]*netlink.Addr, len(addrs))
	for i := range addrs {
		list[i] = &addrs[i]
	}
	return list
}

// restorable keeps of a listed address what the kernel takes back: a listing has flags and lifetimes it refuses.
func restorable(addr *netlink.Addr) *netlink.Addr {
	r := &netlink.Addr{IPNet: addr.IPNet, Peer: addr.Peer, Broadcast: addr.Broadcast, Scope: addr.Scope}
	if addr.IP.To4() == nil {
		r.Flags = unix.IFA_F_NODAD
	}
	return r
}

// ListInterfaces answers every link of the guest, lo included.
func (n *Network) ListInterfaces(ctx context.Context) ([]*api.Interface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	links, err := n.kernel.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	list := make([]*api.Interface, 0, len(links))
	for _, link := range links {
		iface, err := n.describe(link)
		if err != nil {
			return nil, err
		}
		list = append(list, iface)
	}
	return list, nil
}

func (n *Network) readInterface(index int) (*api.Interface, error) {
	links, err := n.kernel.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		if link.Attrs().Index == index {
			return n.describe(link)
		}
	}
	return nil, fmt.Errorf("read interface %d back: %w", index, ErrLinkNotFound)
}

func (n *Network) describe(link netlink.Link) (*api.Interface, error) {
	attrs := link.Attrs()
	addrs, err := n.kernel.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %q: %w", attrs.Name, err)
	}
	iface := &api.Interface{
		Device:   attrs.Name,
		Name:     attrs.Name,
		HwAddr:   attrs.HardwareAddr.String(),
		Mtu:      uint64(max(attrs.MTU, 0)),
		Type:     link.Type(),
		RawFlags: attrs.RawFlags & unix.IFF_NOARP,
	}
	for _, addr := range addrs {
		bits, _ := addr.Mask.Size()
		iface.IPAddresses = append(iface.IPAddresses, &api.IPAddress{
			Family:  apiFamily(addr.IP),
			Address: addr.IP.String(),
			Mask:    strconv.Itoa(bits),
		})
	}
	return iface, nil
}
