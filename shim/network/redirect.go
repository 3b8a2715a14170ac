package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Priorities of our filters. Clean knows a redirect of ours by them; what tc chooses by itself is above.
const (
	priorityPass     = 0x5c10
	priorityRedirect = 0x5c11
)

// ingressHandle is the ingress qdisc's handle, which the kernel gives every one.
var ingressHandle = netlink.MakeHandle(0xffff, 0)

// unclaimed refuses an interface whose incoming frames somebody else looks at: two redirects, or a filter that a CNI plugin needs, would
// break each other. A qdisc without filters does nothing, and is used.
func unclaimed(handle *netlink.Handle, link netlink.Link) error {
	qdisc, filters, err := ingress(handle, link)
	if err != nil || qdisc == nil {
		return err
	}
	if qdisc.Type() != "ingress" {
		return fmt.Errorf("it has a qdisc of type %q for incoming frames already", qdisc.Type())
	}
	for _, f := range filters {
		if !ours(f) {
			return fmt.Errorf("it has a filter of type %q and priority %d for incoming frames already", f.Type(), f.Attrs().Priority)
		}
	}
	if len(filters) > 0 {
		return errors.New("it is joined to a VM already")
	}
	return nil
}

// ingress reads the qdisc for a link's incoming frames, nil when there is none, and its filters.
func ingress(handle *netlink.Handle, link netlink.Link) (netlink.Qdisc, []netlink.Filter, error) {
	qdiscs, err := dump(context.Background(), func() ([]netlink.Qdisc, error) { return handle.QdiscList(link) })
	if err != nil {
		return nil, nil, fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		if q.Attrs().Parent != netlink.HANDLE_INGRESS {
			continue
		}
		filters, err := dump(context.Background(), func() ([]netlink.Filter, error) { return handle.FilterList(link, ingressHandle) })
		if err != nil {
			return nil, nil, fmt.Errorf("list filters: %w", err)
		}
		return q, filters, nil
	}
	return nil, nil, nil
}

func ours(f netlink.Filter) bool {
	p := f.Attrs().Priority
	return f.Type() == "u32" && (p == priorityPass || p == priorityRedirect)
}

// redirect sends every frame that comes in by one link out by the other, before any protocol sees it. u32 without a condition does what matchall
// would, on kernels that lack that one too.
func redirect(handle *netlink.Handle, from, to int) error {
	qdisc := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: from, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS}}
	if err := handle.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add ingress qdisc: %w", err)
	}
	all := &netlink.U32{
		FilterAttrs: filterAttrs(from, priorityRedirect, unix.ETH_P_ALL),
		Actions:     []netlink.Action{netlink.NewMirredAction(to)},
	}
	if err := handle.FilterAdd(all); err != nil {
		return fmt.Errorf("add redirect: %w", err)
	}
	return nil
}

// pass lets IPv4 packets for one address that come in by a link reach the namespace's own protocols.
func pass(handle *netlink.Handle, link int, addr netip.Addr) error {
	const destination = 16 // offset in an IPv4 header
	to := addr.As4()
	filter := &netlink.U32{
		FilterAttrs: filterAttrs(link, priorityPass, unix.ETH_P_IP),
		ClassId:     netlink.MakeHandle(1, 1),
		Sel: &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL, Nkeys: 1, Keys: []netlink.TcU32Key{
			{Mask: 0xffffffff, Val: binary.BigEndian.Uint32(to[:]), Off: destination},
		}},
	}
	if err := handle.FilterAdd(filter); err != nil {
		return fmt.Errorf("let packets for %s pass: %w", addr, err)
	}
	return nil
}

func filterAttrs(link int, priority, protocol uint16) netlink.FilterAttrs {
	return netlink.FilterAttrs{LinkIndex: link, Parent: ingressHandle, Priority: priority, Protocol: protocol}
}

// removeRedirect removes a link's ingress qdisc, with its filters.
func removeRedirect(link int) error {
	handle, err := openHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	qdisc := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link, Handle: ingressHandle, Parent: netlink.HANDLE_INGRESS}}
	err = handle.QdiscDel(qdisc)
	// ENOENT, EINVAL: the link has no such qdisc.
	if err == nil || gone(err) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("remove the redirect of link %d: %w", link, err)
}
