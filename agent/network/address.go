package network

import (
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
	thisHost4 = netip.MustParsePrefix("0.0.0.0/8")
	// metadata is where clouds serve instance metadata and THIM certificates. A guest that owned the address would
	// answer those questions to itself with whatever the host left there.
	metadata  = netip.MustParseAddr("169.254.169.254")
	broadcast = netip.MustParseAddr("255.255.255.255")
)

// parseIP reads a literal address in the one form that has no second reading: no zone (it names an interface) and no
// IPv4 in IPv6 (::ffff:127.0.0.1 would pass a check that compares prefixes).
func parseIP(what, s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, invalid("%s %s: not a literal IP address", what, quote(s))
	}
	if addr.Zone() != "" || addr.Is4In6() {
		return netip.Addr{}, invalid("%s %s: zones and IPv4-mapped addresses are refused", what, quote(s))
	}
	return addr, nil
}

// parseHostIP is parseIP for an address that names one machine other than this guest's loopback.
func parseHostIP(what, s string) (netip.Addr, error) {
	addr, err := parseIP(what, s)
	if err != nil {
		return netip.Addr{}, err
	}
	switch {
	case loopback4.Contains(addr), loopback6.Contains(addr):
		return netip.Addr{}, invalid("%s %s: loopback is refused", what, quote(s))
	case addr.IsMulticast(), addr == broadcast:
		return netip.Addr{}, invalid("%s %s: multicast and broadcast are refused", what, quote(s))
	case addr.IsUnspecified(), thisHost4.Contains(addr):
		// The kernel and glibc read 0.0.0.0 and :: as this machine: loopback under another name.
		return netip.Addr{}, invalid("%s %s: unspecified addresses are refused", what, quote(s))
	}
	return addr, nil
}

// checkFamily compares the family a message states with the address it carries.
func checkFamily(what string, family api.IPFamily, addr netip.Addr) error {
	want := api.IPFamily_v4
	if addr.Is6() {
		want = api.IPFamily_v6
	}
	if family != want {
		return invalid("%s %s: got family %s, want %s", what, quote(addr.String()), family, want)
	}
	return nil
}

// parseInterfaceAddress reads an address that a device may own.
func parseInterfaceAddress(ip *api.IPAddress) (netip.Prefix, error) {
	const what = "interface address"
	addr, err := parseHostIP(what, ip.GetAddress())
	if err != nil {
		return netip.Prefix{}, err
	}
	if err := checkFamily(what, ip.GetFamily(), addr); err != nil {
		return netip.Prefix{}, err
	}
	if addr == metadata {
		return netip.Prefix{}, invalid("%s %s: the metadata address is refused", what, quote(addr.String()))
	}
	bits, err := strconv.ParseUint(ip.GetMask(), 10, 8)
	if err != nil || int(bits) > addr.BitLen() {
		return netip.Prefix{}, invalid("%s %s: got prefix length %s, want 1 to %d", what, quote(addr.String()), quote(ip.GetMask()), addr.BitLen())
	}
	prefix := netip.PrefixFrom(addr, int(bits))
	// A prefix wide enough to hold loopback makes the kernel add a route for it.
	if prefix.Overlaps(loopback4) || prefix.Overlaps(loopback6) {
		return netip.Prefix{}, invalid("%s %s: the prefix covers loopback", what, quote(prefix.String()))
	}
	return prefix, nil
}

// parseDestination reads a route's destination; empty means the default route of the family.
func parseDestination(s string, family api.IPFamily) (netip.Prefix, error) {
	const what = "route to"
	if s == "" {
		if family == api.IPFamily_v6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, invalid("%s %s: not a prefix", what, quote(s))
	}
	if err := checkFamily(what, family, prefix.Addr()); err != nil {
		return netip.Prefix{}, err
	}
	prefix = prefix.Masked()
	// A route *inside* loopback takes traffic away from lo. One that contains it (a default route, 0.0.0.0/1) does not:
	// the kernel's local table answers for loopback first.
	for _, loop := range []netip.Prefix{loopback4, loopback6} {
		if loop.Contains(prefix.Addr()) && prefix.Bits() >= loop.Bits() {
			return netip.Prefix{}, invalid("%s %s: loopback is refused", what, quote(s))
		}
	}
	return prefix, nil
}

// parseMAC reads the hardware address of one Ethernet station: six bytes, not all zero (lo has that one), not a group.
func parseMAC(what, s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, invalid("%s: got hardware address %s, want six bytes", what, quote(s))
	}
	if mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
		return nil, invalid("%s: got hardware address %s, want one of a station", what, quote(s))
	}
	return mac, nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   net.IP(prefix.Addr().AsSlice()),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}

func familyOf(addr netip.Addr) int {
	if addr.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func apiFamily(ip net.IP) api.IPFamily {
	if ip.To4() != nil {
		return api.IPFamily_v4
	}
	return api.IPFamily_v6
}
