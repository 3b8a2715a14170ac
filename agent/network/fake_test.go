package network

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var errInjected = errors.New("injected failure")

// fakeKernel is rtnetlink in memory. It keeps the rules the package relies on: no rename while up, no route to an
// unreachable gateway, no second equal route.
type fakeKernel struct {
	links  []*netlink.Dummy
	addrs  map[int][]netlink.Addr
	routes []netlink.Route
	neighs []netlink.Neigh
	calls  int // changes so far
	failAt int // the change that fails; 0 for none
}

func (k *fakeKernel) change() error {
	k.calls++
	if k.calls == k.failAt {
		return errInjected
	}
	return nil
}

func (k *fakeKernel) attrs(link netlink.Link) *netlink.LinkAttrs {
	for _, l := range k.links {
		if l.Index == link.Attrs().Index {
			return l.Attrs()
		}
	}
	panic("no such link")
}

func (k *fakeKernel) LinkList() ([]netlink.Link, error) {
	var list []netlink.Link
	for _, l := range k.links {
		c := *l
		list = append(list, &c)
	}
	return list, nil
}

func (k *fakeKernel) set(link netlink.Link, f func(*netlink.LinkAttrs) error) error {
	if err := k.change(); err != nil {
		return err
	}
	return f(k.attrs(link))
}

func (k *fakeKernel) LinkSetUp(l netlink.Link) error {
	return k.set(l, func(a *netlink.LinkAttrs) error { a.Flags |= net.FlagUp; return nil })
}

func (k *fakeKernel) LinkSetDown(l netlink.Link) error {
	return k.set(l, func(a *netlink.LinkAttrs) error { a.Flags &^= net.FlagUp; return nil })
}

func (k *fakeKernel) LinkSetName(l netlink.Link, name string) error {
	return k.set(l, func(a *netlink.LinkAttrs) error {
		if a.Flags&net.FlagUp != 0 {
			return unix.EBUSY
		}
		for _, other := range k.links {
			if other.Name == name && other.Index != a.Index {
				return unix.EEXIST
			}
		}
		a.Name = name
		return nil
	})
}

func (k *fakeKernel) LinkSetMTU(l netlink.Link, mtu int) error {
	return k.set(l, func(a *netlink.LinkAttrs) error { a.MTU = mtu; return nil })
}

func (k *fakeKernel) LinkSetARPOff(l netlink.Link) error {
	return k.set(l, func(a *netlink.LinkAttrs) error { a.RawFlags |= unix.IFF_NOARP; return nil })
}

func (k *fakeKernel) LinkSetARPOn(l netlink.Link) error {
	return k.set(l, func(a *netlink.LinkAttrs) error { a.RawFlags &^= unix.IFF_NOARP; return nil })
}

func (k *fakeKernel) AddrList(l netlink.Link, _ int) ([]netlink.Addr, error) {
	return slices.Clone(k.addrs[l.Attrs().Index]), nil
}

func (k *fakeKernel) AddrReplace(l netlink.Link, addr *netlink.Addr) error {
	return k.set(l, func(a *netlink.LinkAttrs) error {
		k.addrs[a.Index] = append(k.without(a.Index, addr), *addr)
		return nil
	})
}

func (k *fakeKernel) AddrDel(l netlink.Link, addr *netlink.Addr) error {
	return k.set(l, func(a *netlink.LinkAttrs) error { k.addrs[a.Index] = k.without(a.Index, addr); return nil })
}

func (k *fakeKernel) without(index int, addr *netlink.Addr) []netlink.Addr {
	return slices.DeleteFunc(slices.Clone(k.addrs[index]), func(a netlink.Addr) bool {
		return a.IPNet.String() == addr.IPNet.String()
	})
}

func (k *fakeKernel) RouteListFiltered(family int, _ *netlink.Route, _ uint64) ([]netlink.Route, error) {
	var list []netlink.Route
	for _, r := range k.routes {
		if r.Family == family {
			list = append(list, r)
		}
	}
	return list, nil
}

func sameRoute(a, b *netlink.Route) bool {
	return a.LinkIndex == b.LinkIndex && a.Dst.String() == b.Dst.String() && a.Gw.Equal(b.Gw)
}

func (k *fakeKernel) RouteAdd(r *netlink.Route) error {
	if err := k.change(); err != nil {
		return err
	}
	reachable := r.Gw == nil || r.Flags&unix.RTNH_F_ONLINK != 0
	for i := range k.routes {
		if sameRoute(&k.routes[i], r) {
			return unix.EEXIST
		}
		old := k.routes[i]
		reachable = reachable || old.Gw == nil && old.LinkIndex == r.LinkIndex && old.Dst.Contains(r.Gw)
	}
	if !reachable {
		return unix.ENETUNREACH
	}
	k.routes = append(k.routes, *r)
	return nil
}

func (k *fakeKernel) RouteDel(r *netlink.Route) error {
	if err := k.change(); err != nil {
		return err
	}
	for i := range k.routes {
		if sameRoute(&k.routes[i], r) {
			k.routes = slices.Delete(k.routes, i, i+1)
			return nil
		}
	}
	return unix.ESRCH
}

func (k *fakeKernel) NeighList(index, family int) ([]netlink.Neigh, error) {
	var list []netlink.Neigh
	for _, n := range k.neighs {
		if n.LinkIndex == index && n.Family == family {
			list = append(list, n)
		}
	}
	return list, nil
}

func (k *fakeKernel) NeighSet(n *netlink.Neigh) error {
	if err := k.change(); err != nil {
		return err
	}
	k.dropNeigh(n)
	k.neighs = append(k.neighs, *n)
	return nil
}

func (k *fakeKernel) NeighDel(n *netlink.Neigh) error {
	if err := k.change(); err != nil {
		return err
	}
	k.dropNeigh(n)
	return nil
}

func (k *fakeKernel) dropNeigh(n *netlink.Neigh) {
	k.neighs = slices.DeleteFunc(k.neighs, func(o netlink.Neigh) bool { return o.LinkIndex == n.LinkIndex && o.IP.Equal(n.IP) })
}

func (k *fakeKernel) Close() {}

// state is everything a request can change, as lines in an order that does not depend on history.
func (k *fakeKernel) state() []string {
	var lines []string
	for _, l := range k.links {
		lines = append(lines, fmt.Sprintf("link %d %s mtu %d up %v noarp %v", l.Index, l.Name, l.MTU, l.Flags&net.FlagUp != 0, l.RawFlags&unix.IFF_NOARP != 0))
	}
	for _, index := range slices.Sorted(maps.Keys(k.addrs)) {
		for _, a := range k.addrs[index] {
			lines = append(lines, fmt.Sprintf("addr %d %s", index, a.IPNet))
		}
	}
	for _, r := range k.routes {
		lines = append(lines, fmt.Sprintf("route %d %s via %s proto %d", r.LinkIndex, r.Dst, r.Gw, r.Protocol))
	}
	for _, n := range k.neighs {
		lines = append(lines, fmt.Sprintf("neigh %d %s %s", n.LinkIndex, n.IP, n.HardwareAddr))
	}
	sort.Strings(lines)
	return lines
}

// newFake makes a guest with lo, two virtio-net devices (index 2 and 3) and one eth-named device that is not virtio-net.
func newFake(t *testing.T) (*Network, *fakeKernel) {
	t.Helper()
	link := func(index int, name, mac string, flags net.Flags) *netlink.Dummy {
		hw, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index, Name: name, HardwareAddr: hw, MTU: 1500, Flags: flags}}
	}
	k := &fakeKernel{
		links: []*netlink.Dummy{
			link(1, "lo", "00:00:00:00:00:00", net.FlagLoopback|net.FlagUp),
			link(2, "eth0", mac0, net.FlagUp),
			link(3, "eth1", mac1, 0),
			link(4, "eth7", mac7, 0),
		},
		addrs: map[int][]netlink.Addr{
			2: {{IPNet: cidr("192.0.2.9/24")}, {IPNet: cidr("fe80::1/64")}},
		},
		routes: []netlink.Route{
			{LinkIndex: 2, Dst: cidr("192.0.2.0/24"), Family: unix.AF_INET, Protocol: unix.RTPROT_KERNEL},
			{LinkIndex: 2, Dst: cidr("0.0.0.0/0"), Gw: net.IPv4(192, 0, 2, 1), Family: unix.AF_INET, Protocol: unix.RTPROT_BOOT},
			{LinkIndex: 2, Dst: cidr("2001:db8::/64"), Family: unix.AF_INET6, Protocol: unix.RTPROT_RA},
		},
		neighs: []netlink.Neigh{{LinkIndex: 2, Family: unix.AF_INET, IP: net.IPv4(192, 0, 2, 1), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 99}}},
	}
	n := &Network{kernel: k, sysctls: fakeSysctls(t), isVirtio: func(name string) bool {
		return strings.HasPrefix(name, "eth") && name != "eth7"
	}}
	return n, k
}

const (
	mac0 = "02:00:00:00:00:01"
	mac1 = "02:00:00:00:00:02"
	mac7 = "02:00:00:00:00:07"
)

func cidr(s string) *net.IPNet {
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return &net.IPNet{IP: ip, Mask: n.Mask}
}

// fakeSysctls is a /proc/sys/net where every door is open.
func fakeSysctls(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	settings := []sysctl{{"ipv4/ip_forward", ""}}
	for _, device := range []string{"all", "default", "eth0", "eth1", "eth2", "eth5"} {
		settings = append(settings, closed(device)...)
	}
	for _, s := range settings {
		path := filepath.Join(root, s.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
