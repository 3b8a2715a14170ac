// Package network joins the interfaces that CNI made in a pod's network namespace to taps of the pod's VM, by two traffic-control redirects each, and
// says what addresses, routes and neighbours the guest must be given. After Close nothing of it is left in the namespace.
//
// A frame that reaches an interface of the pod goes to its tap before the namespace's own protocols see it, and a frame of the guest leaves by the
// interface: the namespace answers no ARP, no neighbour discovery and no ping for the pod's addresses any more, the guest does. The guest has the
// interface's own MAC address, so the network sees one station, as before.
//
// # Port forwarding
//
// CRI forwards a port by a connection to localhost inside the namespace, where nothing of the pod listens. The first tap therefore carries one
// address pair besides (HostHalf, GuestHalf), and a rule of nftables in that namespace sends TCP connections for 127.0.0.1 to the guest's half. It
// reaches services in the guest that listen on all IPv4 addresses (0.0.0.0, or :: without IPV6_V6ONLY). It does not reach services that listen on the guest's
// 127.0.0.1, on the pod's address alone, or on IPv6 alone: the guest's loopback belongs to the guest. Where the node's kernel
// cannot do it, the pod starts without, and Notes says so.
//
// # Trust
//
// The namespace belongs to the node, the guest trusts nothing of it: the agent checks every address and route itself. The workload is not
// trusted by the node either: of its frames, only those for HostHalf reach the namespace's own protocols.
//
// What cannot be handed to a guest as it is fails closed where the pod would lack its network (an ipvlan interface, a route over several hops),
// and becomes a note where it would lack a detail (a blackhole route, policy routing). An interface that somebody else already redirects is refused.
package network
