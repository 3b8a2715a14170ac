// Package spec turns the OCI runtime specification that containerd wrote for a container into the agent's create request: what belongs to the host is left
// out or replaced, what the agent has no word for is refused with a reason, the rest goes as it is. What becomes of each field is in one table (fields.go).
//
// It also reads a pod's policy out of its annotations, and the pod's host name and name servers for the request that creates the sandbox.
//
// Everything here is the host's: the guest trusts nothing of it, the agent checks each request itself. The package fails closed towards the user: a field
// that would change what a container sees or may do is refused by its name rather than dropped; what is dropped all the same is in a Note.
package spec
