// Package snp talks to the AMD SEV-SNP firmware from inside the guest: it asks for attestation reports, reads their fields, and packs
// a report with its certificates into one evidence bundle.
//
// Two kernel interfaces give reports: configfs-tsm (kernel 6.7 and later) and the ioctls of /dev/sev-guest. Open takes the first that
// is there and String on the device says which. No software stand-in can be selected here.
//
// Trusted: the kernel and the firmware behind it; a report read through Device was decrypted and authenticated by the kernel with a key
// that only guest and firmware have, so its fields may be believed without a signature check. A report from anywhere else may not:
// that is what package verify is for. Under the host's control: the certificate table (bounded, parsed with overflow-safe arithmetic,
// never believed), whether a request is answered at all, and how fast.
//
// Fails closed: a wiped message key (ErrKeyLost), a generation that moved under a reader, a report of another size, version or nonce.
package snp
