// Package task is containerd's face of a pod: the task API of versions 2 and 3, the sandbox API, standard streams, events and exits.
//
// One Service is one shim process and one pod. A pod begins with its first create (of a sandbox container, or of the only container of `ctr run`) or
// with CreateSandbox, and ends with the delete of that container or with StopSandbox. What happens in the guest is behind the interface Pod.
//
// containerd is trusted here as it is by every shim: it owns the node. The guest trusts none of this. It fails closed towards containerd: a pod that died
// is told as dead, each process that ran in it as ended, and nothing is answered from memory that only the guest could know.
package task
