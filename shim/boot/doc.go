// Package boot is what every host-side driver of a pod starts from: it boots a VM until its agent answers, carries the policy to it, plugs layers, copies
// standard streams, and reads refusals. Package run builds `cloister run` on it, the containerd shim its pods; it knows nothing of Kubernetes.
//
// Everything here runs on the host, so nothing here is trusted by the guest and nothing here protects the workload: a host that changes this code gains
// nothing that the agent and the policy do not already refuse. What the package owes is to the honest user: a VM that does not come up is stopped before
// its error is returned, and the kind of TEE is never guessed.
package boot
