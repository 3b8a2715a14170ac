// Package measure computes SEV-SNP launch digests: the MEASUREMENT that a report will carry for given firmware, kernel, initrd, command line and
// virtual processors (attestation contract, section 3.1).
//
// All of it is arithmetic over bytes the caller has; nothing here reads the machine, its clock or its processor. The result is a reference value: a
// relying party must compute it from an image it built or trusts, never take it from the host.
//
// # What goes in
//
// A digest is extended page by page, in the order of launch: the firmware's pages below 4 GiB; the sections that the firmware's metadata lists
// (memory it wants validated, secrets, CPUID, the SVSM's calling area, the kernel hashes); then one VMSA, the register state, for each processor.
// Since VMSAs come last, the digests of 1 to n processors cost one pass. What differs between QEMU, EC2 and GCE is in one table, see registers.
//
// Beside the image, a digest depends on things only the host's operator knows: the VMM, the processor model that QEMU is told (its CPUID signature is
// in RDX), SEV_FEATURES, and whether the host's KVM sets the FPU's state. They are arguments, none is guessed.
//
// # What fails closed
//
// A firmware image is not trusted to be well formed: every offset is checked before it is followed, sizes and the number of pages to hash are bounded.
// Two table entries of one kind, a section of unknown kind, one that is not page-aligned or of the wrong size, kernel hashes that the
// firmware has no place for, a second processor without a reset address: each is an error and no digest.
//
// # What was checked against others
//
// QEMU and EC2 against the published expectations of sev-snp-measure and sev-snp-measure-go, GCE against those of gce-tcb-verifier: see
// tests/vectors/measure. SVSM launches have no vector that can be replayed here: their binaries are not ours to store.
package measure
