// Package network configures the utility VM's network: links, addresses, routes, neighbours and the three files that
// name resolution reads.
//
// The package trusts the guest kernel and its sysfs. The host controls every request, the number and the MAC addresses
// of the virtio-net devices, and every packet. What the host must not gain is a way to redirect what the guest says to
// itself: loopback services (the evidence broker is one) believe that only the guest reaches 127/8 and ::1. So no
// address, route or neighbour touches loopback, lo is never configured from a request, only virtio-net devices are, and
// the kernel's own doors between devices and loopback (route_localnet, accept_local, forwarding) are closed at start
// and again for each device.
//
// Everything fails closed: a request is checked as a whole before the first change, and a change that fails half-way is
// undone. When even the undo fails, the error says so.
package network
