package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// kernel is what this package asks of rtnetlink. *netlink.Handle implements it; unit tests use a kernel in memory that
// can fail at any call.
type kernel interface {
	LinkList() ([]netlink.Link, error)
	LinkSetUp(netlink.Link) error
	LinkSetDown(netlink.Link) error
	LinkSetName(netlink.Link, string) error
	LinkSetMTU(netlink.Link, int) error
	LinkSetARPOff(netlink.Link) error
	LinkSetARPOn(netlink.Link) error
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
	AddrReplace(netlink.Link, *netlink.Addr) error
	AddrDel(netlink.Link, *netlink.Addr) error
	RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error)
	RouteAdd(*netlink.Route) error
	RouteDel(*netlink.Route) error
	NeighList(linkIndex, family int) ([]netlink.Neigh, error)
	NeighSet(*netlink.Neigh) error
	NeighDel(*netlink.Neigh) error
	Close()
}

var _ kernel = (*netlink.Handle)(nil)

// isVirtioNet asks sysfs for the driver behind a link. Anything else that carries an eth name (a veth a workload made,
// a tunnel) is not the host's to configure.
func isVirtioNet(sysfs, name string) bool {
	if name == "" || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return false
	}
	driver, err := os.Readlink(filepath.Join(sysfs, "class/net", name, "device/driver"))
	return err == nil && filepath.Base(driver) == "virtio_net"
}

// sysctl is one value below /proc/sys/net.
type sysctl struct {
	path, value string
}

// closed holds, for one entry of net/*/conf (all, default or a device), the doors between the outside and this machine.
// accept_ra and accept_redirects are the host's ways to make addresses and routes that no request went through.
func closed(device string) []sysctl {
	return []sysctl{
		{"ipv4/conf/" + device + "/forwarding", "0"},
		{"ipv4/conf/" + device + "/route_localnet", "0"},
		{"ipv4/conf/" + device + "/accept_local", "0"},
		{"ipv4/conf/" + device + "/accept_redirects", "0"},
		{"ipv6/conf/" + device + "/forwarding", "0"},
		{"ipv6/conf/" + device + "/accept_ra", "0"},
		{"ipv6/conf/" + device + "/accept_redirects", "0"},
	}
}

// apply writes each value and reads it back: a sysctl that silently kept its old value is an open door.
func apply(root string, settings []sysctl) error {
	_, err := os.Stat(filepath.Join(root, "ipv6"))
	haveIPv6 := err == nil
	for _, s := range settings {
		if strings.HasPrefix(s.path, "ipv6/") && !haveIPv6 {
			continue // a kernel without IPv6 has no such door
		}
		path := filepath.Join(root, s.path)
		if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
			return fmt.Errorf("set sysctl %q: %w", s.path, err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read sysctl %q back: %w", s.path, err)
		}
		if strings.TrimSpace(string(got)) != s.value {
			return fmt.Errorf("set sysctl %q: got %q, want %q", s.path, strings.TrimSpace(string(got)), s.value)
		}
	}
	return nil
}
