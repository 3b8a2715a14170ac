// Package spec turns the OCI runtime specification that containerd wrote for a container into the agent's create request: what belongs to the host is left
// out or replaced, what the agent has no word for is refused with a reason, the rest goes as it is.
package spec
