// Package idblock makes, signs, verifies and reads the ID block and the ID authentication information of an SEV-SNP launch (SEV-SNP firmware ABI,
// publication 56860, SNP_LAUNCH_FINISH).
//
// An ID block names the launch digest, the guest policy and the guest's identity. The firmware ends a launch whose digest or policy is another,
// before the first instruction of the guest, and puts family, image and SVN of the block into every report, with the digests of the key
// that signed the block and of the author's key that signed that key. A relying party can so accept any image of a signer instead of a list of digests.
//
// The package has keys only as arguments, no clock and no network. Signatures are ECDSA P-384 with SHA-384 and the nonce of RFC 6979: the same
// arguments give the same bytes.
//
// What fails closed: another curve, a point that is not on it, an algorithm or version the ABI does not have, a reserved byte that is not zero, a policy that the
// firmware would refuse, a signature that does not verify. Verify says that a block belongs to its keys; whether those are the right ones is for the
// caller, by KeyDigest.
package idblock
