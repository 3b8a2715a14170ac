// Package measure computes SEV-SNP launch digests: the MEASUREMENT that a report will carry for a given kernel, initrd and command line.
//
// All of it is arithmetic over bytes the caller has; nothing here reads the machine. The result is a reference value: a relying party must compute
// it from an image it built or trusts, never take it from the host.
package measure
