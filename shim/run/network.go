package run

import (
	"context"
	"fmt"

	"github.com/cloister-cc/cloister/agent/api"
)

// QEMU's user network has fixed addresses: the guest's own, its gateway and a resolver.
const (
	guestAddress = "10.0.2.15"
	guestMask    = "24"
	gateway      = "10.0.2.2"
	resolver     = "10.0.2.3"
)

// configureNetwork gives the guest's interface, found by its MAC, the user network's address and default route. The route to the
// network itself comes with the address.
func configureNetwork(ctx context.Context, c *Client, mac string) error {
	_, err := c.UpdateInterface(ctx, &api.UpdateInterfaceRequest{Interface: &api.Interface{
		Name: "eth0", Device: "eth0", HwAddr: mac, Mtu: 1500,
		IPAddresses: []*api.IPAddress{{Family: api.IPFamily_v4, Address: guestAddress, Mask: guestMask}},
	}})
	if err != nil {
		return fmt.Errorf("configure network: %w", err)
	}
	_, err = c.UpdateRoutes(ctx, &api.UpdateRoutesRequest{Routes: &api.Routes{Routes: []*api.Route{
		{Gateway: gateway, Device: "eth0"},
	}}})
	if err != nil {
		return fmt.Errorf("configure network: %w", err)
	}
	return nil
}
