package network

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/api"
)

func v4(address, mask string) *api.IPAddress {
	return &api.IPAddress{Family: api.IPFamily_v4, Address: address, Mask: mask}
}

func v6(address, mask string) *api.IPAddress {
	return &api.IPAddress{Family: api.IPFamily_v6, Address: address, Mask: mask}
}

func iface(name, mac string, addrs ...*api.IPAddress) *api.Interface {
	return &api.Interface{Device: name, Name: name, HwAddr: mac, IPAddresses: addrs, Mtu: 1400}
}

// TestUpdateInterfaceLimits has a row for each thing the host must not be able to ask for. Each row also asserts that
// nothing was changed.
func TestUpdateInterfaceLimits(t *testing.T) {
	with := func(f func(*api.Interface)) *api.Interface {
		req := iface("eth0", mac0, v4("10.0.2.15", "24"))
		f(req)
		return req
	}
	address := func(ip *api.IPAddress) *api.Interface { return iface("eth0", mac0, ip) }
	tests := []struct {
		name string
		req  *api.Interface
		want string
	}{
		{"nil", nil, "want eth0 to eth99"},
		{"name-lo", iface("lo", mac0), "want eth0 to eth99"},
		{"name-three-digits", iface("eth100", mac0), "want eth0 to eth99"},
		{"name-no-digit", iface("eth", mac0), "want eth0 to eth99"},
		{"name-path", iface("eth0/../all", mac0), "want eth0 to eth99"},
		{"name-newline", iface("eth0\n", mac0), "want eth0 to eth99"},
		{"name-dummy", iface("dummy0", mac0), "want eth0 to eth99"},
		{"mac-of-lo", iface("eth0", "00:00:00:00:00:00"), "want one of a station"},
		{"mac-multicast", iface("eth0", "01:00:5e:00:00:01"), "want one of a station"},
		{"mac-broadcast", iface("eth0", "ff:ff:ff:ff:ff:ff"), "want one of a station"},
		{"mac-eight-bytes", iface("eth0", "02:00:00:00:00:00:00:01"), "want six bytes"},
		{"mac-missing", iface("eth0", ""), "want six bytes"},
		{"loopback", address(v4("127.0.0.1", "8")), "loopback is refused"},
		{"loopback-high", address(v4("127.255.255.254", "32")), "loopback is refused"},
		{"loopback-v6", address(v6("::1", "128")), "loopback is refused"},
		{"loopback-mapped", address(v6("::ffff:127.0.0.1", "128")), "IPv4-mapped"},
		{"loopback-covered", address(v4("126.0.0.1", "7")), "covers loopback"},
		{"loopback-covered-v6", address(v6("::2", "64")), "covers loopback"},
		{"metadata", address(v4("169.254.169.254", "16")), "metadata address"},
		{"multicast", address(v4("224.0.0.1", "4")), "multicast"},
		{"multicast-v6", address(v6("ff02::1", "64")), "multicast"},
		{"broadcast", address(v4("255.255.255.255", "32")), "broadcast"},
		{"unspecified", address(v4("0.0.0.0", "32")), "unspecified"},
		{"this-host", address(v4("0.1.2.3", "32")), "unspecified"},
		{"unspecified-v6", address(v6("::", "128")), "unspecified"},
		{"zone", address(v6("fe80::1%eth1", "64")), "zones"},
		{"octal", address(v4("0177.0.0.1", "8")), "not a literal IP"},
		{"name-for-address", address(v4("localhost", "8")), "not a literal IP"},
		{"family-v4-for-v6", address(v4("2001:db8::1", "64")), "got family v4, want v6"},
		{"family-v6-for-v4", address(v6("10.0.0.1", "24")), "got family v6, want v4"},
		{"mask-zero", address(v4("10.0.0.1", "0")), "covers loopback"},
		{"mask-wide", address(v4("10.0.0.1", "33")), "want 1 to 32"},
		{"mask-dotted", address(v4("10.0.0.1", "255.255.255.0")), "want 1 to 32"},
		{"mask-sign", address(v4("10.0.0.1", "-1")), "want 1 to 32"},
		{"mtu-small", with(func(r *api.Interface) { r.Mtu = 67 }), "want 68 to 65535"},
		{"mtu-small-v6", with(func(r *api.Interface) { r.Mtu = 1279; r.IPAddresses = append(r.IPAddresses, v6("2001:db8::1", "64")) }), "want 1280 to 65535"},
		{"mtu-large", with(func(r *api.Interface) { r.Mtu = 65536 }), "want 68 to 65535"},
		{"mtu-wrap", with(func(r *api.Interface) { r.Mtu = 1 << 63 }), "want 68 to 65535"},
		{"flags-promiscuous", with(func(r *api.Interface) { r.RawFlags = 0x100 }), "want none but IFF_NOARP"},
		{"too-many-addresses", iface("eth0", mac0, slices.Repeat([]*api.IPAddress{v4("10.0.0.1", "24")}, maxAddresses+1)...), "want at most 64"},
		{"no-such-mac", iface("eth0", "02:00:00:00:00:55"), "Link not found"},
		{"not-virtio", iface("eth7", mac7), "Link not found"},
		{"name-of-foreign-device", iface("eth7", mac0), "not virtio-net"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, k := newFake(t)
			before := k.state()
			_, err := n.UpdateInterface(t.Context(), tt.req)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want one with %q", err, tt.want)
			}
			if strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("error has a line break of the host: %q", err)
			}
			if after := k.state(); !slices.Equal(before, after) {
				t.Errorf("refused request changed the state:\n%s\nwant:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		})
	}
}

func TestUpdateInterfaceTwoDevicesOneMAC(t *testing.T) {
	n, k := newFake(t)
	k.links[2].HardwareAddr = k.links[1].HardwareAddr
	if _, err := n.UpdateInterface(t.Context(), iface("eth0", mac0)); err == nil || !strings.Contains(err.Error(), "two virtio-net devices") {
		t.Fatalf("got error %v, want one that names two devices", err)
	}
}

func TestUpdateRoutesLimits(t *testing.T) {
	route := func(dest string, f func(*api.Route)) []*api.Route {
		r := &api.Route{Dest: dest, Device: "eth0"}
		if strings.Contains(dest, ":") {
			r.Family = api.IPFamily_v6
		}
		if f != nil {
			f(r)
		}
		return []*api.Route{r}
	}
	tests := []struct {
		name   string
		routes []*api.Route
		want   string
	}{
		{"nil", []*api.Route{nil}, "want eth0 to eth99"},
		{"loopback", route("127.0.0.0/8", nil), "loopback is refused"},
		{"loopback-part", route("127.4.0.0/16", nil), "loopback is refused"},
		{"loopback-host-bits", route("127.0.0.1/8", nil), "loopback is refused"},
		{"loopback-v6", route("::1/128", nil), "loopback is refused"},
		{"loopback-mapped", route("::ffff:127.0.0.0/104", nil), "not a prefix"},
		{"no-prefix", route("10.0.0.1", nil), "not a prefix"},
		{"word", route("default", nil), "not a prefix"},
		{"family", route("10.0.0.0/8", func(r *api.Route) { r.Family = api.IPFamily_v6 }), "got family v6, want v4"},
		{"device-lo", route("10.0.0.0/8", func(r *api.Route) { r.Device = "lo" }), "want eth0 to eth99"},
		{"device-none", route("10.0.0.0/8", func(r *api.Route) { r.Device = "" }), "want eth0 to eth99"},
		{"device-foreign", route("10.0.0.0/8", func(r *api.Route) { r.Device = "eth7" }), "Link not found"},
		{"device-unknown", route("10.0.0.0/8", func(r *api.Route) { r.Device = "eth42" }), "Link not found"},
		{"gateway-loopback", route("", func(r *api.Route) { r.Gateway = "127.0.0.1" }), "loopback is refused"},
		{"gateway-multicast", route("", func(r *api.Route) { r.Gateway = "224.0.0.1" }), "multicast"},
		{"gateway-family", route("", func(r *api.Route) { r.Gateway = "2001:db8::1" }), "not of the route's family"},
		{"gateway-word", route("", func(r *api.Route) { r.Gateway = "gw" }), "not a literal IP"},
		{"source-loopback", route("", func(r *api.Route) { r.Source = "127.0.0.1" }), "loopback is refused"},
		{"scope-host", route("10.0.0.0/8", func(r *api.Route) { r.Scope = 254 }), "want universe, site or link"},
		{"scope-wide", route("10.0.0.0/8", func(r *api.Route) { r.Scope = 256 }), "want universe, site or link"},
		{"flags", route("10.0.0.0/8", func(r *api.Route) { r.Flags = 1 }), "RTNH_F_ONLINK"},
		{"mtu", route("10.0.0.0/8", func(r *api.Route) { r.Mtu = 1 }), "want 68 to 65535"},
		{"too-many", slices.Repeat(route("10.0.0.0/8", nil), maxRoutes+1), "want at most 512"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, k := newFake(t)
			before := k.state()
			// A good route first: nothing of a request may be applied when any part of it is refused.
			routes := append(route("198.51.100.0/24", nil), tt.routes...)
			if tt.name == "too-many" {
				routes = tt.routes
			}
			_, err := n.UpdateRoutes(t.Context(), routes)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want one with %q", err, tt.want)
			}
			if after := k.state(); !slices.Equal(before, after) {
				t.Errorf("refused request changed the state:\n%s", strings.Join(after, "\n"))
			}
		})
	}
}

func TestAddARPNeighborsLimits(t *testing.T) {
	neighbour := func(f func(*api.ARPNeighbor)) *api.ARPNeighbor {
		n := &api.ARPNeighbor{ToIPAddress: v4("192.0.2.2", ""), Device: "eth0", Lladdr: mac1, State: 0x80}
		f(n)
		return n
	}
	to := func(ip *api.IPAddress) *api.ARPNeighbor {
		return neighbour(func(n *api.ARPNeighbor) { n.ToIPAddress = ip })
	}
	tests := []struct {
		name string
		req  *api.ARPNeighbor
		want string
	}{
		{"nil", nil, "not a literal IP"},
		{"loopback", to(v4("127.0.0.1", "")), "loopback is refused"},
		{"loopback-v6", to(v6("::1", "")), "loopback is refused"},
		{"loopback-mapped", to(v6("::ffff:127.0.0.1", "")), "IPv4-mapped"},
		{"multicast", to(v4("224.0.0.5", "")), "multicast"},
		{"family", to(v6("192.0.2.2", "")), "got family v6, want v4"},
		{"device-lo", neighbour(func(n *api.ARPNeighbor) { n.Device = "lo" }), "want eth0 to eth99"},
		{"device-foreign", neighbour(func(n *api.ARPNeighbor) { n.Device = "eth7" }), "Link not found"},
		{"mac-group", neighbour(func(n *api.ARPNeighbor) { n.Lladdr = "33:33:00:00:00:01" }), "want one of a station"},
		{"mac-missing", neighbour(func(n *api.ARPNeighbor) { n.Lladdr = "" }), "want six bytes"},
		{"state", neighbour(func(n *api.ARPNeighbor) { n.State = 1 }), "got state"},
		{"proxy", neighbour(func(n *api.ARPNeighbor) { n.Flags = 8 }), "NTF_ROUTER"},
		{"flags-negative", neighbour(func(n *api.ARPNeighbor) { n.Flags = -1 }), "NTF_ROUTER"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, k := newFake(t)
			before := k.state()
			good := neighbour(func(*api.ARPNeighbor) {})
			err := n.AddARPNeighbors(t.Context(), []*api.ARPNeighbor{good, tt.req})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want one with %q", err, tt.want)
			}
			if after := k.state(); !slices.Equal(before, after) {
				t.Errorf("refused request changed the state:\n%s", strings.Join(after, "\n"))
			}
		})
	}
	t.Run("too-many", func(t *testing.T) {
		n, _ := newFake(t)
		good := neighbour(func(*api.ARPNeighbor) {})
		err := n.AddARPNeighbors(t.Context(), slices.Repeat([]*api.ARPNeighbor{good}, maxNeighbours+1))
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("got error %v, want ErrInvalid", err)
		}
	})
}

// TestCancelledContextChangesNothing: a client that went away before the lock was free gets no effect.
func TestCancelledContextChangesNothing(t *testing.T) {
	n, k := newFake(t)
	before := k.state()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.UpdateInterface(ctx, iface("eth0", mac0, v4("10.0.2.15", "24"))); !errors.Is(err, context.Canceled) {
		t.Errorf("UpdateInterface: got %v, want context.Canceled", err)
	}
	if _, err := n.UpdateRoutes(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("UpdateRoutes: got %v, want context.Canceled", err)
	}
	if after := k.state(); !slices.Equal(before, after) {
		t.Errorf("state changed: %v", after)
	}
}

// TestDoorsAreClosed by the start of the guest, and by the first device if there was no such start.
func TestDoorsAreClosed(t *testing.T) {
	starts := map[string]struct {
		start   func(*Network) error
		devices []string
	}{
		"start": {func(n *Network) error { return n.SetupLoopback(t.Context()) }, []string{"all", "default"}},
		"first-device": {func(n *Network) error {
			_, err := n.UpdateInterface(t.Context(), iface("eth0", mac0))
			return err
		}, []string{"all", "default", "eth0"}},
	}
	for name, tt := range starts {
		t.Run(name, func(t *testing.T) {
			n, _ := newFake(t)
			if err := tt.start(n); err != nil {
				t.Fatal(err)
			}
			settings := []sysctl{{"ipv4/ip_forward", "0"}}
			for _, device := range tt.devices {
				settings = append(settings, closed(device)...)
			}
			for _, s := range settings {
				got, err := os.ReadFile(filepath.Join(n.sysctls, s.path))
				if err != nil || strings.TrimSpace(string(got)) != s.value {
					t.Errorf("%s: got %q, %v, want %q", s.path, got, err, s.value)
				}
			}
		})
	}
}

// TestHardenFailsClosed: a door that cannot be closed stops the start.
func TestHardenFailsClosed(t *testing.T) {
	n, k := newFake(t)
	if err := os.Remove(filepath.Join(n.sysctls, "ipv4/conf/all/route_localnet")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(n.sysctls, "ipv4/conf/all/route_localnet"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.SetupLoopback(t.Context()); err == nil || !strings.Contains(err.Error(), "route_localnet") {
		t.Errorf("start: got error %v, want one that names route_localnet", err)
	}
	if _, err := n.UpdateInterface(t.Context(), iface("eth0", mac0)); err == nil || !strings.Contains(err.Error(), "route_localnet") {
		t.Errorf("device: got error %v, want one that names route_localnet", err)
	}
	if k.calls != 0 {
		t.Errorf("got %d changes with a door open, want none", k.calls)
	}
}

func TestIsVirtioNet(t *testing.T) {
	root := t.TempDir()
	for name, driver := range map[string]string{"eth0": "virtio_net", "eth1": "e1000"} {
		dir := filepath.Join(root, "class/net", name, "device")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../../../bus/virtio/drivers/"+driver, filepath.Join(dir, "driver")); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"eth0": true, "eth1": false, "lo": false, "": false, "..": false, "eth0/../eth0": false} {
		if got := isVirtioNet(root, name); got != want {
			t.Errorf("isVirtioNet(%q): got %v, want %v", name, got, want)
		}
	}
}
