// Package run is the host side of one pod: it boots the utility VM, binds the policy, plugs layers, drives the agent and takes
// everything down again. `cloister run` and the tests use it; the containerd shim drives the same parts in its own order.
//
// Everything in this package runs on the host, so nothing here is trusted by the guest and nothing here protects the workload:
// a host that changes this code gains nothing that the agent and the policy do not already refuse. What the package owes is to
// the honest user: it leaves no process, device or directory behind, and it shows a refusal as the sentence the agent wrote,
// with the step that comes next.
package run
