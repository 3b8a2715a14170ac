// Package attest is what a workload can ask about itself: the evidence broker.
//
// # Who asks
//
// A container with the grant has a Unix socket of its own, and which socket a request came in by is the identity: nothing in a request can claim another. A socket
// can travel, though: its file is in a directory that the container may show to a neighbour, by a shared volume or by sending a descriptor of the directory. Evidence is therefore
// given only to a process of the container whose socket it is; anybody else is told 403, and gets neither the neighbour's evidence nor, by this way, its own. The check is by
// the kernel, once a connection: the process that connected, its control group. Its number is not enough, because when it ends the number can become a process of another container, even
// of the very container whose name is wanted. From Linux 6.5 on the kernel gives a pidfd for the connection, which no other process can ever be. Before that a pidfd
// is opened by number and the process behind it must hold the other end of this very connection (unix_diag names that socket's inode, /proc/PID/fd who has it). In
// both cases the process must still live after everything was read, so that all of it was read about one process.
//
// The loopback address of CoCo's workloads (TCPAddress) is open only where the policy's text grants the broker to somebody, and is opened before the first container, so that none can
// answer there in the agent's place. All containers of the pod reach it, so each connection is asked for: sock_diag finds the connecting socket by its addresses and says in which
// control group it was made (INET_DIAG_CGROUP_ID). It is asked a second time by the number that the kernel never gives twice, and this end of the connection is looked at last: while it
// is connected, its addresses are nobody else's. What cannot be resolved, and what has no grant, gets 403, and so does what does not come from loopback.
//
// Whose a connection is does not say who wrote each byte in it: a container of the pod with CAP_NET_RAW sees what goes over loopback and can write a segment into a neighbour's connection.
// So nothing that names a container is said there: POST /v1/evidence is answered on the container's own socket only, where the kernel lets nobody in between. The other calls name
// nobody, and what they prove of the pod is all that such a container gets by a neighbour's grant.
//
// What this does not stop, because nothing can: a container that wants to may ask and hand the answer on, or hand on a connection that it made. Evidence says who asked; whether that
// one keeps to itself what it is given is up to the code that the policy names.
//
// # What is said
//
// REPORT_DATA keeps kinds of evidence apart. Evidence of a container's identity fills all 64 bytes with the SHA-512 of a preimage (package identity). Every other path leaves at least
// the last 16 zero: the Azure shapes, bundles and the host's evidence have SHA-256 and 32 zero bytes, CoCo's at most 48 bytes of the caller's. So no caller of those can forge an
// identity, of its own or a neighbour's. Where containers reach the report device itself (policies without grants, cloister://sev-guest) all of this is for nothing, and
// verifiers say "pod" there.
//
// The entries of the policy that the container can still be are asked for when evidence is made, and so is the event log: what is bound is the head of the excerpt that goes
// along. The map "claimed" is the host's word, and says so by its name.
//
// # What it costs
//
// A container may send anything, at any rate; it must not be able to use up the device for its neighbours, because an SNP guest has one, and a request that goes wrong in it can
// cost the VM every further report. So bodies, connections, time, requests and questions to the device are bounded per container; equal questions that meet are asked once, and the answer stands for
// a moment; a container has at most one question waiting for the device, which sees one at a time. Nothing is shared between containers.
//
// # Trust
//
// Trusted: the kernel and the report device. The host's certificate table is passed on, and read only within bounds; a container that wants certainty verifies it. The clock is the
// host's: a clock that stands still makes rates stricter and lets an answer stand longer, which is fresh by its nonce all the same.
//
// Fails closed: a peer that cannot be told, a policy that is not bound, entries that cannot be read, a certificate that is not of the report's firmware, a kernel without the
// modules for it (inet_diag, tcp_diag, unix_diag) each give an error and no report.
package attest
