// Package sandbox is one pod of the containerd shim: its VM from boot to teardown, its policy, its network, its containers, and what becomes of each of
// them when something fails. Package task puts containerd's APIs before it.
//
// It is host side and trusted by nobody in the guest. It fails closed all the same: a pod whose VM, agent or channel is gone says so in each answer,
// and what was made on the host for it is undone in reverse, whether by Stop or, when the shim was killed, by Cleanup from the pod's state directory.
package sandbox
