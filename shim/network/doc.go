// Package network joins the interfaces that CNI made in a pod's network namespace to taps of the pod's VM, by two traffic-control redirects each, and
// says what addresses, routes and neighbours the guest must be given. After Close nothing of it is left in the namespace.
//
// The namespace belongs to the node, the guest trusts nothing of it: the agent checks every address and route itself.
package network
