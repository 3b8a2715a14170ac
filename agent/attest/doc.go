// Package attest is what a workload can ask about itself: the evidence broker.
//
// Each container with a grant gets a Unix socket of its own, and which socket a request came in by is the container's
// identity: nothing in a request can claim another. The package trusts the kernel and the report device. A container may
// send anything, at any rate; it must not be able to use up the device for its neighbours, because an SNP guest has one,
// and a request that goes wrong in it can cost the VM every further report. So bodies, connections, time and rate are
// bounded per container, identical questions that meet are asked once, and the device sees one question at a time.
//
// The host's certificate table is passed on, and read only within bounds; a container that wants certainty verifies it.
//
// REPORT_DATA is what keeps kinds of evidence apart. Every path in this package leaves at least its last 16 bytes zero
// (the Azure shapes and bundles: SHA-256 and 32 zero bytes; CoCo's: at most 48 bytes of the caller's). Evidence about an
// identity fills all 64 with a SHA-512, so no caller of these paths can forge it.
package attest
