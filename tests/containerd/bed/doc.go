// Package bed is a node to test on: containerd, CNI plugins and crun as they are, built from their modules, with Cloister's shim and snapshotter beside them, all in
// directories of their own. Above it lies what kubelet does to a pod: the CRI requests of a Pod document, with the mounts and variables that kubelet adds.
//
// A node shares nothing with the machine's own containerd, and several nodes run beside each other: sockets, state, network and cgroups have names of their own.
// Stop leaves nothing; Held and its difference say what a case has left.
package bed
