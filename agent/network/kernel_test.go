package network

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// inNamespace runs f in a network namespace of its own, on a thread that ends with it: a thread that was unshared must
// never serve another goroutine.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN for unshare(CLONE_NEWNET): run the tests as root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare(CLONE_NEWNET): %v", err)
			return
		}
		f(t)
	}()
	<-done
}

// addVeth makes a veth pair whose near end has the name and MAC of a guest device.
func addVeth(t *testing.T, name, mac string) {
	t.Helper()
	hw, err := parseMAC("test", mac)
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, hw
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}); err != nil {
		t.Errorf("add veth %s: %v (the kernel needs CONFIG_VETH)", name, err)
		runtime.Goexit()
	}
	peer, err := netlink.LinkByName(name + "p")
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
	if err := netlink.LinkSetUp(peer); err != nil {
		t.Error(err)
	}
}

// newReal opens the namespace as New does, with veth devices standing in for virtio-net.
func newReal(t *testing.T) *Network {
	t.Helper()
	n, err := New()
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
	n.isVirtio = func(name string) bool { return strings.HasPrefix(name, "eth") && !strings.HasSuffix(name, "p") }
	return n
}

func TestRealKernel(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		addVeth(t, "eth0", mac0)
		addVeth(t, "eth1", mac1)
		n := newReal(t)
		defer n.Close()
		if err := n.SetupLoopback(t.Context()); err != nil {
			t.Error(err)
		}
		// The names are swapped on purpose: the device is found by its MAC address.
		got, err := n.UpdateInterface(t.Context(), iface("eth0", mac1, v4("10.0.2.15", "24"), v6("2001:db8::15", "64")))
		if err != nil {
			t.Error(err)
			return
		}
		if got.Name != "eth0" || got.HwAddr != mac1 || got.Mtu != 1400 {
			t.Errorf("got %v, want eth0 with %s and MTU 1400", got, mac1)
		}
		if !slices.ContainsFunc(got.IPAddresses, func(a *api.IPAddress) bool { return a.Address == "2001:db8::15" && a.Mask == "64" }) {
			t.Errorf("got addresses %v, want 2001:db8::15/64 among them", got.IPAddresses)
		}
		testRealRoutes(t, n)
		testRealNeighbours(t, n)
		for _, path := range []string{"ipv4/ip_forward", "ipv4/conf/all/route_localnet", "ipv4/conf/eth0/accept_local", "ipv6/conf/eth0/accept_ra"} {
			value, err := os.ReadFile("/proc/sys/net/" + path)
			if err != nil || strings.TrimSpace(string(value)) != "0" {
				t.Errorf("sysctl %s: got %q, %v, want 0", path, value, err)
			}
		}
		if _, err := n.UpdateInterface(t.Context(), iface("eth0", "02:00:00:00:00:55")); err == nil || !strings.Contains(err.Error(), "Link not found") {
			t.Errorf("unknown MAC: got %v, want Link not found", err)
		}
	})
}

func testRealRoutes(t *testing.T, n *Network) {
	first := []*api.Route{
		{Dest: "", Gateway: "10.0.2.2", Device: "eth0"},
		{Dest: "", Gateway: "2001:db8::1", Device: "eth0", Family: api.IPFamily_v6},
		{Dest: "198.51.100.0/24", Device: "eth0", Scope: 253, Source: "10.0.2.15", Mtu: 1300},
	}
	if _, err := n.UpdateRoutes(t.Context(), first); err != nil {
		t.Errorf("update routes: %v", err)
		return
	}
	has := func(dest, gateway string, family api.IPFamily) bool {
		routes, err := n.ListRoutes(t.Context())
		if err != nil {
			t.Error(err)
		}
		return slices.ContainsFunc(routes, func(r *api.Route) bool {
			return r.Dest == dest && r.Gateway == gateway && r.Family == family && r.Device == "eth0"
		})
	}
	if !has("", "10.0.2.2", api.IPFamily_v4) || !has("", "2001:db8::1", api.IPFamily_v6) || !has("198.51.100.0/24", "", api.IPFamily_v4) {
		t.Error("a route of the request is missing")
	}
	// The kernel refuses the second route (its gateway is nowhere); the table must be as before.
	_, err := n.UpdateRoutes(t.Context(), []*api.Route{
		{Dest: "203.0.113.0/24", Device: "eth0", Scope: 253}, {Dest: "", Gateway: "192.0.2.200", Device: "eth0"},
	})
	if err == nil {
		t.Error("unreachable gateway: got no error")
	}
	if !has("", "10.0.2.2", api.IPFamily_v4) || !has("", "2001:db8::1", api.IPFamily_v6) || !has("198.51.100.0/24", "", api.IPFamily_v4) || has("203.0.113.0/24", "", api.IPFamily_v4) {
		routes, _ := n.ListRoutes(t.Context())
		t.Errorf("refused update was not undone: %v", routes)
	}
	if _, err := n.UpdateRoutes(t.Context(), first[:1]); err != nil {
		t.Error(err)
	}
	if !has("", "10.0.2.2", api.IPFamily_v4) || has("198.51.100.0/24", "", api.IPFamily_v4) || !has("10.0.2.0/24", "", api.IPFamily_v4) {
		t.Error("update did not replace all routes but the kernel's")
	}
}

func testRealNeighbours(t *testing.T, n *Network) {
	add := []*api.ARPNeighbor{{ToIPAddress: v4("10.0.2.2", ""), Device: "eth0", Lladdr: "02:00:00:00:00:99", State: 0x80}}
	for range 2 { // adding twice is no error
		if err := n.AddARPNeighbors(t.Context(), add); err != nil {
			t.Errorf("add neighbour: %v", err)
		}
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Error(err)
		return
	}
	list, err := netlink.NeighList(link.Attrs().Index, unix.AF_INET)
	if err != nil || !slices.ContainsFunc(list, func(x netlink.Neigh) bool { return x.HardwareAddr.String() == "02:00:00:00:00:99" }) {
		t.Errorf("got neighbours %v, %v, want the one that was added", list, err)
	}
}
