// Command demo shows confidential containers work on a machine without SEV-SNP and without KVM; `make demo` runs it.
//
// It does what a user would do, with the program a user has: it builds cloister, the guest image and two OCI images, writes a
// policy, runs the pod under it and verifies the evidence that comes out. Then it plays the host that cannot be trusted, and
// shows each attack refused with the reason as a user reads it. An attack that is refused for another reason than the one it
// should be refused for counts as a failure, as does anything that is left running, mounted or lying about at the end.
//
// What `cloister run` can express is done through it. The rest (a second policy, a launcher that lies about HOST_DATA, disks and
// requests changed behind the policy's back) goes straight to the agent of one more VM: the agent's port belongs to the host, so a
// real attacker could do exactly that.
//
// The emulated processor proves nothing about hardware: its keys are made on this machine, and the verifier says so.
package main
