// Package signature checks who signed an image before its layers' roots enter a policy: cosign signatures (a key, or an
// identity that Fulcio certified) and Notary Project signatures (a certificate chain).
//
// Trusted are the files that a requirement names: the public key, the certificate authorities, the keys of transparency logs
// and time stampers. Nothing is trusted because a registry, a layout or a bundle holds it: what they answer is only a
// candidate, bounded in size and number, and counts if its signature verifies and names the digest of the image's manifest (or
// of the index through which the manifest was found). Nothing is fetched but what lies beside the image in the place that it
// came from, and nothing at all where that was a lock file.
//
// An image must satisfy one requirement at least. No signature, one by somebody else, one over something else, one that has
// expired, one with a critical part that is not understood, one that could not be read: all of them refuse the image, with what
// was looked for and what was found. Whether a certificate was revoked is not asked: that would need the network.
package signature
