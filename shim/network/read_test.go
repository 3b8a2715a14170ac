package network

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
	agent "github.com/cloister-cc/cloister/agent/network"
)

// text shows messages one a line, without the spaces that prototext varies.
func text[T proto.Message](messages []T) string {
	var lines []string
	for _, m := range messages {
		lines = append(lines, strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " "))
	}
	return strings.Join(lines, "\n")
}

// accepted asks the agent's own checks: what they pass fails only because the test has no virtio-net device.
func accepted(t *testing.T, guest Guest) {
	t.Helper()
	b := newBed(t)
	must(t, b.do(func() error {
		n, err := agent.New()
		if err != nil {
			return err
		}
		defer n.Close()
		for _, iface := range guest.Interfaces {
			if _, err := n.UpdateInterface(t.Context(), iface); !errors.Is(err, agent.ErrLinkNotFound) {
				t.Errorf("the agent on interface %s: %v", iface, err)
			}
		}
		if len(guest.Routes) > 0 {
			if _, err := n.UpdateRoutes(t.Context(), guest.Routes); !errors.Is(err, agent.ErrLinkNotFound) {
				t.Errorf("the agent on routes: %v", err)
			}
		}
		if len(guest.Neighbors) > 0 {
			if err := n.AddARPNeighbors(t.Context(), guest.Neighbors); !errors.Is(err, agent.ErrLinkNotFound) {
				t.Errorf("the agent on neighbours: %v", err)
			}
		}
		return nil
	}))
}

func TestJoinSeveralInterfaces(t *testing.T) {
	node, b := newPod(t, 1450)
	wire(t, b, "net1", node, "veth1")
	wire(t, b, "eth1", node, "veth2")
	wire(t, b, "idle", node, "veth3")
	b.run(`ip link set net1 address 02:00:00:00:00:11 mtu 9000 up
		ip link set eth1 address 02:00:00:00:00:12 up
		ip addr add 10.1.0.5/24 dev net1
		ip addr add 10.2.0.5/32 dev eth1
		ip link add link net1 name mac0 address 02:00:00:00:00:13 type macvlan mode bridge
		ip addr add 10.3.0.5/24 dev mac0
		ip link set mac0 up
		ip route add 169.254.1.1 dev eth1 scope link
		ip route add 10.20.0.0/16 via 169.254.1.1 dev eth1 mtu 1300
		ip route add 10.21.0.0/16 via 192.0.2.1 dev net1 onlink src 10.1.0.5
		ip route add default via 10.1.0.1 metric 100
		ip route add blackhole 10.30.0.0/16
		ip route add 10.40.0.0/16 via 10.1.0.9 table 77
		ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth1 nud permanent
		ip neigh add fd00:88::9 lladdr 02:00:00:00:00:98 dev eth0 nud permanent
		ip neigh add 10.1.0.77 lladdr 02:00:00:00:00:97 dev net1 nud stale`)
	pod := join(t, b, 1)
	var names []string
	for _, link := range pod.Links() {
		names = append(names, link.Pod+">"+link.Name)
	}
	if got, want := strings.Join(names, " "), "eth0>eth0 net1>eth2 eth1>eth1 mac0>eth3"; got != want {
		t.Errorf("got links %s, want %s", got, want)
	}
	eth0 := pod.Links()[0].MAC
	tap := guestNeighbour(pod)
	for _, part := range []struct{ name, got, want string }{
		{"interfaces", text(pod.Guest().Interfaces), `device:"eth0" name:"eth0" IPAddresses:{address:"10.88.0.5" mask:"24"} IPAddresses:{family:v6 address:"fd00:88::5" mask:"64"} IPAddresses:{address:"169.254.242.2" mask:"32"} mtu:1450 hwAddr:"` + eth0 + `"
device:"eth2" name:"eth2" IPAddresses:{address:"10.1.0.5" mask:"24"} mtu:9000 hwAddr:"02:00:00:00:00:11"
device:"eth1" name:"eth1" IPAddresses:{address:"10.2.0.5" mask:"32"} mtu:1500 hwAddr:"02:00:00:00:00:12"
device:"eth3" name:"eth3" IPAddresses:{address:"10.3.0.5" mask:"24"} mtu:9000 hwAddr:"02:00:00:00:00:13"`},
		{"routes", text(pod.Guest().Routes), `gateway:"10.88.0.1" device:"eth0"
dest:"10.20.0.0/16" gateway:"169.254.1.1" device:"eth1" mtu:1300
dest:"10.21.0.0/16" gateway:"192.0.2.1" device:"eth2" source:"10.1.0.5" flags:4
dest:"169.254.1.1/32" device:"eth1" scope:253
gateway:"fd00:88::1" device:"eth0" family:v6
dest:"169.254.242.1/32" device:"eth0" source:"169.254.242.2" scope:253`},
		{"neighbours", text(pod.Guest().Neighbors), `toIPAddress:{family:v6 address:"fd00:88::9"} device:"eth0" lladdr:"02:00:00:00:00:98" state:128
toIPAddress:{address:"169.254.1.1"} device:"eth1" lladdr:"02:00:00:00:00:99" state:128
toIPAddress:{address:"169.254.242.1"} device:"eth0" lladdr:"` + tap + `" state:128`},
		{"notes", strings.Join(pod.Notes(), "\n"), `interface "net1" is "eth2" in the guest
interface "mac0" is "eth3" in the guest
route to 10.40.0.0/16 of table 77 is not in the guest, which has the main table only
route to 10.30.0.0/16 of type 6 is not in the guest, which has unicast routes only
route to 0.0.0.0/0 with metric 100 is not in the guest, which has the one with the lowest metric`},
	} {
		if part.got != part.want {
			t.Errorf("%s: got\n%s\nwant\n%s", part.name, part.got, part.want)
		}
	}
	accepted(t, pod.Guest())
}

// guestNeighbour is the hardware address that the guest is told for the host's half.
func guestNeighbour(pod *Pod) string {
	all := pod.Guest().Neighbors
	if i := slices.IndexFunc(all, func(n *api.ARPNeighbor) bool { return n.GetToIPAddress().GetAddress() == HostHalf.String() }); i >= 0 {
		return all[i].GetLladdr()
	}
	return "none"
}

// ptp takes the kernel's route to the network away and makes two of its own; the guest's kernel must not make the first again.
func TestJoinPointToPoint(t *testing.T) {
	needRoot(t)
	node, b := newBed(t), newBed(t)
	wire(t, b, "eth0", node, "veth0")
	node.run("ip link set veth0 up\nip addr add 10.1.1.1/32 dev veth0\nip route add 10.1.1.5 dev veth0")
	b.run(`ip link set eth0 up
		ip addr add 10.1.1.5/24 dev eth0
		ip route del 10.1.1.0/24
		ip route add 10.1.1.1 dev eth0 scope link src 10.1.1.5
		ip route add 10.1.1.0/24 via 10.1.1.1 src 10.1.1.5
		ip route add default via 10.1.1.1`)
	pod := join(t, b, 1)
	if got := pod.Guest().Interfaces[0].GetIPAddresses()[0].GetMask(); got != "32" {
		t.Errorf("got prefix length %s, want 32", got)
	}
	guest := newGuest(t, pod)
	if err := guest.ping("10.1.1.1"); err != nil {
		t.Errorf("ping the gateway from the guest: %v", err)
	}
	if err := node.ping("10.1.1.5"); err != nil {
		t.Errorf("ping the guest: %v", err)
	}
	accepted(t, pod.Guest())
}

// An IPv6 network alone, whose gateway has a link-local address.
func TestJoinIPv6Alone(t *testing.T) {
	needRoot(t)
	node, b := newBed(t), newBed(t)
	wire(t, b, "eth0", node, "veth0")
	node.run("ip link set veth0 up\nip addr add fe80::1/64 dev veth0 nodad\nip addr add fd00::1/128 dev lo\nip -6 route add fd00:7::/64 dev veth0")
	b.run("ip link set eth0 up\nip addr add fd00:7::5/64 dev eth0 nodad\nip -6 route add default via fe80::1 dev eth0")
	pod := join(t, b, 1)
	guest := newGuest(t, pod)
	if err := guest.ping("fd00::1"); err != nil {
		t.Errorf("ping from the guest: %v", err)
	}
	accepted(t, pod.Guest())
}

func mac(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }

func TestReadRefusesInterface(t *testing.T) {
	attrs := func(name string, mac net.HardwareAddr) netlink.LinkAttrs {
		return netlink.LinkAttrs{Name: name, Index: 5, MTU: 1500, HardwareAddr: mac}
	}
	addrs := []netlink.Addr{{IPNet: single(GuestHalf)}}
	for _, test := range []struct {
		name, want string
		link       netlink.Link
	}{
		{"ipvlan", `interface "eth0": type ipvlan has the MAC address of its parent`, &netlink.IPVlan{LinkAttrs: attrs("eth0", mac(1))}},
		{"bridge", `interface "br0": got type bridge, want veth`, &netlink.Bridge{LinkAttrs: attrs("br0", mac(1))}},
		{"somebody's-tap", `interface "tap0": a tap's other end is a program`, &netlink.Tuntap{LinkAttrs: attrs("tap0", mac(1))}},
		{"no-mac", `interface "eth0": got hardware address ""`, &netlink.Veth{LinkAttrs: attrs("eth0", nil)}},
		{"zero-mac", `interface "eth0": got hardware address "00:00:00:00:00:00"`, &netlink.Veth{LinkAttrs: attrs("eth0", make(net.HardwareAddr, 6))}},
		{"group-mac", `interface "eth0": got hardware address "03:00:00:00:00:00"`, &netlink.Veth{LinkAttrs: attrs("eth0", net.HardwareAddr{3, 0, 0, 0, 0, 0})}},
		{"same-mac", `interfaces "eth0" and "net1" have one MAC address`, &netlink.Veth{LinkAttrs: attrs("net1", mac(9))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &found{ports: []port{{link: &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: mac(9)}}}}}
			if err := f.addPort(test.link, addrs); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err := f.addPort(test.link, nil); err != nil {
				t.Errorf("without an address: %v", err)
			}
		})
	}
	failed := &found{ports: []port{{link: &netlink.Veth{LinkAttrs: attrs("eth0", mac(1))}, addrs: []netlink.Addr{{
		IPNet: &net.IPNet{IP: net.ParseIP("fd00::5"), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_DADFAILED,
	}}}}}
	if err := failed.addInterfaces(nil); err == nil || !strings.Contains(err.Error(), "somebody else in the network has its address fd00::5/64") {
		t.Errorf("a duplicate address: got %v", err)
	}
}

func TestReadRefusesRoute(t *testing.T) {
	f := &found{ports: []port{{guest: "eth0", link: &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", Index: 2}}}}}
	hop := &netlink.NexthopInfo{LinkIndex: 2}
	for _, test := range []struct {
		name, want string
		route      netlink.Route
	}{
		{"several-hops", "route to 0.0.0.0/0: got 2 next hops, want one", netlink.Route{MultiPath: []*netlink.NexthopInfo{hop, hop}}},
		{"other-family", "route to 0.0.0.0/0: got a gateway of another family", netlink.Route{LinkIndex: 2, Via: &netlink.Via{AddrFamily: unix.AF_INET6}}},
		{"encapsulated", "route to 0.0.0.0/0: encapsulated", netlink.Route{LinkIndex: 2, Encap: &netlink.MPLSEncap{}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.route.Table, test.route.Type, test.route.Family = unix.RT_TABLE_MAIN, unix.RTN_UNICAST, unix.AF_INET
			if err := f.addRoutes([]netlink.Route{test.route}); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
