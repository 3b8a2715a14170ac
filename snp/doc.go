// Package snp talks to the AMD SEV-SNP firmware from inside the guest: it asks for attestation reports and derived keys, reads the reports' fields, and
// packs a report with its certificates into one evidence bundle.
//
// Two kernel interfaces give reports: the ioctls of /dev/sev-guest and configfs-tsm (kernel 6.7 and later). Open takes the first that is there and
// String on the result says which, and why not the other. No software stand-in can be selected here. The Guest that Open returns is to be
// the machine's only opener of the device: it takes requests one at a time, because the kernel wipes its message key when they get out of step.
//
// Trusted: the kernel and the firmware behind it; a report read through Guest was decrypted and authenticated by the kernel with a key
// that only guest and firmware have, so its fields may be believed without a signature check (Self), and with one where certificates are at hand
// (SelfVerified). A report from anywhere else may not: that is what package verify is for. Under the host's control: the certificate
// table (bounded, parsed with overflow-safe arithmetic, never believed), whether a request is answered at all, and how fast.
//
// Fails closed: a wiped message key (ErrKeyLost, for good), a host that is busy for longer than the kernel waits (ErrBusy), a privilege level that the
// guest has no key for (ErrLevel), a generation that moved under a reader more often than is tried, a report of another size, nonce or level,
// two reports that do not say the same of the guest. No request is throttled, and no configfs entry outlives its request.
package snp
