// Package initdata reads and writes the initdata disk: the carrier that hands a launch document (policy, fragments) to the
// guest and is bound to it by HOST_DATA (agent API contract, section 3.4).
//
// The disk is a raw device: the ASCII word "initdata", the payload length as a little-endian u64, the payload (one gzip
// member holding a TOML document), zeros up to a multiple of 512.
//
// Every byte of the disk is the host's. Nothing here says that the document is the one the owner wrote: the caller compares
// Document.HostData with the HOST_DATA of the attestation report and uses Data only when they are equal. What this package
// promises is that reading costs a bounded amount of memory whatever the disk holds (the length field is compared with the
// device before anything is read, the unpacked size is capped, and the number of TOML items is counted before the parser
// sees them), and that anything it does not fully understand is refused rather than skipped.
package initdata
