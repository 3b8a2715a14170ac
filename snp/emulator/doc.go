// Package emulator is a software SEV-SNP processor for machines without one: reports in the real format over the caller's nonce, with
// HOST_DATA and MEASUREMENT as the launcher set them, at the kernel's own interfaces. A CUSE device stands in for /dev/sev-guest and a
// FUSE tree for configfs-tsm, so that everything above them is the production code.
//
// Its processors are those of Products, with VCEK or VLEK and any report version; a script of faults (Fault) makes host, firmware and kernel misbehave in
// the ways that real ones can; an authority signs revocation lists, and package kds serves its certificates over HTTP.
//
// It protects nothing. The signing key comes to the virtual machine on a disk that the host wrote, its certificates say "Cloister TEST ONLY - not
// AMD", no verifier trusts them unless told to by --roots, and production images do not contain this package: a test of package snp
// proves that it does not import it.
//
// What the disk holds is still read as host bytes are everywhere: bounded before it is allocated, refused when anything is left over.
package emulator
